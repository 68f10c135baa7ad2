"""The controller against a strict fake of the API server, and a stand-in for the registry; the shipped manifests."""

import base64
import hashlib
import json
import os
import signal
import ssl
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import jsonschema
import pytest
import yaml

from engines import check, program
from fake_kubernetes import FakeKubernetes
from kubernetes_rules import image_schema
from registry import NIXERY, ROOT, wait_for

DIGEST = "sha256:" + "a" * 64
CONFIG = "sha256:" + "c" * 64


def declaration_of(declared: dict) -> str:
    """The registry's hash of a declaration, computed independently."""
    config = declared.get("config", {})
    canonical = {
        "contents": declared["contents"],
        "platform": declared.get("platform", ""),
        "source": declared.get("source", ""),
        "config": {
            **{word: config[word] for word in ("entrypoint", "cmd") if word in config},
            "env": dict(sorted(config.get("env", {}).items())),
            "user": config.get("user", ""),
            "workdir": config.get("workdir", ""),
            "labels": dict(sorted(config.get("labels", {}).items())),
            "exposedPorts": sorted(config.get("exposedPorts", [])),
        },
    }
    fields = ["declaration 2", json.dumps(canonical, separators=(",", ":"))]
    return hashlib.sha256("".join(f"{len(field)}:{field}" for field in fields).encode()).hexdigest()


class FakeRegistry:
    """Redirects once, then responds by `answers`: name -> (status, failure, message). Reads the declarations."""

    def __init__(self, images):
        self.answers, self.pulls, self.stale, self.digest = {}, [], set(), DIGEST
        self.hops = set()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_GET(self):
                name, kind, _ = self.path.removeprefix("/v2/").rsplit("/", 2)
                outer.answer(self, name, kind)

        self.images = images
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def declaration(self, name: str) -> str | None:
        for file in self.images.glob("*.json"):
            try:
                declared = json.loads(file.read_text())
            except FileNotFoundError:  # removed since it was listed
                continue
            if declared["name"] == name:
                return "0" * 64 if name in self.stale else declaration_of(declared)
        return None

    def answer(self, request, name, kind):
        def say(status, body, **headers):
            text = json.dumps(body).encode()
            request.send_response(status)
            for header, value in {"Content-Length": len(text), **headers}.items():
                request.send_header(header.replace("_", "-"), value)
            request.end_headers()
            request.wfile.write(text)

        declaration = self.declaration(name)
        if kind == "blobs":
            return say(200, {"config": {"Labels": {"io.nixery.declaration": declaration}}})
        if name not in self.hops:
            self.hops.add(name)
            return say(307, {}, Location=request.path + "?nixery-hop=1")
        self.pulls.append(name)
        if declaration is None:
            return say(404, {"errors": [{"message": "never heard of it", "detail": {"failure": "unknown_package"}}]})
        if answer := self.answers.get(name):
            status, failure, message = answer
            detail = {"failure": failure, "declaration": declaration}
            return say(status, {"errors": [{"code": "X", "message": message, "detail": detail}]})
        say(200, {"config": {"digest": CONFIG, "size": 10}, "layers": [{"digest": DIGEST, "size": size} for size in (100, 200)]},
            Docker_Content_Digest=self.digest)  # fmt: skip


class Cluster:
    def __init__(self, directory):
        self.dir, self.images, self.api = directory, directory / "images", FakeKubernetes()
        self.images.mkdir()
        self.registry = FakeRegistry(self.images)
        self.processes = []
        self.within = []  # command prefix of the controller
        self.authority = self.login = ""
        self.api.start()

    def kubeconfig(self, name="", token="secret"):
        file = self.dir / f"kubeconfig{name}"
        (self.dir / f"token{name}").write_text(token + "\n")
        file.write_text(f"""\
apiVersion: v1
kind: Config
current-context: test
contexts: [{{name: test, context: {{cluster: c, user: u}}}}]
clusters:
- name: c
  cluster: {{server: "{"https" if self.api.tls else "http"}://127.0.0.1:{self.api.port}"{self.authority}}}
users:
- name: u
  user: {{{self.login}tokenFile: token{name}}}
""")
        return str(file)

    def controller(self, name="", **settings):
        self.api.tokens[f"secret{name}"] = name
        process = subprocess.Popen([*self.within, NIXERY, "controller"], stderr=open(self.dir / f"log{name}", "ab"), env={
            "KUBECONFIG": self.kubeconfig(name, f"secret{name}"), "NIXERY_IMAGES": str(self.images),
            "NIXERY_CONTROLLER_REGISTRY": f"http://127.0.0.1:{self.registry.port}", "NIXERY_CONTROLLER_SETTLE_MS": "50",
            **settings})  # fmt: skip
        self.processes.append(process)
        return process

    def ready(self, namespace, name):
        return self.api.condition(namespace, name, "Ready").get("status")

    def reason(self, namespace, name):
        return self.api.condition(namespace, name, "Ready").get("reason")

    def files(self):
        return sorted(path.name for path in self.images.glob("*.json"))

    def logged(self, name=""):
        whole, _, _ = (self.dir / f"log{name}").read_text().rpartition("\n")  # without an incomplete last line
        return [json.loads(line) for line in whole.splitlines()]

    def halt(self, process):
        """Waits until all its threads are stopped: kill() returns while they may still run."""
        process.send_signal(signal.SIGSTOP)
        wait_for(lambda: os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOHANG), "it to stand still")

    def stop(self):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
        self.api.stop()
        self.registry.server.shutdown()
        self.registry.server.server_close()


