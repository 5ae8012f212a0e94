"""Decides which packets of a camera are decoded: all while something moves, key frames while nothing does.

Pure: no clock, no decoder; times are the packets' own. Three states:

    awake   Every packet is decoded, except pictures that no other needs and that lie between two detected frames.
    dozing  The rest of a group is skipped, since the detector wants no frame before the next key frame. It is decoded
            only if that key frame is late.
    asleep  Only key frames are decoded. A hint (packet_sizes.py) has the group so far decoded. A key frame that does
            not look like the scene has the group before it decoded as well, which nothing had seen.

The policy sleeps only where that is safe: packet sizes were learned and would tell of motion, key frames come often,
nothing was seen for a while, and every recent event was told by the sizes. One group in AUDITED is decoded all the
same, to check that. It dozes where key frames come at equal intervals and need nothing from before them; in a sure
event a group's last detected frame may then lie further from its end than two detected frames do from each other.
The reader calls `decide`; the detector's thread calls the `note_` methods, each of which passes single values.
"""

from __future__ import annotations

import enum
import zlib
from collections import deque

from services.motion.sources.packet_sizes import RUN, SEPARATES, PacketSize, SizeStatistics

LEARN_S = 20.0  # everything is decoded this long after a start or a reconnect
CALM_S = 3.0  # without anything seen, before it sleeps
LONGEST_GROUP_S = 4.2  # where key frames are rarer, everything is decoded
AUDITED = 20  # one group in so many is decoded while asleep
LATE_S = 1.0  # a detector this far behind: no time to sleep
TOLD_BEFORE_S, TOLD_AFTER_S = 1.0, 1.5  # a hint this near an event's beginning told of it
DISTRUST_S = 300.0  # everything is decoded this long after an event that no hint told of; doubles with each further one
LONGEST_DISTRUST_S = 3600.0
MOST_HINTS = 256
RUN_S = 2.6  # packets of a hint may take so long; where they come more rarely nothing would be told in time
MOST_GROUPS = 8
MOST_REORDERED = 17  # pictures that may have to be known at a time (H.264: 16) and one
FRAMES_APART = 1.25  # periods: a detected frame may come this late
DOZE_S = 0.6  # in a sure event a group's last detected frame may lie this long before its end,
DOZE_SHARE = 0.3  # but no more than so much of it
SURE_S = 1.0  # an event that was sure counts as sure this long
REGULAR, ON_TIME_S = 3, 0.05  # so many groups were equally long, to this much


class DecodeAction(enum.Enum):
    """What the reader does with a packet."""

    DECODE = "decode"
    LEAVE_OUT = "leave out"  # for good: no other picture needs it, and its neighbours are near
    SKIP = "skip"  # it may be wanted later
    PEEK = "peek"  # a key frame: decode it alone
    REPLAY = "replay"  # decode what was skipped since the last key frame, and go on
    REPLAY_BOTH = "replay both"  # since the key frame before that one


