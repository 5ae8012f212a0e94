"""Time and identity: UTC now, the wall clock's steps, and ids that sort by time. No I/O but the system's clocks."""

import functools
import hashlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
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


def duration_s(started_at: datetime, ended_at: datetime) -> float:
    """Return the seconds between two times, never negative."""
    return max((ended_at - started_at).total_seconds(), 0.0)


def uuid7(moment: datetime, seed: str | None = None) -> str:
    """Return a UUIDv7 (RFC 9562 §5.7) for `moment`.

    The 74 bits beside the time are random, or, with `seed`, a hash of it: a finite recording that is read again after
    a crash then gives its events the ids they had, and the tables stay free of doubles.
    """
    bits = (
        secrets.token_bytes(10)
        if seed is None
        else hashlib.sha256(seed.encode(errors="surrogateescape")).digest()[:10]
    )
    value = (epoch_ms(moment) & (2**48 - 1)) << 80 | int.from_bytes(bits)
    value = value & ~(0xF << 76) | 7 << 76
    value = value & ~(0x3 << 62) | 2 << 62
    return str(UUID(int=value))


STEP_S = 0.5  # a wall clock that moved by this against the steady one was set; less is followed in silence
STILL_S = 0.02  # differences up to this are what reading two clocks one after the other takes
LONGEST_READING_S = 0.005


def steady_s() -> float:
    """Return epoch seconds of a clock that nobody can set: the monotonic one, dated once by the wall clock.

    It does not follow the wall clock afterwards. For what is measured and ordered; see WallClock for what is shown.
    """
    return time.monotonic() + _steady_epoch_s()


@functools.cache  # the first thread that asks dates it for the whole process
def _steady_epoch_s() -> float:
    return _offset_s(time.monotonic, time.time)


@dataclass(slots=True)
class WallClock:
    """The wall clock as seen from the steady one: it only stamps what people see (docs/design/time.md)."""

    wall_s: Callable[[], float] = time.time
    base_s: Callable[[], float] = steady_s
    _offset_s: float | None = None
    _told_s: float | None = None

    def offset_s(self) -> float:
        """Return what is to be added to steady seconds to get what the wall clock says, as of now."""
        now_s = _offset_s(self.base_s, self.wall_s)
        if self._offset_s is None or abs(now_s - self._offset_s) > STILL_S:
            self._offset_s = now_s
        return self._offset_s

    def step_s(self) -> float:
        """Return by how many seconds the wall clock was set since the last step that was returned; 0: it was not."""
        now_s = _offset_s(self.base_s, self.wall_s)
        if self._told_s is None:
            self._told_s = now_s
        step_s = now_s - self._told_s
        if abs(step_s) < STEP_S:
            return 0.0
        self._told_s = now_s
        return step_s


@dataclass(slots=True)
class CautiousClock:
    """The wall clock for what is deleted by its age: a leap ahead is believed only after it has lasted `hold_s`.

    A clock that is set years ahead must not delete everything. Until a leap of more than `tolerated_s` is believed the
    time before it goes on; a clock that is set back is believed at once, since that deletes less.
    """

    hold_s: float
    tolerated_s: float
    now: Callable[[], datetime] = now_utc
    base_s: Callable[[], float] = time.monotonic
    _offset_s: float | None = None  # believed
    _leap: tuple[float, float] | None = None  # offset that is not believed yet, and since when

    def expect(self, newest: datetime) -> None:
        """Say that something was written at `newest`: a clock that is further ahead of that has leapt, for all one
        knows. Counts before the first `__call__`."""
        if self._offset_s is None:
            self._offset_s = min(self._measured_s(), newest.timestamp() - self.base_s())

    @property
    def ahead_s(self) -> float:
        """How far the wall clock is ahead of what is believed."""
        return 0.0 if self._leap is None or self._offset_s is None else self._leap[0] - self._offset_s

    def __call__(self) -> datetime:
        """Return the believed time, UTC."""
        offset_s, base_s = self._measured_s(), self.base_s()
        if self._offset_s is None or offset_s <= self._offset_s + self.tolerated_s:
            self._offset_s, self._leap = offset_s, None
        elif self._leap is None or abs(offset_s - self._leap[0]) > self.tolerated_s:
            self._leap = (offset_s, base_s)
        if self._leap is not None and base_s - self._leap[1] >= self.hold_s:
            self._offset_s, self._leap = offset_s, None
        return from_epoch_ms(round((base_s + self._offset_s) * 1000))

    def _measured_s(self) -> float:
        return _offset_s(self.base_s, lambda: self.now().timestamp())


def _offset_s(base_s: Callable[[], float], wall_s: Callable[[], float]) -> float:
    """Return wall minus base; read again when the process was held up in between, which would look like a step."""
    best_s, offset_s = float("inf"), 0.0
    for _ in range(5):
        before_s = base_s()
        now_s = wall_s()
        took_s = base_s() - before_s
        if took_s < best_s:
            best_s, offset_s = took_s, now_s - before_s - took_s / 2
        if best_s <= LONGEST_READING_S:
            break
    return offset_s
