"""Monitoring: /metrics, /healthz, /readyz, the log, and that dashboard and alerts use existing
metrics."""

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
import yaml

from engines import program
from package_sets import write_package_set
from registry import NIXERY, ROOT, wait_for
from test_sources import Channels, channels, more_members_of_the_archive  # noqa: F401  (fixtures)

MONITORING = ROOT / "packaging/monitoring"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{SPAN}-01"
# For tests that count or follow single requests: on a slow machine none may be redirected and repeated. Below nginx's
# timeout for a worker.
ONE_HOP = {"NIXERY_HOP_SECONDS": "80"}

SET = """
{ system, ... }:
let
  package = name: script: derivation {
    name = "${name}-SALT"; inherit system; builder = "/bin/sh";
    args = [ "-c" "PATH=/bin:/usr/bin; ${script}; mkdir -p $out/bin; echo '#!/bin/sh' > $out/bin/${name}; chmod +x $out/bin/${name}; echo ${name} > $out/text" ];
  };
in {
  good = package "good" "true";
  other = package "other" "true";
  broken = package "broken" "echo the reason; exit 1";
  gated = package "gated" "for i in $(seq 1200); do [ -e GATE ] && break; sleep 0.1; done; [ -e GATE ]";
}
"""


@pytest.fixture
def packages(directory):
    return str(write_package_set(directory / "packages", SET.replace("GATE", str(directory / "gate"))))


SAMPLE = re.compile(r"^([a-z_]+)(\{.*\})? (\S+)$")


def parsed(text: str) -> dict[str, float]:
    """Sample with labels, in the page's notation -> value."""
    samples = {}
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        match = SAMPLE.match(line)
        assert match, line
        assert match[1] + (match[2] or "") not in samples, f"twice: {line}"
        samples[match[1] + (match[2] or "")] = float(match[3])
    return samples


def scrape(registry) -> dict[str, float]:
    answer = registry.get("/metrics")
    assert answer.status == 200, answer.body
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    return parsed(answer.body.decode())


def grown(before: dict, after: dict) -> dict[str, float]:
    """Increments of counters and histograms' counts, without zeros."""
    names = {name for name in after if re.match(r"nixery_\w+(_total|_count)(\{|$)", name)}
    return {name: after[name] - before.get(name, 0) for name in names if after[name] != before.get(name, 0)}


def lines_of(registry) -> list[dict]:
    return [json.loads(line) for line in registry.worker_log.read_text().splitlines() if line.startswith("{")]


def checks_of(answer) -> dict:
    assert answer.headers["Content-Type"] == "application/json" and answer.headers["Cache-Control"] == "no-store"
    return {name: check.get("why", "") for name, check in answer.json["checks"].items()}


def readiness(registry, status: int):
    """The response of /readyz when the checks have this result; until they end, /readyz says that they are pending."""

    def looked():
        answer = registry.get("/readyz")
        return answer.status == status and not {"answer", "worker"} & set(checks_of(answer)) and answer

    return wait_for(looked, f"/readyz to say {status}", 60)


def reload(registry):
    """Reloads nginx's configuration and waits until its old processes have ended."""
    old = registry.nginx_workers()
    registry.nginx.send_signal(signal.SIGHUP)
    wait_for(lambda: (now := registry.nginx_workers()) and not old & now, "nginx to take its new settings")


# Metrics


