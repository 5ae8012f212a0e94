"""deploy/helm/clipwatch over a matrix of values: objects that Kubernetes takes, safe, whole, and without secrets."""

from __future__ import annotations

import copy
import json
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.grafana import dashboards
from tests.helm import CHART, LEAST, MATRIX, OUTSIDE, SECRETS, Yaml, merged, named, render, run_helm
from tests.helm_checks import container_faults, pod_specs, reference_faults, schema_faults, secret_faults
from tests.programs import find_helm


def objects(case: str) -> list[Yaml]:
    """Return the objects of a case of the matrix."""
    return render(merged(LEAST, MATRIX[case]))


@pytest.mark.parametrize("case", MATRIX)
def test_lint_finds_nothing(case: str) -> None:
    done = run_helm("lint", "--strict", values=merged(LEAST, MATRIX[case]))
    assert done.returncode == 0, done.stdout
    assert "[WARNING]" not in done.stdout + done.stderr
    assert "Fail:" not in done.stderr, "lint only notes what the templates refuse"


@pytest.mark.parametrize("case", MATRIX)
def test_kubernetes_takes_every_object(case: str) -> None:
    assert schema_faults(objects(case)) == []


@pytest.mark.parametrize("case", MATRIX)
def test_every_container_has_probes_limits_and_no_rights(case: str) -> None:
    assert container_faults(objects(case)) == []


@pytest.mark.parametrize("case", MATRIX)
def test_secrets_stand_in_secrets_alone(case: str) -> None:
    assert secret_faults(objects(case), list(SECRETS.values())) == []


@pytest.mark.parametrize("case", MATRIX)
def test_what_is_named_is_there(case: str) -> None:
    assert reference_faults(objects(case), OUTSIDE) == []


@pytest.mark.parametrize("case", MATRIX)
def test_names_are_unique_and_of_the_release_and_its_namespace(case: str) -> None:
    found = objects(case)
    names = [(item["kind"], item["metadata"]["name"]) for item in found]
    assert len(names) == len(set(names))
    assert all(name.startswith("clipwatch-") for _, name in names)
    assert {item["metadata"]["namespace"] for item in found} == {"video"}


def test_two_releases_share_nothing() -> None:
    values = merged(LEAST, MATRIX["secrets"])
    one, two = (
        {
            (item["kind"], item["metadata"]["name"], json.dumps(item.get("spec", {}).get("selector")))
            for item in render(values, name=name)
        }
        for name in ("one", "two")
    )
    assert not one & two


def test_the_longest_name_of_a_release_fits_every_object() -> None:
    """63 characters for a Service, 52 for a StatefulSet: its pods carry a label of name and revision."""
    found = render(merged(LEAST, MATRIX["secrets"]), name="a" * 35)
    for item in found:
        limit = 52 if item["kind"] == "StatefulSet" else 63
        assert len(item["metadata"]["name"]) <= limit


# -- the checks see what is broken


def _pod(item: Yaml) -> Yaml:
    spec: Yaml = item["spec"]["template"]["spec"]
    return spec


def _container(item: Yaml) -> Yaml:
    container: Yaml = _pod(item)["containers"][0]
    return container


Change = Callable[[Yaml], Any]  # Any: what a change gives back is not looked at
IN_CONTAINERS: dict[str, Change] = {
    "no startup probe": lambda item: _container(item).pop("startupProbe"),
    "no readiness probe": lambda item: _container(item).pop("readinessProbe"),
    "no liveness probe": lambda item: _container(item).pop("livenessProbe"),
    "no limits": lambda item: _container(item)["resources"].pop("limits"),
    "no limit of memory": lambda item: _container(item)["resources"]["limits"].pop("memory"),
    "no requests": lambda item: _container(item)["resources"].pop("requests"),
    "root": lambda item: _pod(item)["securityContext"].update(runAsUser=0),
    "root in the container": lambda item: _container(item)["securityContext"].update(runAsUser=0),
    "may be root": lambda item: _pod(item)["securityContext"].pop("runAsNonRoot"),
    "no seccomp": lambda item: _pod(item)["securityContext"].pop("seccompProfile"),
    "writable": lambda item: _container(item)["securityContext"].pop("readOnlyRootFilesystem"),
    "capabilities": lambda item: _container(item)["securityContext"].pop("capabilities"),
    "more rights": lambda item: _container(item)["securityContext"].pop("allowPrivilegeEscalation"),
    "privileged": lambda item: _container(item)["securityContext"].update(privileged=True),
    "the host's network": lambda item: _pod(item).update(hostNetwork=True),
    "the host's port": lambda item: _container(item)["ports"][0].update(hostPort=80),
    "the host's folder": lambda item: _pod(item)["volumes"].append({"name": "x", "hostPath": {"path": "/"}}),
    "a token": lambda item: _pod(item).pop("automountServiceAccountToken"),
    "a variable twice": lambda item: _container(item)["env"].append(_container(item)["env"][0]),
    "no tag": lambda item: _container(item).update(image="registry.example.org:5000/motion"),
    "the latest": lambda item: _container(item).update(image="motion:latest"),
}


