"""When a fault becomes a gap, and when the gap is over. Pure: knows no clock.

A fault becomes a gap when it has lasted for `after_s`; the gap is over after `back_s` without the fault, so a fault
that flickers is one gap. Lengths are measured on a clock that never steps; the wall clock only dates them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from services.recorder.gaps.values import Gap, GapFault, GapKey

TARGET_AFTER_S = 60.0  # a broker that is restarted is no news


@dataclass(frozen=True, slots=True)
class GapChange:
    """A gap that began, or that ended (`ended_at`)."""

    key: GapKey
    reason: str
    started_at: datetime
    ended_at: datetime | None


@dataclass(slots=True)
class _Watched:
    """A fault that lasts, or did until `fine_s`."""

    reason: str
    started_at: datetime
    since_s: float
    is_open: bool = False
    fine_s: float | None = None
    fine_at: datetime | None = None


@dataclass(slots=True)
class GapTracker:
    """Follows every fault from its first sight to its end."""

    after_s: float
    back_s: float
    _watched: dict[GapKey, _Watched] = field(default_factory=dict, init=False)

    @property
    def open_keys(self) -> frozenset[GapKey]:
        return frozenset(key for key, one in self._watched.items() if one.is_open)

    @property
    def open_gaps(self) -> tuple[tuple[GapKey, str, datetime], ...]:
        """The gaps that last, the oldest first."""
        found = [(key, one.reason, one.started_at) for key, one in self._watched.items() if one.is_open]
        return tuple(sorted(found, key=lambda item: (item[2], item[0].text)))

    def restore(self, gaps: Sequence[Gap], now_s: float) -> None:
        """Take over gaps that were open when the recorder stopped."""
        for gap in gaps:
            self._watched[gap.key] = _Watched(gap.reason, gap.started_at, now_s, is_open=True)

    def step(self, seen: Mapping[GapKey, GapFault | None], now: datetime, now_s: float) -> list[GapChange]:
        """Return what began and what ended with this look."""
        found = (self._look(key, fault, now, now_s) for key, fault in seen.items())
        return [change for change in found if change is not None]

    def _look(self, key: GapKey, fault: GapFault | None, now: datetime, now_s: float) -> GapChange | None:
        one = self._watched.get(key)
        if fault is None:
            return self._fine(key, one, now, now_s) if one is not None else None
        if one is None:
            age = timedelta(seconds=fault.age_s)
            one = _Watched(fault.reason[:500], now - age, now_s - fault.age_s)
            self._watched[key] = one
        one.fine_s = one.fine_at = None
        if one.is_open or now_s - one.since_s < self._after_s(key):
            return None
        one.is_open, one.reason = True, fault.reason[:500]
        return GapChange(key, one.reason, one.started_at, None)

    def _fine(self, key: GapKey, one: _Watched, now: datetime, now_s: float) -> GapChange | None:
        if not one.is_open:
            del self._watched[key]
            return None
        if one.fine_s is None or one.fine_at is None:
            one.fine_s, one.fine_at = now_s, now
        if now_s - one.fine_s < self.back_s:
            return None
        del self._watched[key]
        return GapChange(key, one.reason, one.started_at, max(one.fine_at, one.started_at))

    def _after_s(self, key: GapKey) -> float:
        return max(self.after_s, TARGET_AFTER_S) if key.kind == "target.away" else self.after_s
