"""Declared images: files with a name, packages and a config."""

import json
import os

import pytest

from registry import wait_for


class Images:
    """A directory of declarations; files appear atomically."""

    def __init__(self, directory):
        self.directory = directory
        directory.mkdir()

    def write(self, file: str, **fields):
        self.write_text(file, json.dumps(fields))

    def write_text(self, file: str, text: str):
        (self.directory / ".new").write_text(text)
        os.replace(self.directory / ".new", self.directory / file)

    def remove(self, file: str):
        (self.directory / file).unlink()


@pytest.fixture
def images(directory):
    return Images(directory / "images")


@pytest.fixture
def declaring(new_registry, images):
    """Makes a registry that serves the declared images."""
    return lambda **settings: new_registry(NIXERY_IMAGES=str(images.directory), **settings)


def config_of(registry, name: str, tag: str = "latest") -> dict:
    manifest = registry.manifest(name, tag)
    assert manifest.status == 200, manifest.body
    return registry.get(f"/v2/{name}/blobs/{manifest.json['config']['digest']}").json


def environment_of(config: dict) -> dict[str, str]:
    return dict(variable.split("=", 1) for variable in config["config"]["Env"])


def problems(registry) -> list[str]:
    return [event["problem"] for event in registry.events("declared image")]


def test_a_declared_image_is_pulled_by_its_name_and_runs_with_its_config(images, declaring, docker):
    images.write("greeter.json", name="team/greeter", tag="v1", contents=["hello", "coreutils"],
                 config={"entrypoint": ["hello", "-g"], "cmd": ["declared"]})
    registry = declaring()
    assert docker.run_image(f"{registry.host}/team/greeter:v1").strip() == "declared"


def test_the_config_matches_the_file(images, declaring):
    images.write("web.json", name="team/web", contents=["hello"],
                 config={"cmd": ["hello", "-t"], "env": {"LANG": "C.UTF-8", "PATH": "/bin"}, "user": "101:102", "workdir": "/srv",
                         "labels": {"team": "web"}, "exposedPorts": ["80", "53/udp"]})
    config = config_of(declaring(), "team/web")["config"]
    assert config["Cmd"] == ["hello", "-t"]
    assert "Entrypoint" not in config
    assert (config["User"], config["WorkingDir"]) == ("101:102", "/srv")
    assert config["ExposedPorts"] == {"80/tcp": {}, "53/udp": {}}
    assert config["Labels"]["team"] == "web"
    assert config["Labels"]["io.nixery.packages"].startswith("hello=")


def test_users_are_numbers_in_the_config(images, declaring):
    images.write("nobody.json", name="team/nobody", contents=["hello"], config={"user": "nobody"})
    images.write("number.json", name="team/number", contents=["hello"], config={"user": "1000"})
    images.write("own.json", name="team/own", contents=["hello"], users=[{"name": "app", "uid": 1000, "gid": 50}], config={"user": "app"})
    images.write("unknown.json", name="team/unknown", contents=["hello"], config={"user": "postgres"})
    registry = declaring()
    users = {name: config_of(registry, f"team/{name}")["config"]["User"] for name in ("nobody", "number", "own")}
    assert users == {"nobody": "65534:65534", "number": "1000", "own": "1000:50"}
    answer = registry.manifest("team/unknown")
    assert answer.status == 422
    assert "config.user: 'postgres' is not a user of the image, which has root, daemon, bin, mail, nobody" in answer.error["message"]


def test_declared_users_directories_and_files_are_in_the_image(images, declaring, docker):
    images.write("app.json", name="team/app", contents=["bash", "coreutils"],
                 users=[{"name": "app", "uid": 1000}], directories=[{"path": "/srv/data", "owner": "app", "mode": "0700"}],
                 files=[{"path": "/etc/app/app.conf", "content": "port = 1\n", "owner": "0:app", "mode": "0640"}],
                 config={"user": "app", "workdir": "/srv/data",
                         "cmd": ["bash", "-c", "echo new > file; id -un; id -gn; pwd; cat file /etc/app/app.conf; stat -c '%n %u:%g %a' /srv/data "
                                               "/etc/app/app.conf /home/app /srv"]})
    said = docker.run_image(f"{declaring().host}/team/app:latest").splitlines()
    assert said == ["app", "app", "/srv/data", "new", "port = 1", "/srv/data 1000:1000 700", "/etc/app/app.conf 0:1000 640",
                    "/home/app 1000:1000 755", "/srv 0:0 755"]