def test_a_pull_a_failure_and_an_unknown_name_are_counted_exactly(new_registry, packages):
    registry = new_registry(NIXERY_PKGS_PATH=packages, **ONE_HOP)
    before = scrape(registry)
    assert before['nixery_requests_total{route="manifest",status="200"}'] == 0
    assert registry.manifest("good").status == 200
    assert registry.manifest("broken").status == 424
    assert registry.manifest("absent").status == 404
    assert registry.manifest("abcent").status == 404  # the set's names are known now
    assert registry.get("/v2/good/blobs/sha256:" + "0" * 64).status == 404
    assert registry.get("/v2/good/tags/list").status == 200
    assert registry.get("/v2/good/manifests/latest").status == 200  # by nginx
    after = scrape(registry)
    change = grown(before, after)
    written = change.pop("nixery_layer_written_bytes_total")
    assert 0 < written < change.pop("nixery_layer_compressed_bytes_total")
    assert change.pop("nixery_response_bytes_total") > 0
    assert change == {
        'nixery_requests_total{route="manifest",status="200"}': 1,
        'nixery_requests_total{route="manifest",status="424"}': 1,
        'nixery_requests_total{route="manifest",status="404"}': 2,
        'nixery_requests_total{route="blob",status="404"}': 1,
        'nixery_requests_total{route="tags",status="200"}': 1,
        'nixery_requests_total{route="metrics",status="200"}': 1,  # the first scrape
        'nixery_request_duration_seconds_count{route="manifest"}': 4,
        'nixery_request_duration_seconds_count{route="blob"}': 1,
        'nixery_request_duration_seconds_count{route="tags"}': 1,
        'nixery_request_duration_seconds_count{route="metrics"}': 1,
        'nixery_lookups_total{kind="tag",result="began"}': 4,
        'nixery_builds_total{outcome="built"}': 1,
        'nixery_builds_total{outcome="build_failed"}': 1,
        'nixery_builds_total{outcome="unknown_package"}': 2,
        "nixery_build_duration_seconds_count": 1,
        'nixery_build_phase_duration_seconds_count{phase="source"}': 4,
        'nixery_build_phase_duration_seconds_count{phase="resolve"}': 4,
        'nixery_build_phase_duration_seconds_count{phase="realise"}': 2,
        'nixery_build_phase_duration_seconds_count{phase="layer"}': 1,
        'nixery_build_phase_duration_seconds_count{phase="publish"}': 1,
        "nixery_evaluations_total": 3,
        "nixery_evaluations_spared_total": 1,
    }


def test_cached_failures_existing_images_and_reused_segments_are_counted_separately(new_registry, packages):
    registry = new_registry(NIXERY_PKGS_PATH=packages, NIXERY_FAILURE_SECONDS="600", **ONE_HOP)
    assert registry.manifest("good").status == 200
    assert registry.manifest("broken").status == 424
    before = scrape(registry)
    assert registry.manifest("broken").status == 424
    (registry.tree / "tags/good/_tags/latest").unlink()
    assert registry.manifest("good").status == 200
    change = grown(before, scrape(registry))
    assert change['nixery_lookups_total{kind="tag",result="remembered"}'] == 1
    assert change['nixery_builds_total{outcome="found"}'] == 1
    assert 'nixery_builds_total{outcome="built"}' not in change

    before = scrape(registry)
    assert registry.manifest("good/other").status == 200
    change = grown(before, scrape(registry))
    assert change['nixery_builds_total{outcome="built"}'] == 1
    assert change.get("nixery_layers_reused_total", 0) + change.get("nixery_layer_reused_bytes_total", 0) > 0


def test_waiting_builds_and_clients_are_shown(new_registry, packages, directory):
    registry = new_registry(NIXERY_PKGS_PATH=packages, NIXERY_BUILDS="1", **ONE_HOP)
    answers = []
    clients = [threading.Thread(target=lambda name=name: answers.append(registry.manifest(name).status)) for name in ("gated", "gated", "good")]
    clients[0].start()
    wait_for(lambda: scrape(registry)["nixery_builds_running"] == 1, "the first build to run")
    clients[2].start()
    wait_for(lambda: scrape(registry)["nixery_builds_running"] == 1 and scrape(registry)["nixery_builds_queued"] == 1, "two builds")
    clients[1].start()
    wait_for(lambda: scrape(registry)["nixery_requests_waiting"] == 3, "three clients")
    assert scrape(registry)['nixery_lookups_total{kind="tag",result="joined"}'] == 1
    (directory / "gate").touch()
    for client in clients:
        client.join()
    assert answers == [200, 200, 200]
    # Waiting clients are answered before the build thread is free.
    idle = lambda now: (now["nixery_builds_running"], now["nixery_builds_queued"], now["nixery_requests_waiting"]) == (0, 0, 0)
    wait_for(lambda: idle(scrape(registry)), "nothing to run or wait")


