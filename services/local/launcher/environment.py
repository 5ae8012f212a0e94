"""What each child process is given of the launcher's environment: what it uses, and no other service's secrets.

A process' environment can be read by everything that runs in it, and by every program that it starts.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from services.classifier.settings import ClassifierSettings
from services.motion.settings import MotionServiceSettings
from services.recorder.settings import RecorderSettings
from shared.settings import ServiceSettings
from shared.urls import VARIABLE

# Of the machine and its network; PYTHON… and LC_… too
_ANY = frozenset(
    {
        *("PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TMPDIR", "TZ", "VIRTUAL_ENV"),
        *(
            "LD_LIBRARY_PATH",
            "LD_PRELOAD",
            "DYLD_LIBRARY_PATH",
            "DYLD_FALLBACK_LIBRARY_PATH",
            "GLIBC_TUNABLES",
        ),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
        *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    }
)
_ANY_PREFIXES = ("LC_", "PYTHON", "XDG_")
_SERVER = frozenset({"PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ"})  # of Redis
# Of the libraries that a service computes with
_PREFIXES: Mapping[str, tuple[str, ...]] = {
    "motion": ("OPENCV_", "OMP_", "GOMP_", "KMP_"),
    "classifier": (
        *(
            "HF_",
            "HUGGINGFACE_",
            "TRANSFORMERS_",
            "TORCH",
            "PYTORCH_",
            "TRITON_",
            "CUDA_",
            "NVIDIA_",
            "NCCL_",
        ),
        *("OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "OPENVINO_", "OV_", "ONEDNN_", "DNNL_", "MALLOC_"),
    ),
    "recorder": ("OMP_", "OPENBLAS_"),
}
_SETTINGS: Mapping[str, type[ServiceSettings]] = {
    "motion": MotionServiceSettings,
    "classifier": ClassifierSettings,
    "recorder": RecorderSettings,
}
# The launcher puts passwords into the URLs that it hands over, or has a server of its own
_LAUNCHERS = frozenset(
    {
        *("REDIS_URL", "REDIS_PASSWORD", "REDIS_SENTINEL_PASSWORD"),
        *("DATABASE_URL", "DATABASE_PASSWORD", "MOTION_URL", "MOTION_TOKEN"),
    }
)
# Of the address that people use: the recorder's. The others listen on loopback, for it alone.
_SITES = frozenset({"API_TOKEN", "ALLOWED_HOSTS", "TRUSTED_PROXIES", "TLS_CERT_FILE", "TLS_KEY_FILE"})


def service_environment(service: str, environment: Mapping[str, str], cameras_file: Path) -> dict[str, str]:
    """Return what `service` gets of `environment`; motion also what its camera file names as `${NAME}`, and the
    recorder what its notify file names.
    """
    wanted = _ANY | _setting_names(service) | _named(service, environment, cameras_file)
    prefixes = (*_ANY_PREFIXES, *_PREFIXES[service])
    return {
        name: value
        for name, value in environment.items()
        if name.upper() in wanted or name in wanted or name.startswith(prefixes)
    }


def server_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what a Redis gets of `environment`."""
    return {name: value for name, value in environment.items() if name in _SERVER}


def _setting_names(service: str) -> frozenset[str]:
    names = {name.upper() for name in _SETTINGS[service].model_fields} - _LAUNCHERS
    if service != "recorder":
        names -= _SITES
    return frozenset(names | {f"{name}_FILE" for name in names})


def _named(service: str, environment: Mapping[str, str], cameras_file: Path) -> frozenset[str]:
    notify_file = environment.get("NOTIFY_FILE")
    files = {"motion": cameras_file, "recorder": Path(notify_file) if notify_file else None}
    file = files.get(service)
    if file is None:
        return frozenset()
    try:
        names = VARIABLE.findall(file.read_text(encoding="utf-8", errors="replace"))
        return frozenset(names) | {f"{name}_FILE" for name in names}
    except OSError:  # the service says what is wrong with it
        return frozenset()
