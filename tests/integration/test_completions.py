"""The manual page and the completions, tested with the real programs."""

import os
import pty
import re
import select
import subprocess
import time

import pytest

from engines import check, program
from registry import NIXERY, ROOT


@pytest.fixture(scope="module")
def commands():
    return re.findall(r"^  nixery (\S+)", check(NIXERY, "help"), flags=re.M)


@pytest.fixture
def completions(directory):
    for shell, name in {"bash": "nixery.bash", "zsh": "_nixery", "fish": "nixery.fish"}.items():
        check(str(ROOT / "packaging/completions/generate"), NIXERY, shell, str(directory / name))
    (directory / "here").mkdir()
    (directory / "home").mkdir()
    return directory


class Shell:
    """A shell at a terminal, with a function `nixery` that prints its arguments."""

    def __init__(self, words: list[str], directory, prepare: str):
        self.ours, theirs = pty.openpty()
        env = {"PATH": "/usr/bin:/bin", "HOME": str(directory / "home"), "TERM": "vt100", "PS1": "$ "}
        self.process = subprocess.Popen(words, env=env, cwd=directory, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
        os.close(theirs)
        self.type(prepare + "\n" + "echo re''ady\n")
        self.wait_for("ready\r")

    def type(self, text: str):
        os.write(self.ours, text.encode())

    def wait_for(self, pattern: str) -> str:
        shown, deadline = "", time.monotonic() + 60
        while not (found := re.search(pattern, shown)):
            assert time.monotonic() < deadline, shown
            if select.select([self.ours], [], [], 1)[0]:
                shown += os.read(self.ours, 65536).decode(errors="replace")
        return found[0]

    def completed(self, typed: str) -> str:
        """The line after TAB."""
        self.type(typed + "\t\n")
        return self.wait_for(r"GOT:[^\r\n]*\r").removeprefix("GOT:").strip()

    def stop(self):
        self.process.kill()
        self.process.wait()
        os.close(self.ours)


CASES = {
    "doc": "doctor", "gc --dr": "gc --dry-run", "doctor --nginx": "doctor --nginx-conf", "build --do": "build --docker-archive",
    "build --oci he": "build --oci here", "export he": "export here", "help bui": "help build", "verify --re": "verify --repair",
    "doctor --user nobod": "doctor --user nobody", "config --mark": "config --markdown",
}  # fmt: skip


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_shell_at_a_terminal_completes_commands_options_and_values(completions, shell):
    words, prepare = {
        "bash": ([program("bash", "bash"), "--norc", "--noprofile", "-i"], f". {completions}/nixery.bash; nixery() {{ echo \"GOT:$*\"; }}"),
        "zsh": ([program("zsh", "zsh"), "-f", "-i"],
                f"fpath=({completions} $fpath); autoload -U compinit; compinit -u -D; nixery() {{ print -r -- \"GOT:$*\" }}"),
    }[shell]  # fmt: skip
    running = Shell(words, completions, prepare)
    try:
        for typed, wanted in CASES.items():
            # zsh removes a directory's slash again at the end of the line.
            assert running.completed(f"nixery {typed}").rstrip("/") == wanted
    finally:
        running.stop()


def test_fish_completes_with_descriptions(completions, commands):
    def candidates(line: str) -> dict[str, str]:
        said = check(program("fish", "fish"), "--no-config", "-c", f"source {completions}/nixery.fish; cd {completions}; complete -C '{line}'",
                     env={"HOME": str(completions / "home")})  # fmt: skip
        return dict((row.split("\t") + [""])[:2] for row in said.splitlines())

    assert set(commands) <= set(candidates("nixery "))
    assert candidates("nixery doc") == {"doctor": "check the set-up, and show how to fix problems"}
    assert candidates("nixery gc --dr") == {"--dry-run": "show what would be removed without removing it"}
    assert set(candidates("nixery doctor --")) >= {"--json", "--url", "--user", "--settings", "--nginx-conf", "--deadline"}
    assert "here/" in candidates("nixery build --oci ") and "nixery.fish" not in candidates("nixery build --oci ")
    assert "nixery.fish" in candidates("nixery doctor --settings ")
    assert "nobody" in candidates("nixery doctor --user nobo")
    assert candidates("nixery help bui") == {"build": ""}


def test_every_option_of_every_command_is_completed_in_every_shell(completions, commands):
    texts = {name: (completions / name).read_text() for name in ("nixery.bash", "_nixery", "nixery.fish")}
    count = 0
    for command in commands:
        if command == "help":
            continue
        for option in re.findall(r"\[(--[a-z-]+)", check(NIXERY, "help", command).splitlines()[0]):
            count += 1
            assert re.search(rf"^    {command}\) words='[^']*{option}\b", texts["nixery.bash"], re.M), (command, option)
            assert re.search(rf"^    {command}\)\n(?:.*\\\n)+?.*{re.escape(option)}\[", texts["_nixery"], re.M), (command, option)
            assert re.search(rf"seen_subcommand_from {command};.* -l {option[2:]} ", texts["nixery.fish"]), (command, option)
    assert count > 20


def test_the_manual_has_every_command_option_and_setting_without_warnings(directory, commands):
    page = directory / "nixery.1"
    check(str(ROOT / "packaging/man/generate"), NIXERY, str(ROOT / "nix/resolve.nix"), str(page))
    done = subprocess.run([program("man", "man-db"), "--warnings", "-l", "-Tutf8", str(page)], env={**os.environ, "MANWIDTH": "120", "LC_ALL": "C.UTF-8"},
                          capture_output=True, text=True)  # fmt: skip
    # The only warnings are about long URLs, which cannot be broken.
    complaints = [line for line in done.stderr.splitlines() if not line.endswith("cannot adjust line")]
    assert done.returncode == 0 and complaints == [], done.stderr
    shown = re.sub(r".\x08|\x1b\[[0-9;]*m", "", done.stdout)
    for command in commands:
        if command == "help":
            continue
        assert re.search(rf"^ +nixery {command}\b", shown, re.M), command
        for option in re.findall(r"\[(--[a-z-]+)", check(NIXERY, "help", command).splitlines()[0]):
            assert re.search(rf"^ +{option}\b", shown, re.M), (command, option)
    for variable in re.findall(r"^\| `(\w+)`", check(NIXERY, "config", "--markdown", env={"NIXERY_RESOLVE_NIX": str(ROOT / "nix/resolve.nix")}), flags=re.M):
        assert re.search(rf"^ +{variable}$", shown, re.M), variable
    status = shown.split("EXIT STATUS")[1].split("FILES")[0]
    assert re.findall(r"^ +(\d) +\S", status, re.M) == ["0", "1", "2"] and "misuse" in status, status
