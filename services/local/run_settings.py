"""The `settings:` section of a configuration, and the address at which its page is to be found. Light: no service."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from shared.errors import ConfigError
from shared.faults import list_faults

PAGE_PORT = 8080
OFFLINE_MODEL = "mini"
SITE_VARIABLES = ("ALLOWED_HOSTS", "TRUSTED_PROXIES", "PATH_PREFIX", "TLS_CERT_FILE", "TLS_KEY_FILE")
_LISTEN = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[0-9.]+|localhost):(?P<port>[0-9]{1,5})")
_WANTED = "wanted an address of this machine with a port: 127.0.0.1:8080, 0.0.0.0:8080 (all), [::]:8080"


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """Where the page listens.

    `port`: 0 for any; None for PAGE_PORT or the next free one, which is kept from then on. `is_exact`: no other port
    will do when it is taken.
    """

    host: str = "127.0.0.1"
    port: int | None = None
    is_exact: bool = False

    @classmethod
    def parse(cls, text: str) -> ListenAddress:
        """Return what `settings.listen` says; raises ValueError."""
        found = _LISTEN.fullmatch(text.strip())
        if found is None or int(found["port"]) > 65535:
            raise ValueError(_WANTED)
        host = found["host"].strip("[]")
        host = "127.0.0.1" if host == "localhost" else host
        try:
            ip_address(host)
        except ValueError:
            raise ValueError(_WANTED) from None
        return cls(host, int(found["port"]), is_exact=True)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{PAGE_PORT if self.port is None else self.port}"

    @property
    def is_loopback(self) -> bool:
        return ip_address(self.host).is_loopback

    @property
    def is_everywhere(self) -> bool:
        """Whether it listens at all addresses of this machine."""
        return ip_address(self.host).is_unspecified

    @property
    def own_host(self) -> str:
        """How this machine itself reaches it, as a part of a URL."""
        address = ip_address(self.host)
        if address.is_unspecified:
            return "127.0.0.1" if address.version == 4 else "[::1]"
        return self.host if address.version == 4 else f"[{self.host}]"


class RunSettings(BaseModel):
    """The `settings:` section; everything in it is optional."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Annotated[
        str, Field(min_length=1, description="mini, NAME/TAG of open_clip, hf-hub:… or a folder")
    ] = OFFLINE_MODEL
    data_dir: Annotated[Path, Field(description="everything that is kept, relative to this file")] = Path(
        "data"
    )
    listen: Annotated[
        str | None,
        Field(
            description="where the page listens: 0.0.0.0:8080 for the home network, [::]:8080; unset: 127.0.0.1:8080 "
            "or the next free port, which is kept",
        ),
    ] = None
    page_port: Annotated[
        int | None, Field(ge=0, le=65535, description="old name: the usual port where `listen` is unset")
    ] = None
    allowed_hosts: Annotated[
        tuple[str, ...],
        Field(
            max_length=100,
            description="names by which browsers reach the page, beside addresses and this machine's own name",
        ),
    ] = ()
    tls_cert: Annotated[
        Path | None, Field(description="certificate chain, PEM, relative to this file: the page is https")
    ] = None
    tls_key: Annotated[Path | None, Field(description="its private key, PEM")] = None
    path_prefix: Annotated[
        str, Field(description="path under which a reverse proxy shows the page, such as /clipwatch")
    ] = ""
    trusted_proxies: Annotated[
        tuple[str, ...],
        Field(max_length=100, description="addresses of reverse proxies whose X-Forwarded-… headers count"),
    ] = ()
    weather: Annotated[
        Literal["open_meteo", "openweather", "none"],
        Field(description="openweather reads its key from OPENWEATHER_KEY"),
    ] = "open_meteo"

    @field_validator("listen")
    @classmethod
    def _is_an_address(cls, text: str | None) -> str | None:
        if text is not None:
            ListenAddress.parse(text)
        return text

    @model_validator(mode="after")
    def _are_together(self) -> RunSettings:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key: wanted both, or neither")
        if self.listen is not None and self.page_port is not None:
            raise ValueError("page_port is the old name of listen: leave page_port out")
        return self

    @property
    def address(self) -> ListenAddress:
        """Where the page is to listen."""
        if self.listen is not None:
            return ListenAddress.parse(self.listen)
        return ListenAddress(port=self.page_port)

    def environment(self, file: Path) -> dict[str, str]:
        """Return the recorder's settings of these, whose paths are relative to `file`; what is unset is left out."""
        found = {
            "ALLOWED_HOSTS": ",".join(self.allowed_hosts),
            "TRUSTED_PROXIES": ",".join(self.trusted_proxies),
            "PATH_PREFIX": self.path_prefix,
            "TLS_CERT_FILE": _path_of(file, self.tls_cert),
            "TLS_KEY_FILE": _path_of(file, self.tls_key),
        }
        return {name: value for name, value in found.items() if value}

    def data_folder(self, file: Path) -> Path:
        """Return `data_dir` as an absolute path."""
        return (file.parent / _expanded(self.data_dir)).resolve()


def parse_run_settings(document: Mapping[str, Any], filename: str) -> RunSettings:  # Any: what YAML can hold
    """Return the `settings:` of a configuration; raises ConfigError with every fault."""
    section = document.get("settings")
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


def _expanded(path: Path) -> str:
    return os.path.expanduser(path)  # noqa: PTH111 - Path's own raises for a folder named ~x


def _path_of(file: Path, path: Path | None) -> str:
    return str((file.parent / _expanded(path)).resolve()) if path is not None else ""
