"""Makes clients of the Redis that REDIS_URL names; its faults show no piece of the password."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from redis.asyncio import Redis
from redis.maint_notifications import MaintNotificationsConfig

from shared.errors import ConfigError, redact
from shared.redis_sentinel import (
    WANTED_SENTINEL,
    is_sentinel_url,
    make_master_client,
    read_sentinel_url,
    sentinel_faults,
    shown_sentinel_url,
)
from shared.tls import authorities_fault
from shared.urls import NO_HOST, scheme_of, shown_url, url_fault, with_password, with_value

CHECKS_LESS = {"ssl_cert_reqs", "ssl_check_hostname"}  # whoever answers would get the password
SCHEMES = ("redis", "rediss", "unix")
_QUIET: dict[str, Any] = {  # Any: options of redis-py
    "driver_info": None,
    "maint_notifications_config": MaintNotificationsConfig(enabled=False),
}
_OF_TCP = ("socket_keepalive", "socket_keepalive_options")


def redis_address(url: str, password: str, sentinel_password: str) -> str:
    """Return REDIS_URL with the passwords in it that it has not; the second is left out where no Sentinel is named."""
    url = with_password(url, password)
    return with_value(url, "sentinel_password", sentinel_password) if is_sentinel_url(url) else url


def shown_redis_url(url: str) -> str:
    """Return REDIS_URL for people, without a password."""
    return shown_sentinel_url(url) if is_sentinel_url(url) else redact(url)


def redis_faults(url: str) -> list[str]:
    """Say what is wrong with REDIS_URL; nothing is connected."""
    return _address_faults(url) or [
        f"REDIS_URL={shown_redis_url(url)}: ssl_ca_certs={fault}"
        for name, file in parse_qsl(url.partition("?")[2])
        if name == "ssl_ca_certs" and (fault := authorities_fault(Path(file))) is not None
    ]


def _address_faults(url: str) -> list[str]:
    scheme = scheme_of(url)
    options = {name for name, _ in parse_qsl(url.partition("?")[2], keep_blank_values=True)}
    if loose := sorted(options & CHECKS_LESS):
        return [
            f"REDIS_URL={shown_redis_url(url)}: found {', '.join(loose)} behind the ?, wanted a server that is "
            "checked; leave it out, and name authorities of your own by ssl_ca_certs=FILE"
        ]
    if is_sentinel_url(url):
        return [f"REDIS_URL={shown_redis_url(url)}: {fault}" for fault in sentinel_faults(url)]
    if scheme not in SCHEMES:
        return [
            f"REDIS_URL={shown_url(url)}: wanted redis://host:port/0, rediss://, unix:// or {WANTED_SENTINEL}"
        ]
    fault = url_fault(url)
    if fault is not None and not (scheme == "unix" and fault == NO_HOST):
        return [f"REDIS_URL={shown_url(url)}: {fault}; or give the password as REDIS_PASSWORD"]
    try:
        make_redis(url).connection_pool.make_connection()  # type: ignore[no-untyped-call]  # redis-py leaves it bare
    except ConfigError as exc:
        return list(exc.faults)
    except (TypeError, ValueError):  # an option behind ? that the client does not have
        return [f"REDIS_URL={shown_url(url)}: an option behind the ? is not known, or its value is none"]
    return []


def make_redis(url: str, **options: Any) -> Redis:  # Any: options of redis-py
    """Return a client; raise ConfigError when the URL cannot be used. A unix socket has no use for options of TCP.

    The client does not say what it is (CLIENT SETINFO): a user of Redis that may only do its work is refused that.
    """
    options = {**_QUIET, **options}
    if is_sentinel_url(url):
        if faults := _address_faults(url):
            raise ConfigError(faults)
        return make_master_client(read_sentinel_url(url), **options)
    if scheme_of(url) == "unix":
        options = {name: value for name, value in options.items() if name not in _OF_TCP}
    try:
        client: Redis = Redis.from_url(url, **options)
    except (ValueError, TypeError):  # without its text, which may quote a piece of the password
        raise ConfigError(
            f"REDIS_URL={shown_url(url)}: wanted redis://host:port/0, rediss:// or unix://; @ : / # in a password as "
            "%40 %3A %2F %23, or give it as REDIS_PASSWORD"
        ) from None
    return client