def test_the_tree_the_disks_and_the_process_are_measured(new_registry, packages):
    registry = new_registry(NIXERY_PKGS_PATH=packages, NIXERY_MIN_FREE="7K")
    assert registry.manifest("good").status == 200
    blobs = [path for path in (registry.tree / "blobs").rglob("*") if path.is_file()]
    wait_for(lambda: scrape(registry).get("nixery_tree_blobs") == len(blobs), "the tree to be counted")
    now = scrape(registry)
    assert now["nixery_tree_blob_bytes"] == sum(path.stat().st_size for path in blobs)
    assert abs(now["nixery_tree_counted_timestamp_seconds"] - time.time()) < 600
    disk = os.statvfs(registry.tree)
    for directory in ("tree", "state"):
        assert now[f'nixery_disk_size_bytes{{directory="{directory}"}}'] == disk.f_blocks * disk.f_frsize
        assert 0 < now[f'nixery_disk_free_bytes{{directory="{directory}"}}'] <= disk.f_blocks * disk.f_frsize
    assert now["nixery_disk_min_free_bytes"] == 7000
    pid = registry.worker.pid
    assert now["process_resident_memory_bytes"] > 1 << 20
    assert abs(now["process_open_fds"] - len(os.listdir(f"/proc/{pid}/fd"))) < 10
    assert abs(now["process_start_time_seconds"] - time.time()) < 600
    assert now[f'nixery_worker_info{{listener="unix:{registry.socket}"}}'] == 1


def test_pulls_that_nginx_answered_are_counted_from_its_log(new_registry, packages):
    registry = new_registry(NIXERY_PKGS_PATH=packages)
    log = registry.dir / "use.log"
    conf = (ROOT / "nginx/nixery-use.conf").read_text().replace("/var/log/nginx/nixery-use.log", str(log))
    (registry.dir / "nixery-use.conf").write_text(conf)
    text = (registry.dir / "nginx.conf").read_text()
    (registry.dir / "nginx.conf").write_text(text.replace("  server {", f"  include {registry.dir}/nixery-use.conf;\n  server {{", 1))
    reload(registry)
    registry.stop_worker()
    registry.start_worker(NIXERY_USE_LOG=str(log), **ONE_HOP)
    wait_for(lambda: "nixery_pulls_total" in scrape(registry), "the log to be read")
    before = scrape(registry)["nixery_pulls_total"]
    for _ in range(5):
        assert registry.manifest("good").status == 200
    # The next count is due after fifty times the duration of the last.
    wait_for(lambda: scrape(registry)["nixery_pulls_total"] == before + 5, "five pulls", 300)
    assert scrape(registry)['nixery_requests_total{route="manifest",status="200"}'] == 1


