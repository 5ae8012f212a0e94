"""Renders deploy/helm/clipwatch by Helm, for tests: what would be installed, and what is said of wrong values."""

from __future__ import annotations

import functools
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests.programs import find_helm

CHART = Path(__file__).parents[1] / "deploy" / "helm" / "clipwatch"
Yaml = dict[str, Any]  # Any: what YAML can hold

LEAST: Yaml = {  # the values without which nothing can be installed
    "images": {"registry": "registry.example.org/clipwatch"},
    "secrets": {"existing": "clipwatch"},
    "cameras": {"existingConfigMap": "cameras"},
}
SECRETS = {  # each with a value that is found again wherever it stands
    name: f"value-of-{name.lower()}"
    for name in (
        *(
            f"REDIS_{user}_PASSWORD"
            for user in ("ADMIN", "MOTION", "CLASSIFIER", "RECORDER", "KEDA", "SENTINEL")
        ),
        *(f"MYSQL_{user}_PASSWORD" for user in ("ROOT", "CLIPWATCH", "MIGRATOR", "GRAFANA")),
        *("ADMIN_PASSWORD", "API_TOKEN", "MOTION_TOKEN", "METRICS_TOKEN", "GRAFANA_ADMIN_PASSWORD"),
    )
}
_EXTERNAL: Yaml = {
    "redis": {
        "bundled": {"enabled": False},
        "external": {"host": "redis.example.org", "tls": True, "port": 6380, "networks": ["10.0.7.0/24"]},
    },
    "mysql": {"bundled": {"enabled": False}, "external": {"host": "10.0.7.9", "database": "record"}},
    "grafana": {"dashboards": {"enabled": True, "annotations": {"folder": "clipwatch"}}},
    "prometheus": {"podMonitor": {"enabled": True, "labels": {"release": "prometheus"}}},
    "networkPolicy": {"metricsFrom": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}]},
}
_KEDA: Yaml = {"classifier": {"keda": {"enabled": True}, "models": {"accessMode": "ReadWriteMany"}}}
_GPU: Yaml = {
    "classifier": {
        "device": "gpu",
        "runtimeClassName": "nvidia",
        "nodeSelector": {"nvidia.com/gpu.present": "true"},
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
    }
}
_PLACED: Yaml = {  # where pods of one part run, with all that a part can say of it
    "nodeSelector": {"disk": "fast"},
    "tolerations": [{"key": "video", "operator": "Exists"}],
    "affinity": {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [
                    {"matchExpressions": [{"key": "site", "operator": "In", "values": ["north"]}]}
                ]
            }
        },
        "podAntiAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {
                    "weight": 100,
                    "podAffinityTerm": {
                        "labelSelector": {"matchLabels": {"app.kubernetes.io/component": "motion"}},
                        "topologyKey": "kubernetes.io/hostname",
                    },
                }
            ]
        },
    },
    "topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"},
        {
            "maxSkew": 2,
            "topologyKey": "topology.kubernetes.io/zone",
            "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"team": "video"}},
        },
    ],
    "priorityClassName": "video",
}
_INGRESS: Yaml = {
    "ingress": {
        "enabled": True,
        "className": "nginx",
        "host": "cam.example.org",
        "tlsSecret": "cam-tls",
        "annotations": {"nginx.ingress.kubernetes.io/proxy-body-size": "0"},
    },
    "recorder": {"trustedProxies": ["10.42.0.0/16"], "allowedHosts": ["cam.lan"]},
    "pageUrl": "https://cam.example.org",
}
_BUNDLED: Yaml = {"grafana": {"bundled": {"enabled": True}}, "prometheus": {"bundled": {"enabled": True}}}
_S3: Yaml = {
    "url": "s3://clips/site",
    "endpoint": "https://minio.storage.svc:9000",
    "networks": ["10.0.8.0/24"],
}
_BUCKET: Yaml = {"recorder": {"replicas": 3, "passwordsSecret": "recorder-passwords", "media": {"s3": _S3}}}
MATRIX: dict[str, Yaml] = {
    "default": {},
    "bundled": _BUNDLED,
    "external": _EXTERNAL,
    "motions": {"motion": {"replicas": 3, "leases": {"handoverSeconds": 30}}},
    "webrtc": {"motion": {"replicas": 2, "webrtc": {"enabled": True}}},
    "webrtc-node-ports": {
        "motion": {"webrtc": {"enabled": True, "through": "NodePort", "ports": "30100-30109"}},
        "networkPolicy": {"webrtcFrom": [{"ipBlock": {"cidr": "192.168.0.0/16"}}]},
    },
    "webrtc-load-balancer": {
        "motion": {
            "webrtc": {
                "enabled": True,
                "through": "LoadBalancer",
                "addresses": ["192.0.2.7", "2001:db8::7"],
                "annotations": {"example.org/pool": "video"},
            }
        }
    },
    "gpu": _GPU,
    "keda": _KEDA,
    "gpu-keda-external": {
        "redis": _EXTERNAL["redis"],
        "classifier": {**_GPU["classifier"], **_KEDA["classifier"]},
    },
    "sentinels": {
        "redis": {
            "bundled": {"enabled": False},
            "external": {
                "sentinels": ["sentinel-0.redis.queue.svc:26379", "sentinel-1.redis.queue.svc:26379"],
                "sentinelMaster": "queue",
                "sentinelHasPassword": True,
                "database": 1,
            },
        },
        **_KEDA,
    },
    "tls": {
        "redis": {
            "bundled": {"enabled": False},
            "external": {"host": "redis.queue.svc", "tls": True, "caSecret": "redis-ca"},
        },
        "mysql": {"bundled": {"enabled": False}, "external": {"host": "mysql", "caSecret": "mysql-ca"}},
        **_BUNDLED,
        **_KEDA,
    },
    "own-grafana": {
        "grafana": _EXTERNAL["grafana"],
        "prometheus": {"bundled": {"enabled": True}},
        "networkPolicy": {
            "grafanaFrom": [
                {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
            ]
        },
    },
    "ingress": _INGRESS,
    "secrets": {"secrets": {"existing": "", "values": SECRETS}, **_BUNDLED, **_KEDA},
    "recorders": {"recorder": {"replicas": 3, "media": {"accessMode": "ReadWriteMany"}}},
    "bucket": _BUCKET,
    "bucket-tls": {"recorder": {**_BUCKET["recorder"], "media": {"s3": {**_S3, "caSecret": "store-ca"}}}},
    "mini": {"classifier": {"model": "mini", "replicas": 2}},
    "own-models": {"classifier": {"replicas": 4, "models": {"isKept": False}}},
    "placed": {
        "images": {"pullSecrets": ["registry"]},
        **dict.fromkeys(("motion", "classifier", "recorder"), _PLACED),
        **{
            name: {"bundled": {"enabled": True, **_PLACED}}
            for name in ("redis", "mysql", "grafana", "prometheus")
        },
    },
    "open": {"networkPolicy": {"enabled": False}},
    "files": {
        "cameras": {"existingConfigMap": "", "file": "cameras: []\n", "passwordsSecret": "camera-passwords"},
        "recorder": {"notifyFile": "notify: []\n", "passwordsSecret": "recorder-passwords"},
        "motion": {"settings": {"RING_MAX_MIB": "64"}},
    },
    "claims": {
        "cameras": {"existingConfigMap": "", "existingClaim": "config"},
        "recorder": {"media": {"existingClaim": "clips"}},
        "classifier": {"models": {"existingClaim": "models"}},
        "grafana": _BUNDLED["grafana"],
        "prometheus": {"url": "http://prometheus.monitoring:9090"},
        "networkPolicy": {
            "pageFrom": [{"ipBlock": {"cidr": "192.168.0.0/16", "except": ["192.168.7.0/24"]}}]
        },
    },
}
OUTSIDE = {  # what the values above say is in the cluster already
    *(("Secret", name) for name in ("clipwatch", "camera-passwords", "recorder-passwords")),
    *(("Secret", name) for name in ("redis-ca", "mysql-ca", "store-ca")),
    ("ConfigMap", "cameras"),
    *(("PersistentVolumeClaim", name) for name in ("config", "clips", "models")),
}


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> Yaml:
    """Return `base` with the values of `over` in their places, folder by folder as Helm does it."""
    result = dict(base)
    for name, value in over.items():
        both = isinstance(value, Mapping) and isinstance(result.get(name), Mapping)
        result[name] = merged(result[name], value) if both else value
    return result


def run_helm(
    *arguments: str, values: Mapping[str, Any] | None = None, chart: Path = CHART
) -> subprocess.CompletedProcess[str]:
    """Run `helm ARGUMENTS … CHART` with values; it asks no cluster and no network."""
    command = [str(find_helm()), *arguments, str(chart), "--values", "-"]
    return subprocess.run(
        command, input=json.dumps(values or {}), capture_output=True, text=True, timeout=60, check=False
    )


def render(values: Mapping[str, Any], chart: Path = CHART, name: str = "clipwatch") -> list[Yaml]:
    """Return the objects that Helm would install under a release's name in the namespace `video`.

    Helm runs once for the same values; every caller has objects of its own, and may change them.
    """
    objects: list[Yaml] = json.loads(_rendered(json.dumps(values), chart, name))
    return objects


@functools.cache
def _rendered(values: str, chart: Path, name: str) -> str:
    done = run_helm("template", name, "--namespace", "video", values=json.loads(values), chart=chart)
    assert done.returncode == 0, done.stderr
    return json.dumps([document for document in YAML(typ="safe").load_all(done.stdout) if document])


def refusal(values: Mapping[str, Any], name: str = "clipwatch") -> str:
    """Return what Helm says of values that cannot be used."""
    done = run_helm("template", name, values=values)
    assert done.returncode != 0, done.stdout[:500]
    return done.stderr


def named(objects: list[Yaml], kind: str, name: str) -> Yaml:
    """Return the one object of a kind with a name."""
    [found] = [item for item in objects if item["kind"] == kind and item["metadata"]["name"] == name]
    return found
