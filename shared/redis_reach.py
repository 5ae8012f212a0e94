"""Tells of a Redis that the network may use without a password, and that is older than fixes of known weaknesses.

A password, or a socket that only this account may open, keeps such a server out of reach.
"""

from __future__ import annotations

from collections.abc import Mapping

from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared.access import is_loopback
from shared.logs import get_logger

log = get_logger(__name__)

# The first patch of each series with the fixes of CVE-2025-49844 and CVE-2024-46981 (scripts) and of CVE-2025-21605
# (callers who have not logged in): release notes of Redis and Valkey, October 2025. Later series have them.
_FIXED_REDIS = {(6, 2): 20, (7, 2): 11, (7, 4): 6, (8, 0): 4, (8, 2): 2}
_FIXED_VALKEY = {(7, 2): 11, (8, 0): 6, (8, 1): 4}


async def warn_of_open_redis(redis: Redis) -> None:
    """Log a warning when `redis` asks for no password, is old, and listens beyond a socket or loopback.

    Says nothing when it does not tell what it is: whoever hides that from its clients has users with rights.
    """
    options = redis.connection_pool.connection_kwargs
    if options.get("password"):
        return
    try:
        version = old_version(await redis.info("server"))
        if version is None:
            return
        host = options.get("host") if "path" not in options else None
        if host is None or is_loopback(host):
            config = await redis.config_get("bind", "port", "protected-mode")
            if not is_open({_text(name): _text(value) for name, value in config.items()}):
                return
    except RedisError:
        return
    log.warning(
        "Redis is open to the network without a password, and older than fixes of known weaknesses; set a password "
        "(REDIS_PASSWORD), let it listen on 127.0.0.1 alone, or update it",
        version=version,
        weaknesses="CVE-2025-49844 CVE-2024-46981 CVE-2025-21605",
    )


def old_version(server: Mapping[str, object]) -> str | None:
    """Return the version in INFO's section `server` when it is older than the fixes; None when not, or not known.

    A distribution may have put the fixes into an older version: nothing shows it.
    """
    is_valkey = "valkey_version" in server
    text = _text(server.get("valkey_version" if is_valkey else "redis_version", ""))
    parts = text.split(".")
    if len(parts) < 3 or not all(part.isdecimal() for part in parts[:3]):
        return None
    major, minor, patch = (int(part) for part in parts[:3])
    fixed = _FIXED_VALKEY if is_valkey else _FIXED_REDIS
    series = (major, minor)
    is_old = patch < fixed[series] if series in fixed else series < max(fixed)
    return text if is_old else None


def is_open(config: Mapping[str, str]) -> bool:
    """Whether a server of this configuration takes callers from elsewhere who have no password."""
    if config.get("port", "0") == "0" or config.get("protected-mode") == "yes":
        return False
    addresses = config.get("bind", "").replace('"', "").split()
    return not addresses or not all(is_loopback(address.removeprefix("-")) for address in addresses)


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
