"""Package sources: git repositories and channels, pinned before anything is evaluated."""

import http.server
import io
import os
import re
import socket
import subprocess
import tarfile
import threading
import uuid
from urllib.parse import urlparse

import pytest

from registry import NIXERY, Registry, nix_settings, wait_for

SET = """{ system, ... }: {
  tool = derivation { name = "tool-VERSION"; inherit system; builder = "/bin/sh"; args = [ "-c" "echo VERSION > $out" ]; }
    // { pname = "tool"; version = "VERSION"; };
}
"""


def git(directory, *words: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"]
    return subprocess.run(["git", "-C", directory, *identity, *words], check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(directory):
    origin = directory / "origin"
    origin.mkdir()
    git(origin, "init", "-q")
    for version in ("1", "2"):
        (origin / "default.nix").write_text(SET.replace("VERSION", version))
        git(origin, "add", ".")
        git(origin, "commit", "-q", "-m", version)
        git(origin, "tag", f"v{version}")
    git(origin, "checkout", "-q", "-b", "private")
    (origin / "default.nix").write_text(SET.replace("VERSION", "private"))
    git(origin, "commit", "-q", "-a", "-m", "private")
    git(origin, "checkout", "-q", "main")
    return origin


def version_of(answer) -> str:
    assert answer.status == 200, answer.body
    return answer.json["annotations"]["org.opencontainers.image.version"]


def test_a_git_repository_serves_branches_tags_and_commits(new_registry, repository):
    registry = new_registry(NIXERY_PKGS_PATH="", NIXERY_PKGS_REPO=f"file://{repository}", NIXERY_ALLOWED_BRANCHES="main")
    old, new = git(repository, "rev-parse", "v1"), git(repository, "rev-parse", "main")
    assert version_of(registry.manifest("tool")) == "2"
    assert version_of(registry.manifest("tool", "main")) == "2"
    assert version_of(registry.manifest("tool", "v1")) == "1"
    assert version_of(registry.manifest("tool", old)) == "1"
    assert registry.config("tool")["config"]["Labels"]["org.opencontainers.image.revision"] == new


def test_the_number_of_revisions_on_disk_is_limited(new_registry, repository):
    registry = new_registry(NIXERY_PKGS_PATH="", NIXERY_PKGS_REPO=f"file://{repository}", NIXERY_KEPT_REVISIONS="1")
    old, new = git(repository, "rev-parse", "v1"), git(repository, "rev-parse", "main")
    on_disk = lambda: [path.parent.name for path in registry.state.glob("sources/git-*/*/source")]
    for tag, version, commit in (("v1", "1", old), ("main", "2", new), (old, "1", old)):
        assert version_of(registry.manifest("tool", tag)) == version
        assert on_disk() == [commit]


def test_the_mirror_of_a_repository_is_tidied(new_registry, repository):
    """Leftovers of a killed fetch are removed, and many fetches do not leave many packs."""
    registry = new_registry(NIXERY_PKGS_PATH="", NIXERY_PKGS_REPO=f"file://{repository}")
    assert version_of(registry.manifest("tool", git(repository, "rev-parse", "main"))) == "2"
    (mirror,) = registry.state.glob("sources/git-*/mirror.git")
    packs = lambda: list((mirror / "objects/pack").glob("*.pack"))
    for number in range(60):
        git(repository, "commit", "-q", "--allow-empty", "-m", str(number))
        git(mirror, "-c", "fetch.unpackLimit=1", "fetch", "-q", "--no-auto-gc", str(repository), "main:main")
    assert len(packs()) > 50
    left = [mirror / "objects/pack/tmp_pack_aB3dE9", mirror / "objects/17/tmp_obj_Ab3De9", mirror / "refs/heads/main.lock"]
    for path in left:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    git(repository, "commit", "-q", "--allow-empty", "-m", "newest")
    assert version_of(registry.manifest("tool", git(repository, "rev-parse", "main"))) == "2"
    assert len(packs()) < 10
    assert not any(path.exists() for path in left)
    git(mirror, "fsck", "--full")


def in_the_store(directory, version: str) -> str:
    """A package set like NixOS': a path of the store."""
    (directory / version).mkdir()
    (directory / version / "default.nix").write_text(SET.replace("VERSION", version))
    added = subprocess.run(["nix-store", "--add", directory / version], env={**os.environ, **nix_settings()}, capture_output=True, text=True)
    assert added.returncode == 0, added.stderr
    return added.stdout.strip()


def test_latest_of_a_store_path_follows_the_setting(new_registry, directory):
    registry = new_registry(NIXERY_PKGS_PATH=in_the_store(directory, "1"))
    assert version_of(registry.manifest("tool")) == "1"
    registry.stop_worker()
    registry.start_worker(NIXERY_PKGS_PATH=in_the_store(directory, "2"), NIXERY_REFRESH_SECONDS="1")
    wait_for(lambda: version_of(registry.manifest("tool")) == "2", "the new set's package")


def test_a_branch_or_commit_that_is_not_allowed_is_403_and_evaluates_nothing(new_registry, repository):
    registry = new_registry(NIXERY_PKGS_PATH="", NIXERY_PKGS_REPO=f"file://{repository}", NIXERY_ALLOWED_BRANCHES="main")
    for tag in ("private", git(repository, "rev-parse", "private")):
        answer = registry.manifest("tool", tag)
        assert (answer.status, answer.error["code"]) == (403, "DENIED")
    assert registry.manifest("tool", "nowhere").status == 404
    # Like commits of forks on git hosts: in the repository, on none of its branches.
    loose = git(repository, "commit-tree", "-m", "loose", "HEAD^{tree}")
    assert registry.manifest("tool", loose).status == 404
    assert not list((registry.state / "sources").glob("git-*/*/source"))


def test_a_branch_deleted_from_the_source_is_not_served_any_more(new_registry, repository):
    registry = new_registry(NIXERY_PKGS_PATH="", NIXERY_PKGS_REPO=f"file://{repository}", NIXERY_REFRESH_SECONDS="1")
    assert version_of(registry.manifest("tool", "private")) == "private"
    assert version_of(registry.manifest("tool")) == "2"
    git(repository, "branch", "-D", "private")
    wait_for(lambda: registry.manifest("tool", "private").status == 404, "the branch's tag to be dropped")
    assert version_of(registry.manifest("tool")) == "2"
    # An unreachable source is different.
    repository.rename(repository.with_name("away"))
    wait_for(lambda: registry.events("cannot refresh"), "a refresh that fails")
    assert version_of(registry.manifest("tool")) == "2"


def restarted(registry, **settings: str):
    """Without refresh: only the start drops tags."""
    registry.stop_worker()
    registry.start_worker(**settings, NIXERY_REFRESH_SECONDS="0")


def test_images_built_before_a_restriction_are_not_served_after_it(new_registry, repository):
    git_settings = {"NIXERY_PKGS_PATH": "", "NIXERY_PKGS_REPO": f"file://{repository}"}
    registry = new_registry(**git_settings)
    tags = ("latest", "private", git(repository, "rev-parse", "private"))
    for tag in tags:
        assert registry.manifest("tool", tag).status == 200
    digest = registry.manifest("tool").headers["Docker-Content-Digest"]
    restarted(registry, NIXERY_ALLOWED_BRANCHES="main")
    assert [registry.manifest("tool", tag).status for tag in tags] == [200, 403, 403]
    # A rebuild gives the same image, and nothing is layered again.
    assert registry.manifest("tool").headers["Docker-Content-Digest"] == digest
    assert registry.events("image built")[-1]["found"] == "yes"
    restarted(registry, NIXERY_BLOCKED="tool")
    assert registry.manifest("tool").status == 403
    restarted(registry)
    assert registry.manifest("tool").status == 200


def test_unfree_packages_are_not_served_after_they_are_disallowed(new_registry, directory):
    (directory / "set").mkdir()
    (directory / "set/default.nix").write_text("""{ system, config, ... }: {
  tool = if !config.allowUnfree then throw "tool has an unfree licence" else
    derivation { name = "tool-1"; inherit system; builder = "/bin/sh"; args = [ "-c" "echo 1 > $out" ]; };
}""")
    registry = new_registry(NIXERY_PKGS_PATH=str(directory / "set"), NIXPKGS_ALLOW_UNFREE="1")
    assert registry.manifest("tool").status == 200
    restarted(registry, NIXPKGS_ALLOW_UNFREE="0")
    answer = registry.manifest("tool")
    assert answer.status == 422 and "unfree" in answer.error["message"]


class Channels(http.server.BaseHTTPRequestHandler):
    """The channel server and the git host: `stable` and `rolling` are at commit c…, which is on branch stable."""

    commit = "c" * 40

    def do_GET(self):
        path = urlparse(self.path).path
        if path in ("/channels/stable/git-revision", "/channels/rolling/git-revision"):
            self.answer(200, self.commit.encode())
        elif path == f"/archive/{self.commit}.tar.gz":
            self.answer(200, self.archive())
        elif path == f"/compare/{self.commit}...stable":
            self.answer(200, b'{"status": "ahead"}')
        elif path.startswith("/compare/"):
            self.answer(200, b'{"status": "diverged"}')
        else:
            self.answer(404, b"")

    def archive(self) -> bytes:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w:gz") as archive:
            text = SET.replace("VERSION", "3").encode()
            entry = tarfile.TarInfo("nixpkgs-" + self.commit + "/default.nix")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text))
            for name in self.server.more_members:
                archive.addfile(tarfile.TarInfo(name), io.BytesIO())
        return out.getvalue()

    def answer(self, status: int, body: bytes):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def more_members_of_the_archive():
    """Names of empty files; tests can add more."""
    return []


