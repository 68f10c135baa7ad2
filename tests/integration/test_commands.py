"""nixery build, plan and config: the same pipeline without a server."""

import json
import os
import pwd
import subprocess
from contextlib import contextmanager

import pytest

from conftest import running
from engines import check, program, skopeo
from registry import NIXERY, ROOT, Registry
from test_daemon import PLAIN, Daemon

NOBODY = pwd.getpwnam("nobody")
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as somebody else")
SHELL_SET = '{ system, ... }: { tool = derivation { name = "tool-SALT"; inherit system; builder = "/bin/sh"; args = [ "-c" "echo tool > $out" ]; }; }'


def test_build_gives_the_digest_that_a_pull_gives(registry, new_registry):
    other = new_registry()
    built = json.loads(other.nixery("build", "--json", "shell/curl").stdout)
    assert built["digest"] == registry.manifest("shell/curl").headers["Docker-Content-Digest"]
    assert other.get("/v2/shell/curl/manifests/latest").headers["Docker-Content-Digest"] == built["digest"]


def test_build_writes_an_oci_layout(registry, directory):
    registry.nixery("build", "--oci", str(directory / "oci"), "hello").check_returncode()
    digest = json.loads(skopeo("inspect", f"oci:{directory}/oci:hello:latest").stdout)["Digest"]
    assert digest == registry.manifest("hello").headers["Docker-Content-Digest"]
    check(program("umoci", "umoci"), "unpack", "--image", f"{directory}/oci:hello:latest", str(directory / "bundle"))
    assert "Hello" in check("chroot", str(directory / "bundle/rootfs"), "/bin/hello")


def test_an_oci_layout_keeps_the_images_that_are_in_it(registry, directory):
    for name in ("hello", "jq", "hello"):
        registry.nixery("build", "--oci", str(directory / "oci"), name).check_returncode()
    several = [subprocess.Popen([NIXERY, "build", "--oci", str(directory / "oci"), name], env=registry.env, stdout=subprocess.DEVNULL)
               for name in ("curl", "shell/jq", "shell/hello")]  # fmt: skip
    assert [each.wait() for each in several] == [0, 0, 0]
    entries = json.loads((directory / "oci/index.json").read_text())["manifests"]
    names = [entry["annotations"]["org.opencontainers.image.ref.name"] for entry in entries]
    assert names[:2] == ["jq:latest", "hello:latest"]
    assert sorted(names[2:]) == ["curl:latest", "shell/hello:latest", "shell/jq:latest"]
    for name in ("hello", "jq", "curl"):
        digest = json.loads(skopeo("inspect", f"oci:{directory}/oci:{name}:latest").stdout)["Digest"]
        assert digest == registry.manifest(name).headers["Docker-Content-Digest"]


def test_what_is_no_oci_layout_is_not_overwritten(registry, directory):
    (directory / "index.json").write_text('{"mine": true}')
    done = registry.nixery("build", "--oci", str(directory), "hello")
    assert done.returncode == 1 and f"{directory}/index.json is no image index" in done.stderr
    assert (directory / "index.json").read_text() == '{"mine": true}'


def test_build_writes_an_archive_that_docker_loads(registry, docker, directory):
    registry.nixery("build", "--docker-archive", str(directory / "hello.tar"), "hello").check_returncode()
    docker.check("load", "-i", str(directory / "hello.tar"))
    assert "Hello" in docker.run_image("hello:latest", "hello")


def test_build_shows_its_progress_in_plain_lines(new_registry, slow_set):
    registry = new_registry(NIXERY_PKGS_PATH=slow_set)
    done = registry.nixery("build", "slow.s5")
    assert done.returncode == 0
    assert "resolving packages" in done.stderr and "building with nix: building slow" in done.stderr
    assert "\r" not in done.stderr
    assert "slow.s5:latest sha256:" in done.stdout


def test_build_fails_with_the_reason_and_status_1(registry):
    done = registry.nixery("build", "crul")
    assert (done.returncode, done.stdout) == (1, "")
    assert "no package 'crul': did you mean 'curl'?" in done.stderr
    done = registry.nixery("build", "failingpackage")
    assert done.returncode == 1 and "this is the reason" in done.stderr


def test_wrong_arguments_are_status_2_with_the_usage(registry):
    for words in (["build"], ["build", "--what", "x"], ["build", "a", "b"], ["plan"], ["serve", "x"], ["frobnicate"], ["build", "--oci"]):
        done = registry.nixery(*words)
        assert done.returncode == 2, words
        assert "nixery" in done.stderr


def test_plan_builds_nothing(new_registry, slow_set):
    registry = new_registry(NIXERY_PKGS_PATH=slow_set)
    done = registry.nixery("plan", "slow.s120")
    assert done.returncode == 0, done.stderr
    assert "not in the store yet" in done.stdout
    assert not list(registry.tree.rglob("blobs/*"))


