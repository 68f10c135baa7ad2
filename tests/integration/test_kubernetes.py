"""The controller against a strict fake of the API server, and a stand-in for the registry; the shipped manifests."""

import json
import signal
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jsonschema
import pytest

from fake_kubernetes import COLLECTION, FakeKubernetes
from registry import NIXERY, ROOT, wait_for

DIGEST = "sha256:" + "a" * 64


class FakeRegistry:
    """Redirects once, then answers as `answers` says: name -> (status, body)."""

    def __init__(self):
        self.answers, self.pulls = {}, []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_GET(self):
                if "hop" not in self.path:
                    self.send_response(307)
                    self.send_header("Location", self.path + "?hop=1")
                    self.end_headers()
                    return
                name = self.path.split("/v2/")[1].split("/manifests/")[0]
                outer.pulls.append(name)
                manifest = {"config": {"size": 10}, "layers": [{"size": 100}, {"size": 200}]}
                status, body = outer.answers.get(name, (200, manifest))
                self.send_response(status)
                self.send_header("Docker-Content-Digest", DIGEST)
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


class Cluster:
    def __init__(self, directory):
        self.dir, self.images, self.api, self.registry = directory, directory / "images", FakeKubernetes(), FakeRegistry()
        self.processes = []
        self.api.start()

    def controller(self, **settings):
        (self.dir / "token").write_text("secret\n")
        (self.dir / "kubeconfig").write_text(f"""\
current-context: test
contexts: [{{name: test, context: {{cluster: c, user: u}}}}]
clusters:
- name: c
  cluster: {{server: "http://127.0.0.1:{self.api.port}"}}
users:
- name: u
  user:
    tokenFile: token
""")
        process = subprocess.Popen([NIXERY, "controller"], stderr=open(self.dir / "log", "ab"), env={
            "KUBECONFIG": str(self.dir / "kubeconfig"), "NIXERY_IMAGES": str(self.images),
            "NIXERY_CONTROLLER_REGISTRY": f"http://127.0.0.1:{self.registry.port}", "NIXERY_CONTROLLER_SETTLE_MS": "50",
            **settings})
        self.processes.append(process)
        return process

    def ready(self, namespace, name):
        return self.api.condition(namespace, name, "Ready").get("status")

    def files(self):
        return sorted(path.name for path in self.images.glob("*.json"))

    def stop(self):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
        self.api.stop()
        self.registry.server.shutdown()


@pytest.fixture
def cluster(directory):
    cluster = Cluster(directory)
    yield cluster
    cluster.stop()
    assert cluster.api.mistakes == []


def test_pages_of_images_become_files_and_status(cluster):
    for name in "abcde":
        cluster.api.put("team", name, {"tag": "v1", "contents": ["curl"]})
    cluster.controller()
    for name in "abcde":
        wait_for(lambda: cluster.ready("team", name) == "True", f"{name} to be ready")
    assert cluster.api.count("GET", "continue=") == 2
    assert cluster.files() == [f"niximage.team.{name}.json" for name in "abcde"]
    declared = json.loads((cluster.images / "niximage.team.a.json").read_text())
    assert declared == {"name": "team/a", "tag": "v1", "contents": ["curl"]}
    status = cluster.api.status("team", "a")
    assert status["digest"] == DIGEST and status["size"] == 310 and status["layers"] == 2
    assert status["reference"] == f"127.0.0.1:{cluster.registry.port}/team/a:v1"
    assert [c["type"] for c in status["conditions"]] == ["Resolved", "Built", "Ready"]
    wait_for(lambda: len(cluster.api.events) == 5, "an event each")
    schema = image_schema()
    jsonschema.Draft202012Validator(schema).validate(cluster.api.objects["team", "a"])


def test_a_change_and_a_deletion_are_followed(cluster):
    cluster.controller()
    cluster.api.put("team", "a", {"contents": ["curl"]})
    wait_for(lambda: cluster.ready("team", "a") == "True", "the image")
    cluster.api.put("team", "a", {"contents": ["curl", "jq"]})
    wait_for(lambda: cluster.api.condition("team", "a", "Ready").get("observedGeneration") == 2, "the second generation")
    assert json.loads((cluster.images / "niximage.team.a.json").read_text())["contents"] == ["curl", "jq"]
    cluster.api.delete("team", "a")
    wait_for(lambda: cluster.files() == [], "the file to go")


