"""The JSON routes under /api/, the page's headers, and access. test_web_page.py tests the page itself."""

import http.client
import json
import subprocess
import threading
import urllib.parse
from contextlib import ExitStack

import pytest

import raw
from registry import NIXERY, wait_for
from test_hostile import LONG, NAMES, is_clean_error
from web_site import web_site

POLICY = ("default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; "
          "base-uri 'none'; frame-ancestors 'none'")  # fmt: skip


@pytest.fixture(scope="module")
def site():
    with web_site() as site:
        assert site.manifest("shell/git").status == 200
        assert site.manifest("curl").status == 200
        yield site


@pytest.fixture
def new_site():
    """Makes a site with an unbuilt gated package."""
    with ExitStack() as made:
        yield lambda **settings: made.enter_context(web_site(**settings))


def names(answer) -> list[str]:
    assert answer.status == 200, answer.body
    assert answer.json["known"]
    return [package["name"] for package in answer.json["packages"]]


class Events:
    """A stream of server-sent events. Ends by itself after a minute without events."""

    def __init__(self, site, name: str):
        self.connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=60)
        self.connection.request("GET", f"/api/events/{name}")
        self.response = self.connection.getresponse()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.response.close()
        self.connection.close()

    def __iter__(self):
        event = {}
        while line := self.response.readline():
            line = line.decode().rstrip("\n")
            if line.startswith(":"):
                continue
            if line:
                field, _, value = line.partition(": ")
                event[field] = value
            elif event:
                yield event.get("event"), json.loads(event.get("data", "null"))
                event = {}

    def until(self, kind: str) -> list:
        seen = []
        for event in self:
            seen.append(event)
            if event[0] == kind:
                return seen
        raise AssertionError(f"the stream ended without '{kind}': {seen}")


# --- JSON


def test_search_lists_prefix_matches_before_other_matches(site):
    assert names(site.get("/api/search?q=curl")) == ["curl", "curlie", "libcurl"]
    assert names(site.get("/api/search?q=CURL")) == ["curl", "curlie", "libcurl"]
    assert names(site.get("/api/search?q=python3packages.re")) == ["python3packages.requests"]
    assert names(site.get("/api/search?q=python3Packages.")) == ["python3packages.rich", "python3packages.requests"]
    assert names(site.get("/api/search?q=nothinglikeit")) == []
    # A missing attribute and a non-set contain no packages.
    assert names(site.get("/api/search?q=git.x")) == names(site.get("/api/search?q=nope.x")) == []


def test_search_lists_only_names_that_can_be_pulled(site):
    everything = names(site.get("/api/search?q="))
    assert {"curl", "bashinteractive", "python3packages"} <= set(everything)
    assert not {"_1password", "name+"} & set(everything)


def test_search_has_version_and_description_of_built_or_planned_packages(site):
    curl = site.get("/api/search?q=curl").json["packages"][0]
    assert curl == {"name": "curl", "version": "8.7.1", "built": True,
                    "description": "Command line tool for transferring files with URL syntax"}  # fmt: skip
    assert site.get("/api/search?q=jq").json["packages"][0]["version"] == ""
    assert site.get("/api/plan/jq").status == 200
    assert site.get("/api/search?q=jq").json["packages"][0]["version"] == "1.7.1"


def test_search_omits_blocked_packages(new_site):
    site = new_site(NIXERY_BLOCKED="curl* python3packages.rich")
    assert names(site.get("/api/search?q=curl")) == ["libcurl"]
    assert names(site.get("/api/search?q=python3packages.")) == ["python3packages.requests"]


@pytest.mark.parametrize("query", ["q=%zz", "q=" + "a" * 101, "q=a.b.c.d.e.f", "q=%00.x", "q=..%2f.x", "q=a%2fb.c"])
def test_an_invalid_search_is_refused(site, query):
    answer = site.get(f"/api/search?{query}")
    assert (answer.status, answer.json["errors"][0]["detail"]["failure"]) == (400, "bad_query")


def test_a_plan_is_the_commands_output(site):
    answer = site.get("/api/plan/shell/git")
    assert answer.status == 200
    assert answer.json["reference"] == "shell/git:latest"
    assert answer.json["plans"] == [json.loads(site.nixery("plan", "--json", "shell/git").stdout)]
    [plan] = answer.json["plans"]
    assert sum(layer["bytes"] for layer in plan["layers"]) == plan["closureBytes"]
    assert all(layer["inTree"] for layer in plan["layers"])
    assert {package["attribute"] for package in plan["packages"]} >= {"git", "bashInteractive", "nano"}


