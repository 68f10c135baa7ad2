"""Runs the pods of the manifests: each container with the arguments, mounts and permissions of its manifest.

There is no kubelet here; docker runs them, on volumes as kubelet would make them, with the machine's own network in place of
a pod's. The API server is fake_kubernetes.
"""

import json
import os
import shutil
import subprocess
from contextlib import contextmanager

import pytest

from engines import run, skopeo
from fake_kubernetes import FakeKubernetes
from kubernetes_objects import pods
from registry import free_port, wait_for
from test_own_image import NIX_CONFIG, holds, packages  # noqa: F401

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make volumes as kubelet does")


class Pod:
    def __init__(self, docker, image, directory, pod, packages, api):
        self.docker, self.image, self.dir, self.pod, self.port = docker, image, directory, pod, free_port()
        (directory / "kube").mkdir()
        (directory / "kube/config").write_text(f"""\
current-context: test
contexts: [{{name: test, context: {{cluster: c, user: u}}}}]
clusters: [{{name: c, cluster: {{server: "http://127.0.0.1:{api.port}"}}}}]
users: [{{name: u, user: {{token: secret}}}}]
""")
        # Differences from a cluster: the port, the package set, the API server.
        self.env = {
            "NGINX_LISTEN": f"127.0.0.1:{self.port}", "NIX_CONFIG": NIX_CONFIG, "NIXERY_PKGS_PATH": "/packages",
            "NIXERY_CONTROLLER_REGISTRY": f"http://127.0.0.1:{self.port}", "KUBECONFIG": "/kube/config", "NIXERY_CONTROLLER_SETTLE_MS": "2000",
        }  # fmt: skip
        self.mounts = ["-v", f"{packages}:/packages:ro", "-v", f"{directory}/kube:/kube:ro"]
        self.ids = {}

    def volume(self, volume):
        """A volume like kubelet's; None for those that only a cluster has."""
        place = self.dir / "volumes" / volume["name"]
        if not place.exists() and "projected" not in volume:
            place.mkdir(parents=True)
            group = self.pod["securityContext"]["fsGroup"]
            if "emptyDir" in volume:
                os.chown(place, 0, group)
                place.chmod(0o2777)
            elif "persistentVolumeClaim" in volume:
                os.chown(place, 0, group)
                place.chmod(0o2775)
            else:  # hostPath, DirectoryOrCreate: belongs to root regardless of fsGroup
                assert "hostPath" in volume, volume
                place.chmod(0o755)
        return place if place.exists() else None

    def words(self, container):
        own = {**self.pod["securityContext"], **container["securityContext"]}
        words = ["--network", "host", "--user", f"{own['runAsUser']}:{own['runAsGroup']}", "--group-add", str(own["fsGroup"])]
        words += [word for kept in own["capabilities"].get("add", []) for word in ("--cap-add", kept)]
        words += ["--cap-drop", "ALL"]
        words += ["--read-only"] if own["readOnlyRootFilesystem"] else []
        words += [] if own["allowPrivilegeEscalation"] else ["--security-opt", "no-new-privileges"]
        volumes = {volume["name"]: volume for volume in self.pod["volumes"]}
        for mount in container["volumeMounts"]:
            if place := self.volume(volumes[mount["name"]]):
                words += ["-v", f"{place}:{mount['mountPath']}{':ro' if mount.get('readOnly') else ''}"]
        env = {each["name"]: each.get("value", "a-pod") for each in container.get("env", [])}
        for name, value in {**env, **self.env}.items():
            words += ["-e", f"{name}={value}"]
        return [*words, *self.mounts, self.image, *container["args"]]

    def start(self):
        for container in self.pod["initContainers"]:
            done = self.docker("run", "--rm", *self.words(container))
            assert done.returncode == 0, f"{container['name']}: {done.stdout}{done.stderr}"
        for container in self.pod["containers"]:
            self.ids[container["name"]] = self.docker.check("run", "--detach", *self.words(container)).strip()

    def log(self, name):
        done = self.docker("logs", self.ids[name])
        return done.stdout + done.stderr

    def probes(self):
        """kubelet's probes and their results."""
        asked = {
            (container["name"], kind): probe["httpGet"]["path"]
            for container in self.pod["containers"] for kind, probe in container.items()
            if kind.endswith("Probe")
        }  # fmt: skip
        return {which: run("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", f"http://127.0.0.1:{self.port}{path}").stdout for which, path in asked.items()}

    def is_up(self):
        for name, container in self.ids.items():
            assert self.docker.check("inspect", "--format", "{{.State.Running}}", container).strip() == "true", f"{name}: {self.log(name)}"
        return run("curl", "-sf", f"http://127.0.0.1:{self.port}/v2/_catalog").returncode == 0

    def stop(self, *names):
        """Stops all at once, like kubelet. Returns the exit statuses."""
        stopping = [subprocess.Popen([self.docker.client, "stop", "--time", "90", self.ids[name]], env={**os.environ, **self.docker.env},
                                     stdout=subprocess.DEVNULL) for name in names]  # fmt: skip
        assert [process.wait(timeout=120) for process in stopping] == [0] * len(names)
        return {name: json.loads(self.docker.check("inspect", "--format", "{{json .State.ExitCode}}", self.ids[name])) for name in names}


