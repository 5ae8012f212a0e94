"""Settings that every service reads from its environment. A service adds its own in a subclass."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, ClassVar, Literal, TypeVar, cast, get_args

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict, SettingsError

from shared.access import NetworkTrust, host_name, is_loopback
from shared.errors import ConfigError, redact, shortened
from shared.faults import list_faults
from shared.redis_client import redis_address
from shared.secret_files import SecretFileFault, secret_from_file
from shared.secrets import know, know_environment
from shared.urls import SecretUrl


class ServiceSettings(BaseSettings):
    """Names are the environment's, in capitals: REDIS_URL, HTTP_PORT, …; an empty value counts as unset."""

    model_config = SettingsConfigDict(
        env_ignore_empty=True, extra="ignore", frozen=True, hide_input_in_errors=True
    )
    serves_metrics_only: ClassVar[bool] = False  # by HTTP there is nothing else to see
    has_users: ClassVar[bool] = False  # in a database: the service itself looks at it once that is open

    redis_url: Annotated[
        SecretUrl,
        Field(
            description="redis://, rediss:// (with ?ssl_ca_certs=FILE for authorities of your own) or unix://, or "
            "redis+sentinel://host1:26379,host2:26379/mymaster; the queue between services"
        ),
    ] = SecretUrl("redis://127.0.0.1:6379/0")
    redis_password: Annotated[
        SecretStr, Field(description="password of REDIS_URL, as it is, where the URL has none")
    ] = SecretStr("")
    redis_sentinel_password: Annotated[
        SecretStr, Field(description="password of the Sentinels that REDIS_URL names, where they have one")
    ] = SecretStr("")
    instance: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z0-9_.-]{0,64}$",
            description="stable unique name of this process among its replicas",
        ),
    ] = ""
    http_host: Annotated[str, Field(description="address for /healthz, /readyz, /metrics")] = "127.0.0.1"
    http_port: Annotated[int, Field(ge=0, le=65535, description="0: any free port")] = 0
    api_token: Annotated[
        SecretStr | None,
        Field(
            min_length=16,
            description="everything by HTTP but /healthz and /readyz needs 'Authorization: Bearer …' with it; "
            "unset: this machine only",
        ),
    ] = None
    metrics_token: Annotated[
        SecretStr | None,
        Field(
            min_length=16,
            description="/metrics takes 'Authorization: Bearer …' with it too, such as Prometheus'",
        ),
    ] = None
    allowed_hosts: Annotated[
        str,
        Field(
            max_length=4000,
            description="names by which browsers and programs reach this service, separated by commas, beside "
            "localhost, IP addresses and this machine's own name; others are refused (421)",
        ),
    ] = ""
    trusted_proxies: Annotated[
        str,
        Field(
            max_length=4000,
            description="addresses or networks of reverse proxies, separated by commas, whose X-Forwarded-For, -Proto, "
            "-Host and -Prefix count; with one, nobody is let in for being on this machine",
        ),
    ] = ""
    tls_cert_file: Annotated[
        Path | None,
        Field(description="certificate chain of the HTTP port, PEM; with TLS_KEY_FILE it speaks https only"),
    ] = None
    tls_key_file: Annotated[Path | None, Field(description="private key of TLS_CERT_FILE, PEM")] = None
    http_connections_max: Annotated[
        int,
        Field(
            ge=16,
            le=65536,
            description="connections to HTTP_PORT at once; one that waits gives way to a new one",
        ),
    ] = 512
    http_address_connections_max: Annotated[
        int,
        Field(ge=8, le=65536, description="of those, by one address that is not one of TRUSTED_PROXIES"),
    ] = 64
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

    @field_validator("allowed_hosts")
    @classmethod
    def _are_names(cls, text: str) -> str:
        for part in text_parts(text):
            if host_name(part) != part.lower():
                raise ValueError(
                    f"found {shortened(part, 80)!r}, wanted names such as cam.example.org, without a port or *"
                )
        return text

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, text: str) -> str:
        for part in text_parts(text):
            try:
                ip_network(part)
            except ValueError:
                raise ValueError(
                    f"found {shortened(part, 80)!r}, wanted addresses or networks such as 192.0.2.7 or 172.18.0.0/16"
                ) from None
        return text

    def listening_fault(self, *, has_login: bool = False) -> str | None:
        """Return why the service may not listen on HTTP_HOST; None when it may.

        Beyond loopback anybody can ask: there has to be a token, or users (`has_login`). METRICS_TOKEN is not enough
        where there is more to see than /metrics.
        """
        tokens = [self.api_token, self.metrics_token] if self.serves_metrics_only else [self.api_token]
        if is_loopback(self.http_host) or has_login or any(tokens):
            return None
        what = "API_TOKEN or METRICS_TOKEN" if self.serves_metrics_only else "API_TOKEN"
        return (
            f"HTTP_HOST={self.http_host}: is reached by others, and {what} is not set; set it to 16 characters or more "
            "(openssl rand -hex 24), or listen on 127.0.0.1"
        )

    @property
    def network_trust(self) -> NetworkTrust:
        """ALLOWED_HOSTS and TRUSTED_PROXIES, with this machine's own names."""
        hosts = [part.lower() for part in text_parts(self.allowed_hosts)]
        return NetworkTrust.of(hosts, [ip_network(part) for part in text_parts(self.trusted_proxies)])

    @property
    def redis_address(self) -> str:
        """REDIS_URL with REDIS_PASSWORD and REDIS_SENTINEL_PASSWORD in it: a secret."""
        return redis_address(
            self.redis_url.get_secret_value(),
            self.redis_password.get_secret_value(),
            self.redis_sentinel_password.get_secret_value(),
        )

    @property
    def finish_s(self) -> float:
        """Of the drain: time for work in hand, before it is given back; the rest is for closing."""
        return self.drain_s * 0.4