def test_a_plan_lists_missing_paths_and_builds_nothing(new_site):
    site = new_site()
    [plan] = site.get("/api/plan/gated").json["plans"]
    assert plan["toBuildCount"] == 1 and "gated" in plan["toBuild"][0] and "layers" not in plan
    assert site.get("/api/build/gated").json["state"] == "absent"
    assert not list(site.tree.glob("tags/*"))


def test_a_plan_for_two_platforms_has_both(new_site):
    answer = new_site(NIXERY_PLATFORMS="amd64 arm64").get("/api/plan/zlib")
    assert [plan["system"] for plan in answer.json["plans"]] == ["x86_64-linux", "aarch64-linux"]


def test_a_slow_evaluation_is_202_and_can_be_retried(new_site, directory):
    gate, shim = directory / "gate", directory / "shim"
    shim.mkdir()
    (shim / "nix-instantiate").write_text(
        f'#!/bin/bash\nfor i in {{1..1200}}; do [ -e {gate} ] && exec /usr/bin/nix-instantiate "$@"; sleep 0.1; done\nexit 1\n')
    (shim / "nix-instantiate").chmod(0o755)
    site = new_site(PATH=f"{shim}:/usr/sbin:/usr/bin:/sbin:/bin", NIXERY_HOP_SECONDS="1", NIXERY_EVAL_TIMEOUT="200")
    late = site.get("/api/plan/jq")
    assert late.status == 202 and int(late.headers["Retry-After"]) > 0 and late.json["reference"] == "jq:latest"
    wait_for(lambda: "resolving" in site.get("/api/plan/jq").json["text"], "the progress of the evaluation", 60)
    searched = site.get("/api/search?q=j")
    assert searched.status == 202 and not searched.json["known"]
    gate.touch()
    wait_for(lambda: site.get("/api/plan/jq").status == 200, "the plan", 60)
    wait_for(lambda: site.get("/api/search?q=j").status == 200, "the names", 60)
    assert names(site.get("/api/search?q=j")) == ["jq"]


def test_images_are_listed_newest_first(site):
    wait_for(lambda: len(site.get("/api/images").json["images"]) == 2, "both images")
    images = site.get("/api/images").json["images"]
    assert {image["name"] for image in images} == {"curl", "shell/git"}
    assert [image["time"] for image in images] == sorted((image["time"] for image in images), reverse=True)
    for image in images:
        manifest = site.manifest(image["name"])
        assert image["digest"] == manifest.headers["Docker-Content-Digest"]
        assert image["layers"] == len(manifest.json["layers"])
        assert image["size"] == sum(part["size"] for part in [manifest.json["config"], *manifest.json["layers"]])


def test_an_image_has_packages_licences_layers_and_documents(site):
    report = site.get("/api/image/shell/git:latest")
    assert report.status == 200
    assert report.json == site.get("/api/image/shell/git").json
    manifest = site.manifest("shell/git")
    assert report.json["digest"] == manifest.headers["Docker-Content-Digest"]
    [image] = report.json["images"]
    assert (image["os"], image["architecture"]) == ("linux", "amd64")
    git = next(package for package in image["packages"] if package["name"] == "git")
    assert (git["version"], git["description"]) == ("2.44.0", "Distributed version control system")
    assert git["licenses"] == ["GPL-2.0-only", "LGPL-2.1-or-later"]
    assert [layer["digest"] for layer in image["layers"]] == [layer["digest"] for layer in manifest.json["layers"]]
    paths = [path["path"] for layer in image["layers"] for path in layer["paths"]]
    assert any(path.endswith("-git-2.44.0") for path in paths) and any(path.endswith("-openssl-3.0.15") for path in paths)
    documents = {each["type"]: each["document"] for each in image["referrers"]}
    assert set(documents) == {"application/spdx+json", "application/vnd.cyclonedx+json", "application/vnd.in-toto+json"}
    assert site.get(documents["application/spdx+json"]).json["spdxVersion"] == "SPDX-2.3"
    assert site.get(documents["application/vnd.cyclonedx+json"]).json["bomFormat"] == "CycloneDX"