def test_the_config_has_dockers_fields(images, declaring):
    images.write("web.json", name="team/web", contents=["hello"],
                 config={"volumes": ["/data"], "stopSignal": "SIGQUIT", "shell": ["/bin/bash", "-c"],
                         "healthcheck": {"test": ["CMD", "hello"], "interval": "30s", "retries": 2}})
    config = config_of(declaring(), "team/web")["config"]
    assert (config["Volumes"], config["StopSignal"], config["Shell"]) == ({"/data": {}}, "SIGQUIT", ["/bin/bash", "-c"])
    assert config["Healthcheck"] == {"Test": ["CMD", "hello"], "Interval": 30_000_000_000, "Retries": 2}


@pytest.mark.parametrize("form", ["oci", "docker"])
def test_docker_knows_the_health_check_in_both_formats(images, declaring, docker, form):
    images.write("web.json", name="team/web", contents=["bash", "coreutils"],
                 config={"user": "nobody", "cmd": ["sleep", "60"], "stopSignal": "SIGKILL",
                         "healthcheck": {"test": ["CMD", "true"], "interval": "1s", "timeout": "30s"}})
    image = f"{declaring(NIXERY_FORMAT=form).host}/team/web:latest"
    pulled = docker("pull", image)
    assert pulled.returncode == 0, pulled.stderr
    config = json.loads(docker("image", "inspect", image).stdout)[0]["Config"]
    assert config["Healthcheck"] == {"Test": ["CMD", "true"], "Interval": 10**9, "Timeout": 30 * 10**9}
    assert (config["User"], config["StopSignal"]) == ("65534:65534", "SIGKILL")


def test_variables_are_added_to_the_defaults_and_replace_them_by_name(images, declaring):
    images.write("a.json", name="team/a", contents=["hello"], config={"env": ["A=1=1", "PATH=/opt/bin"]})
    images.write("b.json", name="team/b", contents=["hello"])
    registry = declaring()
    declared, plain = environment_of(config_of(registry, "team/a")), environment_of(config_of(registry, "team/b"))
    assert declared == {**plain, "A": "1=1", "PATH": "/opt/bin"}


def test_an_absent_command_is_the_default_and_an_empty_one_is_none(images, declaring):
    images.write("default.json", name="team/default", contents=["hello"])
    images.write("none.json", name="team/none", contents=["hello"], config={"cmd": []})
    images.write("entry.json", name="team/entry", contents=["hello"], config={"entrypoint": ["hello"]})
    registry = declaring()
    assert config_of(registry, "team/default")["config"]["Cmd"] == ["hello"]
    assert "Cmd" not in config_of(registry, "team/none")["config"]
    entry = config_of(registry, "team/entry")["config"]
    assert entry["Entrypoint"] == ["hello"] and "Cmd" not in entry


def test_without_config_it_has_the_same_layers_as_its_packages(images, declaring):
    images.write("a.json", name="team/a", contents=["jq", "hello"])
    registry = declaring()
    assert registry.manifest("team/a").json["layers"] == registry.manifest("hello/jq").json["layers"]


def test_package_names_ignore_case(images, declaring):
    for number, spelling in enumerate(("python3Packages.requests", "python3packages.requests", "Python3Packages.Requests")):
        images.write(f"{number}.json", name=f"team/p{number}", contents=[spelling])
    registry = declaring()
    found = {config_of(registry, f"team/p{n}")["config"]["Labels"]["io.nixery.packages"] for n in range(3)}
    assert len(found) == 1


def test_a_declared_platform_is_applied(images, declaring):
    images.write("a.json", name="team/a", contents=["hello"], platform="arm64")
    assert config_of(declaring(), "team/a")["architecture"] == "arm64"


def test_a_pull_with_an_unknown_package_gets_the_reason(images, declaring):
    images.write("a.json", name="team/a", contents=["crul"])
    answer = declaring().manifest("team/a")
    assert (answer.status, answer.error["code"]) == (404, "MANIFEST_UNKNOWN")
    assert "did you mean 'curl'" in answer.error["message"]


