"""Which bucket MEDIA_URL and S3_… name, and what is wrong with them. Connects nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import SecretStr

from shared.errors import ConfigError, redact
from shared.tls import authorities_fault
from shared.urls import scheme_of, shown_url, url_fault

_MEDIA_URL = re.compile(
    r"s3://(?P<bucket>[a-z0-9][a-z0-9._-]{1,61}[a-z0-9])(?P<prefix>(/[A-Za-z0-9_=-][A-Za-z0-9._=-]*)*)/?"
)
WANTED = "s3://bucket or s3://bucket/prefix"


@dataclass(frozen=True, slots=True)
class S3Settings:
    """The settings as they were read; empty: not given."""

    url: str
    endpoint: str = ""
    region: str = "us-east-1"
    access_key_id: SecretStr = field(default_factory=lambda: SecretStr(""))
    secret_access_key: SecretStr = field(default_factory=lambda: SecretStr(""))
    ca_file: Path | None = None


@dataclass(frozen=True, slots=True)
class S3Access:
    """A bucket and how it is reached; without keys those of the environment or of the machine's role count."""

    bucket: str
    prefix: str
    endpoint: str  # "": Amazon's own of the region
    region: str
    access_key_id: SecretStr
    secret_access_key: SecretStr
    ca_pem: bytes | None = None


def parse_s3(given: S3Settings) -> S3Access:
    """Return the bucket; raise ConfigError with every fault."""
    faults: list[str] = []
    found = _MEDIA_URL.fullmatch(given.url)
    if found is None:
        faults.append(
            f"MEDIA_URL={shown_url(given.url)}: wanted {WANTED}, or nothing for the folder MEDIA_DIR; the server's "
            "address is S3_ENDPOINT_URL"
        )
    faults.extend(_endpoint_faults(given.endpoint))
    keys = {"S3_ACCESS_KEY_ID": given.access_key_id, "S3_SECRET_ACCESS_KEY": given.secret_access_key}
    missing = [name for name, key in keys.items() if not key.get_secret_value()]
    if len(missing) == 1:
        there = next(name for name in keys if name not in missing)
        faults.append(f"{missing[0]}: not set, and {there} is; set both, or neither for the machine's role")
    ca_pem = None
    if given.ca_file is not None:
        if fault := authorities_fault(given.ca_file):
            faults.append(f"S3_CA_FILE={fault}")
        else:
            ca_pem = given.ca_file.read_bytes()
    if faults or found is None:
        raise ConfigError(faults)
    return S3Access(
        found["bucket"],
        found["prefix"].strip("/"),
        given.endpoint.rstrip("/"),
        given.region,
        given.access_key_id,
        given.secret_access_key,
        ca_pem,
    )


def _endpoint_faults(endpoint: str) -> list[str]:
    if not endpoint:
        return []
    shown = f"S3_ENDPOINT_URL={shown_url(endpoint)}"
    if scheme_of(endpoint) not in ("https", "http"):
        return [f"{shown}: wanted https://host or https://host:port, or http:// in a network of your own"]
    if fault := url_fault(endpoint):
        return [f"{shown}: {fault}"]
    rest = endpoint.partition("://")[2]
    if "@" in rest:
        return [f"{shown}: holds a login; give it as S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY"]
    if "?" in rest or "/" in rest.rstrip("/"):
        return [redact(f"{shown}: holds more than a host and a port; the bucket belongs into MEDIA_URL")]
    return []