def promtool(*words: str, text: str = "") -> None:
    done = subprocess.run([program("promtool", "prometheus"), *words], input=text, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr


def test_promtool_accepts_the_metrics(new_registry, packages):
    registry = new_registry(NIXERY_PKGS_PATH=packages)
    assert registry.manifest("good").status == 200
    promtool("check", "metrics", text=registry.get("/metrics").body.decode())
    assert "UNTYPED" not in registry.get("/metrics").body.decode()


def test_the_dashboard_and_the_alerts_use_existing_metrics(new_registry, packages):
    promtool("check", "rules", str(MONITORING / "nixery-alerts.yml"))
    promtool("check", "config", str(MONITORING / "prometheus.yml"))
    dashboard = json.loads((MONITORING / "nixery-dashboard.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    assert len(expressions) > 20
    (group,) = yaml.safe_load((MONITORING / "nixery-alerts.yml").read_text())["groups"]
    assert len(group["rules"]) > 5
    expressions += [rule["expr"] for rule in group["rules"]]
    expressions += [variable["definition"] for variable in dashboard["templating"]["list"] if "definition" in variable]

    registry = new_registry(NIXERY_PKGS_PATH=packages, NIXERY_USE_LOG=str(ROOT / "README.md"))
    wait_for(lambda: {"nixery_tree_blobs", "nixery_nix_can_build"} <= set(scrape(registry)), "the tree to be counted, and Nix to be tried")
    there = {name.split("{")[0] for name in scrape(registry)}
    named = {name for text in expressions for name in re.findall(r"\b(?:nixery|process)_[a-z_]+", text)}
    assert len(named) > 25
    assert named <= there, named - there
    # Labels, too: each selector uses an existing label and value.
    samples = " ".join(scrape(registry))
    selected = re.findall(r'(phase|route|result|outcome|directory|kind)(?:=|!=|=~|!~)"([a-z_0-9|]+)"', " ".join(expressions))
    assert len(selected) > 5
    for label, values in selected:
        for value in values.split("|"):
            assert f'{label}="{value}"' in samples, (label, value)


def test_the_dashboard_counts_a_pull_once_for_any_number_of_workers(directory):
    dashboard = json.loads((MONITORING / "nixery-dashboard.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    (pulls,) = [text.replace("$instance", ".*").replace("$__rate_interval", "5m") for text in expressions if "nixery_pulls_total" in text]
    series = [f'nixery_pulls_total{{instance="{instance}"}}' for instance in ("a:8080", "a:8080/2", "b:8080")]
    (directory / "test.yml").write_text(json.dumps({"evaluation_interval": "1m", "tests": [{
        "interval": "1m",
        "input_series": [{"series": each, "values": "0+60x30"} for each in series],
        "promql_expr_test": [{"expr": pulls, "eval_time": "20m", "exp_samples": [{"labels": "{}", "value": 2}]}],
    }]}))  # fmt: skip
    promtool("test", "rules", str(directory / "test.yml"))


def test_the_alerts_fire_when_they_should(directory):
    """promtool's rule tests with our own series."""
    shutil.copy(MONITORING / "nixery-alerts.yml", directory)
    series = lambda name, values: f"      - series: '{name}'\n        values: '{values}'\n"
    (directory / "test.yml").write_text(
        "rule_files: [nixery-alerts.yml]\nevaluation_interval: 1m\ntests:\n  - interval: 1m\n    input_series:\n"
        + series('up{job="nixery",instance="a"}', "0x30")
        + series('nixery_disk_free_bytes{instance="a",directory="tree"}', "1500000000x60")
        + series('nixery_disk_free_bytes{instance="a",directory="state"}', "9000000000x60")
        + series('nixery_disk_size_bytes{instance="a",directory="tree"}', "10000000000x60")
        + series('nixery_disk_size_bytes{instance="a",directory="state"}', "10000000000x60")
        + series('nixery_disk_min_free_bytes{instance="a"}', "1000000000x60")
        + series('nixery_builds_total{instance="a",outcome="storage"}', "0+10x60")
        + series('nixery_builds_total{instance="a",outcome="built"}', "0+10x60")
        + series('nixery_nix_can_build{instance="a"}', "1x10 0x50")
        + "    alert_rule_test:\n"
        "      - {eval_time: 5m, alertname: NixeryWorkerDown, exp_alerts: [{exp_labels: {severity: critical, job: nixery, instance: a}}]}\n"
        "      - {eval_time: 1m, alertname: NixeryWorkerDown, exp_alerts: []}\n"
        "      - {eval_time: 20m, alertname: NixeryDiskNearlyFull, exp_alerts: [{exp_labels: {severity: warning, instance: a, directory: tree}}]}\n"
        "      - {eval_time: 40m, alertname: NixeryBuildsFail, exp_alerts: [{exp_labels: {severity: critical, instance: a}}]}\n"
        "      - {eval_time: 40m, alertname: NixeryQueueLong, exp_alerts: []}\n"
        "      - {eval_time: 9m, alertname: NixeryNixCannotBuild, exp_alerts: []}\n"
        "      - {eval_time: 20m, alertname: NixeryNixCannotBuild, exp_alerts: [{exp_labels: {severity: critical, instance: a}}]}\n"
    )
    # Compared without texts, which may change.
    rules = (directory / "nixery-alerts.yml").read_text()
    rules = re.sub(r"\n        annotations:\n(?:          .*\n)+", "\n", rules)
    (directory / "nixery-alerts.yml").write_text(rules)
    promtool("test", "rules", str(directory / "test.yml"))


def test_counters_never_decrease_during_concurrent_scrapes(new_registry, packages):
    registry = new_registry(NIXERY_PKGS_PATH=packages)
    over, wrong = threading.Event(), []
    scrapes = [0] * 10

    def watch(number: int):
        last: dict = {}
        try:
            while not over.is_set() or scrapes[number] < 3:
                now = scrape(registry)
                back = {name for name in last if re.search(r"_(total|count|bucket)(\{|$)", name) and now[name] < last[name]}
                if back:
                    wrong.append(back)
                last = now
                scrapes[number] += 1
        except BaseException as error:
            wrong.append(repr(error))

    watchers = [threading.Thread(target=watch, args=(number,)) for number in range(10)]
    for watcher in watchers:
        watcher.start()
    statuses = [registry.manifest(name).status for name in ("good", "other", "good/other", "broken", "absent")]
    over.set()
    for watcher in watchers:
        watcher.join()
    assert statuses == [200, 200, 200, 424, 404]
    assert not wrong and min(scrapes) >= 3
    now = scrape(registry)
    assert now['nixery_requests_total{route="metrics",status="200"}'] == sum(scrapes)
    assert now['nixery_builds_total{outcome="built"}'] == 3


def ask_from(registry, address: str, target: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", registry.port, timeout=60, source_address=(address, 0))
    connection.request("GET", target)
    status = connection.getresponse().status
    connection.close()
    return status


def test_metrics_are_for_this_machine_only_and_probes_for_all(registry):
    assert ask_from(registry, "127.0.0.1", "/metrics") == 200
    assert ask_from(registry, "127.0.0.2", "/metrics") == 403
    assert ask_from(registry, "127.0.0.2", "/healthz") == 200
    wait_for(lambda: ask_from(registry, "127.0.0.2", "/readyz") == 200, "it to be ready", 60)
    assert registry.request("POST", "/metrics").status == 405
    assert registry.head("/healthz").status == 200


def test_two_workers_of_one_tree_have_metrics_at_their_own_paths(new_registry, packages):
    registry = new_registry(NIXERY_PKGS_PATH=packages)
    second = registry.dir / "second.sock"
    status = (ROOT / "nginx/nixery-status.conf").read_text()
    (inside,) = re.findall(r"^location = /metrics {\n(.*?)^}", status, flags=re.M | re.S)
    (registry.dir / "status-2.conf").write_text(re.sub(r"fastcgi_pass +nixery_workers;", f"fastcgi_pass unix:{second};", inside))
    conf = registry.dir / "nginx.conf"
    mine = f"location = /metrics/2 {{ include {registry.dir}/status-2.conf; }}\n"
    conf.write_text(conf.read_text().replace("    listen 127", f"    {mine}    listen 127", 1))
    reload(registry)
    with open(registry.dir / "second.log", "ab") as log:
        worker = subprocess.Popen([NIXERY, "serve"], env={**registry.env, "NIXERY_LISTEN": f"unix:{second}"}, stderr=log, stdin=subprocess.DEVNULL)
    try:
        wait_for(lambda: registry.get("/metrics/2").status == 200, "the second worker")
        assert registry.manifest("good").status == 200  # by the first, the only one in the upstream
        built = 'nixery_builds_total{outcome="built"}'
        one, two = scrape(registry), parsed(registry.get("/metrics/2").body.decode())
        assert (one[built], two[built]) == (1, 0)
        assert two[f'nixery_worker_info{{listener="unix:{second}"}}'] == 1
    finally:
        worker.terminate()
        assert worker.wait(timeout=60) == 0


# Health


def test_a_worker_that_could_build_is_ready(registry):
    assert (registry.get("/healthz").status, registry.get("/healthz").json) == (200, {"alive": True})
    answer = readiness(registry, 200)
    assert answer.json["ready"] is True
    assert checks_of(answer) == {"nix": "", "tree": "", "state": "", "tree space": "", "state space": ""}


@pytest.mark.parametrize("what, broken", [("state", "state"), ("tree", "tree/incoming")])
def test_a_directory_that_cannot_be_written_is_not_ready_until_it_can(new_registry, packages, what, broken):
    registry = new_registry(NIXERY_PKGS_PATH=packages)
    readiness(registry, 200)
    place = registry.dir / broken
    place.rename(registry.dir / "aside")
    place.write_text("no directory\n")
    answer = readiness(registry, 503)
    assert "Not a directory" in checks_of(answer)[what] and checks_of(answer)["nix"] == ""
    assert str(registry.dir) not in answer.body.decode()  # clients must not see directories
    assert registry.get("/healthz").status == 200
    place.unlink()
    (registry.dir / "aside").rename(place)
    readiness(registry, 200)
    (event,) = registry.events("not ready")
    assert event["level"] == "error" and f"{what}: " in event["error"]
    assert len(registry.events("ready again")) == 1


def programs(directory: Path) -> Path:
    """A PATH with a nix that can be removed."""
    bin = directory / "bin"
    bin.mkdir()
    for name in ("nix-store", "nix-instantiate"):
        (bin / name).symlink_to(program(name, "nix-bin"))
    for name in ("sh", "sleep", "cat", "git"):
        (bin / name).symlink_to(shutil.which(name))
    return bin


def test_without_nix_a_worker_is_alive_but_not_ready(new_registry, packages, directory):
    bin = programs(directory)
    registry = new_registry(NIXERY_PKGS_PATH=packages, PATH=str(bin))
    readiness(registry, 200)
    (bin / "nix-store").unlink()
    answer = readiness(registry, 503)
    assert "cannot run nix-store" in checks_of(answer)["nix"]
    assert registry.get("/healthz").status == 200 and registry.get("/metrics").status == 200
    (bin / "nix-store").symlink_to(program("nix-store", "nix-bin"))
    readiness(registry, 200)


def test_a_disk_with_too_little_free_space_is_not_ready(new_registry, packages):
    registry = new_registry(NIXERY_PKGS_PATH=packages, NIXERY_MIN_FREE="900T")
    answer = readiness(registry, 503)
    assert answer.json["ready"] is False
    assert "NIXERY_MIN_FREE" in checks_of(answer)["tree space"] and "NIXERY_MIN_FREE" in checks_of(answer)["state space"]
    assert registry.manifest("good").status == 200  # it reports the problem and still builds


def hanging_nix(directory: Path) -> Path:
    """A nix-store that hangs as long as the file `hang` exists; it makes the file `hung` when it does."""
    bin = programs(directory)
    (bin / "nix-store").unlink()
    (bin / "nix-store").write_text(
        f"#!/bin/sh\nif [ -e {directory}/hang ]; then echo >> {directory}/hung; exec sleep 600; fi\nexec {program('nix-store', 'nix-bin')} \"$@\"\n"
    )
    (bin / "nix-store").chmod(0o755)
    return bin


def test_a_hanging_nix_does_not_delay_status_requests(new_registry, packages, directory):
    bin = hanging_nix(directory)
    registry = new_registry(NIXERY_PKGS_PATH=packages, PATH=str(bin), NIXERY_THREADS="1")
    readiness(registry, 200)
    (directory / "hang").touch()
    seen = []

    def asked():
        answer = registry.get("/readyz")
        assert registry.get("/healthz").status == 200
        seen.append(checks_of(answer))
        return answer.status == 503

    wait_for(asked, "the checks to fail")
    assert (directory / "hung").exists()
    assert any("have not ended" in why.get("answer", "") or "ran longer than" in why.get("nix", "") for why in seen), seen
    (directory / "hang").unlink()
    readiness(registry, 200)


def test_an_ended_worker_is_not_ready(new_registry, packages):
    registry = new_registry(NIXERY_PKGS_PATH=packages)
    readiness(registry, 200)
    assert registry.stop_worker() == 0
    answer = registry.get("/readyz")
    assert answer.status == 503 and list(checks_of(answer)) == ["worker"]
    assert registry.get("/healthz").status == 503 and registry.get("/metrics").status == 503


# The log


def recording_nix(directory: Path) -> Path:
    bin = programs(directory)
    for name in ("nix-store", "nix-instantiate"):
        (bin / name).unlink()
        (bin / name).write_text(f'#!/bin/sh\necho "{name} $TRACEPARENT" >> {directory}/traces\nexec {program(name, "nix-bin")} "$@"\n')
        (bin / name).chmod(0o755)
    return bin


def test_request_id_and_trace_are_in_every_line_of_a_request_and_its_build(new_registry, packages, directory):
    settings = {"PATH": str(recording_nix(directory)), "TRACEPARENT": "00-of-the-worker-itself-00", **ONE_HOP}
    registry = new_registry(NIXERY_PKGS_PATH=packages, **settings)
    pulled = registry.get("/v2/good/manifests/latest", {"traceparent": TRACEPARENT})
    assert pulled.status == 200
    id = pulled.headers["X-Request-Id"]
    assert re.fullmatch("[0-9a-f]{32}", id)
    for event in ("image built", "request"):
        (line,) = registry.events(event)
        assert (line["request"], line["trace_id"], line["span_id"]) == (id, TRACE, SPAN)
    traces = (directory / "traces").read_text().splitlines()
    assert {line.split()[0] for line in traces} == {"nix-store", "nix-instantiate"}
    assert {trace for line in traces for trace in line.split()[1:]} == {TRACEPARENT}  # processes without a request have none

    failed = registry.get("/v2/broken/manifests/latest")
    id = failed.headers["X-Request-Id"]
    assert failed.error["detail"] == {"failure": "build_failed", "request": id}
    (line,) = registry.events("build failed")
    assert line["request"] == id and "trace_id" not in line
    assert (registry.state / "logs" / f"{line['log']}.log").read_text().find("the reason") >= 0
    assert (directory / "traces").read_text().splitlines()[-1].endswith(" ")  # without a trace, none is invented


@pytest.mark.parametrize("parent", ["nonsense", "00-" + "0" * 32 + f"-{SPAN}-01", TRACEPARENT.upper(), TRACEPARENT + '"}'])
def test_a_malformed_trace_is_ignored(new_registry, packages, parent):
    registry = new_registry(NIXERY_PKGS_PATH=packages, **ONE_HOP)
    assert registry.get("/v2/good/manifests/latest", {"traceparent": parent}).status == 200
    assert not any("trace_id" in line for line in lines_of(registry))


def test_the_trace_is_passed_to_the_channel_server(new_registry, channels, monkeypatch):  # noqa: F811
    seen = []
    answer = Channels.do_GET
    monkeypatch.setattr(Channels, "do_GET", lambda self: (seen.append((self.path, self.headers.get("traceparent"))), answer(self))[1])
    registry = new_registry(**channels, **ONE_HOP)
    assert registry.get("/v2/tool/manifests/latest", {"traceparent": TRACEPARENT}).status == 200
    assert any("/archive/" in path for path, _ in seen)
    assert {parent for _, parent in seen} == {TRACEPARENT}


def test_every_response_has_a_request_id(registry):
    digest = registry.manifest("hello").headers["Docker-Content-Digest"]
    targets = ["/v2/", f"/v2/hello/manifests/{digest}", "/v2/hello/manifests/latest", f"/v2/hello/referrers/sha256:{'0' * 64}",
               "/v2/hello/tags/list", "/v2/hello/manifests/..", "/v2/HELLO/manifests/latest", "/healthz", "/readyz", "/metrics"]  # fmt: skip
    ids = set()
    for target in targets:
        answer = registry.get(target)
        (id,) = answer.headers.get_all("X-Request-Id")
        assert re.fullmatch("[0-9a-f]{32}", id), target
        if answer.status >= 400 and "errors" in answer.json:
            assert answer.error["detail"]["request"] == id
        ids.add(id)
    assert len(ids) == len(targets)
    ranged = registry.get(f"/v2/hello/manifests/{digest}", {"Range": "bytes=999999-"})
    assert ranged.status == 416 and len(ranged.headers.get_all("X-Request-Id")) == 1


def test_a_clients_request_id_is_used_only_if_nginx_is_configured_so(new_registry, packages):
    registry = new_registry(NIXERY_PKGS_PATH=packages)
    given = {"X-Request-Id": "from-the-proxy.1"}
    assert registry.get("/v2/absent/manifests/latest", given).headers["X-Request-Id"] != "from-the-proxy.1"
    conf = registry.dir / "nixery-http.conf"
    text = conf.read_text()
    unset = 'map "" $nixery_given_request_id { default ""; }'
    assert unset in text
    conf.write_text(text.replace(unset, 'map "" $nixery_given_request_id { default $http_x_request_id; }'))
    reload(registry)
    ask = lambda headers: registry.get("/v2/absent/manifests/latest", headers)
    assert ask(given).headers["X-Request-Id"] == "from-the-proxy.1"
    assert ask(given).error["detail"]["request"] == "from-the-proxy.1"
    for odd in ('a"b', "a b", "x" * 129, ""):
        assert re.fullmatch("[0-9a-f]{32}", ask({"X-Request-Id": odd}).headers["X-Request-Id"])


def test_scanners_are_logged_only_at_level_debug(new_registry, packages):
    # Clients that look for signatures request such tags.
    signature = f"/v2/good/manifests/sha256-{'0' * 64}.sig"
    registry = new_registry(NIXERY_PKGS_PATH=packages)
    probe = lambda: [registry.get(target).status for target in (signature, "/v2/wordpress/manifests/v1", "/v2/wp-admin", "/v2/good/tags/list?token=hush")]
    probe()
    readiness(registry, 200)
    wait_for(lambda: registry.events("serving"), "it to say so: it answers a moment earlier")
    assert {line["event"] for line in lines_of(registry)} == {"serving"}

    registry.stop_worker()
    registry.start_worker(NIXERY_LOG_LEVEL="debug")
    probe()
    requests = {line.get("path") or line["reference"]: line for line in registry.events("request")}
    assert set(requests) - {"/healthz"} == {signature.rpartition("/")[2], "v1", "/v2/wp-admin", "list"}
    line = requests[signature.rpartition("/")[2]]
    assert (line["level"], line["route"], line["method"], line["repository"], line["status"], line["client"]) == (
        "debug", "manifest", "GET", "good", "404", "127.0.0.1")  # fmt: skip
    assert float(line["seconds"]) < 30 and int(line["bytes"]) > 0
    assert "hush" not in registry.worker_log.read_text()  # the query is not logged


def test_a_pull_that_builds_is_one_line_of_info(new_registry, packages):
    registry = new_registry(NIXERY_PKGS_PATH=packages, **ONE_HOP)
    answer = registry.manifest("good")
    (line,) = registry.events("request")
    assert (line["level"], line["route"], line["repository"], line["reference"], line["status"]) == ("info", "manifest", "good", "latest", "200")
    assert int(line["bytes"]) == len(answer.body)


@pytest.mark.parametrize("level, expected", [("error", set()), ("warning", {"warning"}), ("info", {"info", "warning"}), ("debug", {"info", "warning", "debug"})])
def test_lines_above_the_level_are_omitted(new_registry, packages, level, expected):
    registry = new_registry(NIXERY_PKGS_PATH=packages, NIXERY_LOG_LEVEL=level)
    assert registry.manifest("good").status == 200
    assert registry.manifest("broken").status == 424
    assert registry.get("/v2/good/tags/list").status == 200
    assert {line["level"] for line in lines_of(registry)} == expected


def test_an_invalid_level_is_refused_at_start(registry):
    done = registry.nixery("config", NIXERY_LOG_LEVEL="loud")
    assert done.returncode == 1 and "NIXERY_LOG_LEVEL: 'loud' is not valid" in done.stderr


def test_only_lines_for_the_journal_begin_with_their_priority(new_registry, packages):
    registry = new_registry(NIXERY_PKGS_PATH=packages)
    registry.stop_worker()
    status = registry.worker_log.stat()
    registry.start_worker(JOURNAL_STREAM=f"{status.st_dev}:{status.st_ino}")
    assert registry.manifest("broken").status == 424
    marked = [line for line in registry.worker_log.read_text().splitlines() if line.startswith("<")]
    assert marked and {(line[:3], json.loads(line[3:])["level"]) for line in marked} == {("<6>", "info"), ("<4>", "warning")}
    # JOURNAL_STREAM is inherited by processes with another standard error.
    registry.stop_worker()
    registry.start_worker(JOURNAL_STREAM=f"{status.st_dev}:{status.st_ino + 1}")
    assert registry.manifest("good").status == 200
    assert registry.events("image built")