@contextmanager
def running_pod(docker, image, directory, pod, packages):
    api = FakeKubernetes()
    api.start()
    made = Pod(docker, image, directory, pod, packages, api)
    try:
        made.start()
        wait_for(made.is_up, "the pod to answer", 180)
        yield made, api
    finally:
        for container in made.ids.values():
            docker("rm", "--force", container)
        api.stop()
        shutil.rmtree(directory / "volumes", ignore_errors=True)


@pytest.mark.parametrize("name", ["base", "deployment"])
def test_a_pod_builds_and_serves_niximages(docker, own_image, rendered, packages, directory, name):  # noqa: F811
    (pod,) = pods(rendered[name])
    with running_pod(docker, own_image, directory, pod, packages) as (made, api):
        assert made.probes()
        # Kubelet retries, too: a worker whose checks take more than 3 s is not ready yet.
        wait_for(lambda: set(made.probes().values()) == {"200"}, "the probes to be content", 60)
        api.put("team", "greeting", {"tag": "v1", "contents": ["greeting"]})
        ready = lambda: api.condition("team", "greeting", "Ready").get("status") == "True"
        wait_for(ready, "the NixImage to be ready", 90)
        done = skopeo("copy", "--src-tls-verify=false", f"docker://127.0.0.1:{made.port}/team/greeting:v1", f"oci:{directory}/pulled:latest")
        assert done.returncode == 0, done.stderr
        assert holds(directory / "pulled", "share/greeting")
        # nginx serves without the others, and all end on SIGTERM.
        assert made.stop("worker", "controller") == {"worker": 0, "controller": 0}
        assert run("curl", "-sf", f"http://127.0.0.1:{made.port}/v2/team/greeting/manifests/v1").returncode == 0
        assert made.stop("nginx") == {"nginx": 0}
        assert api.mistakes == []
        if name == "base":  # root's files now belong to the user
            assert {path.stat().st_uid for path in (directory / "volumes").glob("*") if path.name in ("nix", "tree", "state", "images")} == {1000}


def test_no_mount_goes_through_a_link(docker, own_image, rendered):  # noqa: F811
    """A directory of a single package is a link into the store; a mount there would change the package."""
    places = {mount["mountPath"] for name in rendered for (pod,) in [pods(rendered[name])] for container in pod["containers"] for mount in container["volumeMounts"]}
    places |= {"/etc/nixery.d/http", "/etc/nixery.d/server", "/etc/nixery.d/secrets"}
    led_to = docker.check("run", "--rm", "--network", "none", "--entrypoint", "/bin/readlink", own_image, "-m", *sorted(places)).split()
    assert led_to == sorted(places)
