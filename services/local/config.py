"""The configuration of a one-machine run: the camera file with an optional `settings:` section, and the environment.

    settings: {model: mini, data_dir: ./data, listen: 127.0.0.1:8080, weather: open_meteo}
    cameras: [ … as in the camera file … ]

REDIS_URL and DATABASE_URL in the environment replace the embedded servers.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.classifier.settings import ClassifierSettings
from services.classifier.weights import hub
from services.classifier.weights.names import resolve_model
from services.local.launcher.redis_server import find_redis_server
from services.local.run_settings import SITE_VARIABLES, ListenAddress, RunSettings, parse_run_settings
from services.motion.settings import MotionServiceSettings
from services.motion.sources.probe import camera_faults
from services.recorder.access.opening import TOKEN_MIN
from services.recorder.notify.file import load_notify
from services.recorder.record.database_url import parse_url, sqlite_address
from services.recorder.settings import RecorderSettings
from services.recorder.users import open_network_fault
from shared.cameras import CameraFile, parse_cameras
from shared.errors import ConfigError
from shared.redis_client import redis_address, redis_faults
from shared.secret_files import SecretFileFault, secret_from_file, secret_of
from shared.secrets import know
from shared.settings import read_settings
from shared.urls import with_password
from shared.yaml_files import read_yaml


@dataclass(frozen=True, slots=True)
class RunConfig:
    """A configuration without faults. `data_dir` and `models_dir` are absolute."""

    file: Path
    settings: RunSettings
    cameras: CameraFile
    data_dir: Path
    site: Mapping[str, str]  # the recorder's settings of its network, of the file and of the environment
    redis_url: str | None
    database_url: str | None


def models_dir(environment: Mapping[str, str] | None = None) -> Path:
    """Return where model folders lie: MODELS_DIR, else inside the virtual environment."""
    environment = os.environ if environment is None else environment
    return Path(environment.get("MODELS_DIR") or Path(sys.prefix) / "share" / "clipwatch" / "models")


def load_run_config(path: Path, environment: Mapping[str, str] | None = None) -> RunConfig:
    """Read and check the whole configuration; raise ConfigError with every fault, each with file, camera and field."""
    environment = os.environ if environment is None else environment
    document = read_yaml(path)
    faults: list[str] = []
    settings = RunSettings()
    try:
        settings = parse_run_settings(document, path.name)
        faults.extend(folder_faults(f"{path.name}: settings.data_dir:", settings.data_folder(path)))
        faults.extend(_network_faults(settings.address, environment, path.name, settings.data_folder(path)))
    except ConfigError as exc:
        faults.extend(exc.faults)
    faults.extend(_model_faults(_text(document, "model", settings.model), path.name))
    faults.extend(camera_faults(document, path, environment))
    of_file = settings.environment(path)
    site = {
        **{name: environment[name] for name in SITE_VARIABLES if environment.get(name)},
        **of_file,
    }
    faults.extend(_environment_faults(environment, of_file, _text(document, "weather", settings.weather)))
    if faults:
        raise ConfigError(faults)
    cameras = parse_cameras(document, path.name, path.parent, environment)
    return RunConfig(
        file=path.resolve(),
        settings=settings,
        cameras=cameras,
        data_dir=settings.data_folder(path),
        site=site,
        redis_url=_redis_url(environment),
        database_url=_database_url(environment),
    )


def database_of(path: Path, environment: Mapping[str, str] | None = None) -> str:
    """Return the address of a configuration's database: DATABASE_URL, or the file in its data folder.

    Nothing else of the configuration needs to be right: who forgot a password gets in whatever became of a camera.
    """
    environment = os.environ if environment is None else environment
    for name in ("DATABASE_URL", "DATABASE_PASSWORD"):
        try:
            secret_from_file(name, environment)
        except SecretFileFault as exc:  # or another database would be changed
            raise ConfigError(f"environment: {exc}") from None
    if (url := _database_url(environment)) is not None:
        parse_url(url)
        return url
    settings = RunSettings(data_dir=Path(_text(read_yaml(path), "data_dir", "data")))
    return sqlite_address(settings.data_folder(path) / "clipwatch.db")


def folder_faults(option: str, folder: Path) -> list[str]:
    """Say why nothing could be written into a folder, which need not be there yet."""
    try:
        nearest = folder.absolute()
        while not nearest.exists():
            nearest = nearest.parent
        if not nearest.is_dir():
            return [f"{option} {folder}: {nearest} is a file, wanted a folder"]
        if not os.access(nearest, os.W_OK | os.X_OK):
            return [f"{option} {folder}: {nearest} cannot be written; choose another folder"]
    except (OSError, ValueError) as exc:  # a name that is too long, or holds a NUL
        return [f"{option} {folder}: cannot be used: {getattr(exc, 'strerror', None) or exc}"]
    return []


def _model_faults(name: str, filename: str) -> list[str]:
    try:
        hub.require(resolve_model(name, models_dir()), models_dir())
    except ConfigError as exc:
        return [f"{filename}: settings.{fault.replace('MODEL=', 'model=', 1)}" for fault in exc.faults]
    return []


def _text(document: Mapping[str, Any], name: str, usual: str) -> str:  # Any: what a YAML file can hold
    """Return a text of `settings:`, whatever else is wrong with that section."""
    section = document.get("settings")
    found = section.get(name) if isinstance(section, dict) else None
    return found if isinstance(found, str) and found else usual


# What the launcher gives its services itself, whatever stands in the environment (stack.py)
_OWN = (
    "REDIS_URL",
    "CAMERAS_FILE",
    "DATA_DIR",
    "HTTP_HOST",
    "HTTP_PORT",
    "PARENT_PID",
    "INSTANCE",
    "DRAIN_S",
)
_OWN_TOO = (
    "LOG_LEVEL",
    "LOG_FORMAT",
    "MODEL",
    "MODELS_DIR",
    "DATABASE_URL",
    "MEDIA_DIR",
    "MEDIA_URL",
    "INDEX_DIR",
    "LOCAL_TOKEN_FILE",
    "MOTION_URL",
    "MOTION_TOKEN",
)


def _network_faults(
    address: ListenAddress, environment: Mapping[str, str], filename: str, data_dir: Path
) -> list[str]:
    """Say why the page may not be opened to a network: the recorder would end for the same reason."""
    token, first = secret_of("API_TOKEN", environment) or None, ("ADMIN_PASSWORD", "ADMIN_PASSWORD_FILE")
    if address.is_loopback or any(environment.get(name) for name in first):
        return []
    database = _database_url(environment) or sqlite_address(data_dir / "clipwatch.db")
    if open_network_fault(database, address.host, token) is None:
        return []
    return [
        f"{filename}: settings.listen={address}: others could reach it, and there is no login: must be with a user "
        f"(clipwatch user add NAME --role admin), or an API_TOKEN of {TOKEN_MIN} characters or more"
    ]


def _environment_faults(environment: Mapping[str, str], site: Mapping[str, str], weather: str) -> list[str]:
    """Say what would end a service: its settings, the servers, and the notify file."""
    faults = _url_faults(environment)
    own = [name for name in (*_OWN, *_OWN_TOO) if f"{name}_FILE" not in environment]  # both: a fault
    given = {name: value for name, value in environment.items() if name.upper() not in own}
    given = {name: value for name, value in given.items() if name.upper() not in site}
    given["WEATHER_PROVIDER"] = weather
    for kind in (MotionServiceSettings, ClassifierSettings):
        faults.extend(read_settings(kind, given)[1])
    recorder, found = read_settings(RecorderSettings, {**given, **site})
    faults.extend(
        _as_of_the_file(fault, site)
        for fault in found
        if "WEATHER_PROVIDER" not in fault  # told as settings.weather
    )
    checks: list[Callable[[], object]] = [] if secret_of("REDIS_URL", environment) else [find_redis_server]
    if recorder is not None:
        file = recorder.notify_file
        checks.append(lambda: recorder.weather_key)
        checks.append(lambda: load_notify(file, environment) if file else None)
    for one in checks:
        try:
            one()
        except ConfigError as exc:
            faults.extend(exc.faults)
    return list(dict.fromkeys(faults))


_SECTION = {"TLS_CERT_FILE": "tls_cert", "TLS_KEY_FILE": "tls_key"}


def _as_of_the_file(fault: str, site: Mapping[str, str]) -> str:
    """Name the setting of the configuration that a variable of the recorder was made from."""
    for name in site:
        start = f"environment: {name}"
        if fault.startswith(start):
            return f"settings.{_SECTION.get(name, name.lower())}{fault.removeprefix(start)}"
    return fault


def _url_faults(environment: Mapping[str, str]) -> list[str]:
    redis_url, database_url = _redis_url(environment), _database_url(environment)
    faults = redis_faults(redis_url) if redis_url else []
    if database_url:
        try:
            parse_url(database_url)
        except ConfigError as exc:
            faults.extend(exc.faults)
    return [f"environment: {fault}" for fault in faults]


def _redis_url(environment: Mapping[str, str]) -> str | None:
    passwords = [secret_of(name, environment) for name in ("REDIS_PASSWORD", "REDIS_SENTINEL_PASSWORD")]
    return _known_url(redis_address(secret_of("REDIS_URL", environment), *passwords))


def _database_url(environment: Mapping[str, str]) -> str | None:
    url, password = (secret_of(name, environment) for name in ("DATABASE_URL", "DATABASE_PASSWORD"))
    return _known_url(with_password(url, password))


def _known_url(url: str) -> str | None:
    know(url)
    return url or None
