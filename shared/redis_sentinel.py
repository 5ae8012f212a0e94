"""Reads a REDIS_URL that names Sentinels, and makes clients that follow the master which those name.

    redis+sentinel://[user:password@]host1[:26379],host2[:26379]/mymaster[/db][?sentinel_password=...]
    rediss+sentinel://...                 TLS to the Sentinels and to Redis; ?ssl_ca_certs=FILE

The login is that of Redis; the Sentinels' own password is `sentinel_password` (REDIS_SENTINEL_PASSWORD).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote

from redis.asyncio import Redis
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool
from redis.exceptions import AuthenticationError

from shared.urls import HOW_TO_QUOTE, scheme_of, url_fault

SENTINEL_SCHEMES = ("redis+sentinel", "rediss+sentinel")
WANTED_SENTINEL = "redis+sentinel://host1:26379,host2:26379/mymaster"
SENTINEL_PORT = 26379
# A Sentinel that is away is passed over after this long: the machine that died may have had one too.
SENTINEL_TIMEOUT_S = 1.0
_OPTIONS = ("sentinel_password", "ssl_ca_certs")
_NAME = re.compile(r"[A-Za-z0-9._-]+")  # of a master, as redis-sentinel takes it
_PARTS = re.compile(
    r"[^:]+://(?:(?P<login>.*)@)?(?P<hosts>[^/?]*)(?P<path>[^?]*)(?:\?(?P<query>.*))?", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class SentinelAddress:
    """Where to ask for the master `name`, and how to log in there."""

    sentinels: tuple[tuple[str, int], ...]  # host, port
    name: str
    db: int = 0
    is_tls: bool = False
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    options: dict[str, str] = field(default_factory=dict, repr=False)  # of _OPTIONS


def is_sentinel_url(url: str) -> bool:
    """Whether REDIS_URL names Sentinels and not a server."""
    return scheme_of(url) in SENTINEL_SCHEMES


def sentinel_faults(url: str) -> list[str]:
    """Say all that is wrong with a URL of Sentinels, without showing any of its login."""
    if "#" in url:
        return [f"holds a #, which ends an address; {HOW_TO_QUOTE}"]
    parts = _PARTS.fullmatch(url)
    if parts is None:
        return [f"cannot be read, wanted {WANTED_SENTINEL}"]
    login = parts["login"] or ""
    if "/" in login or "?" in login:
        return [f"a / or ? stands before the @ and ends the hosts; {HOW_TO_QUOTE}"]
    faults = []
    for host in parts["hosts"].split(","):
        fault = url_fault(f"redis://{host}/0")
        if fault is not None:
            faults.append(f"one of the Sentinels {fault}, wanted host:port, separated by commas")
    name, _, db = parts["path"].removeprefix("/").partition("/")
    if not _NAME.fullmatch(name):
        faults.append(f"names no master behind the hosts, wanted {WANTED_SENTINEL}")
    if db and not re.fullmatch(r"[0-9]{1,9}", db):
        faults.append("the database behind the master's name is no number, wanted /mymaster/0")
    faults += [
        f"an option behind the ? is not known, or has no value, wanted one of {', '.join(_OPTIONS)}"
        for option, value in parse_qsl(parts["query"] or "", keep_blank_values=True)
        if option not in _OPTIONS or not value
    ]
    if scheme_of(url) == "redis+sentinel" and "ssl_ca_certs=" in (parts["query"] or ""):
        faults.append("ssl_ca_certs is for TLS, wanted rediss+sentinel://")
    return list(dict.fromkeys(faults))


def shown_sentinel_url(url: str) -> str:
    """Return a URL of Sentinels for people: without its login and its options."""
    rest = url.partition("?")[0].partition("://")[2]
    return (
        f"{scheme_of(url)}://***" if sentinel_faults(url) else f"{scheme_of(url)}://{rest.rpartition('@')[2]}"
    )


def read_sentinel_url(url: str) -> SentinelAddress:
    """Return what a URL says in which `sentinel_faults` finds nothing; raise ValueError for others."""
    parts = _PARTS.fullmatch(url)
    if parts is None or sentinel_faults(url):
        raise ValueError("not an address of Sentinels")
    name, _, db = parts["path"].removeprefix("/").partition("/")
    user, colon, password = (parts["login"] or "").partition(":")
    return SentinelAddress(
        tuple(_host_and_port(host) for host in parts["hosts"].split(",")),
        name,
        int(db or 0),
        scheme_of(url) == "rediss+sentinel",
        unquote(user) or None,
        unquote(password) if colon else None,
        dict(parse_qsl(parts["query"] or "")),
    )


def _host_and_port(host: str) -> tuple[str, int]:
    name, colon, port = host.rpartition(":")
    if not colon or host.endswith("]"):  # [::1]
        return host.strip("[]"), SENTINEL_PORT
    return name.strip("[]"), int(port)


class _Sentinels(Sentinel):
    """Say in one sentence that no master is known, and when that is for a password."""

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        try:
            found: tuple[str, int] = await super().discover_master(service_name)
        except MasterNotFoundError as exc:
            n_refused = str(exc).count(AuthenticationError.__name__)  # it lists what each answered
            if n_refused == len(self.sentinels):
                raise AuthenticationError(
                    "the Sentinels refuse the password; set REDIS_SENTINEL_PASSWORD"
                ) from exc
            refused = (
                f", {n_refused} of them refuse the password (REDIS_SENTINEL_PASSWORD)" if n_refused else ""
            )
            raise MasterNotFoundError(
                f"none of the Sentinels names a master '{service_name}'{refused}"
            ) from exc
        return found


class _MasterPool(SentinelConnectionPool):
    """Connections to the master; closes those to the Sentinels with them."""

    async def aclose(self) -> None:
        await super().aclose()
        await self.sentinel_manager.aclose()


def make_master_client(address: SentinelAddress, **options: Any) -> Redis:  # Any: options of redis-py
    """Return a client of the master, whichever server that is; nothing is connected yet.

    While no Sentinel names a master its calls raise MasterNotFoundError, a ConnectionError: Redis is away.
    """
    tls: dict[str, Any] = {"ssl": True} if address.is_tls else {}  # Any: options of redis-py
    if certificates := address.options.get("ssl_ca_certs"):
        tls["ssl_ca_certs"] = certificates
    quiet = {name: options[name] for name in ("driver_info", "maint_notifications_config") if name in options}
    sentinel = _Sentinels(  # type: ignore[no-untyped-call]  # redis-py leaves it bare
        address.sentinels,
        sentinel_kwargs={
            "password": address.options.get("sentinel_password"),
            "socket_timeout": SENTINEL_TIMEOUT_S,
            "socket_connect_timeout": SENTINEL_TIMEOUT_S,
            "retry": None,
            **quiet,
            **tls,
        },
    )
    client: Redis = sentinel.master_for(
        address.name,
        connection_pool_class=_MasterPool,
        db=address.db,
        username=address.username,
        password=address.password,
        **options,
        **tls,
    )
    return client