def test_a_declared_name_has_only_declared_tags(images, declaring):
    images.write("a.json", name="team/a", tag="v1", contents=["hello"])
    images.write("b.json", name="team/a", tag="v2", contents=["jq"])
    answer = declaring().manifest("team/a", "v3")
    assert (answer.status, answer.error["code"]) == (404, "MANIFEST_UNKNOWN")
    assert "'v1', 'v2'" in answer.error["message"]


def test_undeclared_names_are_packages(images, declaring):
    images.write("a.json", name="team/a", contents=["hello"])
    registry = declaring()
    assert registry.manifest("hello").status == 200
    assert registry.manifest("team/b").status == 404


def test_a_new_file_is_a_new_image_without_a_restart(images, declaring):
    registry = declaring()
    assert registry.manifest("team/late").status == 404
    images.write("late.json", name="team/late", contents=["hello"])
    wait_for(lambda: registry.manifest("team/late").status == 200, "the image that was declared late")


def test_a_changed_declaration_is_a_new_image_even_if_the_old_one_is_published(images, declaring):
    images.write("a.json", name="team/a", contents=["hello"], config={"env": {"VERSION": "1"}})
    registry = declaring()
    assert environment_of(config_of(registry, "team/a"))["VERSION"] == "1"
    images.write("a.json", name="team/a", contents=["hello"], config={"env": {"VERSION": "2"}})
    wait_for(lambda: environment_of(config_of(registry, "team/a"))["VERSION"] == "2", "the new declaration")


def test_a_removed_declaration_removes_its_image(images, declaring):
    images.write("a.json", name="team/a", contents=["hello"])
    registry = declaring()
    assert registry.manifest("team/a").status == 200
    images.remove("a.json")
    wait_for(lambda: registry.manifest("team/a").status == 404, "the image to be gone")


def test_changes_without_a_running_worker_are_noticed_at_the_next_start(images, declaring):
    images.write("a.json", name="team/a", contents=["hello"], config={"user": "1"})
    registry = declaring()
    assert config_of(registry, "team/a")["config"]["User"] == "1"
    registry.stop_worker()
    images.write("a.json", name="team/a", contents=["hello"], config={"user": "2"})
    registry.start_worker()
    wait_for(lambda: config_of(registry, "team/a")["config"]["User"] == "2", "the new declaration")


def test_an_unchanged_declaration_is_not_built_again(images, declaring):
    images.write("a.json", name="team/a", contents=["hello"])
    registry = declaring()
    digest = registry.manifest("team/a").headers["Docker-Content-Digest"]
    images.write_text("a.json", json.dumps({"contents": ["hello"], "tag": "latest", "name": "team/a"}, indent=2))
    images.write("b.json", name="team/b", contents=["hello"])
    wait_for(lambda: registry.manifest("team/b").status == 200, "the other image")
    before = registry.worker_requests()
    assert registry.manifest("team/a").headers["Docker-Content-Digest"] == digest
    assert registry.worker_requests() == before


def test_a_half_written_file_leaves_the_old_image_and_is_reported(images, declaring):
    images.write("a.json", name="team/a", contents=["hello"])
    registry = declaring()
    assert registry.manifest("team/a").status == 200
    images.write_text("a.json", '{"name": "team/a", "contents": ["he')
    wait_for(lambda: any("stays in force" in problem for problem in problems(registry)), "the report")
    assert registry.manifest("team/a").status == 200


def test_a_broken_file_at_the_start_drops_no_built_image(images, declaring):
    images.write("a.json", name="team/a", contents=["hello"])
    registry = declaring()
    assert registry.manifest("team/a").status == 200
    registry.stop_worker()
    images.write_text("a.json", "{")
    registry.start_worker()
    wait_for(lambda: any(problem.startswith("images/a.json: byte") for problem in problems(registry)), "the report")
    assert registry.manifest("team/a").status == 200


