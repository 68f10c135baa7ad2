"""Checks objects like an API server: fields, Pod Security and permissions."""

import re
from pathlib import Path

import yaml

from engines import check
from registry import NIXERY, ROOT

KUSTOMIZATIONS = {"base": ROOT / "packaging/kubernetes/base", "deployment": ROOT / "packaging/kubernetes/overlays/deployment"}


class Types:
    """Kubernetes' types from the Go client's sources: their fields and the types of these."""

    def __init__(self, client: Path):
        text = (client / "applyconfigurations/internal/internal.go").read_text()
        document = yaml.load(text.split("YAMLObject(`", 1)[1].split("`)", 1)[0], Loader=yaml.CSafeLoader)
        self.types = {each["name"]: each for each in document["types"]}

    def problems(self, thing: dict) -> list[str]:
        """Unknown fields and values of the wrong type. CustomResourceDefinitions are not checked here."""
        group, _, version = thing["apiVersion"].rpartition("/")
        name = f"io.k8s.api.{(group or 'core').split('.')[0]}.{version}.{thing['kind']}"
        if name not in self.types:
            return [f"there is no {thing['kind']} in {thing['apiVersion']}"]
        return list(self._named(name, thing, thing["kind"]))

    def _named(self, name, value, where):
        yield from self._check(self.types[name], value, where)

    def _check(self, kind, value, where):
        if "namedType" in kind and kind["namedType"] in self.types:
            yield from self._named(kind["namedType"], value, where)
        elif "scalar" in kind:
            wanted = {"string": str, "numeric": (int, float), "boolean": bool}.get(kind["scalar"])
            if wanted and (not isinstance(value, wanted) or (kind["scalar"] == "numeric" and isinstance(value, bool))):
                yield f"{where}: {value!r} is not {kind['scalar']}"
            elif isinstance(value, (dict, list)):
                yield f"{where}: {value!r} is no scalar"
        elif "list" in kind:
            if not isinstance(value, list):
                yield f"{where}: {value!r} is no list"
                return
            for index, each in enumerate(value):
                yield from self._check(kind["list"]["elementType"], each, f"{where}[{index}]")
            keys = kind["list"].get("keys", [])
            known = [tuple(each.get(key) for key in keys) for each in value if isinstance(each, dict)] if keys else []
            if len(known) != len(set(known)):
                yield f"{where}: two with the same {', '.join(keys)}"
        elif "map" in kind:
            if not isinstance(value, dict):
                yield f"{where}: {value!r} is no object"
                return
            fields = {field["name"]: field["type"] for field in kind["map"].get("fields", [])}
            rest = kind["map"].get("elementType")
            for name, each in value.items():
                if name not in fields and not rest:
                    yield f"{where}: there is no field {name}"
                else:
                    yield from self._check(fields.get(name, rest), each, f"{where}.{name}")


def find(things: list[dict], kind: str, name: str = "nixery") -> dict:
    """The object of this kind whose name has this prefix."""
    (found,) = [thing for thing in things if thing["kind"] == kind and thing["metadata"]["name"].startswith(name)]
    return found


def pods(things: list[dict]) -> list[dict]:
    return [thing["spec"]["template"]["spec"] for thing in things if thing["kind"] in ("DaemonSet", "Deployment", "StatefulSet", "Job")]


def unrestricted(pod: dict) -> set[str]:
    """What Pod Security's level `restricted` forbids in a pod (kubernetes.io: Pod Security Standards, v1.32)."""
    found = {f"{field}" for field in ("hostNetwork", "hostPID", "hostIPC") if pod.get(field)}
    allowed = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
    found |= {f"volume {volume['name']}: {kind}" for volume in pod["volumes"] for kind in set(volume) - {"name"} - allowed}
    whole = pod.get("securityContext", {})
    for container in pod["containers"] + pod.get("initContainers", []):
        own = container.get("securityContext", {})
        said = {**whole, **own}
        name = container["name"]
        capabilities = own.get("capabilities", {})
        wrong = {
            "privileged": own.get("privileged"),
            "privilege escalation": own.get("allowPrivilegeEscalation") is not False,
            "root": said.get("runAsNonRoot") is not True or said.get("runAsUser") == 0,
            "seccomp": said.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"),
            "capabilities kept": capabilities.get("drop") != ["ALL"],
            "capabilities added": set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"},
            "host port": any("hostPort" in port for port in container.get("ports", [])),
        }
        found |= {f"{name}: {what}" for what, is_wrong in wrong.items() if is_wrong}
    return found


class Permissions:
    """A service account's permissions by the roles and bindings among `things`."""

    def __init__(self, things: list[dict], namespace: str, account: str):
        self.rules = []  # (namespace or None for all, API group, resource, verb, names or None for any)
        roles = {(thing["kind"], thing["metadata"].get("namespace"), thing["metadata"]["name"]): thing["rules"] for thing in things if thing["kind"].endswith("Role")}
        for thing in things:
            if not thing["kind"].endswith("RoleBinding"):
                continue
            if {"kind": "ServiceAccount", "name": account, "namespace": namespace} not in thing["subjects"]:
                continue
            where = thing["metadata"].get("namespace")
            kind = thing["roleRef"]["kind"]
            for rule in roles[kind, where if kind == "Role" else None, thing["roleRef"]["name"]]:
                self.rules += [
                    (where, group, resource, verb, tuple(rule.get("resourceNames", [])) or None)
                    for group in rule["apiGroups"] for resource in rule["resources"] for verb in rule["verbs"]
                ]  # fmt: skip

    def allowing(self, group, resource, verb, namespace, name) -> set:
        """The rules that allow the request; none: it is forbidden. A requested name must be one of a rule's names."""
        return {
            rule for rule in self.rules
            if rule[1:4] == (group, resource, verb) and rule[0] in (None, namespace) and (rule[4] is None or name in rule[4])
        }  # fmt: skip


def attributes(method: str, path: str, query: dict) -> tuple:
    """A request's attributes for authorization: group, resource with subresource, verb, namespace, name."""
    parts = path.strip("/").split("/")
    assert parts[0] == "apis", path
    group, rest = parts[1], parts[3:]
    namespace = None
    if rest[0] == "namespaces":
        namespace, rest = rest[1], rest[2:]
    resource, name, *sub = [*rest, None][:2] + rest[2:]
    verb = {"GET": "get" if name else "list", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}[method]
    if query.get("watch") in ("1", "true"):
        verb = "watch"
    return group, "/".join([resource, *sub]), verb, namespace, name


def settings_of_the_program() -> set[str]:
    """The names of the worker's settings and of the controller's."""
    names = set(re.findall(r"^\| `(\w+)` \|", check(NIXERY, "config", "--markdown"), flags=re.M))
    assert {"NIXERY_TREE", "NIXERY_CONTROLLER_LEASE"} <= names
    return names
