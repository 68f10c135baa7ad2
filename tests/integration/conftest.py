import os
import shutil
import subprocess
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import yaml

import shared
from engines import Containerd, Docker, ImageService, Podman, check, program
from kubernetes_objects import KUSTOMIZATIONS, Types
from mounts import unmount_below
from newer_debian import unpack
from package_sets import THIRTY_PACKAGES, copy_with_new_slow_packages, write_package_set
from registry import ROOT, Registry
from shared import made_once


# The slowest files run first, in this order, so that none of them delays the end of the run.
LONGEST = ["test_faults.py", "test_clients.py", "test_kubernetes_storm.py", "test_package_sandbox.py", "test_package.py"]

ENGINES = ("docker", "podman", "containerd", "image_service")


def pytest_configure(config):
    config.add_cleanup(shared.begin())
    config.addinivalue_line("markers", "engine: needs a container engine: docker, podman or containerd")
    config.addinivalue_line("markers", "measures: compares memory or time with a limit, which a sanitized program exceeds")
    config.addinivalue_line("markers", "xdist_group(name): tests of one group run in one process")


def group_of(item) -> str | None:
    """The group of tests that must run in one process: they share a fixture of their file or a container engine."""
    fixtures = item._fixtureinfo.name2fixturedefs
    if any(definitions[-1].scope in ("module", "package", "class") for definitions in fixtures.values()):
        return item.path.name
    for name in ("own_image", *ENGINES):
        if name in fixtures:
            return name
    return None


@pytest.hookimpl(tryfirst=True)  # before xdist looks at the groups
def pytest_collection_modifyitems(items):
    for item in items:
        if set(ENGINES) & set(item.fixturenames):
            item.add_marker(pytest.mark.engine)
        if group := group_of(item):
            item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@contextmanager
def temporary_directory(prefix: str = "nixery-"):
    """Not pytest's own directory: socket paths must be short, and image stores are too large to keep."""
    directory = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        yield directory
    finally:
        unmount_below(directory)
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def running(engine):
    try:
        yield engine
    finally:
        engine.stop()


@pytest.fixture(scope="session")
def package_set():
    """The package set of Debian's packages, including failing, slow and broken ones. Downloads are cached."""
    def generate(directory: Path):
        words = [ROOT / "nix/debian-packages/generate", "--out", directory / "set", "--arch", "amd64", "--arch", "arm64", "--with-test-packages"]
        subprocess.run(words, check=True)

    return made_once("package-set", generate) / "set"


@pytest.fixture
def slow_set(package_set):
    """The package set with slow packages that no earlier test can have built."""
    with temporary_directory() as directory:
        yield str(copy_with_new_slow_packages(package_set, directory / "set"))


@pytest.fixture(scope="session")
def package():
    """The Debian package: NIXERY_TEST_DEB if it is set; otherwise it is built, which takes minutes."""
    if built := os.environ.get("NIXERY_TEST_DEB"):
        return Path(built)
    directory = made_once("package", lambda directory: check(str(ROOT / "packaging/build-deb"), str(directory), timeout=1800))
    (deb,) = directory.glob("nixery_*.deb")
    return deb


@pytest.fixture(scope="session")
def own_archive(package):
    """Nixery's own image from Debian's packages, built offline: NIXERY_TEST_IMAGE if it is set."""
    if built := os.environ.get("NIXERY_TEST_IMAGE"):
        return Path(built)

    def build(directory: Path):
        env = {name: value for name, value in os.environ.items() if not name.startswith(("NIXERY_", "NIX_"))}
        words = [ROOT / "packaging/build-image", "--deb", package, directory / "nixery.tar"]
        done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=1800)
        assert done.returncode == 0, done.stderr

    return made_once("own-image", build) / "nixery.tar"


@pytest.fixture(scope="session")
def own_image(own_archive, docker):
    loaded = docker.check("load", "--input", str(own_archive))
    assert "Loaded image: nixery/server:" in loaded, loaded
    return loaded.split("Loaded image:")[1].strip()


@pytest.fixture(scope="session")
def trixie():
    """Files of a later Debian: its kubectl, and the sources of Kubernetes' Go client."""
    return unpack("trixie", "kubectl", "golang-k8s-client-go-dev")


@pytest.fixture(scope="session")
def kubectl(trixie):
    """kubectl of a newer Kubernetes than Debian 12's."""
    return str(trixie / "usr/bin/kubectl")


@pytest.fixture(scope="session")
def kubernetes_types(trixie):
    return Types(trixie / "usr/share/gocode/src/k8s.io/client-go")


@pytest.fixture(scope="session")
def rendered(kubectl):
    """The manifests rendered by kustomize."""
    return {name: list(yaml.safe_load_all(check(kubectl, "kustomize", str(path)))) for name, path in KUSTOMIZATIONS.items()}


@pytest.fixture
def packages(directory):
    """A package set of thirty small unbuilt packages, p0 to p29."""
    return str(write_package_set(directory / "packages", THIRTY_PACKAGES))


@pytest.fixture
def directory():
    with temporary_directory() as directory:
        yield directory


@contextmanager
def started(package_set: Path, settings: dict[str, str]):
    with temporary_directory() as directory:
        with running(Registry(directory, {"NIXERY_PKGS_PATH": str(package_set), **settings})) as registry:
            registry.start_nginx()
            registry.start_worker()
            yield registry


@pytest.fixture(scope="module")
def registry(package_set):
    """A registry for the tests of one file."""
    with started(package_set, {}) as registry:
        yield registry


@contextmanager
def registry_maker(package_set: Path):
    with ExitStack() as made:
        yield lambda **settings: made.enter_context(started(package_set, settings))


@pytest.fixture
def new_registry(package_set):
    """Makes registries for one test with given settings."""
    with registry_maker(package_set) as make:
        yield make


@pytest.fixture(scope="module")
def new_module_registry(package_set):
    """Makes registries with given settings for the tests of one file."""
    with registry_maker(package_set) as make:
        yield make


@pytest.fixture
def counted_evaluations(directory):
    """A PATH on which every evaluation of a name appends a line to a file."""
    shims = directory / "shims"
    shims.mkdir()
    (shims / "nix-instantiate").write_text(f'#!/bin/sh\ncase "$*" in *resolve.nix*) echo x >> {directory}/evaluations ;; esac\nexec {program("nix-instantiate", "nix-bin")} "$@"\n')
    (shims / "nix-instantiate").chmod(0o755)
    (directory / "evaluations").touch()
    return {"PATH": f"{shims}:{os.environ['PATH']}"}, lambda: len((directory / "evaluations").read_text().splitlines())


@pytest.fixture(scope="session")
def docker():
    with temporary_directory() as directory, running(Docker(directory)) as engine:
        yield engine


@pytest.fixture(scope="session")
def containerd():
    with temporary_directory() as directory, running(Containerd(directory)) as engine:
        yield engine


@pytest.fixture(scope="session")
def image_service():
    with temporary_directory() as directory, running(Containerd(directory, cri=True)) as engine:
        yield ImageService(engine.address)


@pytest.fixture(scope="session")
def podman():
    with temporary_directory() as directory:
        yield Podman(directory)
