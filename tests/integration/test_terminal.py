"""Output to a terminal and to a pipe: progress, colours, help, failures as JSON."""

import fcntl
import json
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time

import pytest

from registry import NIXERY

COLOUR = re.compile(r"\033\[[0-9;]*m")


def at_terminal(env: dict[str, str], *words: str, columns: int = 100, seconds: float = 120, **settings: str) -> tuple[int, str]:
    """The exit status and the terminal's bytes."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    env = {k: v for k, v in env.items() if k not in ("NO_COLOR", "CLICOLOR_FORCE")}
    process = subprocess.Popen([NIXERY, *words], env={**env, "TERM": "xterm-256color", **settings}, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown, deadline = b"", time.monotonic() + seconds
    try:
        while True:
            assert time.monotonic() < deadline, shown
            if not select.select([ours], [], [], 1)[0]:
                continue
            try:
                shown += os.read(ours, 65536)
            except OSError:  # EIO: the other end is closed
                break
    finally:
        os.close(ours)
        if process.poll() is None and time.monotonic() >= deadline:
            process.kill()
    return process.wait(timeout=30), shown.decode()


def screens(shown: str) -> list[str]:
    """The successive contents of the rewritten line."""
    return [COLOUR.sub("", part).rstrip("\r\n") for part in shown.split("\r\033[K")]


def test_a_build_shows_each_of_its_steps_in_one_line(new_registry, slow_set):
    registry = new_registry(NIXERY_PKGS_PATH=slow_set)
    status, shown = at_terminal(registry.env, "build", "shell/slow.s5", columns=70)
    assert status == 0, shown
    lines = screens(shown)
    text = "\n".join(lines)
    assert re.search(r"^resolving packages, \d+ s$", text, re.M), text
    assert re.search(r"^building with nix: building slow-\w+", text, re.M), text
    compressing = [re.match(r"compressing layers: (\d+) of (\d+), (\d+) of (\d+) MB, \d+ s$", line) for line in lines]
    assert any(compressing), text
    # One line of the terminal, even for a long name.
    assert all(len(line) < 70 for line in lines[:-1]), lines
    # At the end, the line is cleared and the result is printed.
    assert re.match(r"shell/slow.s5:latest sha256:[0-9a-f]{64}\r\n\d+ layers, [0-9.]+ MB compressed$", lines[-1]), lines[-1]


def test_the_seconds_advance_while_nix_is_silent(new_registry, slow_set):
    registry = new_registry(NIXERY_PKGS_PATH=slow_set)
    status, shown = at_terminal(registry.env, "build", "slow.s10", columns=200)
    assert status == 0, shown
    seconds = {int(m[1]) for line in screens(shown) if (m := re.match(r"building with nix: building .*, (\d+) s$", line))}
    assert len(seconds) >= 3, shown


def test_only_terminals_get_colours(registry):
    commands = (["build", "hello"], ["plan", "hello"], ["doctor", "--url", f"http://{registry.host}", "--nginx-conf", str(registry.dir / "nginx.conf")],
                ["help"], ["help", "build"], ["config"], ["verify"])  # fmt: skip
    for words in commands:
        status, shown = at_terminal(registry.env, *words)
        assert status == 0 and COLOUR.search(shown), (words, shown)
        for quiet in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
            status, shown = at_terminal(registry.env, *words, **quiet)
            assert status == 0 and not COLOUR.search(shown), (words, quiet, shown)
        piped = registry.nixery(*words, TERM="xterm")
        assert piped.returncode == 0 and "\033" not in piped.stdout + piped.stderr, words
        assert COLOUR.search(registry.nixery(*words, CLICOLOR_FORCE="1").stdout), words


def test_a_dumb_terminal_gets_lines(registry):
    status, shown = at_terminal(registry.env, "build", "hello", TERM="dumb")
    assert status == 0 and "\033" not in shown and "resolving packages" in shown


def test_doctor_colours_its_verdicts_and_keeps_to_the_terminals_width(registry):
    words = ("doctor", "--url", f"http://{registry.host}", "--nginx-conf", str(registry.dir / "nginx.conf"))
    status, shown = at_terminal(registry.env, *words, columns=90, NIXERY_PKGS_PATH="/no/such/set")
    assert status == 1
    assert re.search(r"\033\[1;31mfailure \033\[0m \033\[1msource", shown), shown
    assert re.search(r"\033\[32mok      \033\[0m \033\[1mtree ", shown), shown
    lines = COLOUR.sub("", shown).split("\r\n")
    assert any("fix: " in line for line in lines)
    too_long = [line for line in lines if len(line) > 90 and " " in line[37:].strip()]
    assert not too_long, too_long


def test_failures_of_the_set_up_refer_to_doctor(registry):
    status, shown = at_terminal(registry.env, "build", "hello", NIXERY_FORMAT="tar")
    assert status == 1 and "NIXERY_FORMAT: 'tar'" in shown and "`nixery doctor` checks" in shown
    status, shown = at_terminal(registry.env, "build", "crul")
    assert status == 1 and "nixery doctor" not in shown  # the name is wrong, not the set-up


# For programs


def commands_of(registry) -> list[str]:
    return re.findall(r"^  nixery (\S+)", registry.nixery("help").stdout, re.M)


def test_every_commands_json_has_the_documented_keys(registry, directory):
    assert registry.manifest("hello").status == 200
    words = {
        "build": ["hello"], "plan": ["hello"], "export": [str(directory / "out"), "hello"], "images": [], "gc": ["--dry-run"], "verify": [],
        "popularity": [], "config": [], "version": [], "doctor": ["--url", f"http://{registry.host}", "--nginx-conf", str(registry.dir / "nginx.conf")],
    }  # fmt: skip
    # These two log a line of JSON for each event.
    assert set(words) == set(commands_of(registry)) - {"serve", "controller", "help"}
    for command, operands in words.items():
        done = registry.nixery(command, "--json", *operands)
        assert done.returncode == 0, (command, done.stderr)
        printed = json.loads(done.stdout)
        described = registry.nixery("help", command).stdout.split("JSON:\n")[1].split("\n\n")[0]
        if command in ("popularity", "config"):  # their keys depend on the data
            assert "under its name" in described and printed
            continue
        for key in printed:
            assert re.search(rf"\b{key}\b", described), (command, key)
        for key in re.findall(r"\w+", re.sub(r"\([^)]*\)", "", described.split("once")[0])):
            assert key in printed or (command, key) == ("plan", "download"), (command, key)


def test_failures_are_json_with_json(registry, directory):
    def failed(status: int, *words: str, **settings: str) -> dict:
        done = registry.nixery(*words, **settings)
        assert done.returncode == status, done
        (error,) = json.loads(done.stdout).values()
        assert list(error) == ["failure", "message", "detail"]
        assert error["message"] in done.stderr  # the message is printed for the user, too
        return error

    assert failed(1, "build", "--json", "crul")["failure"] == "unknown_package"
    error = failed(1, "build", "--json", "failingpackage")
    assert error["failure"] == "build_failed" and "this is the reason" in error["detail"]
    assert failed(1, "plan", "crul", "--json")["failure"] == "unknown_package"
    assert failed(1, "export", "--json", str(directory / "x"), "never-built")["failure"].startswith("unknown_")
    assert failed(1, "config", "--json", NIXERY_FORMAT="tar")["failure"] == "bad_config"
    assert failed(1, "gc", "--json", NIXERY_GC_GRACE="long")["failure"] == "bad_config"
    error = failed(2, "build", "--json", "--ocl", "x", "hello")
    assert error["failure"] == "misuse" and "did you mean '--oci'?" in error["message"] and error["detail"].startswith("usage: nixery build")
    assert failed(2, "buld", "--json")["failure"] == "misuse"
    # Without --json, standard output stays empty.
    done = registry.nixery("build", "crul")
    assert done.stdout == "" and "curl" in done.stderr


def test_an_unwritable_result_is_a_failure(registry):
    with open("/dev/full", "w") as full:
        done = subprocess.run([NIXERY, "config", "--json"], env=registry.env, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1 and "cannot write to standard output" in done.stderr


# Help


def test_help_is_complete(registry):
    for command in commands_of(registry):
        if command == "help":
            continue
        for words in (["help", command], [command, "--help"], [command, "-h"]):
            done = registry.nixery(*words)
            assert done.returncode == 0 and done.stderr == ""
            assert done.stdout.startswith(f"nixery {command}")
        text = done.stdout
        examples = text.split("Examples:\n")[1].split("\n\n")[0]
        assert examples.count("\n      ") == 2 and examples.count(f"nixery {command}") >= 1, text
        assert re.search(r"^Exit status: 0 .*, 1 .*, 2 used wrongly\.$", text, re.M), text
        related = re.findall(r"nixery help (\w+)", text.split("See also:")[1])
        assert related and command not in related and set(related) <= set(commands_of(registry)), text
        for option in re.findall(r"\[(--[a-z-]+)", text.split("\n\n")[0]):
            assert re.search(rf"^  {option}( [A-Z]+)?  +\S", text.split("Options:\n")[1], re.M), (command, option)
        assert max(len(line) for line in text.splitlines()) <= 140, command


def test_a_misspelt_command_or_option_is_reported_with_the_nearest_one(registry):
    for words, meant in {("buidl",): "'build'", ("doctr",): "'doctor'", ("help", "verfy"): "'verify'", ("build", "--jsn", "x"): "'--json'",
                         ("gc", "--max-aeg", "1d"): "'--max-age'"}.items():  # fmt: skip
        done = registry.nixery(*words)
        assert done.returncode == 2 and f"did you mean {meant}?" in done.stderr, done.stderr


def test_the_version_is_printed_by_command_and_option(registry):
    version = registry.nixery("--version").stdout
    assert re.fullmatch(r"nixery \d+\.\d+\.\d+\n", version)
    assert registry.nixery("version").stdout == version
    assert json.loads(registry.nixery("version", "--json").stdout) == {"version": version.split()[1]}


@pytest.mark.parametrize("words", [["help"], ["--help"], ["-h"], []])
def test_help_lists_the_commands_and_the_exit_statuses(registry, words):
    done = registry.nixery(*words)
    assert done.returncode == 0 and "Exit status: 0 done, 1 failed, 2 used wrongly." in done.stdout
    assert "nixery doctor" in done.stdout and '{"error":{"failure"' in done.stdout