@pytest.fixture
def cluster(directory):
    cluster = Cluster(directory)
    try:
        yield cluster
    finally:
        cluster.stop()
    assert cluster.api.mistakes == []


# The life of an object


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
    assert [(c["type"], c["status"]) for c in status["conditions"]] == [("Resolved", "True"), ("Built", "True"), ("Ready", "True")]
    wait_for(lambda: len(cluster.api.events) == 5, "an event each")


def test_a_change_and_a_deletion_are_followed(cluster):
    cluster.controller()
    cluster.api.put("team", "a", {"contents": ["curl"]})
    wait_for(lambda: cluster.ready("team", "a") == "True", "the image")
    cluster.api.put("team", "a", {"contents": ["curl", "jq"]})
    wait_for(lambda: cluster.api.condition("team", "a", "Ready").get("observedGeneration") == 2, "the second generation")
    assert json.loads((cluster.images / "niximage.team.a.json").read_text())["contents"] == ["curl", "jq"]
    cluster.api.delete("team", "a")
    wait_for(lambda: cluster.files() == [], "the file to go")


def test_an_image_is_not_ready_while_the_registry_serves_the_previous_declaration(cluster):
    cluster.api.put("team", "a", {"contents": ["curl"]})
    cluster.controller()
    wait_for(lambda: cluster.ready("team", "a") == "True", "the image")
    cluster.registry.stale.add("team/a")
    cluster.api.put("team", "a", {"contents": ["jq"]})
    wait_for(lambda: cluster.api.condition("team", "a", "Ready").get("observedGeneration") == 2, "the second generation")
    pulls = len(cluster.registry.pulls)
    wait_for(lambda: len(cluster.registry.pulls) > pulls + 1, "more pulls")
    assert cluster.ready("team", "a") == "False" and "digest" not in cluster.api.status("team", "a")
    cluster.registry.stale.clear()
    wait_for(lambda: cluster.ready("team", "a") == "True", "the image as it is declared now")


def test_a_recreated_object_gets_its_own_status(cluster):
    cluster.api.put("team", "a", {"contents": ["curl"]})
    cluster.controller()
    wait_for(lambda: cluster.ready("team", "a") == "True", "the image")
    with cluster.api.changed:
        cluster.api.delete("team", "a")
        cluster.api.put("team", "a", {"contents": ["curl"]})
    wait_for(lambda: cluster.ready("team", "a") == "True", "the new image")
    assert cluster.api.status("team", "a")["observedGeneration"] == 1


def test_build_failures_are_reported_in_status_and_events(cluster):
    cluster.registry.answers["team/a"] = (404, "unknown_package", "unknown package 'crul': did you mean 'curl'?")
    cluster.registry.answers["team/b"] = (424, "build_failed", "long " * 2000)
    cluster.api.put("team", "a", {"contents": ["crul"]})
    cluster.api.put("team", "b", {"contents": ["broken"]})
    # Only the registry's own rules refuse this: it exceeds the uid range.
    cluster.api.put("team", "c", {"contents": ["curl"], "config": {"user": "4294967295"}})
    cluster.controller()
    wait_for(lambda: cluster.api.condition("team", "a", "Resolved").get("reason") == "UnknownPackage", "the refusal")
    assert "did you mean 'curl'" in cluster.api.status("team", "a")["lastError"]
    wait_for(lambda: cluster.reason("team", "b") == "BuildFailed", "the failure")
    assert cluster.api.condition("team", "b", "Resolved")["status"] == "True"
    wait_for(lambda: cluster.reason("team", "c") == "InvalidData", "the other refusal")
    assert cluster.files() == ["niximage.team.a.json", "niximage.team.b.json"]
    for name, reason in (("a", "UnknownPackage"), ("b", "BuildFailed"), ("c", "InvalidData")):
        wait_for(lambda: cluster.api.events_about("team", name), "an event")
        (event,) = cluster.api.events_about("team", name)
        assert (event["reason"], event["type"]) == (reason, "Warning") and event["note"]
        assert event["regarding"]["uid"] == cluster.api.object("team", name)["metadata"]["uid"]
    del cluster.registry.answers["team/a"]
    wait_for(lambda: cluster.ready("team", "a") == "True", "another attempt")
    assert "lastError" not in cluster.api.status("team", "a")


