"""What every object of the chart has to be: each check returns faults, so tests can also break objects on purpose."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema
import kubernetes_validate

from tests.helm import Yaml

VERSIONS = ("1.27", kubernetes_validate.latest_version())  # Chart.yaml's oldest, and the newest known
WORKLOADS = ("Deployment", "StatefulSet", "Job")
SECRET_NAMES = ("_PASSWORD", "_TOKEN", "_SECRET", "_KEY")
PROBES = ("startupProbe", "readinessProbe", "livenessProbe")


def _strict(**properties: Any) -> Yaml:  # Any: JSON schemas
    return {"type": "object", "additionalProperties": False, "properties": properties}


_TEXT = {"type": "string", "minLength": 1}
_TEXTS = {"type": "object", "additionalProperties": _TEXT}
_NAMED = _strict(name=_TEXT)
# Of kinds that are not Kubernetes' own: what the chart uses of them, as their documentation has it.
CUSTOM: Mapping[str, Yaml] = {
    "ScaledObject": _strict(
        scaleTargetRef=_NAMED,
        minReplicaCount={"type": "integer"},
        maxReplicaCount={"type": "integer"},
        pollingInterval={"type": "integer"},
        cooldownPeriod={"type": "integer"},
        triggers={
            "type": "array",
            "minItems": 1,
            "items": _strict(
                type={"enum": ["redis-streams", "redis-sentinel-streams"]},
                metadata=_TEXTS,
                authenticationRef=_NAMED,
            ),
        },
    ),
    "TriggerAuthentication": _strict(
        secretTargetRef={"type": "array", "items": _strict(parameter=_TEXT, name=_TEXT, key=_TEXT)}
    ),
    "PodMonitor": _strict(
        selector=_strict(matchLabels=_TEXTS, matchExpressions={"type": "array"}),
        podMetricsEndpoints={
            "type": "array",
            "items": _strict(
                port=_TEXT,
                interval=_TEXT,
                authorization=_strict(credentials=_strict(name=_TEXT, key=_TEXT)),
                relabelings={
                    "type": "array",
                    "items": _strict(
                        sourceLabels={"type": "array", "items": _TEXT}, targetLabel=_TEXT, replacement=_TEXT
                    ),
                },
            ),
        },
    ),
}


def title(item: Yaml) -> str:
    return f"{item['kind']} {item['metadata']['name']}"


def pod_specs(objects: list[Yaml]) -> Iterator[tuple[Yaml, Yaml]]:
    """Yield each workload and the spec of its pods."""
    for item in objects:
        if item["kind"] in WORKLOADS:
            yield item, item["spec"]["template"]["spec"]


def schema_faults(objects: list[Yaml]) -> list[str]:
    """Return the objects that Kubernetes, or an operator's kind, would not take."""
    found = ((item, _schema_fault(json.dumps(item))) for item in objects)
    return [f"{title(item)}: {fault}" for item, fault in found if fault]


@functools.cache
def _schema_fault(text: str) -> str:
    """Return what is wrong with an object, given as JSON: most cases of the matrix have most objects in common."""
    item = json.loads(text)
    try:
        if item["kind"] in CUSTOM:
            jsonschema.validate(item["spec"], CUSTOM[item["kind"]])
        else:
            for version in VERSIONS:
                kubernetes_validate.validate(item, version, strict=True)
    except (jsonschema.ValidationError, kubernetes_validate.ValidationError) as exc:
        return str(exc).splitlines()[0]
    return ""


def container_faults(objects: list[Yaml]) -> list[str]:
    """Return what is missing of probes, limits, and rights that are given up."""
    faults = []
    for item, spec in pod_specs(objects):
        context = spec.get("securityContext", {})
        wanted = {
            "pod is no root": context.get("runAsNonRoot") is True and context.get("runAsUser", 0) > 0,
            "pod has seccomp": context.get("seccompProfile") == {"type": "RuntimeDefault"},
            "pod has no token": spec.get("automountServiceAccountToken") is False,
            "pod is in no namespace of the host": not any(
                spec.get(name) for name in ("hostNetwork", "hostPID", "hostIPC")
            ),
            "pod has no folder of the host": not any("hostPath" in v for v in spec.get("volumes", [])),
        }
        starting = [(False, container) for container in spec.get("initContainers", [])]
        for is_probed, container in starting + [(item["kind"] != "Job", c) for c in spec["containers"]]:
            for what, is_there in _container(container, is_probed):
                wanted[f"{container['name']} has {what}"] = is_there
        faults += [f"{title(item)}: {what}: not so" for what, is_so in wanted.items() if not is_so]
    return faults


def _container(container: Yaml, is_probed: bool) -> Iterator[tuple[str, bool]]:
    context, resources = container.get("securityContext", {}), container.get("resources", {})
    if is_probed:
        for probe in PROBES:
            yield probe, probe in container
    for kind in ("requests", "limits"):
        yield f"{kind} of cpu and memory", {"cpu", "memory"} <= resources.get(kind, {}).keys()
    yield "a user who is not root", context.get("runAsNonRoot") is True and context.get("runAsUser", 1) > 0
    yield "a read-only root", context.get("readOnlyRootFilesystem") is True
    yield "no capability", context.get("capabilities") == {"drop": ["ALL"]}
    yield "no way to more rights", context.get("allowPrivilegeEscalation") is False
    yield "no privilege", not context.get("privileged")
    yield "no port of the host but WebRTC's", all(_is_webrtc(port) for port in hosts_ports(container))
    names = [variable["name"] for variable in container.get("env", [])]
    yield "each variable of the environment once", len(names) == len(set(names))
    tag = container["image"].rpartition("/")[2].partition(":")[2]
    yield "an image with a tag", tag not in ("", "latest")


