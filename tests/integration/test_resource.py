"""The NixImage resource: whether an API server would accept its definition, and how its schema and rules judge objects."""

import copy
import json
import re

import jsonschema
import pytest
import yaml

from cel import CelError, evaluate, parse
from engines import run
from registry import NIXERY, ROOT

DEFINITION = yaml.safe_load((ROOT / "packaging/kubernetes/base/crd.yaml").read_text())
VERSIONS = DEFINITION["spec"]["versions"]
SCHEMAS = {version["name"]: version["schema"]["openAPIV3Schema"] for version in VERSIONS}
EXAMPLE = yaml.safe_load((ROOT / "packaging/kubernetes/example.yaml").read_text())

# kubernetes.io: CustomResourceDefinitions, "Specifying a structural schema"; everything else is not allowed.
KEYWORDS = {
    "type", "format", "description", "title", "default", "enum", "pattern", "minLength", "maxLength", "minimum", "maximum", "minItems",
    "maxItems", "minProperties", "maxProperties", "items", "properties", "additionalProperties", "required", "nullable",
    "x-kubernetes-validations", "x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-map-type",
}  # fmt: skip


def nodes(schema, where=""):
    """Each nested schema with its path."""
    yield where, schema
    for name, inner in schema.get("properties", {}).items():
        yield from nodes(inner, f"{where}.{name}")
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), dict):
            yield from nodes(schema[name], f"{where}[]")


def with_defaults(schema, value):
    """With the API server's defaults."""
    if isinstance(value, dict):
        for name, inner in schema.get("properties", {}).items():
            if name not in value and "default" in inner:
                value[name] = copy.deepcopy(inner["default"])
            if name in value:
                with_defaults(inner, value[name])
    for each in value if isinstance(value, list) else []:
        with_defaults(schema["items"], each)
    return value


def broken_rules(schema, value, where=""):
    """Messages of the violated rules."""
    for rule in schema.get("x-kubernetes-validations", []):
        if "oldSelf" not in rule["rule"] and evaluate(parse(rule["rule"]), {"self": value}) is not True:
            yield rule.get("message", rule["rule"])
    if isinstance(value, dict):
        for name, inner in schema.get("properties", {}).items():
            if name in value:
                yield from broken_rules(inner, value[name], f"{where}.{name}")
    for each in value if isinstance(value, list) else []:
        yield from broken_rules(schema["items"], each, f"{where}[]")


@pytest.fixture(params=SCHEMAS)
def schema(request):
    return SCHEMAS[request.param]


def test_the_definition_is_named_after_what_it_defines():
    spec = DEFINITION["spec"]
    assert DEFINITION["metadata"]["name"] == f"{spec['names']['plural']}.{spec['group']}"
    assert [version["storage"] for version in VERSIONS].count(True) == 1 and all(version["served"] for version in VERSIONS)
    assert EXAMPLE["kind"] == spec["names"]["kind"] and EXAMPLE["apiVersion"] in [f"{spec['group']}/{name}" for name in SCHEMAS]


def test_the_schema_is_structural(schema):
    for where, node in nodes(schema):
        assert set(node) <= KEYWORDS, (where, set(node) - KEYWORDS)
        assert node.get("type") in ("object", "array", "string", "integer", "number", "boolean"), where
        assert not ("properties" in node and "additionalProperties" in node), where
        assert ("items" in node) == (node["type"] == "array"), where
        assert set(node.get("required", [])) <= set(node.get("properties", {})), where
        if "pattern" in node:
            re.compile(node["pattern"])
        if "default" in node:
            jsonschema.Draft7Validator(node).validate(node["default"])
        if node.get("x-kubernetes-list-type") == "map":
            keys = node["x-kubernetes-list-map-keys"]
            assert all(key in node["items"]["required"] or "default" in node["items"]["properties"][key] for key in keys), where
    # The API server has its own schema for these.
    for name, kind in (("apiVersion", "string"), ("kind", "string"), ("metadata", "object")):
        assert set(schema["properties"][name]) <= {"type", "description"} and schema["properties"][name]["type"] == kind, name


def test_user_input_is_bounded(schema):
    """Texts, lists and maps: the API server estimates the rules' cost from these limits, and etcd stores the objects."""
    for where, node in nodes(schema):
        if where.startswith(".data"):
            if node["type"] == "string" and "enum" not in node:
                assert "maxLength" in node, where
            if node["type"] == "array":
                assert "maxItems" in node, where
            if "additionalProperties" in node:
                assert "maxProperties" in node, where


def test_rules_can_be_read_and_have_messages(schema):
    found = 0
    for where, node in nodes(schema):
        for rule in node.get("x-kubernetes-validations", []):
            parse(rule["rule"])
            assert rule.get("message") or rule.get("messageExpression"), where
            found += 1
    assert found