def test_an_image_without_documents_has_packages_and_a_signed_one_its_signatures(new_site, directory):
    plain = new_site(NIXERY_SBOM="0")
    assert plain.manifest("jq").status == 200
    [image] = plain.get("/api/image/jq").json["images"]
    assert image["packages"] == [{"name": "jq", "version": "1.7.1"}] and image["referrers"] == []
    key = directory / "key.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key], check=True, capture_output=True)
    signing = new_site(NIXERY_SIGNING_KEY=str(key), NIXERY_PLATFORMS="amd64")
    assert signing.manifest("jq").status == 200
    report = signing.get("/api/image/jq").json
    assert signing.get(report["signature"]).status == 200
    assert "application/vnd.dev.cosign.artifact.sig.v1+json" in [each["type"] for each in report["images"][0]["referrers"]]


def test_failures_are_listed_with_their_log_until_a_successful_build(new_site):
    site = new_site(NIXERY_FAILURE_SECONDS="0")
    assert site.get("/api/failures").json == {"failures": []}
    assert site.manifest("failing").status == 424
    assert site.manifest("broken").status == 422
    assert site.manifest("curll").status == 404  # a wrong request is not listed as a failure
    failures = {failure["name"]: failure for failure in site.get("/api/failures").json["failures"]}
    assert set(failures) == {"failing", "broken"}
    assert failures["failing"]["failure"] == "build_failed" and "this is <i>the</i> reason" in failures["failing"]["log"]
    assert "this one is broken" in failures["broken"]["message"]
    state = site.get("/api/build/failing").json
    assert state["state"] == "failed" and "this is <i>the</i> reason" in state["log"]
    # Another worker of the same STATE lists it, too.
    site.stop_worker()
    site.start_worker()
    assert site.get("/api/build/failing").json["state"] == "failed"
    packages = site.dir / "set/default.nix"
    packages.write_text(packages.read_text().replace("exit 1", "exit 0"))
    wait_for(lambda: site.manifest("failing").status == 200, "the fixed package", 60)
    assert {failure["name"] for failure in site.get("/api/failures").json["failures"]} == {"broken"}


def test_lists_can_be_disabled(new_site):
    site = new_site(NIXERY_CATALOG="0")
    assert site.manifest("jq").status == 200
    for target in ("/api/images", "/api/failures"):
        answer = site.get(target)
        assert answer.status == 404 and answer.json["errors"][0]["detail"]["failure"] == "switched_off"
    assert site.get("/api/image/jq").status == site.get("/api/search?q=jq").status == 200


def test_nothing_under_api_builds(site):
    before = {file for file in site.files() if file.startswith("tree/")}
    for verb in ("plan", "image", "build"):
        site.get(f"/api/{verb}/nano")
    assert site.get("/api/image/nano").status == 404
    assert {file for file in site.files() if file.startswith("tree/")} == before


# --- events


def test_the_final_429_refers_to_the_log(new_site):
    site = new_site(NIXERY_HOP_SECONDS="1", NIXERY_HOPS="0")
    answer = site.manifest("gated")
    assert answer.status == 429
    log = "/api/events/gated:latest"
    assert answer.error["message"].endswith(f"the build continues; its log is at http://{site.host}{log}"), answer.body
    with Events(site, log.removeprefix("/api/events/")) as events:
        begun = events.until("log")  # a build that runs at the first poll has no log yet
        site.open_gate()
        lines = [line for kind, data in begun + events.until("built") if kind == "log" for line in data["lines"]]
    assert "through the gate" in "\n".join(map(str, lines))


def test_events_follow_a_build_and_end_with_its_digest(new_site):
    site = new_site()
    with Events(site, "gated") as events:
        assert events.response.headers["Content-Type"] == "text/event-stream"
        assert events.response.headers["Cache-Control"] == "no-store"
        following = iter(events)
        assert next(following) == ("state", {"reference": "gated:latest", "state": "absent"})
        puller = threading.Thread(target=lambda: site.manifest("gated"))
        puller.start()
        lines, states = [], []
        for kind, data in following:
            (lines.extend(data["lines"]) if kind == "log" else states.append(data))
            if "waiting for the gate" in lines:
                break
        assert {state["state"] for state in states} <= {"absent", "queued", "building"}
        # During the build, its state can be requested, and a later client gets all events.
        state = site.get("/api/build/gated").json
        assert (state["state"], state["phase"]) == ("building", "realising") and "waiting for the gate" in state["log"]
        with Events(site, "gated") as later:
            seen = later.until("log")
            assert "waiting for the gate" in seen[-1][1]["lines"]
            site.open_gate()
            end = later.until("built")
            assert any("through the gate" in data["lines"] for kind, data in end if kind == "log")
        rest = events.until("built")
        puller.join()
    digest = site.manifest("gated").headers["Docker-Content-Digest"]
    assert rest[-1] == end[-1] == ("built", {"digest": digest})
    assert any("through the gate" in data["lines"] for kind, data in rest if kind == "log")
    with Events(site, "gated") as events:
        assert list(events)[-1] == ("built", {"digest": digest})