def hosts_ports(container: Yaml) -> list[Yaml]:
    return [port for port in container.get("ports", []) if "hostPort" in port]


def _is_webrtc(port: Yaml) -> bool:
    return port["name"] == f"rtc-{port['hostPort']}" and port.get("protocol") == "UDP"


def secret_faults(objects: list[Yaml], values: list[str]) -> list[str]:
    """Return where a secret's value stands outside a Secret, and variables that hold one as text."""
    faults = [
        f"{title(item)}: holds the value of a secret"
        for item in objects
        if item["kind"] != "Secret" and any(value in text for value in values for text in _texts(item))
    ]
    for item, spec in pod_specs(objects):
        for container in [*spec.get("initContainers", []), *spec["containers"]]:
            faults += [
                f"{title(item)}: {container['name']}: {variable['name']} is text"
                for variable in container.get("env", [])
                if variable["name"].endswith(SECRET_NAMES) and "value" in variable
            ]
    return faults


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from (str(key), *_texts(part))
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part)
    else:
        yield str(value)


def reference_faults(objects: list[Yaml], outside: set[tuple[str, str]]) -> list[str]:
    """Return what names something that is nowhere; `outside` has the kinds and names that the cluster has already."""
    there = {(item["kind"], item["metadata"]["name"]) for item in objects} | outside
    faults = []
    for item in objects:
        for kind, name in _named(item):
            if (kind, name) not in there:
                faults.append(f"{title(item)}: there is no {kind} {name}")
    for item, spec in pod_specs(objects):
        volumes = {volume["name"] for volume in spec.get("volumes", [])}
        volumes |= {c["metadata"]["name"] for c in item["spec"].get("volumeClaimTemplates", [])}
        mounted = set()
        for container in [*spec.get("initContainers", []), *spec["containers"]]:
            mounted |= {mount["name"] for mount in container.get("volumeMounts", [])}
            ports = {port["name"] for port in container.get("ports", [])}
            for probe in PROBES:
                asked = container.get(probe, {}).get("httpGet", {}).get("port")
                if asked is not None and asked not in ports:
                    faults.append(f"{title(item)}: {probe} asks port {asked}")
        faults += [f"{title(item)}: volume {name}: only here or only there" for name in volumes ^ mounted]
    return faults + _selector_faults(objects)


def _named(item: Yaml) -> Iterator[tuple[str, str]]:
    spec = item.get("spec", {})
    if item["kind"] in WORKLOADS:
        pod = spec["template"]["spec"]
        for volume in pod.get("volumes", []):
            if "configMap" in volume:
                yield "ConfigMap", volume["configMap"]["name"]
            if "secret" in volume:
                yield "Secret", volume["secret"]["secretName"]
            if "persistentVolumeClaim" in volume:
                yield "PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            for source in container.get("envFrom", []):
                yield "Secret", source["secretRef"]["name"]
            for variable in container.get("env", []):
                if "secretKeyRef" in variable.get("valueFrom", {}):
                    yield "Secret", variable["valueFrom"]["secretKeyRef"]["name"]
        if item["kind"] == "StatefulSet":
            yield "Service", spec["serviceName"]
    if item["kind"] == "ScaledObject":
        yield "Deployment", spec["scaleTargetRef"]["name"]
        for trigger in spec["triggers"]:
            yield "TriggerAuthentication", trigger["authenticationRef"]["name"]
    if item["kind"] == "TriggerAuthentication":
        for reference in spec["secretTargetRef"]:
            yield "Secret", reference["name"]
    if item["kind"] == "Ingress":
        for rule in spec["rules"]:
            for path in rule["http"]["paths"]:
                yield "Service", path["backend"]["service"]["name"]


def _selector_faults(objects: list[Yaml]) -> list[str]:
    """Return Services, budgets and policies that select no pod, and ports that the pods do not have."""
    pods = [
        (item["spec"]["template"]["metadata"]["labels"], spec["containers"])
        for item, spec in pod_specs(objects)
    ]
    faults = []
    for item in objects:
        spec = item.get("spec", {})
        selector = {
            "Service": lambda spec=spec: spec["selector"],
            "PodDisruptionBudget": lambda spec=spec: spec["selector"]["matchLabels"],
            "NetworkPolicy": lambda spec=spec: spec["podSelector"]["matchLabels"],
        }.get(item["kind"])
        if selector is None:
            continue
        chosen = [found for labels, found in pods if selector().items() <= labels.items()]
        if not chosen:
            faults.append(f"{title(item)}: selects no pod")
        names = {port["name"] for containers in chosen for c in containers for port in c["ports"]}
        if item["kind"] == "Service":
            wrong = [port["targetPort"] for port in spec["ports"] if port["targetPort"] not in names]
            faults += [f"{title(item)}: no pod has the port {port}" for port in wrong]
    return faults
