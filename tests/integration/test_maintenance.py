"""Garbage collection and verification of a running registry: gc, verify, the log of uses, periodic collections."""

import json
import os
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from registry import NIXERY, ROOT, digest_of, wait_for
from test_faults import drop_tags
from web_site import web_site


def pull(registry, name) -> str:
    return registry.pull(name).headers["Docker-Content-Digest"]


def manifest_beside_collections(registry, name):
    """Without a grace period an image may be removed as soon as it is built: the worker reports that, and the pull is retried."""
    for _ in range(50):
        manifest = registry.manifest(name)
        if not (manifest.status == 503 and "removed" in manifest.error["message"]):
            break
    return manifest


def collect(registry, *words):
    done = registry.nixery("gc", "--json", *words)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def make_old(registry, hours):
    then = time.time() - hours * 3600
    for top in (registry.tree, registry.state):
        for path in top.rglob("*"):
            os.utime(path, (then, then), follow_symlinks=False)


def names(collected):
    return sorted(name for image in collected["images"] for name in image["names"])


def test_images_not_pulled_for_long_are_removed_and_the_rest_can_be_pulled(new_registry, packages):
    registry = new_registry(NIXERY_PKGS_PATH=packages)
    for name in ("p9", "p11"):
        pull(registry, name)
    make_old(registry, 48)
    digest = pull(registry, "p29")  # shares paths with both
    roots = lambda: {path.name for path in (registry.state / "gcroots").iterdir()}
    before, roots_before = registry.files(), roots()

    planned = collect(registry, "--max-age", "24h", "--dry-run")
    assert registry.files() == before
    assert planned["dryRun"] and names(planned) == ["p11:latest", "p9:latest"]
    done = collect(registry, "--max-age", "24h")
    assert {**planned, "dryRun": False} == done
    assert done["blobs"] > 4 and done["freedBytes"] > 1000
    assert sum(f.stat().st_size for f in registry.tree.rglob("*") if f.is_file()) >= done["leftBytes"]
    assert len(roots_before) - len(roots()) == 2
    assert registry.nixery("verify").returncode == 0

    built = len(registry.events("image built"))
    assert pull(registry, "p29") == digest
    assert len(registry.events("image built")) == built  # still there
    first = pull(registry, "p9")
    assert len(registry.events("image built")) == built + 1
    assert registry.manifest("p9").headers["Docker-Content-Digest"] == first


def test_the_size_limit_and_keep_rules_hold(new_registry, packages):
    registry = new_registry(NIXERY_PKGS_PATH=packages, NIXERY_GC_KEEP="p5")
    for hours, name in ((60, "p5"), (50, "p20"), (40, "p25"), (0, "p28")):
        pull(registry, name)
        make_old(registry, hours) if hours else None
    whole = collect(registry)["leftBytes"]
    done = collect(registry, "--max-size", str(whole - 1))
    assert len(done["images"]) == 1 and done["leftBytes"] < whole
    assert "p5:latest" not in names(collect(registry, "--max-size", "1", "--keep", "p28"))
    assert pull(registry, "p5") and pull(registry, "p28")
    refused = registry.nixery("gc", "--max-size", "much")
    assert refused.returncode == 2 and "500M, 50G or 2T" in refused.stderr
    text = registry.nixery("gc", "--dry-run")
    assert text.returncode == 0 and text.stdout.startswith("would remove 0 images"), text.stdout


def test_nginxs_log_decides_the_last_use(new_registry, packages):
    registry = new_registry(NIXERY_PKGS_PATH=packages)
    log = registry.dir / "use.log"
    uses = (ROOT / "nginx/nixery-use.conf").read_text()
    assert "/var/log/nginx/nixery-use.log" in uses
    (registry.dir / "nixery-use.conf").write_text(uses.replace("/var/log/nginx/nixery-use.log", str(log)))
    main = registry.dir / "nginx.conf"
    main.write_text(main.read_text().replace("  server {", f"  include {registry.dir}/nixery-use.conf;\n  server {{", 1))
    old = registry.nginx_workers()
    registry.nginx.send_signal(1)
    wait_for(lambda: not old & registry.nginx_workers(), "nginx's old workers to leave")

    digests = {name: pull(registry, name) for name in ("p6", "p7", "p8", "p10")}
    assert registry.manifest("nothing-of-this-name").status == 404
    make_old(registry, 48)
    log.write_text("")  # as if they had not been pulled
    registry.nginx.send_signal(10)  # USR1: nginx reopens its logs
    assert registry.manifest("p6").status == 200  # by its tag
    assert registry.get(f"/v2/any/name/manifests/{digests['p7']}").status == 200  # by its digest
    assert registry.get("/v2/p8/manifests/latest", {"If-None-Match": f'"{digests["p8"]}"'}).status == 304
    wait_for(lambda: len(log.read_text().splitlines()) == 3, "three lines in the log")
    assert names(collect(registry, "--max-age", "24h", "--dry-run")) == ["p10:latest", "p6:latest", "p7:latest", "p8:latest"]
    settings = {"NIXERY_USE_LOG": str(log), "NIXERY_GC_MAX_AGE": "1d"}
    done = registry.nixery("gc", "--json", **settings)
    assert names(json.loads(done.stdout)) == ["p10:latest"], done.stdout
    # Known even without the log.
    log.unlink()
    assert json.loads(registry.nixery("gc", "--json", **settings).stdout)["images"] == []


