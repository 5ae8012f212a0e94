"""What every source is to its reader: an open stream of packets and frames, and the fault that says it is away."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from av.video.frame import VideoFrame

from services.motion.media.frame import Frame
from services.motion.media.packets import Packet, StreamFacts
from services.motion.media.picture_bounds import size_fault
from shared.errors import Transient


class SourceAway(Transient):
    """The source does not answer, or stopped: try again later."""


@dataclass(frozen=True, slots=True)
class ReadResult:
    """What one read gave: a packet (None at the end of the stream) and the frames that it completed."""

    packet: Packet | None
    frames: tuple[Frame, ...]
    is_peek: bool = False  # a key frame alone: what lies between it and the one before was skipped
    is_replay: bool = (
        False  # of packets that were skipped or held back: late, some may have been detected already
    )
    is_skipped: bool = False  # the packet is not decoded, not now at least


class SourceStream(Protocol):
    """An open stream of any kind. `facts` are complete once the first frame was read."""

    facts: StreamFacts
    only_keys: bool  # decode key frames only: the packets are wanted, frames are not

    def read(self) -> Iterator[ReadResult]:
        """Yield what arrives. Raises SourceAway when the stream breaks off; returns at its end."""
        ...

    def measure(self, frame: Frame) -> None:
        """Take size, pixel format, orientation and colour from a decoded frame."""
        ...

    def close(self) -> None: ...


def measured(facts: StreamFacts, frame: Frame) -> StreamFacts:
    """Return `facts` with size, pixel format, orientation and colour of a decoded frame."""
    return facts.shown_as(frame.format, frame.image.format.name)


def fitting(images: list[VideoFrame]) -> list[VideoFrame]:
    """Return decoded pictures; raise SourceAway when one of them is larger than pictures may be."""
    for image in images:
        if fault := size_fault(image.width, image.height):
            raise SourceAway(f"sends {fault}")
    return images
