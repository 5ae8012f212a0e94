"""Time and identity: UTC now, and ids that sort by time. Knows no service and no I/O but the system clock."""

import hashlib
import secrets
from datetime import UTC, datetime, timedelta
from uuid import UUID

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def now_utc() -> datetime:
    """Return the system clock's time, UTC, cut to milliseconds (what the database keeps)."""
    return to_millis(datetime.now(UTC))


def to_millis(moment: datetime) -> datetime:
    """Return `moment` in UTC, cut to whole milliseconds; a naive time is refused."""
    if moment.tzinfo is None:
        raise ValueError(f"time without a zone: {moment!r}")
    moment = moment.astimezone(UTC)
    beyond = moment.microsecond % 1000
    return moment.replace(microsecond=moment.microsecond - beyond) if beyond else moment


def epoch_ms(moment: datetime) -> int:
    """Return whole milliseconds since 1970-01-01 UTC."""
    return (moment - EPOCH) // timedelta(milliseconds=1)


def from_epoch_ms(ms: int) -> datetime:
    """Return the UTC time of `ms` milliseconds since 1970-01-01."""
    return EPOCH + timedelta(milliseconds=ms)


def uuid7(moment: datetime, seed: str | None = None) -> str:
    """Return a UUIDv7 (RFC 9562 §5.7) for `moment`.

    The 74 bits beside the time are random, or, with `seed`, a hash of it: a finite recording that is read again after
    a crash then gives its events the ids they had, and the tables stay free of doubles.
    """
    bits = secrets.token_bytes(10) if seed is None else hashlib.sha256(seed.encode()).digest()[:10]
    value = (epoch_ms(moment) & (2**48 - 1)) << 80 | int.from_bytes(bits)
    value = value & ~(0xF << 76) | 7 << 76
    value = value & ~(0x3 << 62) | 2 << 62
    return str(UUID(int=value))
