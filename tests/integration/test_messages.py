"""Messages to users are plain text, regardless of their source, and contain none of the registry's directories."""

import json
import os
import pty
import re
import subprocess
import uuid

import pytest

from conftest import running, started, temporary_directory
from package_sets import write_package_set
from registry import NIXERY, ROOT, Registry

# A colour, a window title, a hyperlink, an 8-bit sequence in UTF-8, a backspace, reversed text, and invalid UTF-8.
NASTY = r"\033[31;1mred\033[0m \033]0;title\007 \033]8;;http://x\033\\link\033]8;;\033\\ \302\2331mbold \010 \342\200\256rtl \377end"
PLAIN = "red  link bold  rtl �end"

SET = """
{ system, ... }:
let
  esc = builtins.fromJSON ''"\\u001b"'';
  csi = builtins.fromJSON ''"\\u009b"'';
  package = name: script: derivation {
    name = "${name}-SALT"; inherit system; builder = "/bin/sh"; args = [ "-c" script ];
  };
in {
  failing = package "failing" ''printf 'NASTY\\n'; exit 1'';
  described = package "described" "echo > $out" // {
    meta.description = "a ${esc}[31mred${esc}[0m ${esc}]0;title${esc}\\\\tool ${csi}1mbold${csi}0m"; version = "1${esc}[2J";
    meta.homepage = "http://x/${esc}[31m"; meta.license.fullName = "my ${csi}31mown";
  };
  thrown = throw "${esc}[31;1mno${esc}[0m, in ${toString ./.}/default.nix:47, it is broken";
}
"""


@pytest.fixture
def packages(directory):
    packages = directory / "packages"
    packages.mkdir()
    (packages / "default.nix").write_text(SET.replace("NASTY", NASTY).replace("SALT", uuid.uuid4().hex))
    return packages


@pytest.fixture
def registry(packages, monkeypatch):
    monkeypatch.setattr(Registry, "server", f"include {ROOT}/nginx/nixery-web.conf;")
    with started(packages, {"NIXERY_FAILURE_SECONDS": "600"}) as registry:
        yield registry


def is_plain(text: str):
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text), repr(text)
    for part in ("[31", "[0m", "0;title", "]8;;", "1mbold", "[2J"):
        assert part not in text, repr(text)


def test_build_output_reaches_clients_as_plain_text(registry):
    answer = registry.manifest("failing")
    assert answer.status == 424
    is_plain(answer.error["message"])
    assert PLAIN in answer.error["message"]
    assert PLAIN in registry.get("/api/failures").json["failures"][0]["log"]
    events = subprocess.run(["curl", "-sN", "-m", "10", f"http://{registry.host}/api/events/failing:latest"], capture_output=True)
    is_plain(json.dumps(events.stdout.decode(), ensure_ascii=False))
    (log,) = (registry.state / "logs").glob("*.log")
    is_plain(log.read_text())
    assert PLAIN in log.read_text()
    for line in registry.worker_log.read_text().splitlines():
        is_plain(json.dumps(json.loads(line), ensure_ascii=False))


def at_a_terminal(registry, *words: str) -> str:
    master, terminal = pty.openpty()
    process = subprocess.Popen([NIXERY, *words], env={**registry.env, "TERM": "xterm"}, stdin=terminal, stdout=terminal, stderr=terminal)
    os.close(terminal)
    printed = b""
    while True:
        try:
            piece = os.read(master, 65536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        printed += piece
    process.wait(timeout=60)
    os.close(master)
    return printed.decode()


# Nixery's own terminal sequences: colours, and clearing a line.
OWN = re.compile(r"\x1b\[(?:0|1|2|32|33|1;31)m|\r\x1b\[K|\r\n")


def test_build_output_reaches_a_terminal_as_plain_text(registry):
    printed = at_a_terminal(registry, "build", "failing")
    assert PLAIN in printed
    is_plain(OWN.sub("", printed))


def test_package_metadata_is_plain_text_in_a_plan(registry):
    assert registry.nixery("build", "described").returncode == 0
    for printed in (at_a_terminal(registry, "plan", "described"), registry.nixery("plan", "described").stdout):
        assert "a red tool bold" in printed
        is_plain(OWN.sub("", printed).replace("\n", ""))


def test_package_metadata_is_plain_text_in_everything_published(registry):
    manifest = registry.manifest("described")
    assert manifest.status == 200 and "a red tool bold" in manifest.body.decode()
    referrers = registry.get(f"/v2/described/referrers/{manifest.headers['Docker-Content-Digest']}").json["manifests"]
    attached = [registry.get(f"/v2/described/manifests/{each['digest']}").json for each in referrers]
    documents = [registry.get(f"/v2/described/blobs/{layer['digest']}").json for each in attached for layer in each["layers"]]
    assert len(documents) >= 3
    config = registry.get(f"/v2/described/blobs/{manifest.json['config']['digest']}").json
    for published in (manifest.json, config, *documents, registry.get("/api/images").json, registry.get("/api/plan/described").json):
        is_plain(json.dumps(published, ensure_ascii=False))


def test_directories_are_hidden_from_clients_and_shown_to_the_operator(registry, packages):
    for _ in range(2):
        answer = registry.manifest("thrown")
        assert answer.status == 422
        assert "no, in <packages>/default.nix:47, it is broken" in answer.error["message"], answer.error
        assert str(packages) not in answer.body.decode()
    (event,) = registry.events("build failed")
    assert f"{packages}/default.nix:47" in event["error"]
    failures = registry.get("/api/failures")
    assert "<packages>/default.nix:47" in failures.json["failures"][0]["message"]
    assert str(packages) not in failures.body.decode()
    for log in (registry.state / "logs").glob("*.log"):
        is_plain(log.read_text())
    printed = registry.nixery("build", "thrown").stderr
    assert f"{packages}/default.nix:47" in printed
    is_plain(printed.replace("\n", ""))


# For one platform it can be evaluated, for the other not.
HALF = """
{ system, ... }: {
  half = if system == "x86_64-linux"
    then derivation { name = "half-SALT"; inherit system; builder = "/bin/sh"; args = [ "-c" "echo > $out" ]; }
    else throw "not for ${system}, see ${toString ./.}/default.nix:7";
}
"""


def test_an_index_says_why_a_member_is_left_out_without_the_hosts_directories(directory):
    packages = write_package_set(directory / "packages", HALF)
    with started(packages, {"NIXERY_PLATFORMS": "amd64 arm64"}) as registry:
        index = registry.manifest("half")
        assert index.status == 200, index.body
        (why,) = [text for name, text in index.json["annotations"].items() if "left-out" in name or "left_out" in name or "arm64" in name]
        assert "see <packages>/default.nix:7" in why and str(packages) not in index.body.decode()


def test_a_repository_on_the_registrys_host_is_not_named_to_who_pulls(directory):
    for place in (directory / "gone.git", f"file://{directory}/gone.git"):
        with temporary_directory() as own, running(Registry(own, {"NIXERY_PKGS_REPO": str(place)})) as registry:
            registry.start_nginx()
            registry.start_worker()
            answer = registry.manifest("tool")
            assert answer.status == 503
            assert "<packages>" in answer.error["message"] and str(directory) not in answer.body.decode()
            (event,) = registry.events("build failed")
            assert str(place) in event["error"]