@pytest.fixture
def channels(more_members_of_the_archive):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Channels)
    server.more_members = more_members_of_the_archive
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{server.server_port}"
    yield {
        "NIXERY_PKGS_PATH": "",
        "NIXERY_CHANNEL": "stable",
        "NIXERY_CHANNEL_URL": base + "/channels/{channel}/git-revision",
        "NIXERY_ARCHIVE_URL": base + "/archive/{revision}.tar.gz",
        "NIXERY_COMPARE_URL": base + "/compare/{revision}...{branch}",
    }
    server.shutdown()


def test_a_channel_is_pinned_to_its_commit(new_registry, channels):
    registry = new_registry(**channels)
    assert version_of(registry.manifest("tool")) == "3"
    assert version_of(registry.manifest("tool", "stable")) == "3"
    assert version_of(registry.manifest("tool", Channels.commit)) == "3"
    assert registry.config("tool")["config"]["Labels"]["org.opencontainers.image.revision"] == Channels.commit
    assert registry.manifest("tool", "unstable").status == 404
    assert registry.manifest("tool", "d" * 40).status == 403


def test_an_archive_that_writes_outside_its_directory_is_refused(new_registry, channels, more_members_of_the_archive, directory):
    registry = new_registry(**channels)
    for name in (f"nixpkgs/{directory}/evil", f"{directory}/evil", f"nixpkgs/../../../../../../..{directory}/evil"):
        more_members_of_the_archive[:] = [name]
        answer = registry.manifest("tool")
        assert (answer.status, answer.error["detail"]["failure"]) == (503, "unavailable"), answer.body
        assert "cannot unpack" in answer.error["message"] and "leads out of the archive" in answer.error["message"]
        assert not (directory / "evil").exists()
        assert not list((registry.state / "sources").rglob("*.partial")) and not list((registry.state / "sources").rglob("source"))
    more_members_of_the_archive.clear()
    assert version_of(registry.manifest("tool")) == "3"


