"""The configuration of a one-machine run: the camera file with an optional `settings:` section, and the environment.

    settings: {model: mini, data_dir: ./data, page_port: 8080, weather: open_meteo}
    cameras: [ … as in the camera file … ]

REDIS_URL and DATABASE_URL in the environment replace the embedded servers.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.classifier.settings import ClassifierSettings
from services.classifier.weights import hub
from services.classifier.weights.names import resolve_model
from services.local.launcher.redis_server import find_redis_server
from services.motion.settings import MotionServiceSettings
from services.motion.sources.probe import camera_faults
from services.recorder.notify.file import load_notify
from services.recorder.record.database_url import parse_url, sqlite_address
from services.recorder.settings import RecorderSettings
from shared.cameras import CameraFile, parse_cameras
from shared.errors import ConfigError
from shared.faults import list_faults
from shared.redis_client import redis_faults
from shared.settings import read_settings
from shared.urls import with_password
from shared.yaml_files import read_yaml

PAGE_PORT = 8080
OFFLINE_MODEL = "mini"


class RunSettings(BaseModel):
    """The `settings:` section; everything in it is optional."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Annotated[
        str, Field(min_length=1, description="mini, NAME/TAG of open_clip, hf-hub:… or a folder")
    ] = OFFLINE_MODEL
    data_dir: Annotated[Path, Field(description="everything that is kept, relative to this file")] = Path(
        "data"
    )
    page_port: Annotated[
        int, Field(ge=0, le=65535, description="of the page, on 127.0.0.1; another when it is taken")
    ] = PAGE_PORT
    weather: Annotated[
        Literal["open_meteo", "openweather", "none"],
        Field(description="openweather reads its key from OPENWEATHER_KEY"),
    ] = "open_meteo"


@dataclass(frozen=True, slots=True)
class RunConfig:
    """A configuration without faults. `data_dir` and `models_dir` are absolute."""

    file: Path
    settings: RunSettings
    cameras: CameraFile
    data_dir: Path
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
        settings = _settings(document.get("settings"), path.name)
        faults.extend(folder_faults(f"{path.name}: settings.data_dir:", _data_dir(settings, path)))
    except ConfigError as exc:
        faults.extend(exc.faults)
    faults.extend(_model_faults(_text(document, "model", settings.model), path.name))
    faults.extend(camera_faults(document, path, environment))
    faults.extend(_environment_faults(environment, _text(document, "weather", settings.weather)))
    if faults:
        raise ConfigError(faults)
    cameras = parse_cameras(document, path.name, path.parent, environment)
    return RunConfig(
        file=path.resolve(),
        settings=settings,
        cameras=cameras,
        data_dir=_data_dir(settings, path),
        redis_url=_redis_url(environment),
        database_url=_database_url(environment),
    )


def database_of(path: Path, environment: Mapping[str, str] | None = None) -> str:
    """Return the address of a configuration's database: DATABASE_URL, or the file in its data folder.

    Nothing else of the configuration needs to be right: who forgot a password gets in whatever became of a camera.
    """
    environment = os.environ if environment is None else environment
    if (url := _database_url(environment)) is not None:
        parse_url(url)
        return url
    settings = RunSettings(data_dir=Path(_text(read_yaml(path), "data_dir", "data")))
    return sqlite_address(_data_dir(settings, path) / "clipwatch.db")


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


def _data_dir(settings: RunSettings, file: Path) -> Path:
    name = os.path.expanduser(settings.data_dir)  # noqa: PTH111 - Path's own raises for a folder named ~x
    return (file.parent / name).resolve()


def _settings(section: Any, filename: str) -> RunSettings:  # Any: what a YAML file can hold
    if section is None:
        return RunSettings()
    if not isinstance(section, dict):
        raise ConfigError(f"{filename}: settings: wanted a mapping such as 'model: mini'")
    try:
        return RunSettings.model_validate(section)
    except ValidationError as exc:
        raise ConfigError(
            [f"{filename}: settings.{fault}" for fault in list_faults(exc, RunSettings)]
        ) from exc


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
    "INDEX_DIR",
    "MOTION_URL",
    "MOTION_TOKEN",
)


def _environment_faults(environment: Mapping[str, str], weather: str) -> list[str]:
    """Say what would end a service: its settings, the servers, and the notify file."""
    faults = _url_faults(environment)
    given = {name: value for name, value in environment.items() if name.upper() not in (*_OWN, *_OWN_TOO)}
    given["WEATHER_PROVIDER"] = weather
    for kind in (MotionServiceSettings, ClassifierSettings):
        faults.extend(read_settings(kind, given)[1])
    recorder, found = read_settings(RecorderSettings, given)
    faults.extend(fault for fault in found if "WEATHER_PROVIDER" not in fault)  # told as settings.weather
    checks: list[Callable[[], object]] = [] if environment.get("REDIS_URL") else [find_redis_server]
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
    return with_password(environment.get("REDIS_URL", ""), environment.get("REDIS_PASSWORD", "")) or None


def _database_url(environment: Mapping[str, str]) -> str | None:
    return (
        with_password(environment.get("DATABASE_URL", ""), environment.get("DATABASE_PASSWORD", "")) or None
    )
