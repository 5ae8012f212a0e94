"""Finds the recorder that a command is to ask: its address, a token for it, and the certificate to trust.

On the machine and account that clipwatch runs under, its data folder says all three: nothing has to be given. The
token there opens everything, so it is sent to this machine only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from services.local.launcher.page_address import LOCAL_TOKEN_FILE, URL_FILE
from services.local.run_settings import PAGE_PORT, RunSettings, parse_run_settings
from shared.errors import ConfigError
from shared.secret_files import SecretFileFault, secret_from_file
from shared.secrets import know
from shared.urls import scheme_of, shown_url, url_fault
from shared.yaml_files import read_yaml

DEFAULT_URL = f"http://127.0.0.1:{PAGE_PORT}"
TOKEN_VARIABLES = ("CLIPWATCH_TOKEN", "API_TOKEN")
_FILE_MAX = 4096  # characters of a token's or address' file


@dataclass(frozen=True, slots=True)
class RecorderAddress:
    """Where the recorder is, and who asks. `certificate` is trusted beside the system's, for its address here."""

    url: str
    token: str | None = None
    certificate: Path | None = None

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token}"} if self.token else {}


@dataclass(frozen=True, slots=True)
class RecorderOptions:
    """What a command line says of the recorder; None: look in the configuration's data folder."""

    url: str | None = None
    token_file: Path | None = None
    config: Path = Path("clipwatch.yml")


def find_recorder(options: RecorderOptions, environment: Mapping[str, str]) -> RecorderAddress:
    """Return the recorder of `options`; raises ConfigError with every fault."""
    settings = _settings(options.config)
    folder = settings.data_folder(options.config) if settings else None
    own_url = _text(folder / URL_FILE) if folder else None
    url = options.url or own_url or DEFAULT_URL
    faults = url_faults(url)
    token = _token_of(environment, faults)
    if options.token_file is not None:
        token = _text(options.token_file)
        if token is None:
            faults.append(f"--token-file {options.token_file}: cannot be read; wanted a file with one token")
    if token is not None and not (token.isascii() and token.isprintable() and " " not in token):
        faults.append("the token: wanted letters, digits and signs, without spaces")
    if faults:
        raise ConfigError(faults)
    is_here = _is_loopback(url) or url == own_url
    if token is None and folder is not None and is_here:
        token = _text(folder / LOCAL_TOKEN_FILE)
    certificate = settings.environment(options.config).get("TLS_CERT_FILE") if settings and is_here else None
    return RecorderAddress(url, token, Path(certificate) if certificate else None)


def _token_of(environment: Mapping[str, str], faults: list[str]) -> str | None:
    """Return the first of TOKEN_VARIABLES that is set, or what its file holds; add to `faults` what is wrong."""
    for name in TOKEN_VARIABLES:
        try:
            token = secret_from_file(name, environment) or environment.get(name)
        except SecretFileFault as exc:
            faults.append(f"environment: {exc}")
            continue
        if token:
            know(token)
            return token
    return None


def url_faults(url: str) -> list[str]:
    """Say what is wrong with --url."""
    if scheme_of(url) not in ("http", "https"):
        return [f"--url {shown_url(url)}: wanted an address such as http://127.0.0.1:8080"]
    fault = url_fault(url)
    return [f"--url {shown_url(url)}: {fault}"] if fault else []


def _settings(config: Path) -> RunSettings | None:
    """Return the settings of a configuration; None where there is none, or none that can be read: others say so."""
    try:
        return parse_run_settings(read_yaml(config), config.name) if config.is_file() else None
    except (ConfigError, OSError):
        return None


def _text(path: Path) -> str | None:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(_FILE_MAX).strip() or None
    except OSError:
        return None


def _is_loopback(url: str) -> bool:
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
