"""Container engines, each with its own data directory, started by the tests and stopped by process id."""

import os
import shutil
import subprocess
from pathlib import Path

import grpc

from registry import wait_for


def program(name: str, package: str) -> str:
    """Debian's own, never another of the same name; a missing one is a failure, not a skip."""
    path = shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin")
    assert path, f"{name} is missing: apt-get install {package}"
    return path


def run(*words: str, env: dict[str, str] | None = None, timeout: int = 600) -> subprocess.CompletedProcess:
    return subprocess.run(words, env={**os.environ, **(env or {})}, capture_output=True, text=True, timeout=timeout)


def check(*words: str, **kwargs) -> str:
    done = run(*words, **kwargs)
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}{done.stderr}"
    return done.stdout


class Docker:
    def __init__(self, directory: Path):
        self.dir = directory
        self.client = program("docker", "docker.io")
        self.env = {"DOCKER_HOST": f"unix://{directory}/docker.sock"}
        self.log = open(directory / "dockerd.log", "ab")
        self.daemon = subprocess.Popen(
            [program("dockerd", "docker.io"), "--data-root", str(directory / "data"), "--exec-root", str(directory / "exec"),
             "-H", self.env["DOCKER_HOST"], "--pidfile", str(directory / "pid"), "--iptables=false", "--bridge=none"],
            stdout=self.log, stderr=self.log,
        )
        wait_for(self._answers, "dockerd to answer", 60)

    def _answers(self):
        assert self.daemon.poll() is None, (self.dir / "dockerd.log").read_text()
        return run(self.client, "version", env=self.env).returncode == 0

    def __call__(self, *words: str) -> subprocess.CompletedProcess:
        return run(self.client, *words, env=self.env)

    def check(self, *words: str) -> str:
        return check(self.client, *words, env=self.env)

    def run_image(self, image: str, *words: str) -> str:
        return self.check("run", "--rm", "--network", "none", image, *words)

    def stop(self):
        self.daemon.terminate()
        self.daemon.wait(timeout=60)
        self.log.close()


class Containerd:
    def __init__(self, directory: Path, cri: bool = False, more: str = ""):
        self.dir = directory
        self.address = f"{directory}/containerd.sock"
        (directory / "config.toml").write_text(
            f'version = 2\nroot = "{directory}/root"\nstate = "{directory}/state"\n'
            + ("" if cri else 'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n')
            + f'[grpc]\n  address = "{self.address}"\n{more}'
        )
        self.log = open(directory / "containerd.log", "ab")
        self.daemon = subprocess.Popen(
            [program("containerd", "containerd"), "--config", str(directory / "config.toml")], stdout=self.log, stderr=self.log
        )
        wait_for(lambda: run(program("ctr", "containerd"), "-a", self.address, "version").returncode == 0, "containerd to answer", 60)
        if cri:  # which starts later than the rest
            wait_for(ImageService(self.address).answers, "containerd's CRI to answer", 60)

    def check(self, *words: str) -> str:
        return check(program("ctr", "containerd"), "-a", self.address, *words)

    def stop(self):
        self.daemon.terminate()
        self.daemon.wait(timeout=60)
        self.log.close()


class ImageService:
    """Kubernetes' interface to an engine: the CRI's runtime.v1.ImageService (k8s.io/cri-api, api.proto), as kubelet calls it."""

    def __init__(self, address: str):
        self.channel = grpc.insecure_channel(f"unix://{address}")

    def _call(self, method: str, image: str, timeout: float) -> bytes:
        # Both requests are a message with an ImageSpec as field 1, whose field 1 is the image's name.
        field = lambda content: b"\x0a" + bytes([len(content)]) + content
        return self.channel.unary_unary(f"/runtime.v1.ImageService/{method}")(field(field(image.encode())), timeout=timeout)

    def answers(self) -> bool:
        try:
            return self.status("none:latest") == b""
        except grpc.RpcError:
            return False

    def pull(self, image: str) -> bytes:
        return self._call("PullImage", image, 300)

    def status(self, image: str) -> bytes:
        """Empty if the engine does not have it."""
        return self._call("ImageStatus", image, 30)


class Podman:
    """Pulls only: `podman run` needs rights that a sandbox may not give."""

    def __init__(self, directory: Path):
        self.words = [program("podman", "podman"), "--root", str(directory / "root"), "--runroot", str(directory / "run"),
                      "--storage-driver", "overlay", "--cgroup-manager", "cgroupfs"]

    def __call__(self, *words: str) -> subprocess.CompletedProcess:
        return run(*self.words, *words)

    def pull(self, image: str) -> subprocess.CompletedProcess:
        return self("pull", "--tls-verify=false", image)


def skopeo(*words: str) -> subprocess.CompletedProcess:
    return run(program("skopeo", "skopeo"), *words)
