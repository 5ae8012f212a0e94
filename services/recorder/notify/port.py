"""What a channel is, for the notifier; the adapters are mqtt.py and webhook.py.

ChannelAway     (Transient)  nobody answers, or our login is refused: the whole target waits
NoticeRefused   (Transient)  this one notice was turned down: it is tried again later, others go on
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from services.recorder.access.links import EventLink
from services.recorder.gaps.values import Gap
from services.recorder.record.values import Detection, Event
from shared.errors import Transient

NameOf = Callable[[str], str]  # what people call the camera with an id


class ChannelAway(Transient):
    """The other side cannot be reached or does not answer in time."""


class NoticeRefused(Transient):
    """The other side answered, and did not take this notice."""


@dataclass(frozen=True, slots=True)
class Notice:
    """An event as it stands now, for one target."""

    event: Event
    match: Detection | None  # the label that passed the target's filter; None: none did
    version: int  # rises with the event's changes
    last_sent: str | None  # what the target was last sent of this event, as `Channel.digest` gave it
    passing: tuple[Detection, ...] = ()  # every label that passes the filter, `match` among them
    noted_at: datetime | None = None  # when the event last changed
    is_cooling: bool = False  # a notice of the same camera and label was sent less than its cooldown ago
    link: EventLink | None = None  # opens the event without a login; None: the target gets none


class Channel(Protocol):
    """The way to one target. Methods are called one at a time."""

    cooldown_s: float
    is_proven_by_prepare: bool  # whether `prepare` shows that the other side takes notices

    def digest(self, notice: Notice) -> str | None:
        """Return what stands for the notice, in at most 64 characters; None: nothing is to be sent."""

    async def prepare(self) -> None:
        """Be ready to send; called before each round. Raises ChannelAway."""

    async def send(self, notice: Notice, now: datetime) -> None:
        """Return once the other side has it. Raises ChannelAway or NoticeRefused."""

    async def refresh(self) -> None:
        """Bring the state that is shown up to date; called often, costs nothing without news. Raises ChannelAway."""

    async def send_gap(self, gap: Gap, now: datetime) -> None:
        """Send that a gap began or, with its `ended_at`, ended. Raises ChannelAway or NoticeRefused."""

    async def close(self, is_replaced: bool = False) -> None:
        """Say that the recorder is gone, unless another one took over; raises nothing."""
