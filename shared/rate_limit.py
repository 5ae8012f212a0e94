"""Counts what went wrong, by who did it, and says for how long the next try has to wait. Pure; its clock is given.

Of wrong tokens and logins by address and by name, and of the log lines about them.
"""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from structlog.typing import FilteringBoundLogger

LOG_EVERY_S = 60.0
KEYS_MAX = 4096  # those that failed longest ago are forgotten


@dataclass(slots=True)
class FailureLimit:
    """At most `n_max` failures a key within `window_s`; more are not looked at. `seconds`: a monotonic clock."""

    n_max: int
    window_s: float
    seconds: Callable[[], float] = time.monotonic
    _failures: OrderedDict[str, deque[float]] = field(default_factory=OrderedDict)

    def wait_s(self, key: str) -> float:
        """Return the seconds until `key` may try again; 0: now."""
        failures = self._failures.get(key)
        if failures is None or len(failures) < self.n_max:
            return 0.0
        return max(0.0, failures[0] + self.window_s - self.seconds())

    def count(self, key: str) -> None:
        """Count a failure."""
        failures = self._failures.setdefault(key, deque(maxlen=self.n_max))
        failures.append(self.seconds())
        self._failures.move_to_end(key)
        while len(self._failures) > KEYS_MAX:
            self._failures.popitem(last=False)

    def forget(self, key: str) -> None:
        """Forget the failures of a key that succeeded."""
        self._failures.pop(key, None)


@dataclass(slots=True)
class RefusalLog:
    """Warnings about what is refused: one a minute of each text and address. Nobody fills the disk with them."""

    log: FilteringBoundLogger
    lines: FailureLimit = field(default_factory=lambda: FailureLimit(1, LOG_EVERY_S))

    def warn(self, text: str, address: str, **facts: object) -> None:
        """Log it, if this is the first one in a minute."""
        key = f"{address} {text}"
        if not self.lines.wait_s(key):
            self.lines.count(key)
            self.log.warning(text, address=address, **facts)


def address_key(address: str | None) -> str:
    """Return what all addresses of one client have in common: of IPv6 a provider gives everybody 2^64 at least."""
    try:
        found = ipaddress.ip_address((address or "")[:64].partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    return str(found.ipv4_mapped or ipaddress.IPv6Network((int(found) >> 64 << 64, 64)))
