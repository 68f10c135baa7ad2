"""How a Kubernetes API server validates and stores the objects that the controller sends."""

import copy
import datetime
import re

import jsonschema
import yaml

from registry import ROOT

CRD = ROOT / "packaging/kubernetes/base/crd.yaml"
MICRO_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
QUALIFIED_NAME = re.compile(r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


def image_schema() -> dict:
    return yaml.safe_load(CRD.read_text())["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def _is_date_time(text) -> bool:
    try:
        return bool(datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ"))
    except ValueError:
        return False


FORMATS = jsonschema.FormatChecker(formats=())
FORMATS.checks("date-time")(_is_date_time)


class ImageRules:
    """Applies the CustomResourceDefinition's schema like a server; of its CEL rules only the one on names."""

    def __init__(self):
        self.schema = image_schema()
        self.validator = jsonschema.Draft202012Validator(self.schema, format_checker=FORMATS)

    def admitted(self, image: dict) -> dict:
        """The stored object: with defaults and without unknown fields. Raises ValueError."""
        image = copy.deepcopy(image)
        self._default(image, self.schema)
        if problem := next(iter(self.problems(image)), None):
            raise ValueError(problem)
        self._prune(image, self.schema)
        return image

    def problems(self, image: dict) -> list[str]:
        found = [f"{'.'.join(map(str, e.absolute_path))}: {e.message[:200]}" for e in self.validator.iter_errors(image)]
        if len(image["metadata"]["name"]) > 128 or not SUBDOMAIN.fullmatch(image["metadata"]["name"]):
            found.append("metadata.name")
        kinds = [c.get("type") for c in image.get("status", {}).get("conditions", [])]
        if len(kinds) != len(set(kinds)):
            found.append("status.conditions: two of one type")
        return found

    def unknown_fields(self, value, schema=None, path="") -> list[str]:
        schema = schema or self.schema
        if isinstance(value, list):
            return [u for i, item in enumerate(value) for u in self.unknown_fields(item, schema["items"], f"{path}[{i}]")]
        if not isinstance(value, dict) or path == ".metadata":
            return []
        known, found = schema.get("properties", {}), []
        for name, member in value.items():
            below = known.get(name) or schema.get("additionalProperties")
            found += self.unknown_fields(member, below, f"{path}.{name}") if below else [f"{path}.{name}"]
        return found

    def _default(self, value, schema):
        if not isinstance(value, dict):
            return
        for name, below in schema.get("properties", {}).items():
            if "default" in below:
                value.setdefault(name, below["default"])
            if name in value:
                self._default(value[name], below)

    def _prune(self, value, schema):
        if isinstance(value, list):
            for item in value:
                self._prune(item, schema.get("items", {}))
        elif isinstance(value, dict) and "properties" in schema:
            for name in [n for n in value if n not in schema["properties"]]:
                del value[name]
            for name, member in value.items():
                if name != "metadata":
                    self._prune(member, schema["properties"][name])


def problems_of_event(event: dict, namespace: str) -> list[str]:
    """events.k8s.io/v1"""
    metadata, regarding = event.get("metadata", {}), event.get("regarding", {})
    required = {"action": 128, "reason": 128, "reportingInstance": 128, "reportingController": 253}
    known = {"apiVersion", "kind", "metadata", "eventTime", "regarding", "related", "type", "note", "series", *required}
    checks = {
        "kind": (event.get("apiVersion"), event.get("kind")) == ("events.k8s.io/v1", "Event"),
        "name": bool(metadata.get("name") or metadata.get("generateName")) and len(metadata.get("name", "")) <= 253,
        "namespace": metadata.get("namespace") == namespace == regarding.get("namespace"),
        "eventTime": bool(MICRO_TIME.fullmatch(event.get("eventTime", ""))),
        "type": event.get("type") in ("Normal", "Warning"),
        "note": len(event.get("note", "").encode()) <= 1024,
        "reportingController": bool(QUALIFIED_NAME.fullmatch(event.get("reportingController", ""))),
        "series": "series" not in event,
        "regarding": all(regarding.get(field) for field in ("kind", "name", "uid", "apiVersion")),
        "unknown fields": set(event) <= known,
        **{field: 0 < len(event.get(field, "")) <= most for field, most in required.items()},
    }
    return [what for what, good in checks.items() if not good]


def problems_of_lease(lease: dict, namespace: str) -> list[str]:
    """coordination.k8s.io/v1"""
    spec, metadata = lease.get("spec", {}), lease.get("metadata", {})
    known = {"holderIdentity", "leaseDurationSeconds", "acquireTime", "renewTime", "leaseTransitions"}
    checks = {
        "kind": (lease.get("apiVersion"), lease.get("kind")) == ("coordination.k8s.io/v1", "Lease"),
        "name": bool(SUBDOMAIN.fullmatch(metadata.get("name", ""))) and metadata.get("namespace") == namespace,
        "holderIdentity": spec.get("holderIdentity") != "",
        "leaseDurationSeconds": spec.get("leaseDurationSeconds", 1) > 0,
        "leaseTransitions": spec.get("leaseTransitions", 0) >= 0,
        "times": all(MICRO_TIME.fullmatch(spec[field]) for field in ("acquireTime", "renewTime") if field in spec),
        "unknown fields": set(spec) <= known,
    }
    return [what for what, good in checks.items() if not good]


def problems_of_apply(patch: dict, content_type: str, query: dict, name: str) -> list[str]:
    """Server-side apply of a status; the caller compares the resourceVersion."""
    metadata = patch.get("metadata", {})
    checks = {
        "type": content_type == "application/apply-patch+yaml",
        "fieldManager": 0 < len(query.get("fieldManager", "")) <= 128,
        "force": query.get("force") == "true",
        "kind": (patch.get("apiVersion"), patch.get("kind")) == ("k8s.nixos.org/v1alpha", "NixImage"),
        "name": metadata.get("name") == name,
        "managedFields": "managedFields" not in metadata,
        "fields": set(patch) == {"apiVersion", "kind", "metadata", "status"},
    }
    return [what for what, good in checks.items() if not good]
