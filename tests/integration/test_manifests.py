"""The Kubernetes manifests, rendered by kustomize: whether an API server and Pod Security would accept them.

There is no API server here. kubectl is a later Debian's, and Kubernetes' types come from the sources of its Go client, as
that has them; what the controller asks for is seen by running it against fake_kubernetes.
"""

import urllib.parse

import pytest
import yaml

from engines import check
from kubernetes_objects import KUSTOMIZATIONS, Permissions, attributes, find, pods, settings_of_the_program, unrestricted
from registry import ROOT, wait_for
from test_kubernetes import cluster  # noqa: F401

@pytest.fixture(params=list(KUSTOMIZATIONS))
def things(request, rendered):
    return rendered[request.param]


def test_all_fields_exist_in_kubernetes(things, kubernetes_types):
    for thing in things:
        if thing["kind"] != "CustomResourceDefinition":
            assert kubernetes_types.problems(thing) == [], thing["metadata"]["name"]


def test_the_field_check_finds_mistakes(rendered, kubernetes_types):
    """Tests the check itself: it finds misspelt, misplaced and mistyped fields at any depth."""
    daemonset = find(rendered["base"], "DaemonSet")
    for path, value in (
        (["spec", "templates"], {}), (["spec", "template", "spec", "container"], []),
        (["spec", "template", "spec", "containers", 0, "securityContext", "readonlyRootFilesystem"], True),
        (["spec", "template", "spec", "containers", 0, "securityContext", "runAsUser"], "1000"),
        (["spec", "template", "spec", "containers", 0, "args"], "nginx"), (["metadata", "labels", "a"], 1),
        (["spec", "template", "spec", "volumes", 1, "name"], "nix"),
    ):  # fmt: skip
        wrong = yaml.safe_load(yaml.safe_dump(daemonset))
        within = wrong
        for step in path[:-1]:
            within = within[step]
        within[path[-1]] = value
        assert len(kubernetes_types.problems(wrong)) == 1, path
    assert kubernetes_types.problems({**daemonset, "apiVersion": "extensions/v1"})