def test_workers_read_the_log_of_pulls_even_without_collections(new_registry, packages):
    registry = new_registry(NIXERY_PKGS_PATH=packages)
    digests = [pull(registry, name) for name in ("p6", "p7")]
    registry.stop_worker()
    make_old(registry, 48)
    log = registry.dir / "use.log"
    line = lambda digest: f"{time.time() - 60:.3f} {digest}\n"
    rotated = log.with_name("use.log.1")
    log.write_text(line(digests[0]))
    log.rename(rotated)
    log.write_text("")
    registry.start_worker(NIXERY_USE_LOG=str(log))
    uses = registry.state / "uses"
    known = lambda digest: digest.removeprefix("sha256:") in uses.read_text()
    wait_for(lambda: uses.exists() and known(digests[0]), "the worker to read the log as it starts")
    with log.open("a") as more:
        more.write(line(digests[1]))
    assert registry.stop_worker() == 0
    assert known(digests[1])
    # Like a container, whose log is lost with it.
    log.unlink()
    rotated.unlink()
    assert collect(registry, "--max-age", "24h")["images"] == []


def test_gc_roots_of_a_running_build_stay_regardless_of_age():
    with web_site() as site:
        answers = []
        puller = threading.Thread(target=lambda: answers.append(site.manifest("gated")))
        puller.start()
        log = lambda: site.get("/api/build/gated").json.get("log", [])
        wait_for(lambda: "waiting for the gate" in log(), "the build to begin")
        [roots] = (site.state / "gcroots").iterdir()  # into which nix puts a link when it ends
        make_old(site, 48)
        collect(site, "--grace", "0s")
        assert roots.is_dir()
        site.open_gate()
        puller.join()
        assert answers[0].status == 200, answers[0].body
        site.stop_worker()  # which kept them
        (site.state / "images" / roots.name).unlink()
        make_old(site, 48)
        collect(site, "--grace", "0s")
        assert not roots.exists()


def test_builds_and_pulls_stay_complete_during_collections(new_registry, packages):
    registry = new_registry(NIXERY_PKGS_PATH=packages)
    stop, failures = threading.Event(), []

    def collect_on():
        while not stop.is_set():
            done = registry.nixery("gc", "--max-age", "0s", "--grace", "0s")
            if done.returncode != 0:
                failures.append(done.stderr)
            drop_tags(registry)

    def pull_on(number):
        try:
            for turn in range(12):
                name = f"p{(turn * 5 + number) % 30}/p{number}"
                manifest = manifest_beside_collections(registry, name)
                assert manifest.status == 200, manifest.body
                for link in manifest.json["layers"]:
                    blob = registry.get(f"/v2/{name}/blobs/{link['digest']}")
                    while blob.status == 307:  # regardless of how often it is removed again
                        blob = registry.get(blob.headers["Location"])
                    # The recipe stays, so the layer is rebuilt.
                    assert blob.status == 200, blob.body
                    assert digest_of(blob.body) == link["digest"]
        except Exception as error:
            failures.append(repr(error))

    collector = threading.Thread(target=collect_on)
    pullers = [threading.Thread(target=pull_on, args=(number,)) for number in range(3)]
    for thread in [collector, *pullers]:
        thread.start()
    for thread in pullers:
        thread.join()
    stop.set()
    collector.join()
    assert failures == []
    assert registry.nixery("verify").returncode == 0


def test_the_worker_collects_periodically(new_registry, packages):
    registry = new_registry(NIXERY_PKGS_PATH=packages, NIXERY_GC_SECONDS="1", NIXERY_GC_MAX_AGE="3s", NIXERY_GC_GRACE="1s")
    assert manifest_beside_collections(registry, "p4").status == 200
    wait_for(lambda: registry.get("/v2/p4/tags/list").status == 404, "the image to be collected")
    events = lambda: [event for event in registry.events("garbage collected") if event["images"] == "1"]
    event = wait_for(events, "the worker's log line")[0]
    assert int(event["freed_bytes"]) > 0