def test_a_failed_build_ends_its_events(new_site):
    site = new_site()
    with Events(site, "failing") as events:
        following = iter(events)
        next(following)
        assert site.manifest("failing").status == 424
        seen = [*following]
    assert seen[-1][0] == "failed" and seen[-1][1]["failure"] == "build_failed" and "the build failed" in seen[-1][1]["message"]
    assert any("this is <i>the</i> reason" in data["lines"] for kind, data in seen if kind == "log")


def test_a_build_by_another_process_is_seen(new_site):
    site = new_site()
    building = subprocess.Popen([NIXERY, "build", "gated"], env=site.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        state = wait_for(lambda: (found := site.get("/api/build/gated").json)["state"] == "building" and found, "the other's build")
        assert state["text"] == "another process builds it"
        with Events(site, "gated") as events:
            site.open_gate()
            assert events.until("built")[-1][1]["digest"]
    finally:
        site.open_gate()
        assert building.wait(timeout=60) == 0


def test_streams_occupy_no_thread_and_are_limited(new_site):
    site = new_site(NIXERY_THREADS="1")
    streams = []
    try:
        for _ in range(8):
            streams.append(Events(site, "gated"))
            assert streams[-1].response.status == 200
        ninth = Events(site, "gated")
        streams.append(ninth)
        assert ninth.response.status == 429 and int(ninth.response.headers["Retry-After"]) > 0
        assert json.loads(ninth.response.read())["errors"][0]["detail"]["failure"] == "too_busy"
        assert site.get("/api/images").status == 200
        # A disconnected client frees its slot, even if nothing was sent to it.
        streams.pop(0).__exit__()
        wait_for(lambda: returns_200(site), "a free slot")
    finally:
        for stream in streams:
            stream.__exit__()


def returns_200(site) -> bool:
    with Events(site, "gated") as events:
        return events.response.status == 200


def test_streams_end_when_the_worker_does(new_site):
    site = new_site()
    with Events(site, "gated") as events:
        following = iter(events)
        next(following)
        assert site.stop_worker() == 0
        assert list(following) == []


def test_head_of_a_stream_has_no_body(site):
    answer = site.head("/api/events/gated")
    assert (answer.status, answer.headers["Content-Type"], answer.body) == (200, "text/event-stream", b"")


# --- hostile requests


@pytest.mark.parametrize("name", [name for name in NAMES if name != LONG])
def test_a_hostile_name_is_a_json_error_without_side_effects(site, name):
    before = site.files()
    # The well-formed one would be followed until it is built.
    for verb in ("plan", "image", "build") if name.startswith("a.a.") else ("plan", "image", "build", "events"):
        response = raw.get(site.port, f"/api/{verb}/{name}")
        if response.headers["Content-Type"].startswith("text/html"):
            assert (".." in name or "%2e" in name) and response.status == 404
        elif response.status != 200:
            assert is_clean_error(response), (verb, response.status, response.body[:200])
        assert b"root:" not in response.body and b"<script" not in response.body.lower().replace(b"'<script>'", b"")
    written = {file for file in site.files() - before if not file.startswith(("state/sources", "state/attributes"))}
    assert written == set()


@pytest.mark.parametrize("target", ["/api/", "/api/x", "/api/search/x", "/api/plan/", "/api/plan", "/api", "/api/images/x", "/web/", "/web/x.html",
                                    "/web/nixery.js/x", "/web/%2e%2e/nixery-http.conf", "/web/..%2fnixery-http.conf", "/web/.html", "/apix"])  # fmt: skip
def test_other_paths_are_404(site, target):
    response = raw.get(site.port, target)
    assert response.status in (400, 404), target
    if target.startswith("/api/"):
        assert is_clean_error(response)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_writing_methods_are_refused(site, method):
    for target in ("/api/images", "/api/plan/git", "/", "/web/compose"):
        assert site.request(method, target).status == 405, target


def test_control_characters_of_a_log_are_removed(new_site):
    site = new_site()
    packages = site.dir / "set/default.nix"
    packages.write_text(packages.read_text().replace("echo 'a line of the log'", "printf 'red\\\\033[31m\\\\302\\\\233x\\\\377\\\\n'"))
    assert site.manifest("failing").status == 424
    for answer in (site.get("/api/build/failing"), site.get("/api/failures")):
        assert answer.status == 200
        text = json.dumps(answer.json, ensure_ascii=False)
        assert "red" in text and "\x1b" not in text and "\x9b" not in text and "\\u001b" not in answer.body.decode()


# --- headers and static files


@pytest.mark.parametrize("target, kind", [("/", "text/html"), ("/web/image.html", "text/html"), ("/web/nixery.css", "text/css"),
                                          ("/web/nixery.js", "text/javascript"), ("/web/icon.svg", "image/svg+xml"),
                                          ("/web/compose?packages=git", "text/html"), ("/web/compose", "text/html"), ("/web/nothing.js", "text/html")])  # fmt: skip
def test_pages_have_a_strict_policy(site, target, kind):
    answer = site.get(target)
    assert answer.headers["Content-Type"].startswith(kind)
    assert answer.headers.get_all("Content-Security-Policy") == [POLICY]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers.get_all("Cache-Control") == ["no-cache"]


def test_json_cannot_be_cached_framed_or_read_by_other_origins(site):
    for target in ("/api/images", "/api/plan/git", "/api/search?q=a", "/api/build/git", "/api/image/curl"):
        headers = site.get(target).headers
        assert headers["Content-Type"] == "application/json" and headers["X-Content-Type-Options"] == "nosniff"
        assert headers.get_all("Cache-Control") == ["no-store"]
        assert headers["Content-Security-Policy"].startswith("default-src 'none'; frame-ancestors 'none'")
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert "Access-Control-Allow-Origin" not in headers


def test_nothing_in_the_page_is_inline(site):
    for target in ("/", "/web/image.html", "/web/compose?packages=git"):
        text = site.get(target).body.decode()
        assert "<style" not in text and " style=" not in text and " on" + "click=" not in text
        assert all("src=" in tag for tag in text.split("<script")[1:])


def test_the_form_without_scripts_gives_commands(site):
    fields = {"packages": "git, Curl", "platform": "", "encoding": "", "tag": "", "shell": "1"}
    page = site.get("/web/compose?" + urllib.parse.urlencode(fields))
    assert page.status == 200
    assert f"docker run --rm -it {site.host}/shell/git/curl bash" in page.body.decode()
    wrong = site.get("/web/compose?packages=%3Cscript%3Ealert(1)%3C/script%3E")
    assert wrong.status == 400 and b"<script" not in wrong.body and b"&lt;script" in wrong.body


def test_without_a_worker_the_page_is_served_and_the_rest_is_503(new_site):
    site = new_site()
    site.stop_worker()
    assert site.get("/").status == 200
    answer = site.get("/api/images")
    assert answer.status == 503 and answer.error["code"] == "UNAVAILABLE"


def test_rules_by_repository_apply_to_the_api(new_site):
    site = new_site()
    assert site.manifest("jq").status == 200 and site.manifest("curl").status == 200
    main = site.dir / "nginx.conf"
    rules = r'map "$remote_user $nixery_path" $nixery_denied { volatile; default ""; "~^[^ ]* /v2/jq/manifests/latest\z" 1; "~^[^ ]* /v2/_catalog\z" 1; }'
    check = "auth_request /.nixery-rules; location = /.nixery-rules { internal; if ($nixery_denied) { return 403; } return 204; }"
    main.write_text(main.read_text().replace("  server {", f"  {rules}\n  server {{\n    {check}", 1))
    old = site.nginx_workers()
    site.nginx.send_signal(1)
    wait_for(lambda: not old & site.nginx_workers(), "nginx's old workers to leave")
    wait_for(lambda: site.get("/v2/jq/manifests/latest").status == 403, "the rules")
    for verb in ("plan", "image", "build", "events"):
        for name in ("jq", "jq:latest", "%6aq", "jq%3Alatest"):
            assert site.get(f"/api/{verb}/{name}").status == 403, (verb, name)
    for target in ("/api/images", "/api/failures", "/api/search?q=j"):
        assert site.get(target).status == 403, target
    assert site.get("/api/image/curl").status == 200 and site.get("/").status == 200
    # In any spelling.
    for target in ("/api/image//jq", "/api/image/x/../jq", "/api/image/%6aq", "/api/x/../image/jq", "//api/image/jq"):
        assert raw.get(site.port, target).status in (400, 403, 404), target
