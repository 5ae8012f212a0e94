"""What the chart says of values that cannot be used: everything at once, with what is wanted and what to do."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from ruamel.yaml import YAML

from services.classifier.settings import ClassifierSettings
from services.motion.settings import MotionServiceSettings
from services.recorder.settings import RecorderSettings
from shared.settings import secret_names
from tests.helm import CHART, LEAST, MATRIX, SECRETS, Yaml, merged, named, refusal, render, run_helm
from tests.helm_checks import pod_specs

ROOT = CHART.parents[2]
SCHEMA: Yaml = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
VALUES: Yaml = YAML(typ="safe").load((CHART / "values.yaml").read_text(encoding="utf-8"))

WRONG: dict[str, tuple[Yaml, str]] = {
    "no registry": ({"images": {"registry": ""}}, "images.registry: found nothing"),
    "no secrets": (
        {"secrets": {"existing": ""}},
        "secrets: REDIS_MOTION_PASSWORD, .*METRICS_TOKEN.* missing",
    ),
    "secrets twice": ({"secrets": {"values": {"API_TOKEN": "x" * 20}}}, "secrets: found both"),
    "a short token": (
        {"secrets": {"existing": "", "values": {**SECRETS, "API_TOKEN": "0123456789abcde"}}},
        "secrets.values.API_TOKEN: found 15 characters, wanted 16 or more",
    ),
    "no cameras": ({"cameras": {"existingConfigMap": ""}}, "cameras: found 0 sources"),
    "cameras twice": ({"cameras": {"existingClaim": "x"}}, "cameras: found 2 sources"),
    "models of one node": (
        {"classifier": {"replicas": 2}},
        "classifier.models.accessMode: found ReadWriteOnce with up to 2 replicas",
    ),
    "models of one pod": (
        {"classifier": {"replicas": 2, "models": {"accessMode": "ReadWriteOncePod"}}},
        "classifier.models.accessMode: found ReadWriteOncePod with up to 2 replicas",
    ),
    "scaled models": (
        {"classifier": {"keda": {"enabled": True}}},
        "classifier.models.accessMode: .* up to 4 replicas",
    ),
    "clips of one node": ({"recorder": {"replicas": 2}}, "recorder.media.accessMode: found ReadWriteOnce"),
    "a bucket without keys": (
        {"recorder": {"media": {"s3": {"url": "s3://clips"}}}},
        "recorder.passwordsSecret: .* a Secret with S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY",
    ),
    "a bucket and a claim": (
        merged(MATRIX["bucket"], {"recorder": {"media": {"existingClaim": "clips"}}}),
        "recorder.media: found both s3.url=s3://clips/site and existingClaim=clips",
    ),
    "an authority for a store without TLS": (
        merged(MATRIX["bucket-tls"], {"recorder": {"media": {"s3": {"endpoint": "http://minio"}}}}),
        'recorder.media.s3.caSecret: found store-ca with the endpoint "http://minio", wanted one by https',
    ),
    "two Redis": (
        {"redis": {"external": {"host": "r"}}},
        "redis: found both the bundled one and an external one at r",
    ),
    "no Redis": ({"redis": {"bundled": {"enabled": False}}}, "redis.external.host: found nothing"),
    "Sentinels and a host": (
        {"redis": {"bundled": {"enabled": False}, "external": {"host": "r", "sentinels": ["s:26379"]}}},
        "redis.external: found both host=r and sentinels",
    ),
    "two MySQL": ({"mysql": {"external": {"host": "m"}}}, "mysql: found both"),
    "no MySQL": ({"mysql": {"bundled": {"enabled": False}}}, "mysql.external.host: found nothing"),
    "an authority for a bundled server": (
        {"mysql": {"external": {"caSecret": "ca"}}},
        "mysql.external.caSecret: found ca with the bundled one",
    ),
    "an authority without TLS": (
        {"redis": {"bundled": {"enabled": False}, "external": {"host": "r", "caSecret": "ca"}}},
        "redis.external.caSecret: found ca with tls off",
    ),
    "more at least than at most": (
        {"classifier": {"keda": {"enabled": True, "minReplicas": 3, "maxReplicas": 1}}},
        "classifier.keda.minReplicas: found 3, wanted at most maxReplicas=1",
    ),
    "mini on a GPU": ({"classifier": {"device": "gpu", "model": "mini"}}, "classifier.model: found mini"),
    "an ingress without a name": ({"ingress": {"enabled": True}}, "ingress.host: found nothing"),
    "an unknown proxy": (
        {"ingress": {"enabled": True, "host": "a.b"}},
        "recorder.trustedProxies: found nothing",
    ),
    "nobody may ask": (
        {"prometheus": {"podMonitor": {"enabled": True}}},
        "networkPolicy.metricsFrom: found nothing",
    ),
    "a Grafana that may read nothing": (
        {"grafana": {"dashboards": {"enabled": True}}},
        "networkPolicy.grafanaFrom: found nothing, .* the bundled mysql, wanted",
    ),
    "a Grafana that may read neither": (
        {"grafana": {"dashboards": {"enabled": True}}, "prometheus": {"bundled": {"enabled": True}}},
        "networkPolicy.grafanaFrom: found nothing, .* the bundled mysql and prometheus, wanted",
    ),
    "two Prometheus": (
        {"prometheus": {"bundled": {"enabled": True}, "url": "http://p"}},
        "prometheus: found both the bundled one and url=http://p",
    ),
    "no Prometheus": ({"grafana": {"bundled": {"enabled": True}}}, "prometheus: found neither"),
    "a setting of the chart": (
        {"motion": {"settings": {"DATA_DIR": "/x"}}},
        "motion.settings.DATA_DIR: .*leave",
    ),
    "a setting of KEDA's": (
        merged(MATRIX["keda"], {"recorder": {"settings": {"CLASSIFIER_START_S": "60"}}}),
        "recorder.settings.CLASSIFIER_START_S: .*startSeconds=600; set classifier.keda.startSeconds",
    ),
    "a file of a secret": (
        {"recorder": {"settings": {"API_TOKEN_FILE": "/x"}}},
        "recorder.settings.API_TOKEN_FILE: .*leave it out",
    ),
    "a secret as a setting": (
        {"recorder": {"settings": {"OPENWEATHER_KEY": "x"}}},
        "recorder.settings.OPENWEATHER_KEY: .* in recorder.passwordsSecret",
    ),
    "motion's secret": (
        {"motion": {"settings": {"LIVE_ICE_PASSWORD": "x"}}},
        "motion.settings.LIVE_ICE_PASSWORD: .* in cameras.passwordsSecret",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_go_together_is_one_sentence_with_what_to_do(case: str) -> None:
    values, wanted = WRONG[case]
    said = refusal(merged(LEAST, values))
    assert re.search(rf"- {wanted}", said), said
    assert re.search(r"\d+ of the values cannot be used", said)
    for line in said.splitlines():
        if line.startswith("- "):
            assert "; " in line, "what to do comes after a semicolon"


def test_all_faults_are_told_at_once() -> None:
    said = refusal({"ingress": {"enabled": True}, "recorder": {"replicas": 2}})
    starts = [line[2:].split(":")[0] for line in said.splitlines() if line.startswith("- ")]
    assert starts == [
        *("images.registry", "secrets", "cameras", "recorder.media.accessMode"),
        *("ingress.host", "recorder.trustedProxies"),
    ]
    assert "6 of the values cannot be used" in said


def test_no_fault_shows_a_secret() -> None:
    values = {"secrets": {"existing": "clipwatch", "values": {"API_TOKEN": "secret-value"}}}
    assert "secret-value" not in refusal(merged(LEAST, values))
    values = {"secrets": {"existing": "", "values": {**SECRETS, "API_TOKEN": "secret-value"}}}
    assert "secret-value" not in refusal(merged(LEAST, values))


@pytest.mark.parametrize("case", MATRIX)
def test_a_variable_that_the_chart_sets_is_no_setting_too(case: str) -> None:
    """Kubernetes would take the last one of two."""
    values = merged(LEAST, MATRIX[case])
    for _, spec in pod_specs(render(values)):
        [service] = [one["name"] for one in spec["containers"]]
        if service in ("motion", "classifier", "recorder"):
            given = {variable["name"] for variable in spec["containers"][0]["env"]}
            chosen = given - {*values.get(service, {}).get("settings", {})}
            said = refusal(merged(values, {service: {"settings": dict.fromkeys(chosen, "1")}}))
            assert {*re.findall(rf"^- {service}\.settings\.([A-Z0-9_]+): ", said, re.MULTILINE)} == chosen


def test_how_long_a_classifier_takes_to_start_is_a_setting_where_keda_keeps_one() -> None:
    over = {
        "classifier": {"keda": {"minReplicas": 1}},
        "recorder": {"settings": {"CLASSIFIER_START_S": "60"}},
    }
    found = render(merged(merged(LEAST, MATRIX["keda"]), over))
    env = named(found, "Deployment", "clipwatch-recorder")["spec"]["template"]["spec"]["containers"][0]["env"]
    assert [one["value"] for one in env if one["name"] == "CLASSIFIER_START_S"] == ["60"]


@pytest.mark.parametrize("name", ["9lives", "a" * 36, "a.b"])
def test_a_release_whose_name_fits_no_service_is_refused(name: str) -> None:
    assert f"release {name}: wanted" in refusal(LEAST, name=name)


def test_the_secret_holds_what_is_needed_and_no_more() -> None:
    def keys(over: Yaml) -> set[str]:
        values = merged(merged(LEAST, {"secrets": {"existing": "", "values": SECRETS}}), over)
        [secret] = [one for one in render(values) if one["metadata"]["name"] == "clipwatch-secrets"]
        assert secret["stringData"].items() <= SECRETS.items()
        return {*secret["stringData"]}

    bundled = keys({})
    assert {*SECRETS} - bundled == {
        *("REDIS_KEDA_PASSWORD", "REDIS_SENTINEL_PASSWORD"),
        "GRAFANA_ADMIN_PASSWORD",
    }
    external = keys(
        {
            "redis": {"bundled": {"enabled": False}, "external": {"host": "r"}},
            "mysql": {"bundled": {"enabled": False}, "external": {"host": "m"}},
        }
    )
    assert bundled - external == {"REDIS_ADMIN_PASSWORD", "MYSQL_ROOT_PASSWORD", "MYSQL_GRAFANA_PASSWORD"}


def test_the_values_that_the_guide_shows_can_be_installed() -> None:
    guide = (ROOT / "docs" / "guide" / "kubernetes.md").read_text(encoding="utf-8")
    shown = re.findall(r"^```yaml\n(.*?)^```", guide, re.MULTILINE | re.DOTALL)
    assert len(shown) >= 5
    for block in shown:
        assert render(merged(LEAST, YAML(typ="safe").load(block)))
    named = re.findall(rf"`((?:{'|'.join(VALUES)})\.(?!yml)[A-Za-z.]+)[=:`]", guide)
    assert len(named) > 10
    assert {f"/{name.replace('.', '/')}" for name in named} <= {*_properties(SCHEMA)}


def test_the_guide_makes_every_secret() -> None:
    """Those of .env.example come from new-env.sh; a line of the guide makes each of the others."""
    guide = (ROOT / "docs" / "guide" / "kubernetes.md").read_text(encoding="utf-8")
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    written = {*re.findall(r"^([A-Z_]+_(?:PASSWORD|TOKEN))=", example, re.MULTILINE)}
    added = dict(re.findall(r'^echo "([A-Z_]+)=[^"]+" >> secrets.env +# (.+)$', guide, re.MULTILINE))
    assert written | {*added} >= {*SECRETS}
    assert "redis.external.sentinelHasPassword" in added["REDIS_SENTINEL_PASSWORD"]
    assert "classifier.keda.enabled" in added["REDIS_KEDA_PASSWORD"]


# -- the schema


def _schemas(schema: Any, path: str = "") -> Iterator[tuple[str, Yaml]]:  # Any: what JSON can hold
    if isinstance(schema, dict):
        if schema.get("type") == "object":
            yield path, schema
        for key, part in schema.items():
            yield from _schemas(part, f"{path}/{key}")
    elif isinstance(schema, list):
        for part in schema:
            yield from _schemas(part, path)


def test_no_object_takes_unknown_names() -> None:
    """Maps of the user's own names (labels, annotations, settings) say what their values are."""
    found = dict(_schemas(SCHEMA))
    assert len(found) >= 40
    for path, schema in found.items():
        extra = schema["additionalProperties"]
        assert extra is False or (extra["type"] == "string" and "properties" not in schema), path