class DecodePolicy:
    """The state of one stream between packets."""

    def __init__(self, name: str, *, is_on: bool = True, period_s: float = 0.0) -> None:
        """`name` decides which groups are audited; `period_s` is the time between detected frames."""
        self.is_on = is_on
        self.period_s = period_s
        self._decoded_s: deque[float] = deque(maxlen=MOST_REORDERED)
        self.sizes = SizeStatistics()
        self.is_asleep = False
        self.is_dozing = False
        self._sure_s = float("-inf")
        self._is_key_fresh = False
        self._name = name
        self._n_keys = 0
        self._started_s: float | None = None
        self._key_s: float | None = None
        self._groups_s: deque[float] = deque(maxlen=MOST_GROUPS)
        self._hints_s: deque[float] = deque(maxlen=MOST_HINTS)
        self._packets_s: deque[float] = deque(maxlen=RUN)
        self._woke_s = float("-inf")
        self._detected_s = float("-inf")
        self._busy_s = float("-inf")
        self._is_noticed = False
        self._distrusted_until_s = float("-inf")
        self._n_missed = 0

    # -- what the detector saw

    def note_frame(self, t_s: float, *, is_busy: bool, is_sure: bool = False) -> None:
        """Note that the frame of `t_s` was detected.

        `is_busy`: something was in it, or an event is open. `is_sure`: an event is open, and will be at the next frame.
        """
        if is_sure:
            self._sure_s = t_s
        self._detected_s = t_s
        if is_busy:
            self._busy_s = t_s

    def note_change(self) -> None:
        """Note that a key frame does not look like the scene."""
        self._is_noticed = True

    def note_event(self, started_s: float, t_s: float) -> None:
        """Note that an event which began at `started_s` was believed at `t_s`."""
        if not self.sizes.is_learned:
            return
        was_told = any(
            -TOLD_BEFORE_S <= hint_s - started_s <= TOLD_AFTER_S for hint_s in tuple(self._hints_s)
        )
        if was_told:
            self._n_missed = 0
            return
        wait_s = min(DISTRUST_S * 2.0**self._n_missed, LONGEST_DISTRUST_S)
        self._n_missed = min(self._n_missed + 1, 10)
        self._distrusted_until_s = t_s + wait_s

    @property
    def n_missed(self) -> int:
        """How many events in a row no hint told of."""
        return self._n_missed

    # -- packets

    def decide(self, t_s: float, size: PacketSize, *, is_in_order: bool = False) -> DecodeAction:
        """Say what is to be done with the packet of `t_s` (epoch seconds).

        `is_in_order`: the decoder gives out each picture at once.
        """
        if self._started_s is None:
            self._started_s = t_s
        self._packets_s.append(t_s)
        if size.is_key:
            if self._key_s is not None:
                self._groups_s.append(t_s - self._key_s)
            self._key_s, self._is_key_fresh = t_s, size.is_fresh
            self._n_keys += 1
        surprise = self.sizes.see(size, is_calm=self._is_calm(t_s))
        if surprise >= 1.0:
            self._hints_s.append(t_s)
        if self.is_dozing and not (size.is_key and size.is_fresh):
            return self._dozing(t_s, size)
        self.is_dozing = False
        if not self.is_asleep:
            if size.is_key and not self._is_audited and self._may_sleep(t_s):
                self.is_asleep = True
                self._is_noticed = False
                return DecodeAction.PEEK
            if is_in_order and not size.is_key and self._may_doze(t_s):
                self.is_dozing = True
                return DecodeAction.SKIP
            return self._awake(t_s, size)
        return self._asleep(t_s, size, surprise)

    def _awake(self, t_s: float, size: PacketSize) -> DecodeAction:
        if size.is_disposable and self.is_on and self._is_between_frames(t_s):
            return DecodeAction.LEAVE_OUT
        self._decoded_s.append(t_s)
        return DecodeAction.DECODE

    def _is_between_frames(self, t_s: float) -> bool:
        """Tell whether the decoded pictures before and after `t_s` lie about as near as two detected frames."""
        before_s = max((known_s for known_s in self._decoded_s if known_s < t_s), default=float("-inf"))
        after_s = min((known_s for known_s in self._decoded_s if known_s > t_s), default=None)
        if after_s is None:  # pictures come in the order they are shown: one that others need follows
            return t_s - before_s <= self.period_s / 2
        return after_s - before_s <= FRAMES_APART * self.period_s

    def _may_doze(self, t_s: float) -> bool:
        """Tell whether the last detected frame is near enough to the next key frame to be the group's last."""
        ends_s = self._group_ends_s
        if not self.is_on or ends_s is None or t_s >= ends_s or not self._is_key_fresh:
            return False
        apart_s = self.period_s
        if self._detected_s - self._sure_s <= SURE_S:
            apart_s = max(apart_s, min(DOZE_S, DOZE_SHARE * self._groups_s[-1]))
        return ends_s - self._detected_s <= apart_s

    @property
    def _group_ends_s(self) -> float | None:
        """When the next key frame is due; None when they are irregular, or too few came."""
        recent = tuple(self._groups_s)[-REGULAR:]
        if self._key_s is None or len(recent) < REGULAR or max(recent) - min(recent) > ON_TIME_S:
            return None
        return self._key_s + recent[-1]

    def _dozing(self, t_s: float, size: PacketSize) -> DecodeAction:
        ends_s = self._group_ends_s
        if not self.is_on or size.is_key or ends_s is None or t_s > ends_s + ON_TIME_S:
            self.is_dozing = False
            return DecodeAction.REPLAY
        return DecodeAction.SKIP

    def _asleep(self, t_s: float, size: PacketSize, surprise: float) -> DecodeAction:
        if self._is_noticed:
            self._wake(t_s)
            return DecodeAction.REPLAY_BOTH
        if (
            surprise >= 1.0
            or not self.is_on
            or (not size.is_key and self._group_age_s(t_s) > LONGEST_GROUP_S)
        ):
            self._wake(t_s)
            return DecodeAction.REPLAY
        if not size.is_key:
            return DecodeAction.SKIP
        if self._is_audited or not self._would_tell or t_s < self._distrusted_until_s:
            self.is_asleep = False
            return DecodeAction.DECODE
        return DecodeAction.PEEK

    def _wake(self, t_s: float) -> None:
        self.is_asleep = False
        self._is_noticed = False
        self._woke_s = t_s

    def _group_age_s(self, t_s: float) -> float:
        return t_s - self._key_s if self._key_s is not None else 0.0

    def _is_calm(self, t_s: float) -> bool:
        """Whether the packet of `t_s` shows how sizes are while nothing moves."""
        if self.is_asleep:
            return not self._hints_s or t_s - self._hints_s[-1] > 1.0
        return self._detected_s > float("-inf") and t_s - self._busy_s > 1.5

    @property
    def _is_audited(self) -> bool:
        return zlib.crc32(f"{self._name}|{self._n_keys}".encode()) % AUDITED == 0

    @property
    def _would_tell(self) -> bool:
        return self.sizes.separation >= SEPARATES

    def _may_sleep(self, t_s: float) -> bool:
        assert self._started_s is not None
        return (
            self.is_on
            and t_s - self._started_s >= LEARN_S
            and len(self._groups_s) >= 2
            and max(self._groups_s) <= LONGEST_GROUP_S
            and t_s - max(self._busy_s, self._woke_s) >= CALM_S
            and t_s - self._detected_s <= LATE_S
            and t_s >= self._distrusted_until_s
            and max(self._packets_s) - min(self._packets_s) <= RUN_S
            and self._would_tell
        )