def test_the_quota_allows_the_oldest_images(cluster):
    for name in ("c", "b", "a"):
        cluster.api.put("team", name, {"contents": ["curl"]})
    cluster.controller(NIXERY_CONTROLLER_QUOTA="2")
    wait_for(lambda: cluster.reason("team", "a") == "QuotaExceeded", "the refusal")
    wait_for(lambda: cluster.files() == ["niximage.team.b.json", "niximage.team.c.json"], "the two oldest")
    wait_for(lambda: [e["reason"] for e in cluster.api.events_about("team", "a")] == ["QuotaExceeded"], "an event")
    cluster.api.delete("team", "c")
    wait_for(lambda: cluster.ready("team", "a") == "True", "the next in the row")


def test_the_quota_holds_for_many_simultaneous_objects_and_after_deletions(cluster):
    cluster.api.page_limit = 100
    names = [f"image-{number:03}" for number in range(120)]
    for name in names[:40]:
        cluster.api.put("team", name, {"contents": ["curl"]})
    cluster.controller(NIXERY_CONTROLLER_QUOTA="20")
    for name in names[40:]:
        cluster.api.put("team", name, {"contents": ["curl"]})
        cluster.api.put("other", name, {"contents": ["curl"]}) if name < "image-060" else None
    wait_for(lambda: all(cluster.reason("team", name) == "QuotaExceeded" for name in names[20:]), "the refusals", 60)
    wait_for(lambda: all(cluster.ready("team", name) == "True" for name in names[:20]), "the oldest")
    wait_for(lambda: all(cluster.ready("other", name) == "True" for name in names[40:60]), "another namespace's")
    assert len(cluster.files()) == 40
    for name in names[:15] + names[30:40]:
        cluster.api.delete("team", name)
    left = names[15:30] + names[40:45]
    wait_for(lambda: all(cluster.ready("team", name) == "True" for name in left), "those who have moved up", 60)
    wait_for(lambda: [f for f in cluster.files() if ".team." in f] == [f"niximage.team.{name}.json" for name in left], "their files")
    assert all(cluster.reason("team", name) == "QuotaExceeded" for name in names[45:])


def most_memory(process) -> int:
    """Peak memory in MiB."""
    (line,) = [line for line in Path(f"/proc/{process.pid}/status").read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) // 1024