def _paths(values: Any, path: str = "") -> Iterator[str]:  # Any: what YAML can hold
    if isinstance(values, dict):
        for key, part in values.items():
            yield f"{path}/{key}"
            yield from _paths(part, f"{path}/{key}")


def _properties(schema: Yaml, path: str = "") -> Iterator[str]:
    name = schema.get("$ref", "").rpartition("/")[2]
    schema = SCHEMA["definitions"][name] if name else schema
    for key, part in schema.get("properties", {}).items():
        yield f"{path}/{key}"
        yield from _properties(part, f"{path}/{key}")


def test_values_and_schema_have_the_same_names() -> None:
    """What the schema takes is shown with its default in values.yaml, and the other way round."""
    free = re.compile(
        r"/(labels|annotations|settings|nodeSelector|tolerations|affinity|topologySpreadConstraints|(page|metrics|webrtc|grafana|keda)From)/"
    )
    ours = {path for path in _properties(SCHEMA) if not path.startswith(("/global", "/secrets/values/"))}
    assert {path for path in _paths(VALUES) if not free.search(f"{path}/x")} == {
        path for path in ours if not free.search(f"{path}/x")
    }
    assert {path for path in _properties(SCHEMA) if path.startswith("/secrets/values/")} == {
        f"/secrets/values/{name}" for name in SECRETS
    }


