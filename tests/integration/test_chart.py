"""The Helm chart, rendered by a stand-in for Helm (render_chart says what it is): Debian has no Helm.

What it renders goes through the same checks as the manifests, and is compared with them.
"""

import json
import re
import shutil
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml

from conftest import temporary_directory
from engines import check, program
from kubernetes_objects import KUSTOMIZATIONS, find, pods, settings_of_the_program, unrestricted
from registry import ROOT

CHART = ROOT / "packaging/helm/nixery"
DEPLOYMENT = {"mode": "deployment", "controller": {"host": "registry.example.org"}, "ingress": {"enabled": True}}


def merged(below, above):
    """Merges values like Helm: objects by their fields; null removes a field."""
    if not isinstance(below, dict) or not isinstance(above, dict):
        return above
    both = {**below, **{name: merged(below.get(name), value) for name, value in above.items()}}
    return {name: value for name, value in both.items() if value is not None}


class Chart:
    def __init__(self, directory: Path):
        self.program = directory / "render"
        source = directory / "src/render_chart"  # Debian's Go packages are in a GOPATH
        shutil.copytree(ROOT / "tests/integration/render_chart", source)
        env = {"GOPATH": f"{directory}:/usr/share/gocode", "GO111MODULE": "off", "GOFLAGS": "", "GOCACHE": str(directory / "cache")}
        check(program("go", "golang-go"), "build", "-o", str(self.program), "render_chart", env=env)
        self.schema = json.loads((CHART / "values.schema.json").read_text())
        self.defaults = yaml.safe_load((CHART / "values.yaml").read_text())

    def run(self, values: dict, release="nixery", namespace="nixery"):
        values = merged(self.defaults, values)
        jsonschema.Draft7Validator(self.schema).validate(values)
        described = yaml.safe_load((CHART / "Chart.yaml").read_text())
        request = {
            "Templates": {f"nixery/templates/{path.name}": path.read_text() for path in (CHART / "templates").iterdir()},
            "Values": values,
            "Chart": {name[0].upper() + name[1:]: value for name, value in described.items()},
            "Release": {"Name": release, "Namespace": namespace, "Service": "Helm", "Revision": 1, "IsInstall": True, "IsUpgrade": False},
            "KubeVersion": "v1.32.0",
        }
        return subprocess.run([self.program], input=json.dumps(request), capture_output=True, text=True)

    def __call__(self, values: dict = {}, **release) -> list[dict]:
        done = self.run(values, **release)
        assert done.returncode == 0, done.stderr
        files = json.loads(done.stdout)
        self.notes = files.pop("nixery/templates/NOTES.txt")
        return [thing for text in files.values() for thing in yaml.safe_load_all(text) if thing]


@pytest.fixture(scope="module")
def chart():
    with temporary_directory() as directory:
        yield Chart(directory)


def alike(things):
    """Removes what only Helm or only kustomize adds: labels, hashes in names, checksums."""
    text = yaml.safe_dump([thing for thing in things if thing["kind"] not in ("Namespace", "CustomResourceDefinition")])
    for thing in things:
        name = thing["metadata"]["name"]
        if thing["kind"] == "ConfigMap" and "-settings-" in name:
            text = text.replace(name, name.rpartition("-")[0])
    bare = {}
    for thing in yaml.safe_load(text):
        metadata = thing["metadata"]
        if thing["kind"] in ("DaemonSet", "Deployment"):
            thing["spec"]["template"]["metadata"].pop("annotations", None)
        thing = json.loads(json.dumps(thing), object_hook=without_labels)
        if thing["kind"].startswith("ClusterRole"):  # one for each release
            thing["metadata"].pop("name")
            thing.get("roleRef", {}).pop("name", None)
        for name in ("namespace", "labels"):
            thing["metadata"].pop(name, None)
        if thing["kind"] == "PersistentVolumeClaim":
            thing["metadata"].pop("annotations", None)
        bare[thing["kind"], metadata["name"] if not thing["kind"].startswith("ClusterRole") else ""] = thing
    return bare


def without_labels(fields):
    for name in [name for name in fields if name.startswith(("app.kubernetes.io/", "helm.sh/"))]:
        del fields[name]
    for container in fields.get("containers", []) + fields.get("initContainers", []):
        container.pop("imagePullPolicy", None)  # the chart's default
    return fields


@pytest.mark.parametrize("name, values", [("base", {}), ("deployment", DEPLOYMENT)])
def test_the_chart_renders_the_same_objects_as_the_manifests(chart, rendered, name, values):
    ours, theirs = alike(chart(values)), alike(rendered[name])
    if name == "deployment":  # a choice of the chart's defaults
        ours["Service", "nixery"]["spec"].pop("type")
    assert sorted(ours) == sorted(theirs)
    for key, thing in theirs.items():
        assert ours[key] == thing, key