def test_the_registry_for_the_cluster_is_restricted(rendered):
    (pod,) = pods(rendered["deployment"])
    assert unrestricted(pod) == set()
    labels = find(rendered["deployment"], "Namespace")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_the_node_registry_is_restricted_except_for_the_nodes_directories_and_port(rendered):
    (pod,) = pods(rendered["base"])
    assert unrestricted(pod) == {
        "volume nix: hostPath", "volume tree: hostPath", "volume state: hostPath", "volume images: hostPath", "nginx: host port",
        "own: root", "own: capabilities added",
    }  # fmt: skip
    (own,) = [container for container in pod["initContainers"] if container["name"] == "own"]
    assert own["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["CHOWN"]}
    (port,) = pod["containers"][0]["ports"]
    assert port["hostIP"] == "127.0.0.1"


def test_containers_are_confined_and_bounded(things):
    (pod,) = pods(things)
    assert pod["automountServiceAccountToken"] is False
    for container in pod["containers"] + pod["initContainers"]:
        assert container["securityContext"]["readOnlyRootFilesystem"] is True, container["name"]
        assert {"cpu", "memory"} == set(container["resources"]["requests"]) and "memory" in container["resources"]["limits"]
    # Only the controller uses the API server.
    holders = [container["name"] for container in pod["containers"] for mount in container["volumeMounts"] if mount["name"] == "token"]
    assert holders == ["controller"]
    assert find(things, "ServiceAccount")["automountServiceAccountToken"] is False
    # nginx cannot write to the tree.
    (tree,) = [mount for mount in pod["containers"][0]["volumeMounts"] if mount["name"] == "tree"]
    assert pod["containers"][0]["name"] == "nginx" and tree["readOnly"] is True


def test_containers_are_those_of_the_image(things):
    (pod,) = pods(things)
    declared = yaml.safe_load((ROOT / "packaging/image/nixery.json").read_text())
    start = (ROOT / "packaging/container/start").read_text()
    modes = {line.split()[1] for line in start.splitlines() if line.startswith("#   ") and len(line.split()) > 2}
    for container in pod["containers"] + pod["initContainers"]:
        assert container["image"] == f"registry.example.org/{declared['name']}:{declared['tag']}"
        assert container["args"][0] in modes and "command" not in container, container["name"]
        # Its mounts exist.
        assert {mount["name"] for mount in container["volumeMounts"]} <= {volume["name"] for volume in pod["volumes"]}
    mounted = {mount["name"] for container in pod["containers"] + pod["initContainers"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]}


def test_probes_match_each_containers_function(things):
    (pod,) = pods(things)
    nginx, worker, _ = pod["containers"]
    port = nginx["ports"][0]["containerPort"]
    asked = {(c["name"], kind): c[f"{kind}Probe"]["httpGet"] for c in (nginx, worker) for kind in ("startup", "liveness", "readiness")}
    assert {key: probe["path"] for key, probe in asked.items()} == {
        ("nginx", "startup"): "/v2/", ("nginx", "liveness"): "/v2/", ("nginx", "readiness"): "/v2/",
        ("worker", "startup"): "/healthz", ("worker", "liveness"): "/healthz", ("worker", "readiness"): "/readyz",
    }  # fmt: skip
    assert {probe["port"] for probe in asked.values()} == {port}


def test_settings_are_known_to_the_program(things):
    maps = {thing["metadata"]["name"].rpartition("-")[0]: thing["data"] for thing in things if thing["kind"] == "ConfigMap"}
    known = settings_of_the_program()
    for name, data in maps.items():
        for variable in data:
            assert variable in known, (name, variable)
    (pod,) = pods(things)
    lease = maps["nixery-controller-settings"]["NIXERY_CONTROLLER_LEASE"]
    account = find(things, "ServiceAccount")
    assert lease == f"{account['metadata']['namespace']}/nixery-controller" and pod["serviceAccountName"] == account["metadata"]["name"]


def test_the_network_policy_allows_only_required_traffic(rendered):
    for name, things in rendered.items():
        policy = find(things, "NetworkPolicy")["spec"]
        labels = pods_labels(things)
        assert policy["podSelector"]["matchLabels"].items() <= labels.items()
        assert policy["policyTypes"] == ["Ingress", "Egress"]
        names, web = policy["egress"]
        assert {(port["protocol"], port["port"]) for port in names["ports"]} == {("UDP", 53), ("TCP", 53)}
        assert {port["port"] for port in web["ports"]} == {443, 6443}
        # Clouds' metadata services, which give out the node's credentials.
        assert any("169.254.0.0/16" in block["ipBlock"]["except"] for block in web["to"])
        if name == "base":
            assert policy["ingress"] == []
        else:
            (rule,) = policy["ingress"]
            assert rule["from"] and rule["ports"] == [{"protocol": "TCP", "port": "registry"}]


def pods_labels(things):
    return next(thing["spec"]["template"]["metadata"]["labels"] for thing in things if thing["kind"] in ("DaemonSet", "Deployment"))


def test_service_ingress_and_controller_agree(rendered):
    things = rendered["deployment"]
    service, ingress = find(things, "Service"), find(things, "Ingress")
    assert service["spec"]["selector"].items() <= pods_labels(things).items()
    assert find(things, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"].items() <= pods_labels(things).items()
    (rule,), (tls,) = ingress["spec"]["rules"], ingress["spec"]["tls"]
    host = next(thing["data"] for thing in things if thing["kind"] == "ConfigMap" and "controller" in thing["metadata"]["name"])["NIXERY_CONTROLLER_HOST"]
    assert rule["host"] == host and tls["hosts"] == [host]
    backend = rule["http"]["paths"][0]["backend"]["service"]
    assert (backend["name"], backend["port"]["name"]) == (service["metadata"]["name"], service["spec"]["ports"][0]["name"])
    (pod,) = pods(things)
    claims = {thing["metadata"]["name"] for thing in things if thing["kind"] == "PersistentVolumeClaim"}
    assert {volume["persistentVolumeClaim"]["claimName"] for volume in pod["volumes"] if "persistentVolumeClaim" in volume} == claims


def test_the_controllers_permissions_match_its_requests(cluster, things):  # noqa: F811
    """Runs the controller: each request is allowed, and each rule is needed by a request."""
    permissions = Permissions(things, "nixery", "nixery-controller")
    used = set()

    def look():
        for method, target, *_ in list(cluster.api.requests):
            url = urllib.parse.urlsplit(target)
            asked = attributes(method, url.path, dict(urllib.parse.parse_qsl(url.query)))
            allowing = permissions.allowing(*asked)
            assert allowing, f"{method} {target}: {asked} is not allowed"
            used.update(allowing)
        return set(permissions.rules) == used

    cluster.api.put("team", "a", {"contents": ["curl"]})
    cluster.api.put("team", "b", {"contents": ["curl"]})
    cluster.controller(NIXERY_CONTROLLER_LEASE="nixery/nixery-controller", NIXERY_CONTROLLER_IDENTITY="one", NIXERY_CONTROLLER_QUOTA="1")
    wait_for(lambda: cluster.ready("team", "a") == "True" and cluster.reason("team", "b") == "QuotaExceeded", "the image")
    cluster.api.put("team", "a", {"contents": ["curl", "jq"]})
    cluster.api.delete("team", "a")  # b comes within the quota
    try:
        wait_for(look, "each permission to be used")
    except AssertionError:
        assert set(permissions.rules) - used == set(), "granted, and not used"
        raise


def test_the_sample_of_a_quota_counts_what_the_resource_defines(kubernetes_types, things):
    quota = yaml.safe_load((ROOT / "packaging/kubernetes/quota.yaml").read_text())
    assert kubernetes_types.problems(quota) == []
    assert list(quota["spec"]["hard"]) == [f"count/{find(things, 'CustomResourceDefinition', '')['metadata']['name']}"]
    settings = next(thing["data"] for thing in things if thing["kind"] == "ConfigMap" and "controller" in thing["metadata"]["name"])
    assert quota["spec"]["hard"].popitem()[1] == settings["NIXERY_CONTROLLER_QUOTA"]


def test_no_other_account_has_permissions(things):
    for thing in things:
        if thing["kind"].endswith("RoleBinding"):
            assert thing["subjects"] == [{"kind": "ServiceAccount", "name": "nixery-controller", "namespace": "nixery"}]
        if thing["kind"].endswith("Role"):
            for rule in thing["rules"]:
                assert "*" not in rule["verbs"] + rule["resources"] + rule["apiGroups"]


def test_no_file_is_kept_twice():
    """nginx's configuration is in the image and not copied here."""
    own = {path.read_bytes() for path in (ROOT / "nginx").glob("*.conf")}
    assert not [path for path in (ROOT / "packaging/kubernetes").rglob("*") if path.is_file() and path.read_bytes() in own]