@pytest.mark.parametrize("change", IN_CONTAINERS)
def test_a_container_that_lacks_something_is_found(change: str) -> None:
    for name in ("clipwatch-recorder", "clipwatch-classifier", "clipwatch-motion", "clipwatch-redis"):
        found = objects("default")
        [item] = [one for one, _ in pod_specs(found) if one["metadata"]["name"] == name]
        IN_CONTAINERS[change](item)
        assert container_faults(found), f"{name}: {change}"


def test_a_first_container_without_limits_is_found() -> None:
    found = objects("default")
    _pod(named(found, "Deployment", "clipwatch-recorder"))["initContainers"][0].pop("resources")
    assert container_faults(found)


def test_objects_that_kubernetes_refuses_are_found() -> None:
    for case, kind, name, key in (
        ("default", "Deployment", "clipwatch-recorder", "replica"),
        ("keda", "ScaledObject", "clipwatch-classifier", "minReplicas"),
        ("external", "PodMonitor", "clipwatch-metrics", "endpoints"),
        ("ingress", "Ingress", "clipwatch-recorder", "host"),
    ):
        found = objects(case)
        named(found, kind, name)["spec"][key] = 1
        assert len(schema_faults(found)) == 1


def test_a_secret_outside_a_secret_is_found() -> None:
    found = objects("secrets")
    value = SECRETS["METRICS_TOKEN"]
    named(found, "ConfigMap", "clipwatch-prometheus")["data"]["token"] = f"credentials: {value}"
    assert len(secret_faults(found, [value])) == 1
    found = objects("secrets")
    _container(named(found, "StatefulSet", "clipwatch-motion"))["env"].append(
        {"name": "API_TOKEN", "value": "x"}
    )
    assert len(secret_faults(found, [value])) == 1


REFERENCES: dict[str, tuple[str, str, Change]] = {
    "a Secret": ("StatefulSet", "clipwatch-motion", lambda i: _volume(i, "secrets").update(secretName="no")),
    "a claim": ("Deployment", "clipwatch-recorder", lambda i: _claim(i, "media").update(claimName="no")),
    "a mount": ("Deployment", "clipwatch-recorder", lambda i: _container(i)["volumeMounts"].pop(0)),
    "a probe's port": (
        "Deployment",
        "clipwatch-classifier",
        lambda i: _container(i)["livenessProbe"]["httpGet"].update(port="web"),
    ),
    "a Service's port": (
        "Service",
        "clipwatch-motion",
        lambda i: i["spec"]["ports"][0].update(targetPort="web"),
    ),
    "a Service's pods": (
        "Service",
        "clipwatch-redis",
        lambda i: i["spec"]["selector"].update({"app.kubernetes.io/component": "valkey"}),
    ),
    "a budget's pods": (
        "PodDisruptionBudget",
        "clipwatch-motion",
        lambda i: i["spec"]["selector"]["matchLabels"].update({"app.kubernetes.io/instance": "other"}),
    ),
    "a policy's pods": (
        "NetworkPolicy",
        "clipwatch-mysql",
        lambda i: i["spec"]["podSelector"]["matchLabels"].update({"app.kubernetes.io/component": "x"}),
    ),
    "a StatefulSet's Service": (
        "StatefulSet",
        "clipwatch-motion",
        lambda i: i["spec"].update(serviceName="no"),
    ),
}


def _volume(item: Yaml, name: str) -> Yaml:
    [volume] = [volume for volume in _pod(item)["volumes"] if volume["name"] == name]
    secret: Yaml = volume["secret"]
    return secret


def _claim(item: Yaml, name: str) -> Yaml:
    [volume] = [volume for volume in _pod(item)["volumes"] if volume["name"] == name]
    claim: Yaml = volume["persistentVolumeClaim"]
    return claim


