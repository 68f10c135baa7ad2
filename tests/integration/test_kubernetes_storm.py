"""Hundreds of NixImages are made, changed and deleted while the API server, the controllers and the registry's worker are
killed and restarted: finally every status is true, every image can be pulled, and none was built twice."""

import json
import os
import random
import signal
import subprocess
import threading
import time

import pytest

from fake_kubernetes import FakeKubernetes
from registry import NIXERY, wait_for

IMAGES = int(os.environ.get("NIXERY_TEST_IMAGES", "500"))
SEED = int(os.environ.get("NIXERY_TEST_SEED", "1"))
NAMESPACES = ["alpha", "beta", "gamma"]
LEASE = {"NIXERY_CONTROLLER_LEASE": "nixery/nixery-controller"}


class Controllers:
    """Two controllers with one Lease and one directory."""

    def __init__(self, directory, api, registry, images):
        self.dir, self.api, self.registry, self.images = directory, api, registry, images
        self.processes = {}

    def start(self, name):
        self.api.tokens[f"secret-{name}"] = name
        (self.dir / f"token-{name}").write_text(f"secret-{name}\n")
        (self.dir / f"kubeconfig-{name}").write_text(f"""\
current-context: test
contexts: [{{name: test, context: {{cluster: c, user: u}}}}]
clusters: [{{name: c, cluster: {{server: "http://127.0.0.1:{self.api.port}"}}}}]
users: [{{name: u, user: {{tokenFile: token-{name}}}}}]
""")
        self.processes[name] = subprocess.Popen([NIXERY, "controller"], stderr=open(self.dir / f"log-{name}", "ab"), env={
            "KUBECONFIG": str(self.dir / f"kubeconfig-{name}"), "NIXERY_IMAGES": str(self.images), **LEASE,
            "NIXERY_CONTROLLER_REGISTRY": f"http://127.0.0.1:{self.registry.port}", "NIXERY_CONTROLLER_IDENTITY": name,
            "NIXERY_CONTROLLER_HOST": "registry.example.org"})  # fmt: skip

    def stop(self, name, how=signal.SIGKILL):
        process = self.processes.pop(name)
        process.send_signal(how)
        process.wait(timeout=60)

    def stop_all(self):
        for name in list(self.processes):
            self.stop(name)