def test_an_invalid_file_is_reported_with_its_field_and_does_not_hide_valid_ones(images, declaring):
    images.write("bad.json", name="team/bad", contents=["hello"], config={"exposedPorts": ["80/tcp", "80/http"]})
    images.write("good.json", name="team/good", contents=["hello"])
    registry = declaring()
    assert registry.manifest("team/good").status == 200
    problem = "images/bad.json: config.exposedPorts[1]: '80/http' is not a port: give a number from 1 to 65535, with /tcp, /udp or /sctp"
    answer = registry.manifest("team/bad")
    assert (answer.status, answer.error["code"]) == (422, "MANIFEST_INVALID")
    assert answer.error["message"] == f"the declaration of 'team/bad' is invalid: {problem}"
    wait_for(lambda: problems(registry), "the report")
    assert problems(registry) == [problem]


def test_a_pull_of_a_file_that_is_no_json_gets_the_position_of_the_mistake(images, declaring):
    images.write_text("bad.json", '{"name": "team/bad", "contents": ["hello"],}')
    answer = declaring().manifest("team/bad", "v1")
    assert (answer.status, answer.error["code"]) == (422, "MANIFEST_INVALID")
    assert answer.error["message"].startswith("the declaration of 'team/bad' is invalid: images/bad.json: byte ")
    assert str(images.directory) not in answer.error["message"]


def test_a_declared_name_takes_precedence_over_a_package_and_is_reported(images, declaring):
    registry = declaring()
    package = registry.manifest("hello").headers["Docker-Content-Digest"]
    # The awaited one comes last, so the other is known, too. It is like that of a NixImage in a namespace `shell`.
    images.write("b.json", name="shell/git", contents=["jq"])
    images.write("a.json", name="hello", contents=["jq"])
    wait_for(lambda: registry.manifest("hello").headers["Docker-Content-Digest"] != package, "the declared image")
    for name in ("hello", "shell/git"):
        assert config_of(registry, name)["config"]["Labels"]["io.nixery.packages"].startswith("jq="), name
    wait_for(lambda: any("'hello' is a package too" in problem for problem in problems(registry)), "the warning")
    wait_for(lambda: any("'shell/git'" in problem for problem in problems(registry)), "the other warning")
    images.remove("a.json")
    wait_for(lambda: registry.manifest("hello").headers["Docker-Content-Digest"] == package, "the package again")


def test_build_and_plan_know_declared_names(images, declaring):
    images.write("a.json", name="team/a", tag="v1", contents=["hello"], config={"user": "7"})
    registry = declaring()
    built = registry.nixery("build", "--json", "team/a:v1")
    assert built.returncode == 0, built.stderr
    assert json.loads(built.stdout)["digest"] == registry.manifest("team/a", "v1").headers["Docker-Content-Digest"]
    assert "hello" in registry.nixery("plan", "team/a:v1").stdout


def test_images_lists_declared_images_and_fails_if_a_file_is_invalid(images, declaring):
    images.write("a.json", name="team/a", tag="v1", contents=["hello", "jq"])
    images.write("clash.json", name="jq", contents=["jq"])
    registry = declaring()
    listed = registry.nixery("images")
    assert listed.returncode == 0 and "team/a:v1\n    images/a.json; hello jq\n" in listed.stdout
    assert "warning: images/clash.json: name: 'jq' is a package too" in listed.stderr
    images.write_text("b.json", "[]")
    images.write("c.json", name="team/a", tag="v1", contents=["jq"])
    listed = registry.nixery("images", "--json")
    assert listed.returncode == 1
    answer = json.loads(listed.stdout)
    assert [(image["name"], image["tag"], image["contents"]) for image in answer["images"]] == [
        ("jq", "latest", ["jq"]), ("team/a", "v1", ["hello", "jq"])]
    assert [problem.split(":")[0] for problem in answer["errors"]] == ["images/a.json", "images/b.json", "images/c.json"]


def test_a_missing_directory_does_not_prevent_the_start(new_registry, directory):
    registry = new_registry(NIXERY_IMAGES=str(directory / "images"))
    assert registry.manifest("hello").status == 200
    Images(directory / "images").write("a.json", name="team/a", contents=["hello"])
    wait_for(lambda: registry.manifest("team/a").status == 200, "the image")


def test_without_the_setting_no_name_is_declared(registry):
    assert registry.nixery("images").stdout == ""
    assert registry.manifest("team/a").status == 404