def test_the_state_may_be_below_a_symbolic_link(new_registry, channels, directory):
    (directory / "disk").mkdir()
    (directory / "link").symlink_to("disk")
    registry = new_registry(**channels, NIXERY_STATE=str(directory / "link/state"))
    assert version_of(registry.manifest("tool")) == "3"


def test_other_channels_are_served_unless_restricted(new_registry, channels):
    registry = new_registry(**{**channels, "NIXERY_CHANNEL": "rolling"})
    # Without a channel setting, all channels of the server.
    assert [registry.manifest("tool", tag).status for tag in ("stable", "rolling", "unstable")] == [200, 200, 404]
    restarted(registry, NIXERY_ALLOWED_BRANCHES="master")
    answers = [registry.manifest("tool", tag) for tag in ("stable", "rolling", "latest", Channels.commit)]
    assert [answer.status for answer in answers] == [403, 200, 200, 403]
    assert "channel 'stable' is not served by this registry" in answers[0].error["message"]
    restarted(registry, NIXERY_ALLOWED_BRANCHES="stable")
    assert [registry.manifest("tool", tag).status for tag in ("stable", "rolling", Channels.commit)] == [200, 200, 200]


@pytest.mark.parametrize("kind", ["git", "channel"])
def test_a_package_set_is_synced_before_it_counts_as_pinned(repository, channels, directory, kind):
    """As far as it can be tested without a power failure: the file system is synced between the last file and the rename."""
    settings = channels if kind == "channel" else {"NIXERY_PKGS_PATH": "", "NIXERY_PKGS_REPO": f"file://{repository}"}
    registry = Registry(directory, settings)
    trace = directory / "trace"
    # One file for each process, because the calls of several would be interleaved.
    traced = ["strace", "-ff", "-ttt", "-qq", "-o", trace, "-e", "trace=openat,syncfs,rename,renameat,renameat2", NIXERY, "plan", "tool"]
    done = subprocess.run(traced, env=registry.env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = [line for file in directory.glob("trace.*") for line in file.read_text().splitlines()]
    calls = sorted(lines, key=lambda line: float(line.split()[0]))
    (moved,) = [n for n, call in enumerate(calls) if re.search(r'rename.*"[^"]*/sources/.*/source"\) = 0$', call)]
    last_file = max(n for n, call in enumerate(calls[:moved]) if "O_CREAT" in call and "default.nix" in call)
    assert any(re.search(r"syncfs\(\d+\) += 0", call) for call in calls[last_file:moved])


def test_an_unreachable_channel_server_is_503(new_registry, channels):
    registry = new_registry(**{**channels, "NIXERY_CHANNEL_URL": "http://127.0.0.1:1/{channel}"})
    answer = registry.manifest("tool")
    assert (answer.status, answer.error["code"]) == (503, "UNAVAILABLE")


@pytest.fixture
def silent_host():
    """Accepts connections and never responds."""
    came, held = threading.Event(), []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept():
            while True:
                try:
                    held.append(listener.accept()[0])
                except OSError:
                    return
                came.set()

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", came
        listener.shutdown(socket.SHUT_RDWR)
    for connection in held:
        connection.close()


def assert_ends(registry):
    """Long before the time limits of the pending operations, which are minutes."""
    registry.worker.terminate()
    assert registry.worker.wait(timeout=30) == 0
    registry.worker = None


@pytest.mark.parametrize("waits_for", ["git", "channel"])
def test_sigterm_ends_a_worker_whose_source_never_responds(new_registry, silent_host, waits_for):
    url, came = silent_host
    source = {"NIXERY_PKGS_REPO": url + "/x.git"} if waits_for == "git" else {"NIXERY_CHANNEL_URL": url + "/{channel}"}
    registry = new_registry(NIXERY_PKGS_PATH="", NIXERY_HOP_SECONDS="1", **source)
    assert registry.get("/v2/tool/manifests/latest").status == 307
    assert came.wait(30)
    assert_ends(registry)


def test_sigterm_ends_a_worker_whose_refresh_never_gets_a_response(new_registry, channels, silent_host):
    registry = new_registry(**channels)
    assert registry.manifest("tool").status == 200
    url, came = silent_host
    registry.stop_worker()
    registry.start_worker(NIXERY_CHANNEL_URL=url + "/{channel}", NIXERY_REFRESH_SECONDS="1")
    assert came.wait(30)
    assert_ends(registry)


def hanging_nix_store(directory, word: str) -> str:
    """A PATH with a nix-store that hangs if `word` is among its arguments."""
    (directory / "bin").mkdir()
    (directory / "bin/nix-store").write_text(f"""#!/bin/sh
for word; do [ "$word" != {word} ] || {{ touch {directory}/asked; exec sleep 600; }}; done
PATH=${{PATH#*:}} exec nix-store "$@"
""")
    (directory / "bin/nix-store").chmod(0o755)
    return f"{directory}/bin:{os.environ['PATH']}"


def test_sigterm_ends_a_worker_whose_closure_query_hangs(new_registry, directory):
    registry = new_registry(NIXERY_HOP_SECONDS="1", PATH=hanging_nix_store(directory, "--dump-db"))
    assert registry.get("/v2/hello/manifests/latest").status == 307
    wait_for((directory / "asked").exists, "nix to be asked")
    assert_ends(registry)


def test_an_image_does_not_wait_for_a_hanging_prefetch(new_registry, directory):
    (directory / "default.nix").write_text(SET.replace("VERSION", uuid.uuid4().hex))
    registry = new_registry(NIXERY_PKGS_PATH=str(directory), PATH=hanging_nix_store(directory, "--dry-run"))
    assert registry.manifest("tool").status == 200