def test_columns_lead_to_fields():
    for version in VERSIONS:
        for column in version["additionalPrinterColumns"]:
            path = re.sub(r"\[\?\(@\.type==\"\w+\"\)\]", "[]", column["jsonPath"]).strip(".").split(".")
            node = version["schema"]["openAPIV3Schema"]
            if path[0] == "metadata":
                continue
            for step in path:
                node = node["properties"][step.removesuffix("[]")]
                node = node["items"] if step.endswith("[]") else node
            assert node["type"] == ("string" if column["type"] == "date" else column["type"]), column


def test_the_example_is_accepted_with_defaults(schema):
    image = with_defaults(schema, copy.deepcopy(EXAMPLE))
    jsonschema.Draft202012Validator(schema).validate(image)
    assert list(broken_rules(schema, image)) == []
    least = with_defaults(schema, {**EXAMPLE, "data": {"contents": ["curl"]}})
    assert least["data"]["tag"] == "latest"


def test_rules_refuse_invalid_objects():
    schema = SCHEMAS["v1alpha"]
    long = {**EXAMPLE, "metadata": {**EXAMPLE["metadata"], "name": "a" * 129}}
    assert list(broken_rules(schema, long)) == ["the name of a NixImage has at most 128 characters"]
    above = {**EXAMPLE, "data": {"contents": ["curl"], "config": {"workdir": "/srv/.."}}}
    assert list(broken_rules(schema, above)) == ["the working directory must not contain .."]
    for path, message in (("/a/../b", "a path must not contain . or .."), ("/nix/store", "/nix, /proc, /sys and /dev belong to the packages and the container runtime")):
        within = {**EXAMPLE, "data": {"contents": ["curl"], "files": [{"path": path, "content": ""}]}}
        assert list(broken_rules(schema, within)) == [message]
    unhealthy = {**EXAMPLE, "data": {"contents": ["curl"], "config": {"healthcheck": {"test": ["curl"]}}}}
    assert list(broken_rules(schema, unhealthy)) == ["give [CMD, program, arguments], [CMD-SHELL, command] or [NONE]"]


def test_objects_that_the_resource_accepts_are_valid_for_the_registry(directory):
    """An object with every field becomes a file, like the controller's, that the registry accepts."""
    data = {
        "tag": "v1", "contents": ["curl", "python3Packages.requests"], "platform": "amd64", "source": "latest",
        "config": {"entrypoint": ["curl"], "cmd": [], "env": {"A": "b"}, "user": "1:2", "workdir": "/srv", "labels": {"a": "b"}, "exposedPorts": ["80/tcp"],
                   "volumes": ["/data"], "stopSignal": "SIGRTMIN+3", "shell": ["/bin/bash", "-c"],
                   "healthcheck": {"test": ["CMD", "true"], "interval": "1m30s", "timeout": "500ms", "startPeriod": "1h", "startInterval": "2s", "retries": 3}},
        "users": [{"name": "web", "uid": 101, "gid": 102, "home": "/srv", "shell": "/bin/bash"}],
        "directories": [{"path": "/data", "owner": "web", "mode": "0750"}],
        "files": [{"path": "/etc/web.conf", "content": "a", "owner": "0:web", "mode": "640"}],
    }  # fmt: skip
    schema = SCHEMAS["v1alpha"]
    known = set(schema["properties"]["data"]["properties"])
    assert set(data) == known and set(data["config"]) == set(schema["properties"]["data"]["properties"]["config"]["properties"])
    jsonschema.Draft202012Validator(schema).validate({**EXAMPLE, "data": data})
    (directory / "image.json").write_text(json.dumps({"name": "team/a", **data}))
    said = run(NIXERY, "images", env={"NIXERY_IMAGES": str(directory)})
    assert said.returncode == 0 and "team/a" in said.stdout, said.stdout + said.stderr


@pytest.mark.parametrize("rule, names, given", [
    ("size(self) <= 2 && self.all(x, x.startsWith('a'))", {"self": ["a", "ab"]}, True),
    ("!has(self.a) || self.a in ['x', \"y\"]", {"self": {"a": "z"}}, False),
    ("self.exists(x, x == 3) ? 1 + 2 * 3 : 0", {"self": [1, 3]}, 7),
    ("self['k'].matches('^[a-c]+$')", {"self": {"k": "abc"}}, True),
    ("self.filter(x, x % 2 == 0).map(x, x - 1)", {"self": [1, 2, 4]}, [1, 3]),
])  # fmt: skip
def test_the_reader_of_rules_reads(rule, names, given):
    assert evaluate(parse(rule), names) == given


@pytest.mark.parametrize("rule", ["size(self", "self..a", "self.a ==", "self.nonsense()", "self all", "has(self)", "'open", "a # b"])
def test_the_reader_of_rules_refuses(rule):
    with pytest.raises(CelError):
        parse(rule)