@pytest.mark.parametrize("what", REFERENCES)
def test_a_name_that_leads_nowhere_is_found(what: str) -> None:
    kind, name, change = REFERENCES[what]
    found = objects("default")
    change(named(found, kind, name))
    assert reference_faults(found, OUTSIDE) != []


# -- who may reach whom


def _reach(found: list[Yaml]) -> set[tuple[str, str, int]]:
    """Return who may reach whom at which port, among the release's own pods, as both ends' policies have it."""
    policies = {
        item["metadata"]["name"].removeprefix("clipwatch-"): item["spec"]
        for item in found
        if item["kind"] == "NetworkPolicy"
    }
    allowed: dict[str, set[tuple[str, str, int]]] = {}
    for direction, side in (("ingress", "from"), ("egress", "to")):
        allowed[direction] = set()
        for name, spec in policies.items():
            for rule in spec.get(direction, []):
                for peer in rule.get(side, []):
                    labels = peer.get("podSelector", {}).get("matchLabels", {})
                    other = labels.get("app.kubernetes.io/component")
                    if other is None or "namespaceSelector" in peer:
                        continue
                    ends = (other, name) if direction == "ingress" else (name, other)
                    allowed[direction] |= {(*ends, port["port"]) for port in rule["ports"]}
    assert allowed["ingress"] == allowed["egress"], "what one end may send the other may take"
    return allowed["ingress"]


def test_only_who_has_to_reaches_another() -> None:
    services = ("motion", "classifier", "recorder")
    least = {*((name, "redis", 6379) for name in services), ("recorder", "mysql", 3306)}
    least.add(("recorder", "motion", 8080))
    assert _reach(objects("default")) == least
    watched = {*(("prometheus", name, 8080) for name in services), ("grafana", "prometheus", 9090)}
    assert _reach(objects("bundled")) == least | watched | {("grafana", "mysql", 3306)}
    assert _reach(objects("external")) == {("recorder", "motion", 8080)}


def test_all_else_is_refused_and_the_databases_open_no_connection() -> None:
    found = objects("default")
    nothing = named(found, "NetworkPolicy", "clipwatch-nothing")["spec"]
    assert nothing["policyTypes"] == ["Ingress", "Egress"]
    assert nothing.keys() == {"podSelector", "policyTypes"}
    for item, _ in pod_specs(objects("bundled")):
        labels = item["spec"]["template"]["metadata"]["labels"]
        assert nothing["podSelector"]["matchLabels"].items() <= labels.items()
    for name in ("redis", "mysql"):
        spec = named(found, "NetworkPolicy", f"clipwatch-{name}")["spec"]
        assert "egress" not in spec
        assert all("from" in rule for rule in spec["ingress"])


def test_a_rule_without_peers_is_for_the_page_alone() -> None:
    """A rule without `from` lets everybody in; to WebRTC's ports: test_helm_webrtc.py."""
    for case in MATRIX:
        for item in objects(case):
            if item["kind"] == "NetworkPolicy":
                rules = [
                    rule for rule in item["spec"].get("ingress", []) if "endPort" not in rule["ports"][0]
                ]
                is_open = any("from" not in rule for rule in rules)
                name = item["metadata"]["name"]
                assert is_open == (case != "claims" and name in ("clipwatch-recorder", "clipwatch-grafana"))


def test_an_external_redis_is_reached_at_its_networks_and_port_alone() -> None:
    spec = named(objects("external"), "NetworkPolicy", "clipwatch-classifier")["spec"]
    assert {
        "ports": [{"protocol": "TCP", "port": 6380}],
        "to": [{"ipBlock": {"cidr": "10.0.7.0/24"}}],
    } in spec["egress"]


CREDENTIALS = {"0.0.0.0/0": ["169.254.0.0/16"], "::/0": ["fe80::/10", "fd00:ec2::254/128"]}


@pytest.mark.parametrize("case", ["default", "bundled", "claims"])
def test_connections_to_anywhere_leave_out_where_clouds_hand_out_credentials(case: str) -> None:
    """No network that covers those addresses stands without them, whichever value it comes from."""
    seen = set()
    for item in objects(case):
        for rule in item.get("spec", {}).get("egress", []) if item["kind"] == "NetworkPolicy" else []:
            for peer in rule.get("to", []):
                block = peer.get("ipBlock")
                if block is not None:
                    assert block.get("except", []) == CREDENTIALS[block["cidr"]]
                    seen.add((item["metadata"]["name"].removeprefix("clipwatch-"), block["cidr"]))
    names = ["motion", "classifier", "recorder", *(["grafana"] if case != "default" else [])]
    assert seen == {(name, network) for name in names for network in CREDENTIALS}


