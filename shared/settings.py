"""Settings that every service reads from its environment. A service adds its own in a subclass."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.cameras import describe_fault
from shared.errors import ConfigError, redact


class ServiceSettings(BaseSettings):
    """Names are the environment's, in capitals: REDIS_URL, HTTP_PORT, …; an empty value counts as unset."""

    model_config = SettingsConfigDict(env_ignore_empty=True, extra="ignore", frozen=True)

    redis_url: Annotated[
        SecretStr, Field(description="redis://, rediss:// or unix://; the queue between services")
    ] = SecretStr("redis://127.0.0.1:6379/0")
    instance: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z0-9_.-]{0,64}$",
            description="stable unique name of this process among its replicas",
        ),
    ] = ""
    http_host: Annotated[str, Field(description="address for /healthz, /readyz, /metrics")] = "127.0.0.1"
    http_port: Annotated[int, Field(ge=0, le=65535, description="0: any free port")] = 0
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Annotated[Literal["auto", "json", "text"], Field(description="auto: text on a terminal")] = (
        "auto"
    )
    drain_s: Annotated[
        float, Field(gt=0, le=600, description="after SIGTERM: time to finish what was taken")
    ] = 20
    connect_s: Annotated[
        float, Field(gt=0, le=600, description="at start: time to wait for Redis and the database")
    ] = 60
    parent_pid: Annotated[
        int, Field(ge=0, description="stop when this process is no longer the parent; 0: never")
    ] = 0


class CameraSettings(ServiceSettings):
    """For services that read the camera file."""

    cameras_file: Annotated[Path, Field(description="the camera file")] = Path("cameras.yml")


_Settings = TypeVar("_Settings", bound=BaseSettings)


def load_settings(kind: type[_Settings]) -> _Settings:
    """Read `kind` from the environment; raise ConfigError with every fault, none of which shows a secret."""
    try:
        return kind()
    except ValidationError as exc:
        faults = []
        for error in exc.errors(include_url=False):
            where, _, rest = describe_fault(error).partition("=")
            name = str(error["loc"][0]).upper() if error["loc"] else ""
            text = f"{name}={rest}" if rest else f"{name}{where[len(name) :]}"
            faults.append(redact(f"environment: {text}"))
        raise ConfigError(faults) from exc
