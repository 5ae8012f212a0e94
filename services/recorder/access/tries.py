"""Counts failed logins and tokens, and says for how long the next one has to wait. Pure but for its monotonic clock."""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

KEYS_MAX = 4096  # the ones that failed longest ago are forgotten


@dataclass(slots=True)
class FailedTries:
    """At most `limit` failures a key within `window_s`; what is tried beyond that is not looked at."""

    limit: int
    window_s: float
    seconds: Callable[[], float] = time.monotonic
    _failures: OrderedDict[str, deque[float]] = field(default_factory=OrderedDict)

    def wait_s(self, key: str) -> float:
        """Return the seconds until `key` may try again; 0: now."""
        failures = self._recent(key)
        if failures is None or len(failures) < self.limit:
            return 0.0
        return max(0.0, failures[0] + self.window_s - self.seconds())

    def count(self, key: str) -> None:
        """Count a failure."""
        failures = self._failures.setdefault(key, deque(maxlen=self.limit))
        failures.append(self.seconds())
        self._failures.move_to_end(key)
        while len(self._failures) > KEYS_MAX:
            self._failures.popitem(last=False)

    def forget(self, key: str) -> None:
        """Forget the failures of a key that succeeded."""
        self._failures.pop(key, None)

    def _recent(self, key: str) -> deque[float] | None:
        failures = self._failures.get(key)
        if failures is None:
            return None
        while failures and failures[0] <= self.seconds() - self.window_s:
            failures.popleft()
        if not failures:
            del self._failures[key]
        return failures


def address_key(address: str | None) -> str:
    """Return what all addresses of one client have in common: of IPv6 a provider gives everybody 2^64 at least."""
    try:
        found = ipaddress.ip_address((address or "")[:64].partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped:
            return str(found.ipv4_mapped)
        return str(ipaddress.IPv6Network((int(found) >> 64 << 64, 64)))
    return str(found)