class Storm:
    def __init__(self, api, registry, controllers):
        self.api, self.registry, self.controllers = api, registry, controllers
        self.random = random.Random(SEED)
        self.declared = {}  # (namespace, name) -> data
        self.declarations = {}  # "namespace/name:tag" -> number of changes of its declaration
        self.counts = {"api": 0, "forgets": 0, "controller": 0, "worker": 0, "bursts": 0}
        self.over = False
        self.wrong = []

    # Users' actions

    def data(self):
        contents = self.random.sample([f"p{n}" for n in range(12)], 2)
        return {"tag": self.random.choice(["v1", "v2"]), "contents": contents}

    def put(self, key, data):
        tag = f"{key[0]}/{key[1]}:{data['tag']}"
        if self.declared.get(key) != data:
            self.declarations[tag] = self.declarations.get(tag, 0) + 1
        self.declared[key] = data
        self.api.put(*key, data)

    def delete(self, key):
        del self.declared[key]
        self.api.delete(*key)

    def wish(self):
        keys = [(self.random.choice(NAMESPACES), f"image-{n}") for n in range(IMAGES)]
        steps = [("put", key) for key in keys]
        steps += [("put", self.random.choice(keys)) for _ in range(IMAGES // 3)]
        steps += [("delete", self.random.choice(keys)) for _ in range(IMAGES // 5)]
        self.random.shuffle(steps)
        for step, key in steps:
            if step == "put":
                self.put(key, self.data())
            elif key in self.declared:
                self.delete(key)
            time.sleep(self.random.uniform(0, 0.06))
        for key in keys:
            if key not in self.declared:
                self.put(key, self.data())
        for key in self.random.sample(keys, IMAGES // 10):
            self.delete(key)

    # Faults

    def restart_api(self):
        self.api.stop()
        time.sleep(self.random.uniform(0, 1))
        if self.random.random() < 0.5:
            self.api.forget()
            self.counts["forgets"] += 1
        self.api.start()
        self.counts["api"] += 1

    def restart_controller(self):
        name = self.random.choice(["one", "two"])
        self.controllers.stop(name, self.random.choice([signal.SIGKILL, signal.SIGTERM]))
        time.sleep(self.random.uniform(0, 1))
        self.controllers.start(name)
        self.counts["controller"] += 1

    def restart_worker(self):
        self.registry.stop_worker(self.random.choice([signal.SIGKILL, signal.SIGTERM]))
        time.sleep(self.random.uniform(0, 0.5))
        self.registry.start_worker()
        self.counts["worker"] += 1

    def burst(self):
        self.api.fail(self.random.randrange(1, 10), self.random.choice([429, 500, 503, 504]))
        self.counts["bursts"] += 1

    def rage(self):
        self.api.cut_one_in = 50
        while not self.over or min(self.counts.values()) < 3:
            time.sleep(self.random.uniform(0.2, 1.5))
            self.random.choice([self.restart_api, self.restart_controller, self.restart_worker, self.burst])()
        self.api.cut_one_in = 0
        self.api.answer_next.clear()

    def run(self):
        wishing = threading.Thread(target=self._wish)
        wishing.start()
        self.rage()
        wishing.join()

    def _wish(self):
        try:
            self.wish()
        except Exception as error:
            self.wrong.append(repr(error))
        finally:
            self.over = True

    # Checks

    def untrue(self):
        """Objects whose status differs from the registry."""
        wrong = []
        objects = self.api.all()
        for key, image in objects.items():
            status = image.get("status", {})
            ready = next((c for c in status.get("conditions", []) if c["type"] == "Ready"), {})
            if (ready.get("status"), ready.get("observedGeneration"), status.get("observedGeneration")) != (
                "True", image["metadata"]["generation"], image["metadata"]["generation"]):  # fmt: skip
                wrong.append((key, ready))
        return wrong

    def build_lines(self):
        lines = (self.registry.dir / "worker.log").read_text().splitlines()
        events = [json.loads(line) for line in lines if line.startswith("{")]
        # A request that looked just before the image existed may have tried again and found it.
        return [event for event in events if event["event"] == "image built" and event["found"] == "no"]


@pytest.fixture
def api():
    api = FakeKubernetes()
    api.page_limit = 100
    api.start()
    yield api
    api.stop()


def test_every_status_is_finally_true_and_nothing_is_built_twice(new_registry, packages, directory, api):
    images = directory / "images"
    images.mkdir()
    registry = new_registry(NIXERY_PKGS_PATH=packages, NIXERY_IMAGES=str(images))
    controllers = Controllers(directory, api, registry, images)
    storm = Storm(api, registry, controllers)
    try:
        for name in ("one", "two"):
            controllers.start(name)
        storm.run()
        assert not storm.wrong
        # After the faults.
        wait_for(lambda: not storm.untrue(), "every status to be true", 180)
        wait_for(lambda: len(list(images.glob("*.json"))) == len(storm.declared), "the files of what is gone to go", 60)
        print(json.dumps({**storm.counts, "images": len(storm.declared), "writes": len(api.writes), "builds": len(storm.build_lines())}))
        assert api.mistakes == []
        # The leader writes each of them.
        assert [write for write in api.writes if write[0] != write[1]] == []
        settled = api.all()
        for (namespace, name), image in api.all().items():
            data, status = storm.declared[namespace, name], image["status"]
            assert image["data"] == data
            manifest = registry.manifest(f"{namespace}/{name}", data["tag"])
            assert manifest.status == 200, manifest.body
            assert manifest.headers["Docker-Content-Digest"] == status["digest"]
            assert status["reference"] == f"registry.example.org/{namespace}/{name}:{data['tag']}"
            config = registry.get(f"/v2/{namespace}/{name}/blobs/{manifest.json['config']['digest']}").json
            contents = [package.split("=")[0] for package in config["config"]["Labels"]["io.nixery.packages"].split()]
            assert contents == data["contents"]
            for layer in manifest.json["layers"]:
                assert registry.head(f"/v2/{namespace}/{name}/blobs/{layer['digest']}").status == 200
        # One build for each declaration, and none for existing images.
        built = {}
        for line in storm.build_lines():
            built[line["reference"]] = built.get(line["reference"], 0) + 1
        assert {name: count for name, count in built.items() if count > storm.declarations[name]} == {}
        # No status changes any more. (One whose response was lost may have been sent again, without effect.)
        assert api.all() == settled
    finally:
        controllers.stop_all()