def test_a_worker_that_is_restarted_often_still_collects(new_registry, packages):
    registry = new_registry(NIXERY_PKGS_PATH=packages)
    pull(registry, "p4")
    registry.stop_worker()
    settings = {"NIXERY_GC_SECONDS": "86400", "NIXERY_GC_MAX_AGE": "1d"}
    mark = registry.state / "collected"
    registry.start_worker(**settings)
    wait_for(mark.exists, "the worker to count from now")
    begun = int(mark.read_text().split()[0])
    assert abs(begun - time.time()) < 600
    registry.stop_worker()
    assert registry.events("garbage collected") == []

    make_old(registry, 48)
    seconds, boot, since_boot, *rest = mark.read_text().split()
    day = 86_400
    mark.write_text(f"{int(seconds) - day} {boot} {int(since_boot) - day} {' '.join(rest)}\n")
    registry.start_worker(**settings)
    event = wait_for(lambda: registry.events("garbage collected"), "the collection that is due")[0]
    assert (event["images"], event["clock_jumped"]) == ("1", "no")


def test_verify_finds_wrong_bytes_and_repair_restores_them(new_registry, packages):
    registry = new_registry(NIXERY_PKGS_PATH=packages)
    digest = pull(registry, "p12/p3")
    sound = registry.nixery("verify")
    assert sound.returncode == 0 and sound.stdout.endswith("no problems found\n"), sound.stdout

    manifest = registry.manifest("p12/p3").json
    layer = max(manifest["layers"], key=lambda layer: layer["size"])["digest"].removeprefix("sha256:")
    file = registry.tree / "blobs/sha256" / layer[:2] / layer
    file.write_bytes(file.read_bytes()[:-20] + b"x" * 20)
    found = registry.nixery("verify", "--json")
    assert found.returncode == 1
    problem, = json.loads(found.stdout)["problems"]
    assert (problem["what"], problem["name"], problem["repaired"]) == ("blob", f"sha256:{layer}", False)
    repaired = registry.nixery("verify", "--repair")
    assert repaired.returncode == 0 and f"repaired: blob sha256:{layer}" in repaired.stdout
    after = registry.nixery("verify")
    assert after.returncode == 0 and "1 blobs that are gone are made again when they are asked for" in after.stdout
    assert pull(registry, "p12/p3") == digest  # the same bytes, from the recipe

    # Without its recipe, the image is built again.
    file.unlink()
    (registry.state / "recipes" / f"{layer}.json").unlink()
    assert registry.nixery("verify").returncode == 1
    assert registry.nixery("verify", "--repair").returncode == 0
    assert registry.get("/v2/p12/p3/tags/list").status == 404
    assert pull(registry, "p12/p3") == digest
    assert registry.nixery("verify").returncode == 0
    usage = registry.nixery("verify", "--quickly")
    assert usage.returncode == 2 and "usage: nixery verify" in usage.stderr


def test_a_damaged_document_is_attached_again(new_registry, packages):
    registry = new_registry(NIXERY_PKGS_PATH=packages)
    digest = pull(registry, "p12/p3")
    referrers = lambda: registry.get(f"/v2/p12/p3/referrers/{digest}").json["manifests"]
    before = referrers()
    cyclonedx, = (each for each in before if "cyclonedx" in each["artifactType"])
    hex = registry.get(f"/v2/p12/p3/manifests/{cyclonedx['digest']}").json["layers"][0]["digest"].removeprefix("sha256:")
    file = registry.tree / "blobs/sha256" / hex[:2] / hex
    bytes = bytearray(file.read_bytes())
    bytes[20] ^= 1
    file.write_bytes(bytes)
    shutil.rmtree(registry.state / "originals")  # else its copy would come back
    repaired = registry.nixery("verify", "--repair")
    assert repaired.returncode == 0 and "repaired: tag p12/p3:latest: what was attached" in repaired.stdout, repaired.stdout
    assert len(referrers()) == len(before) - 1
    assert pull(registry, "p12/p3") == digest
    assert referrers() == before
    assert registry.nixery("verify").stdout.endswith("no problems found\n")