def text_parts(text: str) -> list[str]:
    """Return the parts of a setting that lists values, separated by commas."""
    return [part.strip() for part in text.split(",") if part.strip()]


class CameraSettings(ServiceSettings):
    """For services that read the camera file."""

    cameras_file: Annotated[Path, Field(description="the camera file")] = Path("cameras.yml")


_Settings = TypeVar("_Settings", bound=BaseSettings)


def load_settings(kind: type[_Settings]) -> _Settings:
    """Read `kind` from the environment; raise ConfigError with every fault, none of which shows a secret."""
    settings, faults = read_settings(kind, os.environ)
    if faults or settings is None:
        raise ConfigError(faults)
    return settings


def read_settings(
    kind: type[_Settings], environment: Mapping[str, str]
) -> tuple[_Settings | None, list[str]]:
    """Return the settings and their faults; in place of a value with a fault stands the default.

    So that what else is wrong can be told together with it. None: one without a default has a fault.
    """
    names = {name.upper(): name for name in kind.model_fields}
    given = {name: value for name, value in environment.items() if name.upper() in names}
    know_environment(environment)
    filed, faults = _secrets_of_files(kind, environment)
    given |= filed
    for name in secret_names(kind):
        know(given.get(name, ""))
    for _ in range(1 + len(names)):
        try:
            return _read(kind, given), faults
        except ValidationError as exc:
            bad = {str(error["loc"][0]) for error in exc.errors() if error["loc"]}
            faults.extend(_faults_of(exc, kind))
        except (
            SettingsError
        ) as exc:  # a list or a mapping that is not JSON; pydantic-settings stops at the first
            bad = {name for name in kind.model_fields if f'"{name}"' in str(exc)}
            faults.extend(
                f'environment: {name.upper()}: is not JSON, wanted a list like ["a", "b"]' for name in bad
            )
        left = {name: value for name, value in given.items() if name.lower() not in bad}
        if left == given:
            break
        given = left
    return None, faults


def secret_names(kind: type[BaseSettings]) -> list[str]:
    """Return the names of the settings that are secrets: each may also be given as the file of NAME_FILE."""
    return [
        name.upper()
        for name, field in kind.model_fields.items()
        if any(
            isinstance(one, type) and issubclass(one, SecretStr)
            for one in (field.annotation, *get_args(field.annotation))
        )
    ]


def _secrets_of_files(
    kind: type[BaseSettings], environment: Mapping[str, str]
) -> tuple[dict[str, str], list[str]]:
    """Return the secrets that NAME_FILE names, and what is wrong: a NAME_FILE of ours is never left out in silence."""
    filed: dict[str, str] = {}
    faults: list[str] = []
    secrets = secret_names(kind)
    for name in secrets:
        try:
            value = secret_from_file(name, environment)
        except SecretFileFault as exc:
            faults.append(redact(f"environment: {exc}"))
        else:
            if value is not None:
                filed[name] = value
    known = [f"{name}_FILE" for name in secrets]
    for name, value in environment.items():
        setting = name.removesuffix("_FILE")
        if not value or setting == name or name.lower() in kind.model_fields or name in known:
            continue
        if setting.lower() in kind.model_fields:
            faults.append(f"environment: {name}: is not known; {setting} is no secret, give it as {setting}")
        elif meant := difflib.get_close_matches(name, known, n=1, cutoff=0.9):
            faults.append(f"environment: {name}: is not known; did you mean '{meant[0]}'?")
    return filed, faults


def _read(kind: type[_Settings], environment: Mapping[str, str]) -> _Settings:
    class Source(EnvSettingsSource):
        def _load_env_vars(self) -> Mapping[str, str | None]:
            return {name.lower(): value for name, value in environment.items() if value}

    class Read(kind):  # type: ignore[valid-type,misc]  # the class is a value here
        @classmethod
        def settings_customise_sources(
            cls, settings_cls: type[BaseSettings], **_sources: object
        ) -> tuple[EnvSettingsSource, ...]:
            return (Source(settings_cls),)

    Read.__name__ = kind.__name__
    return cast("_Settings", Read())


def _faults_of(exc: ValidationError, kind: type[BaseSettings]) -> Iterator[str]:
    for fault in list_faults(exc, kind):
        name = ".".join((fault.path[0].upper(), *fault.path[1:])) if fault.path else ""
        value = "" if fault.value is None else f"={_unquoted(fault.value)}"
        yield redact(f"environment: {name}{value}: {fault.message}".replace(": : ", ": "))


def _unquoted(shown: str) -> str:
    """Take the quotes away: in an environment everything is text."""
    return shown[1:-1] if len(shown) > 1 and shown[0] == shown[-1] and shown[0] in "'\"" else shown