def test_plan_shows_packages_layers_and_what_exists(registry):
    registry.manifest("shell/curl")
    plan = json.loads(registry.nixery("plan", "--json", "shell/curl").stdout)
    assert {p["attribute"] for p in plan["packages"]} == {"bashInteractive", "coreutils", "curl", "moreutils", "nano", "cacert"}
    assert all(p["version"] and p["outputs"] for p in plan["packages"])
    paths = [path for layer in plan["layers"] for path in layer["paths"]]
    assert len(paths) == len(set(paths)) == plan["closurePaths"]
    assert all(layer["inTree"] and layer["reason"] for layer in plan["layers"])
    text = registry.nixery("plan", "shell/curl").stdout
    assert "[in the tree]" in text and "curl 7" in text


def test_config_shows_values_and_origins_without_secrets(registry):
    shown = json.loads(registry.nixery("config", "--json", NIXERY_MAX_LAYERS="20").stdout)
    assert shown["NIXERY_MAX_LAYERS"] == {**shown["NIXERY_MAX_LAYERS"], "value": "20", "origin": "environment"}
    assert shown["NIXERY_FORMAT"]["origin"] == "default"


def test_the_settings_page_is_the_programs_output_regardless_of_the_environment(registry, directory):
    printed = registry.nixery("config", "--markdown", NIXERY_MAX_LAYERS="20", NIXERY_CHANNEL="nixos-24.05", NIXERY_GC_KEEP="x")
    assert (printed.returncode, printed.stderr) == (0, "")
    assert (ROOT / "packaging/SETTINGS.md").read_text() == printed.stdout, "nixery config --markdown > packaging/SETTINGS.md"
    both = registry.nixery("config", "--markdown", "--json")
    assert both.returncode == 2 and json.loads(both.stdout)["error"]["failure"] == "misuse"


def test_an_invalid_setting_is_refused_at_start_with_its_name(registry):
    done = registry.nixery("serve", NIXERY_MAX_LAYERS="lots")
    assert done.returncode == 1
    assert done.stderr.startswith("nixery: NIXERY_MAX_LAYERS: 'lots' is not valid")


def test_an_image_has_at_most_the_configured_number_of_layers(new_registry):
    registry = new_registry(NIXERY_MAX_LAYERS="5")
    assert len(registry.manifest("shell/git").json["layers"]) <= 5


def test_an_image_may_be_one_layer(new_registry, docker):
    registry = new_registry(NIXERY_MAX_LAYERS="1")
    assert len(registry.manifest("hello").json["layers"]) == 1
    assert "Hello" in docker.run_image(f"{registry.host}/hello", "hello")
    assert registry.config("hello")["history"][0]["created_by"].startswith("root file system and everything: ")
    plan = registry.nixery("plan", "hello", NIXERY_MAX_LAYERS="1").stdout
    assert "in 1 layer with the root file system" in plan and plan.count("[in the tree]") == 1


def test_if_all_layers_are_used_the_root_file_system_shares_the_left_over_layer(new_registry, docker):
    registry = new_registry(NIXERY_MAX_LAYERS="6")
    assert len(registry.manifest("shell/git").json["layers"]) == 6
    made_of = [step["created_by"] for step in registry.config("shell/git")["history"]]
    assert [reason for reason in made_of if "root file system" in reason] == \
        [reason for reason in made_of if "left over" in reason]
    assert "git version" in docker.run_image(f"{registry.host}/shell/git", "git", "--version")
    plan = json.loads(registry.nixery("plan", "--json", "shell/git", NIXERY_MAX_LAYERS="6").stdout)
    assert all(layer["inTree"] for layer in plan["layers"])
    assert [layer.get("withRootFileSystem", False) for layer in plan["layers"]] == ["left over" in r for r in made_of]


def test_popularity_counts_built_images_and_is_accepted_as_a_setting(new_registry, directory):
    registry = new_registry()
    for name in ("hello", "jq", "shell/jq"):
        assert registry.manifest(name).status == 200
    counts = json.loads(registry.nixery("popularity").stdout)
    assert counts["hello"] == 1 and counts["jq"] == 2 and counts["libc6"] == 3
    (directory / "popularity.json").write_text(json.dumps(counts))
    for place in (str(directory / "popularity.json"), f"file://{directory}/popularity.json"):
        assert registry.nixery("build", "hello", NIX_POPULARITY_URL=place).returncode == 0
    done = registry.nixery("build", "hello", NIX_POPULARITY_URL="/no/such/file")
    assert done.returncode == 1 and "NIX_POPULARITY_URL" in done.stderr


# By hand, on a host whose worker is another user


def test_settings_come_from_the_given_file(new_registry, directory):
    registry = new_registry()
    for name in ("hello", "jq"):
        assert registry.manifest(name).status == 200
    file = directory / "nixery.env"
    file.write_text("# the worker's\nNIXERY_GC_KEEP='hello'\nNIXERY_GC_GRACE=0s\nNIXERY_MAX_LAYERS=7\n")

    def dropped(*words: str) -> list[str]:
        images = json.loads(registry.nixery("gc", "--json", "--dry-run", "--max-age", "0s", *words).stdout)["images"]
        return sorted(name for image in images for name in image["names"])

    assert dropped() == [] and dropped("--settings", str(file)) == ["jq:latest"]
    assert dropped("--settings", str(file), "--keep", "jq") == []
    # It takes precedence over the environment, as in a unit.
    shown = registry.nixery("config", "--json", "--settings", str(file), NIXERY_MAX_LAYERS="9").stdout
    assert json.loads(shown)["NIXERY_MAX_LAYERS"]["value"] == "7"
    done = registry.nixery("gc", "--settings", f"{directory}/absent")
    assert done.returncode == 2 and f"the file {directory}/absent does not exist" in done.stderr