VARIANTS = {
    "defaults": {},
    "deployment": DEPLOYMENT,
    "without a controller": {"controller": {"enabled": False}},
    "one namespace": {"controller": {"namespace": "team", "settings": {"NIXERY_CONTROLLER_BUILDS": 2, "NIXERY_LOG_LEVEL": "warning"}}},
    "everything": {
        **DEPLOYMENT, "image": {"repository": "r.example.org/nixery", "tag": "1.2", "pullPolicy": "Always"}, "imagePullSecrets": [{"name": "pull"}],
        "settings": {"NIXERY_CHANNEL": None, "NIXERY_PKGS_REPO": "https://git.example.org/packages.git", "NIXERY_CATALOG": False, "NIXERY_QUEUE": 3000000},
        "nixConfig": "substituters = https://cache.example.org\nmax-jobs = 2", "secretName": "keys", "user": 2000,
        "nginx": {"http": "limit_req_zone $remote_addr zone=a:1m rate=1r/s;", "server": "location = /a { return 204; }"},
        "serviceAccount": {"annotations": {"a": "b"}}, "replicas": 2,
        "persistence": {"nix": {"existingClaim": "mine"}, "tree": {"storageClass": "fast", "size": "1Ti"}},
        "service": {"type": "NodePort", "port": 5000, "annotations": {"a": "b"}},
        "ingress": {"enabled": True, "className": "nginx", "host": "other.example.org", "tlsSecret": ""},
        "podDisruptionBudget": {"enabled": False}, "networkPolicy": {"ports": [443]}, "podAnnotations": {"a": "b"},
        "nodeSelector": {"kubernetes.io/arch": "amd64"}, "tolerations": [{"operator": "Exists"}], "priorityClassName": "high",
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "a", "operator": "Exists"}]}]}}},
    },
}  # fmt: skip


@pytest.mark.parametrize("values", VARIANTS.values(), ids=VARIANTS)
def test_all_fields_exist_in_kubernetes(chart, kubernetes_types, values):
    things = chart(values, release="images", namespace="registry")
    for thing in things:
        assert kubernetes_types.problems(thing) == [], thing["metadata"]["name"]
    (pod,) = pods(things)
    mounted = {mount["name"] for container in pod["containers"] + pod["initContainers"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]}
    if values.get("mode") == "deployment":
        assert unrestricted(pod) == set()


def test_values_are_applied(chart):
    things = chart(VARIANTS["everything"], release="images", namespace="registry")
    name = "images-nixery"
    maps = {thing["metadata"]["name"]: thing["data"] for thing in things if thing["kind"] == "ConfigMap"}
    settings = maps[f"{name}-worker-settings"]
    assert "NIXERY_CHANNEL" not in settings and settings["NIXERY_CATALOG"] == "0" and settings["NIXERY_QUEUE"] == "3000000"
    assert maps[f"{name}-controller-settings"]["NIXERY_CONTROLLER_LEASE"] == f"registry/{name}-controller"
    assert maps[f"{name}-nginx"]["server.conf"] == "location = /a { return 204; }"
    (pod,) = pods(things)
    worker = next(container for container in pod["containers"] if container["name"] == "worker")
    assert {"name": "NIX_CONFIG", "value": "substituters = https://cache.example.org\nmax-jobs = 2"} in worker["env"]
    assert worker["image"] == "r.example.org/nixery:1.2" and pod["securityContext"]["runAsUser"] == 2000
    claims = {volume["name"]: volume["persistentVolumeClaim"]["claimName"] for volume in pod["volumes"] if "persistentVolumeClaim" in volume}
    assert claims == {"nix": "mine", "tree": f"{name}-tree", "state": f"{name}-state", "images": f"{name}-images"}
    ingress = find(things, "Ingress", name)
    assert ingress["spec"]["rules"][0]["host"] == "other.example.org" and "tls" not in ingress["spec"]
    role = find(things, "Role", f"{name}-controller-lease")
    assert role["rules"][1]["resourceNames"] == [f"{name}-controller"] and role["metadata"]["namespace"] == "registry"


def test_with_one_namespace_permissions_are_limited_to_it(chart):
    things = chart(VARIANTS["one namespace"])
    assert not [thing for thing in things if thing["kind"].startswith("ClusterRole")]
    (role,) = [thing for thing in things if thing["kind"] == "Role" and thing["metadata"]["namespace"] == "team"]
    (binding,) = [thing for thing in things if thing["kind"] == "RoleBinding" and thing["metadata"]["namespace"] == "team"]
    assert binding["roleRef"]["name"] == role["metadata"]["name"] and binding["subjects"][0]["namespace"] == "nixery"


