"""WebRTC's UDP ports on Kubernetes: of a node or of a Service, the ones that motion uses, and closed unless wanted."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from services.motion.settings import MotionServiceSettings
from tests.helm import LEAST, MATRIX, Yaml, merged, named, refusal, render
from tests.helm_checks import hosts_ports, pod_specs
from tests.unit.deploy.test_helm_services import containers, environment, objects

CASES = ("webrtc", "webrtc-node-ports", "webrtc-load-balancer")


def udp_ports(container: Yaml) -> dict[str, int]:
    return {one["name"]: one["containerPort"] for one in container["ports"] if one.get("protocol") == "UDP"}


def settings(case: str) -> MotionServiceSettings:
    given = environment(containers(objects(case))["motion"][0], Path("/nowhere"))
    chosen = {name.lower(): given[name] for name in ("WEBRTC_PORTS", "WEBRTC_ADDRESSES") if name in given}
    return MotionServiceSettings(**chosen)  # type: ignore[arg-type]  # the texts of an environment


@pytest.mark.parametrize("case", CASES)
def test_motion_uses_the_ports_that_are_open_and_tells_their_address(case: str) -> None:
    network = settings(case).peer_network
    assert list(udp_ports(containers(objects(case))["motion"][0]).values()) == list(network.ports)
    addresses = MATRIX[case]["motion"]["webrtc"].get("addresses", ["192.0.2.10"])  # status.hostIP
    assert list(network.addresses) == addresses


def test_ports_of_the_node_are_the_containers_own_and_no_service_is_needed() -> None:
    container = containers(objects("webrtc"))["motion"][0]
    assert {one["hostPort"]: one["containerPort"] for one in hosts_ports(container)} == {
        port: port for port in range(50000, 50020)
    }
    assert not any(item["metadata"]["name"] == "clipwatch-motion-webrtc" for item in objects("webrtc"))


@pytest.mark.parametrize(
    ("case", "kind"), [("webrtc-node-ports", "NodePort"), ("webrtc-load-balancer", "LoadBalancer")]
)
def test_a_service_leads_to_the_same_ports_on_the_pods_node(case: str, kind: str) -> None:
    found = objects(case)
    container = containers(found)["motion"][0]
    assert hosts_ports(container) == []
    service = named(found, "Service", "clipwatch-motion-webrtc")
    assert service["spec"]["type"] == kind
    assert service["spec"]["externalTrafficPolicy"] == "Local"
    told = {one["port"]: udp_ports(container)[one["targetPort"]] for one in service["spec"]["ports"]}
    assert told == {port: port for port in settings(case).peer_network.ports}
    for port in service["spec"]["ports"]:
        assert port["protocol"] == "UDP"
        assert port.get("nodePort") == (port["port"] if kind == "NodePort" else None)
    wanted = MATRIX[case]["motion"]["webrtc"].get("annotations")
    assert service["metadata"].get("annotations") == wanted


@pytest.mark.parametrize("case", CASES)
def test_the_policy_opens_these_ports_alone_and_to_whom_the_values_say(case: str) -> None:
    ports = settings(case).peer_network.ports
    rules = named(objects(case), "NetworkPolicy", "clipwatch-motion")["spec"]["ingress"]
    [rule] = [one for one in rules if one["ports"][0]["protocol"] == "UDP"]
    assert rule["ports"] == [{"protocol": "UDP", "port": ports[0], "endPort": ports[-1]}]
    assert rule.get("from", []) == MATRIX[case].get("networkPolicy", {}).get("webrtcFrom", [])
    assert all("from" in one for one in rules if one is not rule)


@pytest.mark.parametrize("case", [one for one in MATRIX if one not in CASES])
def test_nothing_is_open_unless_it_is_wanted(case: str) -> None:
    found = objects(case)
    for _, spec in pod_specs(found):
        assert not any(udp_ports(container) for container in spec["containers"])
    assert settings(case).peer_network.ports == ()
    for item in found:
        if item["kind"] == "Service":
            assert item["spec"].get("type", "ClusterIP") == "ClusterIP"


def webrtc(**values: object) -> Yaml:
    return {"motion": {"webrtc": {"enabled": True, **values}}}


WRONG: dict[str, tuple[Yaml, str]] = {
    "node ports elsewhere": (
        webrtc(through="NodePort"),
        "motion.webrtc.ports: found 50000-50019, wanted FIRST-LAST of 2 to 200 ports between 30000 and 32767",
    ),
    "ports backwards": (webrtc(ports="50019-50000"), "motion.webrtc.ports: found 50019-50000, wanted"),
    "ports of the system": (
        webrtc(ports="1000-1100"),
        "motion.webrtc.ports: .* between 1024 and 65535; set others",
    ),
    "too many ports": (webrtc(ports="50000-50200"), "motion.webrtc.ports: found 50000-50200, wanted"),
    "a Service for many": (
        merged(webrtc(through="NodePort", ports="30100-30109"), {"motion": {"replicas": 2}}),
        "motion.webrtc.through: found NodePort with 2 replicas, wanted hostPort",
    ),
    "a balancer without an address": (
        webrtc(through="LoadBalancer"),
        "motion.webrtc.addresses: found nothing, wanted the address of the load balancer",
    ),
    "a setting of the chart": (
        merged(webrtc(), {"motion": {"settings": {"WEBRTC_PORTS": "50000-50001"}}}),
        "motion.settings.WEBRTC_PORTS: found there, .*set motion.webrtc.ports",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_opened_is_one_sentence(case: str) -> None:
    values, wanted = WRONG[case]
    said = refusal(merged(LEAST, values))
    assert "1 of the values cannot be used" in said
    assert re.search(f"- {wanted}", said), said


@pytest.mark.parametrize(
    "address",
    [
        "999.1.1.1",
        "10.0.0",
        "192.0.2.256",
        ":",
        ":::",
        "1::2::3",
        "1:2",
        "1:2:3:4:5:6:7:8:9",
        "host",
        "::1/64",
    ],
)
def test_what_is_no_address_is_told_by_the_schema(address: str) -> None:
    over = webrtc(through="LoadBalancer", addresses=[address])
    assert "addresses/0" in refusal(merged(LEAST, over)).replace(".0", "/0")


@pytest.mark.parametrize(
    "address",
    ["192.0.2.10", "255.255.255.255", "2001:db8::1", "::1", "::", "1::", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6::8"],
)
def test_addresses_of_both_kinds_are_taken(address: str) -> None:
    assert render(merged(LEAST, webrtc(through="LoadBalancer", addresses=[address])))


def test_the_settings_are_the_users_own_while_the_chart_opens_nothing() -> None:
    over = {"motion": {"settings": {"WEBRTC_PORTS": "50000-50001"}}}
    container = containers(render(merged(LEAST, over)))["motion"][0]
    assert environment(container, Path("/nowhere"))["WEBRTC_PORTS"] == "50000-50001"