def test_gone_and_error_events_lead_to_a_new_list(cluster):
    cluster.images.mkdir()
    (cluster.images / "niximage.team.vanished.json").write_text("{}")
    (cluster.images / "own.json").write_text("{}")
    cluster.controller()
    wait_for(lambda: cluster.files() == ["own.json"], "the vanished object's file to go")
    wait_for(lambda: cluster.api.count("GET", "watch=1") == 1, "a watch")
    cluster.api.end_watches(forget=True)
    wait_for(lambda: cluster.api.count("GET", "?limit=") == 2, "a list after 410")
    wait_for(lambda: cluster.api.count("GET", "watch=1") >= 3, "a watch")
    cluster.api.end_watches({"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired"}})
    wait_for(lambda: cluster.api.count("GET", "?limit=") == 3, "a list after ERROR")
    cluster.api.put("team", "late", {"contents": ["curl"]})
    wait_for(lambda: cluster.ready("team", "late") == "True", "the late image")


def test_what_cannot_be_built_is_told(cluster):
    error = {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "no package crul", "detail": {"failure": "unknown_package"}}]}
    cluster.registry.answers["team/a"] = (404, error)
    cluster.api.put("team", "a", {"contents": ["crul"]})
    cluster.controller()
    wait_for(lambda: cluster.api.condition("team", "a", "Resolved").get("reason") == "UnknownPackage", "the refusal")
    assert cluster.api.status("team", "a")["lastError"] == "no package crul"
    del cluster.registry.answers["team/a"]
    wait_for(lambda: cluster.ready("team", "a") == "True", "another try")
    assert "lastError" not in cluster.api.status("team", "a")


def test_too_many_requests_and_conflicts_are_tried_again(cluster):
    cluster.api.answer_next = [(lambda m, p: p.startswith(COLLECTION + "?limit"), 429, {"Retry-After": "1"}),
                               (lambda m, p: m == "PATCH", 409, {})]
    cluster.api.put("team", "a", {"contents": ["curl"]})
    cluster.controller()
    wait_for(lambda: cluster.ready("team", "a") == "True", "the image")
    assert cluster.api.answer_next == []


def test_quota_is_of_the_oldest(cluster):
    for name in ("c", "b", "a"):
        cluster.api.put("team", name, {"contents": ["curl"]})
    cluster.controller(NIXERY_CONTROLLER_QUOTA="2")
    wait_for(lambda: cluster.api.condition("team", "a", "Ready").get("reason") == "QuotaExceeded", "the refusal")
    wait_for(lambda: cluster.files() == ["niximage.team.b.json", "niximage.team.c.json"], "the two oldest")
    cluster.api.delete("team", "c")
    wait_for(lambda: cluster.ready("team", "a") == "True", "the next in the row")


def test_one_of_two_leads_and_hands_over(cluster):
    lease = {"NIXERY_CONTROLLER_LEASE": "nixery/nixery-controller"}
    holder = lambda: cluster.api.leases.get("nixery-controller", {}).get("spec", {}).get("holderIdentity")
    first = cluster.controller(**lease, NIXERY_CONTROLLER_IDENTITY="one")
    wait_for(lambda: holder() == "one", "the first to lead")
    cluster.controller(**lease, NIXERY_CONTROLLER_IDENTITY="two")
    first.send_signal(signal.SIGTERM)
    assert first.wait(timeout=30) == 0
    wait_for(lambda: holder() == "two", "the second to lead")


def image_schema():
    yaml = pytest.importorskip("yaml")
    crd = yaml.safe_load((ROOT / "packaging/kubernetes/base/crd.yaml").read_text())
    return crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def test_the_resource_accepts_the_example_and_refuses_mistakes():
    yaml = pytest.importorskip("yaml")
    validator = jsonschema.Draft202012Validator(image_schema())
    image = yaml.safe_load((ROOT / "packaging/kubernetes/example.yaml").read_text())
    validator.validate(image)
    for wrong in ({}, {"contents": []}, {"contents": ["a b"]}, {"contents": ["a"], "platform": "s390x"},
                  {"contents": ["a"], "config": {"workdir": "tmp"}}, {"contents": ["a"], "config": {"exposedPorts": ["x"]}}):
        assert not validator.is_valid({**image, "data": wrong}), wrong
