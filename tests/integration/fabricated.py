"""A fabricated tree in the worker's layout (src/tree/layout.h), and nginx without a worker to serve it."""

import gzip
import io
import json
import shutil
import tarfile
import tempfile
from contextlib import contextmanager
from pathlib import Path

from engines import program
from registry import Registry, digest_of, wait_for

EXTENSIONS = {
    "application/vnd.oci.image.manifest.v1+json": "oci-manifest",
    "application/vnd.oci.image.index.v1+json": "oci-index",
    "application/vnd.docker.distribution.manifest.v2+json": "docker-manifest",
    "application/vnd.docker.distribution.manifest.list.v2+json": "docker-list",
}
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


class Tree:
    def __init__(self, root: Path):
        self.root = root

    def blob_path(self, digest: str) -> Path:
        hex = digest.removeprefix("sha256:")
        return self.root / "blobs/sha256" / hex[:2] / hex

    def manifest_directory(self, digest: str) -> Path:
        return self.root / "manifests/sha256" / digest.removeprefix("sha256:")

    def tag_path(self, name: str, tag: str) -> Path:
        return self.root / "tags" / name / "_tags" / tag

    def add_blob(self, content: bytes) -> str:
        path = self.blob_path(digest_of(content))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return digest_of(content)

    def add_manifest(self, content: bytes, media_type: str = OCI_MANIFEST) -> str:
        directory = self.manifest_directory(digest_of(content))
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"manifest.{EXTENSIONS[media_type]}").write_bytes(content)
        return digest_of(content)

    def link_tag(self, name: str, tag: str, target: str):
        path = self.tag_path(name, tag)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.symlink_to(target)

    def add_tag(self, name: str, tag: str, manifest: str):
        up = "../" * (name.count("/") + 3)
        self.link_tag(name, tag, f"{up}manifests/sha256/{manifest.removeprefix('sha256:')}")

    def add_image(self, name: str, tag: str, files: dict[str, bytes]) -> str:
        """Adds an image of one layer; every file in it is executable. Returns its manifest's digest."""
        raw = io.BytesIO()
        with tarfile.open(fileobj=raw, mode="w") as tar:
            for directory in sorted({str(parent) for path in files for parent in Path(path).parents} - {"."}):
                entry = tarfile.TarInfo(directory)
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(entry)
            for path, content in sorted(files.items()):
                entry = tarfile.TarInfo(path)
                entry.size, entry.mode = len(content), 0o755
                tar.addfile(entry, io.BytesIO(content))
        packed = gzip.compress(raw.getvalue(), mtime=0)
        config = json.dumps({
            "architecture": "amd64", "os": "linux", "created": "1970-01-01T00:00:01Z",
            "config": {"Env": ["PATH=/bin"], "Cmd": ["sh"]},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(raw.getvalue())]},
        }).encode()  # fmt: skip
        manifest = json.dumps({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": self.add_blob(config), "size": len(config)},
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": self.add_blob(packed), "size": len(packed)}],
        }).encode()  # fmt: skip
        digest = self.add_manifest(manifest)
        self.add_tag(name, tag, digest)
        return digest

    def add_busybox(self, name: str, tag: str = "latest") -> str:
        shell = Path(program("busybox", "busybox-static")).read_bytes()
        return self.add_image(name, tag, {"bin/busybox": shell, "bin/sh": shell, "bin/echo": shell})


class Served(Registry):
    """nginx with the two configuration files and a fabricated tree. No worker, unless a test starts one at `socket`."""

    def __init__(self, directory: Path):
        super().__init__(directory, {})
        self.files_of = Tree(self.tree)

    def add_directives(self, *, http: str = "", server: str = "", until):
        """Adds operator's configuration and waits until `until()` is true."""
        main = self.dir / "nginx.conf"
        text = main.read_text()
        main.write_text(text.replace("  server {", f"  {http}\n  server {{\n    {server}", 1))
        old = self.nginx_workers()
        self.nginx.send_signal(1)
        # Old nginx processes still answer for a moment.
        wait_for(lambda: not old & self.nginx_workers(), "nginx's old workers to leave")
        wait_for(until, "nginx to take its new configuration")

    def error_log(self) -> str:
        return (self.dir / "nginx-error.log").read_text()


@contextmanager
def temporary_directory():
    """Below /tmp, because the name of a socket must be short."""
    directory = Path(tempfile.mkdtemp(prefix="nixery-"))
    try:
        directory.chmod(0o755)
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def nginx_alone(retries: bool = False):
    with temporary_directory() as directory:
        served = Served(directory)
        served.retries = retries
        try:
            served.start_nginx()
            yield served
        finally:
            served.stop()
