"""Whether Redis is there: which errors pass by themselves, and one log line each way."""

from __future__ import annotations

import time
from dataclasses import dataclass

from redis.exceptions import BusyLoadingError, OutOfMemoryError, ReadOnlyError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from shared.errors import reason
from shared.logs import get_logger
from shared.metrics import StreamMetrics

log = get_logger(__name__)

# Redis cannot serve us now and may later: gone, slow, loading, full, or a replica during a failover.
AWAY = (
    RedisConnectionError,
    RedisTimeoutError,
    BusyLoadingError,
    OutOfMemoryError,
    ReadOnlyError,
    OSError,
)
# The same by the word of an error without a class of its own (its disk is full, a script runs …), or inside the
# error of a script, which loses its class on Redis 6.2.
_AWAY_WORDS = ("MISCONF ", "BUSY ", "NOREPLICAS ", "MASTERDOWN ", "OOM ", "READONLY ", "LOADING ")


def is_away(exc: BaseException) -> bool:
    """Whether an error of a Redis call means that the same call may succeed later."""
    if isinstance(exc, AWAY):
        return True
    return isinstance(exc, ResponseError) and any(word in str(exc) for word in _AWAY_WORDS)


@dataclass(slots=True)
class Connection:
    """Whether Redis answered a consumer's last call."""

    stream: str
    metrics: StreamMetrics | None = None
    is_connected: bool = True
    _away_since_s: float = 0.0

    def failed(self, exc: BaseException) -> None:
        """Note that Redis is away."""
        if self.is_connected:
            self.is_connected, self._away_since_s = False, time.monotonic()
            log.warning("Redis is away, waiting for it", stream=self.stream, error=reason(exc))
        if self.metrics:
            self.metrics.connected.set(0)

    def answered(self) -> None:
        """Note that Redis is there."""
        if not self.is_connected:
            self.is_connected = True
            away_s = round(time.monotonic() - self._away_since_s, 1)
            log.info("Redis is back", stream=self.stream, away_s=away_s)
        if self.metrics:
            self.metrics.connected.set(1)