def test_without_a_controller_nothing_has_access_to_the_api_server(chart):
    things = chart(VARIANTS["without a controller"])
    assert not [thing for thing in things if "Role" in thing["kind"]]
    assert "serviceAccountToken" not in json.dumps(things) and "NixImages" not in chart.notes


@pytest.mark.parametrize("values", [
    {"mode": "statefulset"}, {"user": 0}, {"node": {"path": "var"}}, {"settings": {"NIXERY_PKGS_REPO": "x"}}, {"settings": {"OTHER": "x"}},
    {"controller": {"settings": {"NIXERY_LOG_LEVELS": "x"}}}, {"imageTag": "x"}, {"persistence": {"nix": {"size": "large"}}}, {"networkPolicy": {"from": []}},
])  # fmt: skip
def test_invalid_values_are_refused(chart, values):
    with pytest.raises(jsonschema.ValidationError):
        chart(values)


def test_every_value_is_in_the_schema_and_in_a_template(chart):
    text = "".join(path.read_text() for path in (CHART / "templates").iterdir())
    for name, value in chart.defaults.items():
        assert name in chart.schema["properties"] and f".Values.{name}" in text, name
        if isinstance(value, dict) and name not in ("settings", "persistence"):
            for inner in value:
                assert f".Values.{name}.{inner}" in text, f"{name}.{inner}"


def test_settings_are_known_to_the_program(chart):
    known = settings_of_the_program()
    for values in VARIANTS.values():
        used = {name for thing in chart(values) if thing["kind"] == "ConfigMap" for name in thing["data"] if name.startswith("NIX")}
        assert used and used <= known


def test_there_is_one_resource_definition_and_one_version(chart):
    (definition,) = (CHART / "crds").iterdir()
    assert definition.resolve() == KUSTOMIZATIONS["base"] / "crd.yaml"
    described = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert f"version: '{described['appVersion']}'," in (ROOT / "meson.build").read_text()


def test_a_second_replica_shares_everything_except_the_store_and_has_one_controller(chart):
    text = (CHART / "README.md").read_text()
    (recipe,) = re.findall(r"helm install nixery-2 ((?:.*\\\n)*.*)", text)
    values = {}
    for path, value in re.findall(r"--set ([\w.]+)=(\S+)", recipe):
        *steps, last = path.split(".")
        within = values
        for step in steps:
            within = within.setdefault(step, {})
        within[last] = {"true": True, "false": False}.get(value, value)
    first, second = chart({**values, "controller": {**values["controller"], "enabled": True}}), chart(values, release="nixery-2")

    def claims(things):
        (pod,) = pods(things)
        return {volume["name"]: volume["persistentVolumeClaim"]["claimName"] for volume in pod["volumes"] if "persistentVolumeClaim" in volume}

    shared = {"tree": "shared-tree", "state": "shared-state", "images": "shared-images"}
    assert claims(first) == {"nix": "nixery-nix", **shared} and claims(second) == {"nix": "nixery-2-nix", **shared}
    made = [thing["metadata"]["name"] for thing in first + second if thing["kind"] == "PersistentVolumeClaim"]
    assert made == ["nixery-nix", "nixery-2-nix"]
    (pod,) = pods(second)
    assert "controller" not in [container["name"] for container in pod["containers"]]
    assert not [thing for thing in second if "Role" in thing["kind"]]
    settings = [next(thing["data"] for thing in things if thing["kind"] == "ConfigMap" and "worker" in thing["metadata"]["name"]) for things in (first, second)]
    assert settings[0] == settings[1]


def test_notes_say_where_the_registry_is(chart):
    chart()
    assert "127.0.0.1:8080" in chart.notes and "nixery.local/shell/curl" in chart.notes
    chart(DEPLOYMENT)
    assert "https://registry.example.org" in chart.notes
    chart({"mode": "deployment"})
    assert "http://nixery.nixery.svc:80" in chart.notes and "set ingress.enabled" in chart.notes


def test_the_helm_substitute_is_strict(chart):
    """A misspelt value is an error, not an empty text."""
    done = chart.run({"persistence": {"nix": {"size": None}}})  # not used in mode daemonset
    assert done.returncode == 0, done.stderr
    done = chart.run({"mode": "deployment", "persistence": {"nix": {"size": None}}})
    assert done.returncode != 0 and "size" in done.stderr
