"""Packages with links out of their store path: an image's contents depend on its closure only, and the worker
reads no other files."""

import gzip
import io
import os
import socket
import tarfile
from pathlib import Path

import pytest

SET = """
{ system, ... }:
let
  package = name: script: derivation {
    name = "confined-SALT-${name}"; inherit system;
    builder = "/bin/sh";
    args = [ "-c" "PATH=/bin:/usr/bin; set -e; mkdir -p $out/bin; printf '#!/bin/sh\\n' > $out/bin/${name}; chmod +x $out/bin/${name}; ${script}" ];
  };
  unreferenced = path: builtins.unsafeDiscardStringContext (toString path);
in rec {
PACKAGES
}
"""


class Set:
    """A package set of Nix expressions; `outside` is a directory of the host."""

    def __init__(self, directory: Path):
        self.directory = directory / "set"
        self.directory.mkdir()
        self.outside = directory / "outside"
        self.outside.mkdir()
        self.salt = directory.name

    def write(self, **scripts: str):
        packages = "\n".join(f"{name} = package \"{name}\" ''{script}'';" for name, script in scripts.items())
        (self.directory / "default.nix").write_text(SET.replace("SALT", self.salt).replace("PACKAGES", packages))

    def registry(self, new_registry):
        return new_registry(NIXERY_PKGS_PATH=str(self.directory))


@pytest.fixture
def hostile(directory):
    return Set(directory)


def members(registry, name: str) -> dict[str, tarfile.TarInfo]:
    """The members of all layers, by name."""
    found = {}
    for layer in registry.pull(name).json["layers"]:
        with tarfile.open(fileobj=io.BytesIO(gzip.decompress(registry.blob(name, layer["digest"]).body))) as tar:
            found |= {member.name: member for member in tar}
    return found


def root(registry, name: str) -> dict[str, str]:
    """The image's files outside the store: the targets of links, "" for other files."""
    return {path: member.linkname for path, member in members(registry, name).items() if not path.startswith("nix/")}


def test_links_to_the_hosts_files_are_never_read(new_registry, hostile):
    (hostile.outside / "secret").mkdir()
    (hostile.outside / "secret/inside").write_text("x")
    up = "../" * 20
    hostile.write(
        absolute=f"ln -s {hostile.outside} $out/share; mkdir $out/lib; ln -s {hostile.outside} $out/lib/deeper",
        relative=f"ln -s {up}{hostile.outside} $out/share; mkdir $out/lib; ln -s {up}{hostile.outside} $out/lib/deeper",
        chain=f"ln -s ../hop $out/bin/next; ln -s {hostile.outside} $out/hop; ln -s hop $out/share; ln -s hop/secret $out/lib",
        etc="ln -s /etc $out/etc; ln -s /etc/ssl $out/share",
        store="ln -s /nix/store $out/share; ln -s .. $out/lib",
        process="ln -s /proc/self $out/share; ln -s /proc/self/cwd $out/lib; ln -s /proc/self/fd $out/libexec",
        itself="rm -r $out; ln -s /etc $out",
    )
    registry = hostile.registry(new_registry)
    for name in ("absolute", "relative", "chain", "etc", "store", "process", "itself"):
        image = root(registry, name)
        assert not [path for path in image if path.startswith(("share/", "lib/deeper/", "libexec/"))], (name, image)
        assert not [path for path in image if "secret" in path or "ssl" in path or "shadow" in path], (name, image)
    assert root(registry, "absolute")["lib"] == "" and root(registry, "absolute")["lib/deeper"].endswith("/lib/deeper")
    # The image has the package's link unchanged.
    links = [m.linkname for path, m in members(registry, "absolute").items() if path.endswith("absolute/share")]
    assert links == [str(hostile.outside)]


def test_the_hosts_files_do_not_change_an_image(new_registry, hostile):
    """Two packages, so that shared directories are merged."""
    hostile.write(
        one=f"ln -s {hostile.outside} $out/share; mkdir $out/etc; ln -s {hostile.outside}/ssl $out/etc/ssl",
        two=f"mkdir -p $out/share/two $out/etc/ssl/certs; ln -s {hostile.outside}/file $out/share/file",
    )
    registry = hostile.registry(new_registry)
    before = registry.manifest("one/two")
    assert before.status == 200, before.body
    (hostile.outside / "ssl/certs").mkdir(parents=True)
    (hostile.outside / "ssl/certs/ca-bundle.crt").write_text("certificates")
    (hostile.outside / "file").mkdir()
    other = hostile.registry(new_registry)
    assert other.pull("one/two").body == before.body