@pytest.mark.parametrize(
    ("network", "left_out"),
    [
        *(("128.0.0.0/1", True), ("160.0.0.0/4", True), ("169.254.0.0/15", True), ("169.255.0.0/15", True)),
        *(("0.0.0.0/1", False), ("10.0.0.0/8", False), ("169.252.0.0/15", False), ("192.168.7.0/24", False)),
        *(("169.254.0.0/16", False), ("169.254.169.254/32", False), ("2001:db8::/32", False)),
    ],
)
def test_an_exception_lies_within_its_network(network: str, left_out: bool) -> None:
    """Kubernetes refuses any other; a network that is named as link-local is meant."""
    found = render(merged(LEAST, {"networkPolicy": {"outside": {"motion": [network]}}}))
    egress = named(found, "NetworkPolicy", "clipwatch-motion")["spec"]["egress"]
    wanted: Yaml = {"cidr": network} | ({"except": ["169.254.0.0/16"]} if left_out else {})
    assert egress[-1] == {"to": [{"ipBlock": wanted}]}


def test_the_bundled_grafana_sends_alerts_to_where_it_may() -> None:
    values = merged(MATRIX["bundled"], {"networkPolicy": {"outside": {"grafana": ["10.0.9.0/24"]}}})
    egress = named(render(merged(LEAST, values)), "NetworkPolicy", "clipwatch-grafana")["spec"]["egress"]
    assert [rule for rule in egress if "ports" not in rule] == [
        {"to": [{"ipBlock": {"cidr": "10.0.9.0/24"}}]}
    ]


def test_a_grafana_of_the_users_reads_the_bundled_servers_and_nothing_else() -> None:
    peers = MATRIX["own-grafana"]["networkPolicy"]["grafanaFrom"]
    let_in = {
        (item["metadata"]["name"], port["port"])
        for item in objects("own-grafana")
        if item["kind"] == "NetworkPolicy"
        for rule in item["spec"].get("ingress", [])
        if rule.get("from") == peers
        for port in rule["ports"]
    }
    assert let_in == {("clipwatch-mysql", 3306), ("clipwatch-prometheus", 9090)}


def test_keda_reaches_redis_only_where_it_scales() -> None:
    keda = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "keda"}}}]
    for case, is_there in (("keda", True), ("default", False)):
        rules = named(objects(case), "NetworkPolicy", "clipwatch-redis")["spec"]["ingress"]
        assert any(rule["from"] == keda for rule in rules) == is_there


# -- what is in the package


def test_a_package_renders_the_same_as_the_folder(tmp_path: Path) -> None:
    """Files of the repository are linked into the chart: a package has to hold them."""
    done = subprocess.run(
        [find_helm(), "package", CHART, "--destination", tmp_path],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    [package] = tmp_path.glob("*.tgz")
    for case in ("secrets", "external"):
        assert render(merged(LEAST, MATRIX[case]), chart=package) == objects(case)
    with tarfile.open(package) as archive:
        members = archive.getmembers()
    assert all(member.isfile() for member in members)
    assert not [member.name for member in members if member.name.endswith((".py", ".pyc"))]


@pytest.mark.parametrize("case", ["bundled", "external"])
def test_the_dashboards_are_those_of_the_repository_with_the_pages_address(case: str) -> None:
    values = merged(MATRIX[case], {"pageUrl": "https://cam.example.org/"})
    found = named(render(merged(LEAST, values)), "ConfigMap", "clipwatch-grafana-dashboards")
    read = {json.loads(text)["uid"]: json.loads(text) for text in found["data"].values()}
    wanted = json.loads(
        json.dumps(dict(dashboards())).replace("http://127.0.0.1:8080", "https://cam.example.org")
    )
    assert read == wanted
    assert ("grafana_dashboard" in found["metadata"]["labels"]) == (case == "external")


def test_copies_are_kept_apart() -> None:
    """The tests above change objects."""
    first = objects("default")
    before = copy.deepcopy(first)
    first[0]["metadata"]["name"] = "changed"
    assert objects("default") == before
