"""What all leases in Redis share: who holds one, for how long, by whose clock. Knows no GPU and no camera.

A lease ends at a millisecond of Redis' own clock, so processes need not agree on the time (docs/design/leases.md,
docs/design/devices.md).
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field

# The first lines of every script on leases, for Redis >= 6.2: `now`, and `latest`: no lease ends later than that. One
# that does was made before Redis' clock was set back.   ARGV[2]: milliseconds of the caller's lease.
LUA_CLOCK = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local latest = now + math.max(tonumber(ARGV[2]), 60000)
"""


@dataclass(frozen=True, slots=True)
class LeaseSettings:
    """`holder` names host and process, for whoever looks into Redis. After `ttl_s` a killed process's lease ends."""

    holder: str
    ttl_s: float = 30.0

    def __post_init__(self) -> None:
        if not self.holder or any(letter.isspace() for letter in self.holder) or self.ttl_s <= 0:
            raise ValueError("holder must be a word, ttl_s more than 0")

    @property
    def ttl_ms(self) -> int:
        return max(1, round(self.ttl_s * 1000))

    def new_token(self) -> str:
        """Return a name that no other process has, not even the next one of the same holder."""
        return f"{self.holder}:{secrets.token_hex(8)}"


@dataclass(slots=True)
class Absence:
    """Whether Redis is away, so that a log says so once each way."""

    _since_s: float | None = field(default=None, init=False)

    def begin(self) -> bool:
        """Note that Redis is away; return whether that is news."""
        is_news = self._since_s is None
        if is_news:
            self._since_s = time.monotonic()
        return is_news

    def end(self) -> float | None:
        """Note that Redis is there; return for how many seconds it was away, None: it was not."""
        since_s, self._since_s = self._since_s, None
        return None if since_s is None else round(time.monotonic() - since_s, 1)