def test_links_to_other_packages_of_the_closure_are_followed(new_registry, hostile):
    hostile.write(
        below="mkdir -p $out/share/doc $out/lib; touch $out/share/doc/below $out/lib/libbelow.so",
        middle="ln -s ${below}/share $out/share; ln -s ../$(basename ${below})/lib $out/lib",
        top="ln -s ${middle}/share $out/share; ln -s ${middle}/lib $out/lib",
        other="mkdir -p $out/share/doc $out/lib; touch $out/share/doc/other $out/lib/libother.so",
    )
    image = root(hostile.registry(new_registry), "top/other")
    assert {path for path in image if path.startswith(("share/", "lib/"))} == {
        "share/doc", "share/doc/below", "share/doc/other", "lib/libbelow.so", "lib/libother.so"
    }  # fmt: skip
    assert image["lib/libbelow.so"].endswith("-top/lib/libbelow.so")


def test_a_store_path_outside_the_closure_is_not_read(new_registry, hostile):
    hostile.write(
        unrelated="mkdir $out/share; touch $out/share/unrelated; mkdir $out/nix-support; echo ${unrelated2} > $out/nix-support/propagated-user-env-packages",
        unrelated2="true",
        links="ln -s ${unreferenced unrelated}/share $out/share; mkdir $out/nix-support; "
        "echo ${unreferenced unrelated2} > $out/nix-support/propagated-user-env-packages",
    )
    registry = hostile.registry(new_registry)
    assert "share/unrelated" in root(registry, "unrelated") and "bin/unrelated2" in root(registry, "unrelated")
    image = root(registry, "links")
    assert "bin/links" in image and "share/unrelated" not in image and "bin/unrelated2" not in image


def test_link_loops_end(new_registry, hostile):
    hostile.write(
        rounds="ln -s share $out/lib; ln -s lib $out/share; ln -s . $out/bin/self; ln -s ../bin $out/bin/again; "
        "mkdir $out/nix-support; ln -s propagated-user-env-packages $out/nix-support/propagated-user-env-packages; "
        "n=0; mkdir $out/chain; ln -s ../bin $out/chain/0; while [ $n -lt 60 ]; do ln -s $n $out/chain/$((n+1)); n=$((n+1)); done",
        more="ln -s . $out/bin/self; mkdir -p $out/chain/30/more $out/chain/50/more",
    )
    image = root(hostile.registry(new_registry), "rounds/more")
    assert "bin/self" in image and "bin/self/self" not in image
    # Forty links are followed, like Linux.
    assert "chain/30/rounds" in image and "chain/50/rounds" not in image


def memory(registry, what: str) -> int:
    """The worker's memory in bytes: "VmRSS" now, "VmHWM" at peak."""
    lines = Path(f"/proc/{registry.worker.pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(what)).split()[1]) << 10


def test_a_root_file_system_of_very_many_files_leaves_no_memory_behind(new_registry, hostile):
    """Links, because they need no space in the store. In two directories, one of which two packages share."""
    script = hostile.outside / "links.py"
    script.write_text(
        "import os, sys\n"
        "for i in range(50_000):\n"
        "    for directory in ('bin', 'share/many'):\n"
        "        os.symlink('../bin/many', f'{sys.argv[1]}/{directory}/a-name-of-usual-length-{i}')\n"
    )
    hostile.write(
        small="mkdir -p $out/share/many; touch $out/share/many/small",
        many=f"mkdir -p $out/share/many; /usr/bin/python3 {script} $out",
    )
    registry = hostile.registry(new_registry)
    assert registry.manifest("small").status == 200
    before = memory(registry, "VmRSS")
    manifest = registry.manifest("many/small")
    assert manifest.status == 200, manifest.body
    print(f"RSS before {before >> 20} MiB, after {memory(registry, 'VmRSS') >> 20} MiB, at most {memory(registry, 'VmHWM') >> 20} MiB")
    assert memory(registry, "VmHWM") - before < 128 << 20
    assert memory(registry, "VmRSS") - before < 48 << 20


@pytest.mark.parametrize("kind", ["device", "fifo", "socket", "huge", "directory", "absent"])
def test_propagation_is_read_only_from_a_regular_file_of_the_closure(new_registry, hostile, kind):
    target = hostile.outside / kind
    match kind:
        case "device":
            target = Path("/dev/zero")
        case "fifo":
            os.mkfifo(target)
        case "socket":
            socket.socket(socket.AF_UNIX).bind(str(target))
        case "huge":
            os.truncate(os.open(target, os.O_CREAT | os.O_WRONLY), 2 << 40)
        case "directory":
            target.mkdir()
    hostile.write(hostile=f"mkdir $out/nix-support; ln -s {target} $out/nix-support/propagated-user-env-packages")
    registry = hostile.registry(new_registry)
    assert "bin/hostile" in root(registry, "hostile")
    assert registry.stop_worker() == 0


def test_a_huge_propagation_file_is_refused(new_registry, hostile):
    hostile.write(hostile="mkdir $out/nix-support; truncate -s 64M $out/nix-support/propagated-user-env-packages")
    registry = hostile.registry(new_registry)
    answer = registry.manifest("hostile")
    assert (answer.status, answer.error["detail"]["failure"]) == (422, "package_too_large"), answer.body
    assert "propagated-user-env-packages has 67108864 bytes" in answer.error["message"]
