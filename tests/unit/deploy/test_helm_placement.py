"""Where the chart's pods run is said for each part by itself, in the words of Kubernetes' pods."""

from __future__ import annotations

import pytest

from tests.helm import LEAST, MATRIX, Yaml, merged, refusal, render
from tests.helm_checks import pod_specs

PLACED = MATRIX["placed"]
SERVICES = ("motion", "classifier", "recorder")
SERVERS = ("redis", "mysql", "grafana", "prometheus")
WORDS = ("nodeSelector", "tolerations", "affinity", "priorityClassName")


def pods(values: Yaml) -> dict[str, Yaml]:
    """Return the pods' specs by their component."""
    found = pod_specs(render(merged(LEAST, values)))
    return {item["metadata"]["labels"]["app.kubernetes.io/component"]: spec for item, spec in found}


def values_of(values: Yaml, part: str) -> Yaml:
    found: Yaml = values[part] if part in SERVICES else values[part]["bundled"]
    return found


def test_every_part_is_placed_as_its_values_say() -> None:
    found = pods(PLACED)
    assert found.keys() == {*SERVICES, *SERVERS}
    for part, spec in found.items():
        wanted = values_of(PLACED, part)
        assert {word: spec[word] for word in WORDS} == {word: wanted[word] for word in WORDS}, part
        assert spec["imagePullSecrets"] == [{"name": "registry"}], part


def test_pods_are_spread_by_their_own_labels_where_the_values_name_none() -> None:
    for part, spec in pods(PLACED).items():
        own, given = spec["topologySpreadConstraints"]
        wanted_own, wanted_given = values_of(PLACED, part)["topologySpreadConstraints"]
        assert given == wanted_given, part
        labels = own.pop("labelSelector")["matchLabels"]
        assert own == wanted_own, part
        assert labels == {
            "app.kubernetes.io/name": "clipwatch",
            "app.kubernetes.io/instance": "clipwatch",
            "app.kubernetes.io/component": part,
        }


@pytest.mark.parametrize("part", [*SERVICES, *SERVERS])
def test_a_part_is_placed_without_the_others(part: str) -> None:
    over = {"priorityClassName": "video"}
    values = {part: over if part in SERVICES else {"bundled": over}}
    everything = {name: {"bundled": {"enabled": True}} for name in SERVERS}
    found = pods(merged(everything, values))
    assert [name for name, spec in found.items() if "priorityClassName" in spec] == [part]
    for spec in found.values():
        assert not {"affinity", "topologySpreadConstraints", "nodeSelector", "tolerations"} & spec.keys()


@pytest.mark.parametrize(
    ("over", "named"),
    [
        ({"affinity": {"nodeAfinity": {}}}, "nodeAfinity"),
        ({"affinity": {"podAffinity": {"required": []}}}, "required"),
        ({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone"}]}, "whenUnsatisfiable"),
        ({"topologySpreadConstraints": [{"maxSkew": 0}]}, "maxSkew"),
        ({"priorityClassName": "Very High"}, "priorityClassName"),
    ],
)
def test_a_misspelt_word_is_refused_by_its_name(over: Yaml, named: str) -> None:
    said = refusal(merged(LEAST, {"motion": over}))
    assert "don't meet the specifications of the schema" in said
    assert named in said


def test_names_that_look_like_numbers_stay_names() -> None:
    over: Yaml = {"images": {"pullSecrets": ["123"]}}
    for part in (*SERVICES, *SERVERS):
        over[part] = (
            {"priorityClassName": "1000"} if part in SERVICES else {"bundled": {"priorityClassName": "1000"}}
        )
    for part, spec in pods(merged(PLACED, over)).items():
        assert spec["priorityClassName"] == "1000", part
        assert spec["imagePullSecrets"] == [{"name": "123"}], part
    authorities = {"redis": {"external": {"caSecret": "123"}}, "mysql": {"external": {"caSecret": "456"}}}
    rendered = render(merged(merged(LEAST, MATRIX["tls"]), authorities))
    secrets = {
        volume["secret"]["secretName"]
        for _, spec in pod_specs(rendered)
        for volume in spec["volumes"]
        if "secret" in volume
    }
    assert {"123", "456"} <= secrets
    (ca,) = [
        one["name"]
        for item in rendered
        if item["kind"] == "TriggerAuthentication"
        for one in item["spec"]["secretTargetRef"]
        if one["parameter"] == "ca"
    ]
    assert ca == "123"