REFUSED: list[tuple[Yaml, str]] = [
    ({"image": {}}, "image"),
    ({"motion": {"replica": 1}}, "replica"),
    ({"motion": {"replicas": 0}}, "motion.replicas"),
    ({"motion": {"replicas": "2"}}, "motion.replicas"),
    ({"motion": {"settings": {"ring_max_mib": "1"}}}, "motion.settings"),
    ({"motion": {"settings": {"RING_MAX_MIB": 1}}}, "motion.settings"),
    ({"motion": {"resources": {"limits": None}}}, "motion.resources"),
    ({"motion": {"resources": {"limits": {"cpu": None}}}}, "motion.resources.limits"),
    ({"classifier": {"device": "tpu"}}, "classifier.device"),
    ({"classifier": {"keda": {"lagCount": 0}}}, "lagCount"),
    ({"recorder": {"trustedProxies": ["*"]}}, "trustedProxies"),
    ({"recorder": {"media": {"size": "100"}}}, "recorder.media.size"),
    ({"redis": {"bundled": {"image": "redis"}}}, "redis.bundled.image"),
    ({"pageUrl": "https://a b"}, "pageUrl"),
    ({"pageUrl": "https://a\"'"}, "pageUrl"),
    ({"secrets": {"values": {"REDIS_PASSWORD": "x"}}}, "REDIS_PASSWORD"),
    ({"networkPolicy": {"pageFrom": [{}]}}, "pageFrom"),
    ({"networkPolicy": {"pageFrom": [{"ip": "10.0.0.0/8"}]}}, "pageFrom"),
    ({"logLevel": "debug"}, "logLevel"),
]


@pytest.mark.parametrize(("values", "named"), REFUSED, ids=[str(values)[:60] for values, _ in REFUSED])
def test_values_of_the_wrong_kind_are_refused_by_their_name(values: Yaml, named: str) -> None:
    said = refusal(merged(LEAST, values))
    assert "don't meet the specifications of the schema" in said
    assert named in said


def test_the_services_secrets_are_no_settings() -> None:
    """A secret that a service learns is refused as a setting by its ending, or because the chart gives it."""
    for service, kind in (
        ("motion", MotionServiceSettings),
        ("classifier", ClassifierSettings),
        ("recorder", RecorderSettings),
    ):
        for name in secret_names(kind):
            said = refusal(merged(LEAST, {service: {"settings": {name: "x"}}}))
            assert f"{service}.settings.{name}: found there" in said


def test_lint_notes_what_is_missing_and_passes() -> None:
    """The chart as it is can be looked at by `helm lint`, which notes what the templates refuse."""
    done = run_helm("lint")
    assert done.returncode == 0
    assert "images.registry: found nothing" in done.stderr