def of_bytes(size: int) -> dict:
    """An image with a declaration of that size, in parts that the resource allows."""
    return {"contents": ["curl"], "config": {"env": {f"V{number}": "x" * 8000 for number in range(size // 8000)}}}


@pytest.mark.measures
def test_memory_is_bounded_with_many_large_objects(cluster):
    """A fifth of the controller's memory limit in the manifests; complete objects would need more."""
    cluster.api.page_limit = 500
    for number in range(600):
        cluster.api.put("team", f"image-{number:03}", of_bytes(200_000 if number % 2 else 24_000))
    process = cluster.controller(NIXERY_CONTROLLER_QUOTA="20")
    wait_for(lambda: all(cluster.reason("team", f"image-{number:03}") == "QuotaExceeded" for number in range(20, 600)), "the refusals", 120)
    for number in range(0, 20, 2):
        wait_for(lambda: cluster.ready("team", f"image-{number:03}") == "True", "those within the quota", 60)
    for number in range(1, 20, 2):
        wait_for(lambda: cluster.reason("team", f"image-{number:03}") == "InvalidData", "those that are too large", 60)
    assert most_memory(process) < 51
    # Data that was dropped is fetched again when the object comes within the quota.
    for number in range(20):
        cluster.api.delete("team", f"image-{number:03}")
    wait_for(lambda: cluster.ready("team", "image-020") == "True" and cluster.reason("team", "image-021") == "InvalidData", "the next", 60)
    file = json.loads((cluster.images / "niximage.team.image-020.json").read_text())
    assert file == {"name": "team/image-020", "tag": "latest", **of_bytes(24_000)}


def test_a_restart_without_changes_writes_nothing(cluster):
    for name in "abc":
        cluster.api.put("team", name, {"contents": ["curl"]})
    cluster.registry.answers["team/c"] = (424, "build_failed", "it does not compile")
    first = cluster.controller()
    for name in "ab":
        wait_for(lambda: cluster.ready("team", name) == "True", "the image")
    wait_for(lambda: cluster.reason("team", "c") == "BuildFailed", "the failure")
    wait_for(lambda: len(cluster.api.events) == 3, "the events")
    first.send_signal(signal.SIGTERM)
    assert first.wait(timeout=30) == 0
    writes, pulls, versions = len(cluster.api.writes), len(cluster.registry.pulls), cluster.api.version
    cluster.controller()
    wait_for(lambda: set(cluster.registry.pulls[pulls:]) == {"team/a", "team/b", "team/c"}, "a look at each")
    cluster.api.put("team", "d", {"contents": ["curl"]})
    wait_for(lambda: cluster.ready("team", "d") == "True", "a new one")
    assert {key for *_, key in cluster.api.writes[writes:]} == {"team/d"}
    assert len(cluster.api.events_about("team", "c")) == 1
    assert cluster.api.version - versions == 1 + len(cluster.api.writes) - writes


def test_without_the_registry_built_images_stay_built(cluster):
    cluster.api.put("team", "a", {"contents": ["curl"]})
    cluster.controller(NIXERY_CONTROLLER_RESYNC="1")
    wait_for(lambda: cluster.ready("team", "a") == "True", "the image")
    cluster.registry.answers["team/a"] = (503, "unavailable", "away")
    wait_for(lambda: cluster.ready("team", "a") == "Unknown", "doubt")
    assert cluster.api.status("team", "a")["digest"] == DIGEST
    assert cluster.api.condition("team", "a", "Built")["status"] == "True"
    del cluster.registry.answers["team/a"]
    wait_for(lambda: cluster.ready("team", "a") == "True", "the image again")


def test_a_new_digest_of_a_moved_source_is_reported(cluster):
    cluster.api.put("team", "a", {"contents": ["curl"]})
    cluster.controller(NIXERY_CONTROLLER_RESYNC="1")
    wait_for(lambda: cluster.ready("team", "a") == "True", "the image")
    cluster.registry.digest = "sha256:" + "b" * 64
    wait_for(lambda: cluster.api.status("team", "a")["digest"] == cluster.registry.digest, "the new digest")
    wait_for(lambda: len(cluster.api.events_about("team", "a")) == 2, "an event of it")


def test_the_log_has_lines_of_the_configured_level(cluster):
    cluster.registry.answers["team/b"] = (424, "build_failed", "it does not compile")
    cluster.api.put("team", "a", {"contents": ["curl"]})
    cluster.api.put("team", "b", {"contents": ["broken"]})
    cluster.controller(NIXERY_LOG_LEVEL="warning")
    wait_for(lambda: cluster.ready("team", "a") == "True" and cluster.reason("team", "b") == "BuildFailed", "the images")
    assert {(line["level"], line["event"]) for line in cluster.logged()} == {("warning", "image not ready")}
    assert cluster.controller("loud", NIXERY_LOG_LEVEL="loud").wait(timeout=30) == 1
    assert "NIXERY_LOG_LEVEL: 'loud' is not valid; give error, warning, info or debug" in (cluster.dir / "logloud").read_text()


# Faults of the API server


def test_gone_and_error_events_lead_to_a_new_list(cluster):
    (cluster.images / "niximage.team.vanished.json").write_text('{"name": "team/vanished", "contents": ["x"]}')
    (cluster.images / "own.json").write_text('{"name": "own", "contents": ["x"]}')
    cluster.controller()
    wait_for(lambda: cluster.files() == ["own.json"], "the vanished object's file to go")
    wait_for(lambda: cluster.api.count("GET", "watch=1") == 1, "a watch")
    cluster.api.end_watches(forget=True)
    wait_for(lambda: cluster.api.count("GET", "?limit=500") == 2, "a list after 410")
    wait_for(lambda: cluster.api.count("GET", "watch=1") >= 3, "a watch")
    for code in (410, 429, 500):
        lists = cluster.api.count("GET", "?limit=500")
        watches = cluster.api.count("GET", "watch=1")
        said = time.monotonic()
        cluster.api.end_watches({"type": "ERROR", "object": {"kind": "Status", "code": code, "message": "no", "details": {"retryAfterSeconds": 2}}})
        if code == 429:  # for which only the watch is retried, later
            wait_for(lambda: cluster.api.count("GET", "watch=1") > watches, "a watch")
            assert cluster.api.times("GET", "watch=1")[watches] - said >= 2 and cluster.api.count("GET", "?limit=500") == lists
            continue
        wait_for(lambda: cluster.api.count("GET", "?limit=500") > lists, f"a list after an ERROR of {code}")
        wait_for(lambda: cluster.api.count("GET", "watch=1") > watches, "a watch")
    cluster.api.put("team", "late", {"contents": ["curl"]})
    wait_for(lambda: cluster.ready("team", "late") == "True", "the late image")


def test_a_malformed_watch_event_leads_to_a_new_list(cluster):
    cluster.controller()
    wait_for(lambda: cluster.api.count("GET", "watch=1") == 1, "a watch")
    cluster.api.end_watches({"type": "SURPRISE", "object": {}})
    wait_for(lambda: cluster.api.count("GET", "?limit=500") == 2, "a list")


def test_a_list_whose_pages_have_expired_begins_again(cluster):
    for name in "abcde":
        cluster.api.put("team", name, {"contents": ["curl"]})
    cluster.api.answer_next = [(lambda m, p: "continue=" in p, 410, {})]
    cluster.controller()
    for name in "abcde":
        wait_for(lambda: cluster.ready("team", name) == "True", f"{name} to be ready")


def test_status_written_between_two_pages_of_a_list_is_not_written_again(cluster):
    for name in "abc":
        cluster.api.put("team", name, {"contents": ["curl"]})
    cluster.controller(NIXERY_CONTROLLER_RESYNC="1")
    wait_for(lambda: len(cluster.api.events) == 3, "an event each")
    pages = cluster.api.count("GET", "continue=")
    cluster.api.held = lambda method, path: "continue=" in path
    cluster.api.end_watches(forget=True)
    wait_for(lambda: cluster.api.count("GET", "continue=") > pages, "a list to begin")
    cluster.registry.digest = "sha256:" + "b" * 64
    wait_for(lambda: len(cluster.api.events) == 6, "an event each of the other digest")
    writes = cluster.api.count("PATCH", "/status")
    cluster.api.release()
    wait_for(lambda: sum(line["event"] == "listed" for line in cluster.logged()) == 2, "the list")
    pulls = cluster.registry.pulls.count("team/a")
    wait_for(lambda: cluster.registry.pulls.count("team/a") >= pulls + 2, "the image to be looked at again")
    assert cluster.api.count("PATCH", "/status") == writes and len(cluster.api.events) == 6


def test_429_and_conflicts_are_retried(cluster):
    cluster.api.answer_next = [(lambda m, p: m == "PATCH", 409, {}), (lambda m, p: m == "PATCH", 404, {}), (lambda m, p: "events.k8s.io" in p, 500, {})]
    cluster.api.put("team", "a", {"contents": ["curl"]})
    cluster.controller()
    wait_for(lambda: cluster.ready("team", "a") == "True", "the image")
    wait_for(lambda: cluster.api.events_about("team", "a"), "the event")
    wait_for(lambda: cluster.api.answer_next == [], "each to have been answered")


def test_retry_after_is_respected(cluster):
    """Its own back-off after a first failure is at most half a second."""
    asked = [("GET", "?limit=500"), ("GET", "watch=1"), ("PATCH", "/status"), ("POST", "events.k8s.io")]
    cluster.api.answer_next = [(lambda m, p, wanted=wanted: m == wanted[0] and wanted[1] in p, 429, {"Retry-After": "2"}) for wanted in asked]
    cluster.api.put("team", "a", {"contents": ["curl"]})
    cluster.controller()
    wait_for(lambda: cluster.ready("team", "a") == "True", "the image")
    wait_for(lambda: cluster.api.events_about("team", "a") and cluster.api.count("GET", "watch=1") > 1, "the event and a watch")
    for wanted in asked:
        first, second = cluster.api.times(*wanted)[:2]
        assert second - first >= 2, wanted


def test_retry_after_zero_still_backs_off(cluster):
    cluster.api.answer_next = [(lambda m, p: m == "PATCH", 429, {"Retry-After": "0"})] * 4
    # It sends requests at once after a change, such as a step of a build or a takeover; here there is none.
    cluster.controller()
    wait_for(lambda: any(line["event"] == "this process now writes the files" for line in cluster.logged()), "the files to be its own")
    cluster.api.put("team", "a", {"contents": ["curl"], "config": {"user": "4294967295"}})
    wait_for(lambda: cluster.reason("team", "a") == "InvalidData", "the refusal", 60)
    times = cluster.api.times("PATCH", "/status")
    # Its back-off starts at half a second and doubles each time; it waits at least half of it.
    waits = [after - before for before, after in zip(times, times[1:])]
    assert all(wait >= least for wait, least in zip(waits, (0.25, 0.5, 1, 2), strict=True)), waits


def test_a_status_whose_response_is_lost_is_written_once_and_has_its_event(cluster):
    cluster.api.cut_one_in = 8
    for number in range(20):
        cluster.api.put("team", f"a{number}", {"contents": ["curl"]})
    cluster.controller()
    for number in range(20):
        wait_for(lambda: cluster.ready("team", f"a{number}") == "True", "the image", 60)
        wait_for(lambda: cluster.api.events_about("team", f"a{number}"), "its event", 60)
        assert [e["reason"] for e in cluster.api.events_about("team", f"a{number}")] == ["Built"]


def test_the_controller_waits_for_the_resource_and_logs_it_once(cluster):
    cluster.api.has_resource = False
    cluster.controller()
    wait_for(lambda: len(cluster.api.requests) >= 3, "three questions")
    (said,) = [line for line in cluster.logged() if line["level"] == "warning"]
    assert "is the CustomResourceDefinition applied?" in said["error"]
    cluster.api.has_resource = True
    cluster.api.put("team", "a", {"contents": ["curl"]})
    wait_for(lambda: cluster.ready("team", "a") == "True", "the image")


def test_a_replaced_token_is_read_again(cluster):
    cluster.controller()
    wait_for(lambda: cluster.api.count("GET", "watch=1") == 1, "a watch")
    cluster.api.tokens = {"second": ""}
    cluster.api.end_watches()
    cluster.api.put("team", "a", {"contents": ["curl"]})
    wait_for(lambda: any("401" in line.get("error", "") for line in cluster.logged()), "a refusal")
    (cluster.dir / "token").write_text("second\n")
    wait_for(lambda: cluster.ready("team", "a") == "True", "the image")


def test_a_readable_token_file_takes_precedence_over_a_token(cluster):
    cluster.login = "token: stale, "
    cluster.controller()
    cluster.api.put("team", "a", {"contents": ["curl"]})
    wait_for(lambda: cluster.ready("team", "a") == "True", "the file's token to be taken")
    assert [line for line in cluster.logged() if line["level"] == "warning"] == []
    cluster.api.tokens = {"stale": ""}
    (cluster.dir / "token").unlink()
    cluster.api.put("team", "b", {"contents": ["curl"]})
    wait_for(lambda: cluster.ready("team", "b") == "True", "the other token to be taken")
    (cluster.dir / "token").mkdir()
    cluster.api.put("team", "c", {"contents": ["curl"]})
    wait_for(lambda: cluster.ready("team", "c") == "True", "the other token to be taken")


def certificate(directory, name):
    """A self-signed certificate."""
    check(program("openssl", "openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", f"/CN={name}",
          "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", f"{directory}/{name}.key", "-out", f"{directory}/{name}.pem")  # fmt: skip
    return directory / f"{name}.pem"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
@pytest.mark.parametrize("how", ["a file", "data"])
def test_only_the_clusters_ca_is_trusted(cluster, how):
    """Even if the system's CA directory, which is replaced here, contains the server's CA."""
    of_server, other = certificate(cluster.dir, "server"), certificate(cluster.dir, "other")
    system = cluster.dir / "system"
    system.mkdir()
    (system / "server.pem").write_bytes(of_server.read_bytes())
    check("openssl", "rehash", str(system))
    (system / "ca-certificates.crt").write_bytes(of_server.read_bytes())
    cluster.within = ["unshare", "--mount", "sh", "-c", f'mount --bind "{system}" /etc/ssl/certs && exec "$@"', "sh"]
    cluster.api.stop()
    cluster.api.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    cluster.api.tls.load_cert_chain(of_server, cluster.dir / "server.key")
    cluster.api.start()

    def trusting(name, pem=None):
        data = base64.b64encode(pem.read_bytes()).decode() if pem else ""
        cluster.authority = f', certificate-authority{"-data" if how == "data" else ""}: "{data if how == "data" else pem}"' if pem else ""
        cluster.controller(name)

    trusting("system")
    wait_for(lambda: cluster.api.count("GET", "watch=1") == 1, "the system's to be trusted where none is given")
    process = cluster.processes.pop()
    process.kill()
    process.wait()
    asked = len(cluster.api.requests)
    trusting("other", other)
    wait_for(lambda: any("certificate" in line.get("error", "") for line in cluster.logged("other")), "the server to be refused")
    assert len(cluster.api.requests) == asked
    trusting("right", of_server)
    wait_for(lambda: any(line["event"] == "listed" for line in cluster.logged("right")), "the cluster's own to be trusted")


@pytest.mark.parametrize("harm", ["remembers", "forgets", "restored"])
def test_a_server_is_followed_again_after_an_outage(cluster, harm):
    cluster.api.put("team", "a", {"contents": ["curl"]})
    cluster.api.put("team", "b", {"contents": ["curl"]})
    cluster.controller()
    for name in "ab":
        wait_for(lambda: cluster.ready("team", name) == "True", "the image")
    cluster.api.stop()
    # By the watching thread: a status request may fail earlier.
    wait_for(lambda: any(line["event"] == "cannot follow the collection" for line in cluster.logged()), "it to be missed")
    if harm == "forgets":
        cluster.api.forget()
    if harm == "restored":
        cluster.api.restore()
    else:
        cluster.api.delete("team", "b")
    cluster.api.put("team", "c", {"contents": ["curl"]})
    cluster.api.start()
    wait_for(lambda: cluster.ready("team", "c") == "True", "a new image")
    if harm != "restored":
        wait_for(lambda: "niximage.team.b.json" not in cluster.files(), "the file of the deleted one to go")
    cluster.api.put("team", "a", {"contents": ["jq"]})
    wait_for(lambda: cluster.api.condition("team", "a", "Ready").get("observedGeneration") == 2, "a change")


# Several controllers


def test_one_of_two_controllers_leads_and_hands_over(cluster):
    lease = {"NIXERY_CONTROLLER_LEASE": "nixery/nixery-controller"}
    first = cluster.controller("one", **lease, NIXERY_CONTROLLER_IDENTITY="one")
    wait_for(lambda: cluster.api.holder() == "one", "the first to lead")
    second = cluster.controller("two", **lease, NIXERY_CONTROLLER_IDENTITY="two")
    for number in range(10):
        cluster.api.put("team", f"a{number}", {"contents": ["curl"]})
    for number in range(10):
        wait_for(lambda: cluster.ready("team", f"a{number}") == "True", "the image")
    first.send_signal(signal.SIGTERM)
    assert first.wait(timeout=30) == 0
    wait_for(lambda: cluster.api.holder() == "two", "the second to lead")
    cluster.api.put("team", "b", {"contents": ["curl"]})
    wait_for(lambda: cluster.ready("team", "b") == "True", "the image")
    # And without a release, after a kill.
    third = cluster.controller("three", **lease, NIXERY_CONTROLLER_IDENTITY="three")
    second.kill()
    wait_for(lambda: cluster.api.holder() == "three", "the third to lead", 60)
    cluster.api.put("team", "c", {"contents": ["curl"]})
    wait_for(lambda: cluster.ready("team", "c") == "True", "the image")
    assert third.poll() is None
    assert cluster.api.leases["nixery-controller"]["spec"]["leaseTransitions"] == 2
    assert {who for who, *_ in cluster.api.writes} == {"one", "two", "three"}
    assert all(who == holder for who, holder, _ in cluster.api.writes), cluster.api.writes


def test_one_of_two_controllers_writes_the_directory_and_the_other_takes_over(cluster):
    first = cluster.controller("one")
    cluster.api.put("team", "a", {"contents": ["curl"]})
    wait_for(lambda: cluster.ready("team", "a") == "True", "the image")
    cluster.controller("two")
    wait_for(lambda: any(line["event"] == "listed" for line in cluster.logged("two")), "the second to know it")
    file = cluster.images / "niximage.team.a.json"
    cluster.halt(first)  # it holds the directory, but does not write
    cluster.api.put("team", "a", {"contents": ["jq"]})
    wait_for(lambda: cluster.api.condition("team", "a", "Ready").get("observedGeneration") == 2, "the second to know the change")
    assert json.loads(file.read_text())["contents"] == ["curl"] and cluster.ready("team", "a") == "False"
    cluster.api.put("team", "b", {"contents": ["curl"]})
    first.kill()
    wait_for(lambda: cluster.ready("team", "a") == "True" and cluster.ready("team", "b") == "True", "the second to write")
    assert json.loads(file.read_text())["contents"] == ["jq"]


def test_a_directory_that_cannot_be_locked_is_reported(cluster):
    (cluster.images / ".niximages.lock").mkdir()
    assert cluster.controller().wait(timeout=30) == 1
    assert str(cluster.images / ".niximages.lock") in (cluster.dir / "log").read_text()


def test_a_takeover_that_cannot_tidy_the_directory_is_retried(cluster):
    first = cluster.controller("one")
    cluster.api.put("team", "a", {"contents": ["curl"]})
    wait_for(lambda: cluster.ready("team", "a") == "True", "the image")
    cluster.controller("two")
    wait_for(lambda: any(line["event"] == "listed" for line in cluster.logged("two")), "the second to know it")
    cluster.halt(first)
    obstacle = cluster.images / "niximage.team.obstacle.json"
    (obstacle / "within").mkdir(parents=True)
    first.kill()
    wait_for(lambda: any(line["event"] == "cannot take the files" for line in cluster.logged("two")), "it to be said")
    (cluster.images / "niximage.team.vanished.json").write_text('{"name": "team/vanished", "contents": ["x"]}')
    (cluster.images / "niximage.team.a.json").unlink()
    (obstacle / "within").rmdir()
    wait_for(lambda: cluster.files() == ["niximage.team.a.json"], "the directory to be as it should")


def test_a_leader_that_cannot_renew_stops_writing(cluster):
    cluster.controller("one", NIXERY_CONTROLLER_LEASE="nixery/nixery-controller", NIXERY_CONTROLLER_IDENTITY="one")
    wait_for(lambda: cluster.api.holder() == "one", "it to lead")
    with cluster.api.changed:
        lease = cluster.api.leases["nixery-controller"]
        lease["spec"] |= {"holderIdentity": "stranger", "leaseDurationSeconds": 3600}
        lease["metadata"]["resourceVersion"] = "1"
    wait_for(lambda: any(line["event"] == "lost leadership" for line in cluster.logged("one")), "it to notice")
    cluster.api.put("team", "a", {"contents": ["curl"]})
    wait_for(lambda: "team/a" in cluster.registry.pulls, "the image to be pulled all the same")
    assert cluster.api.writes == []


# As users see it


def test_kubectl_applies_gets_describes_and_deletes(cluster, kubectl):
    config = cluster.kubeconfig("person")

    def run(*words, stdin=""):
        done = subprocess.run([kubectl, "--kubeconfig", config, "-n", "team", *words], input=stdin, capture_output=True,
                              text=True, timeout=60, env={"HOME": str(cluster.dir)})  # fmt: skip
        assert done.returncode == 0, done
        return done.stdout

    image = {"apiVersion": "k8s.nixos.org/v1alpha", "kind": "NixImage", "metadata": {"name": "a"}, "data": {"contents": ["crul"]}}
    cluster.registry.answers["team/a"] = (404, "unknown_package", "unknown package 'crul': did you mean 'curl'?")
    cluster.controller()
    run("apply", "--validate=false", "-f", "-", stdin=json.dumps(image))
    wait_for(lambda: cluster.api.events_about("team", "a"), "the event")
    described = run("describe", "niximage", "a")
    conditions, events = described.split("Events:")
    assert "did you mean 'curl'?" in conditions and "UnknownPackage" in conditions
    assert "Warning" in events and "UnknownPackage" in events and "did you mean 'curl'?" in events
    del cluster.registry.answers["team/a"]
    run("apply", "--validate=false", "-f", "-", stdin=json.dumps({**image, "data": {"contents": ["curl"]}}))
    # Before kubectl starts: the fake does not support its watch.
    ready = lambda: {"status": "True", "observedGeneration": 2}.items() <= cluster.api.condition("team", "a", "Ready").items()
    wait_for(ready, "the image", 60)
    run("wait", "--for=condition=Ready", "--timeout=30s", "nixi/a")
    run("delete", "niximage", "a", "--wait=false")
    wait_for(lambda: cluster.files() == [], "the file to go")


# The shipped manifests


def test_the_resource_accepts_the_example_and_refuses_mistakes():
    validator = jsonschema.Draft202012Validator(image_schema())
    image = yaml.safe_load((ROOT / "packaging/kubernetes/example.yaml").read_text())
    validator.validate(image)
    for wrong in ({}, {"contents": []}, {"contents": ["a b"]}, {"contents": ["a"], "platform": "s390x"},
                  {"contents": ["a"], "config": {"workdir": "tmp"}}, {"contents": ["a"], "config": {"exposedPorts": ["x"]}},
                  {"contents": ["a"], "config": {"exposedPorts": ["65536"]}}, {"contents": ["a"], "source": ""}):  # fmt: skip
        assert not validator.is_valid({**image, "data": wrong}), wrong


def test_the_resource_is_structural_and_its_rules_are_bounded():
    """The server's rules for CustomResourceDefinitions, as far as they can be checked without one."""

    def look_at(schema, path, below_items=False):
        assert schema.get("type") in {"object", "array", "string", "integer", "boolean"}, path
        assert schema.get("description") or below_items or path == "metadata", f"{path} has no description"
        assert not {"$ref", "uniqueItems", "definitions", "dependencies", "deprecated", "id"} & set(schema), path
        assert not ("properties" in schema and "additionalProperties" in schema), path
        if schema["type"] == "array":
            assert "maxItems" in schema, path
        if "additionalProperties" in schema:
            assert "maxProperties" in schema, path
        if schema["type"] == "string" and schema.get("x-kubernetes-validations"):
            assert "maxLength" in schema, path
        for rule in schema.get("x-kubernetes-validations", []):
            assert rule["rule"] and rule["message"], path
        for name, member in schema.get("properties", {}).items():
            look_at(member, f"{path}.{name}".lstrip("."), below_items)
        for member in [schema.get("items"), schema.get("additionalProperties")]:
            if member:
                look_at(member, path + "[]", True)

    look_at(image_schema(), "")