def test_every_command_with_settings_accepts_a_settings_file(registry, directory):
    (directory / "nixery.env").write_text("NIXERY_MAX_LAYERS=lots\n")
    names = [line.split()[1] for line in check(NIXERY, "help").splitlines() if line.startswith("  nixery ")]
    operands = {"build": ["hello"], "plan": ["hello"], "export": [str(directory / "out"), "hello"]}
    for name in set(names) - {"help", "version", "controller", "doctor"}:
        done = registry.nixery(name, "--settings", str(directory / "nixery.env"), *operands.get(name, []))
        assert done.returncode == 1 and done.stderr.startswith("nixery: NIXERY_MAX_LAYERS: 'lots' is not valid"), (name, done.stderr)


@contextmanager
def of_nobody(directory):
    """Tree and state of a worker with the user nobody, and nix-daemon; no worker runs."""
    directory.chmod(0o755)
    for name, bits in (("tree", 0o755), ("state", 0o700), ("home", 0o700), ("packages", 0o755)):
        (directory / name).mkdir()
        (directory / name).chmod(bits)
        os.chown(directory / name, NOBODY.pw_uid, NOBODY.pw_gid)
    (directory / "packages/default.nix").write_text(SHELL_SET.replace("SALT", directory.name))
    with running(Daemon(directory, PLAIN)) as daemon:
        yield Registry(directory, {"NIXERY_PKGS_PATH": f"{directory}/packages", "NIX_CONFIG": "", "NIX_REMOTE": f"unix://{daemon.socket}"})


@AS_ROOT
def test_root_makes_no_files_that_the_worker_cannot_open(directory):
    with of_nobody(directory) as registry:
        for words in (["gc", "--dry-run"], ["verify"], ["plan", "tool"], ["build", "tool"], ["images"], ["gc"], ["verify", "--repair"]):
            # Like a strict umask of root.
            done = subprocess.run([NIXERY, *words], env=registry.env, capture_output=True, text=True, timeout=300, umask=0o077)
            assert done.returncode == 0, (words, done.stderr)
            assert f"acting as nobody, the owner of {registry.state}\n" in done.stderr and "acting" not in done.stdout
        made = [path for top in (registry.tree, registry.state) for path in top.rglob("*")]
        assert any(path.name == "upkeep.lock" for path in made) and any(path.parent.name == "blobs" for path in made)
        for path in made:
            assert path.lstat().st_uid == NOBODY.pw_uid and path.lstat().st_gid == NOBODY.pw_gid, path
            assert path.is_symlink() or registry.state in path.parents or path.stat().st_mode & 0o004, path
        as_worker = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", NIXERY]
        for words in (["gc"], ["verify"]):
            done = subprocess.run([*as_worker, *words], env=registry.env, capture_output=True, text=True, timeout=300)
            assert (done.returncode, done.stderr) == (0, ""), words


@AS_ROOT
def test_an_unwritable_target_is_refused_before_the_build(directory):
    with of_nobody(directory) as registry:
        (directory / "private").mkdir(mode=0o700)
        for option, place in (("--oci", "image"), ("--docker-archive", "image.tar")):
            done = subprocess.run([NIXERY, "build", option, place, "tool"], env=registry.env, capture_output=True, text=True, timeout=300,
                                  cwd=directory / "private")  # fmt: skip
            assert done.returncode == 1 and done.stderr.endswith(f"nixery: cannot write into {directory}/private: Permission denied\n"), done.stderr
        assert list(registry.state.iterdir()) == []
        (directory / "given").mkdir()
        os.chown(directory / "given", NOBODY.pw_uid, NOBODY.pw_gid)
        registry.nixery("build", "--oci", f"{directory}/given/image", "tool").check_returncode()
        assert (directory / "given/image/index.json").exists()


@AS_ROOT
def test_a_root_that_cannot_change_user_is_refused_before_it_writes(directory):
    with of_nobody(directory) as registry:
        without = ["setpriv", "--bounding-set=-setuid,-setgid", "--inh-caps=-setuid,-setgid", NIXERY]
        for words in (["gc", "--dry-run"], ["verify"], ["build", "tool"]):
            done = subprocess.run([*without, *words], env=registry.env, capture_output=True, text=True, timeout=300)
            assert done.returncode == 1 and f"{registry.state} belongs to nobody" in done.stderr and "run this as nobody" in done.stderr
        assert list(registry.state.iterdir()) == [] and list(registry.tree.iterdir()) == []