def test_verify_fails_if_it_cannot_read_or_repair(new_registry, packages):
    registry = new_registry(NIXERY_PKGS_PATH=packages)
    nowhere = registry.nixery("verify", NIXERY_TREE=f"{registry.dir}/not-mounted")
    assert nowhere.returncode == 1 and "there is no directory" in nowhere.stderr, nowhere.stdout
    pull(registry, "p12/p3")
    layer = registry.manifest("p12/p3").json["layers"][0]["digest"].removeprefix("sha256:")
    registry.stop_worker()
    shard = registry.tree / "blobs/sha256" / layer[:2]
    file = shard / layer
    file.write_bytes(b"other")
    subprocess.run(["chmod", "-R", "a+rwX", str(registry.dir)], check=True)
    shard.chmod(0o555)
    user = {} if os.geteuid() else {"user": 65534, "group": 65534, "extra_groups": []}
    tried = subprocess.run([NIXERY, "verify", "--repair"], env=registry.env, capture_output=True, text=True, **user)
    assert tried.returncode == 1 and "1 could not be repaired" in tried.stdout, tried.stdout + tried.stderr
    assert f"cannot remove {file}: Permission denied" in tried.stdout and file.exists()


def test_the_index_of_layers_is_rebuilt_from_blobs_and_recipes(new_registry, packages):
    """After a kill in the middle, or the loss of its disk: layers in the tree are never compressed again."""
    registry = new_registry(NIXERY_PKGS_PATH=packages)
    layers = lambda name: {layer["digest"] for layer in registry.manifest(name).json["layers"]}
    before = layers("p12/p3")
    registry.stop_worker(signal.SIGKILL)
    for part in ("segments", "images"):
        shutil.rmtree(registry.state / part)
    for entry in (registry.state / "groups").iterdir():
        entry.write_bytes(entry.read_bytes()[:80])  # torn, as after a crash
    repaired = registry.nixery("verify", "--repair")
    assert repaired.returncode == 0 and f"it lacked {len(before)} of the layers" in repaired.stdout, repaired.stdout
    assert registry.nixery("verify", "--repair").stdout.endswith("no problems found\n")

    # Only an index with the layers gives this result.
    plan = json.loads(registry.nixery("plan", "--json", "p12/p3").stdout)
    assert plan["layers"] and all(layer["inTree"] for layer in plan["layers"])
    shutil.rmtree(registry.tree / "tags")
    registry.start_worker()
    assert layers("p12/p3") == before


def test_a_layer_that_cannot_be_rebuilt_is_unknown(new_registry, packages):
    registry = new_registry(NIXERY_PKGS_PATH=packages)
    pull(registry, "p17")
    recipes = (registry.state / "recipes").iterdir()
    path, digest = next(
        (segment["path"], json.loads(recipe.read_text())["blob"])
        for recipe in recipes for segment in json.loads(recipe.read_text())["segments"] if segment["path"].endswith("-p17"))
    hex = digest.removeprefix("sha256:")
    (registry.tree / "blobs/sha256" / hex[:2] / hex).unlink()
    shutil.rmtree(registry.state / "gcroots")
    subprocess.run(["nix-store", "--delete", path], check=True, capture_output=True, env=registry.env)
    answer = registry.blob("p17", digest)
    assert answer.status == 404 and answer.error["code"] == "BLOB_UNKNOWN", answer.body
    assert answer.error["message"].startswith("the blob cannot be rebuilt: the build failed"), answer.body
    # A pull by name builds it again.
    shutil.rmtree(registry.tree / "tags")
    shutil.rmtree(registry.state / "images")
    pull(registry, "p17")


def test_a_compressor_with_other_output_never_changes_the_bytes_of_a_digest(new_registry, packages, directory):
    library = directory / "other_compressor.so"
    source = Path(__file__).with_name("other_compressor.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    registry = new_registry(NIXERY_PKGS_PATH=packages)
    digest = pull(registry, "p12/p3")
    manifest = registry.manifest("p12/p3").json
    layer = max(manifest["layers"], key=lambda layer: layer["size"])["digest"]
    hex = layer.removeprefix("sha256:")
    file = registry.tree / "blobs/sha256" / hex[:2] / hex

    registry.stop_worker()
    registry.start_worker(LD_PRELOAD=str(library))
    assert pull(registry, "p12/p3") == digest  # existing layers are not compressed again
    file.unlink()
    answer = registry.blob("p12/p3", layer)
    assert answer.status == 404 and answer.error["code"] == "BLOB_UNKNOWN", answer.body
    assert "was compressed by libdeflate" in answer.error["message"]
    assert not file.exists()
    assert registry.nixery("verify").returncode == 0  # the previous library would rebuild it,
    assert registry.nixery("verify", LD_PRELOAD=str(library)).returncode == 1  # this one cannot

    # A rebuild gives the image with another digest.
    assert registry.nixery("verify", "--repair", LD_PRELOAD=str(library)).returncode == 0
    assert pull(registry, "p12/p3") != digest
    assert registry.nixery("verify").returncode == 0

    # With the previous library it has the previous digest.
    registry.stop_worker()
    registry.start_worker()
    assert registry.get(f"/v2/p12/p3/manifests/{digest}").status == 404
