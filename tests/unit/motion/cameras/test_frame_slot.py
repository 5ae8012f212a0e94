"""The slot between a live camera's reader and its detector: the newest frame wins."""

from __future__ import annotations

import threading
from typing import cast

import av

from services.motion.cameras.frame_slot import FrameSlot, PendingFrame
from services.motion.media.frame import Frame
from services.motion.sources.stream import SourceStream

SOON_S = 20


def pending(t_s: float) -> PendingFrame:
    return PendingFrame(Frame(t_s, av.VideoFrame(16, 16, "gray")), cast("SourceStream", None))


def test_a_new_frame_replaces_one_that_nobody_took() -> None:
    slot = FrameSlot()
    assert slot.put(pending(1.0))
    assert not slot.put(pending(2.0))
    taken = slot.take(0.0)
    assert taken is not None
    assert taken.frame.t_s == 2.0
    assert slot.take(0.0) is None


def test_a_replayed_frame_waits_until_the_one_before_is_taken() -> None:
    slot = FrameSlot()
    slot.put(pending(1.0))
    reader = threading.Thread(target=slot.put, args=(pending(2.0), SOON_S))
    reader.start()
    times = [taken.frame.t_s for taken in (slot.take(SOON_S), slot.take(SOON_S)) if taken is not None]
    reader.join()
    assert times == [1.0, 2.0]


def test_a_reader_that_ended_is_not_waited_for() -> None:
    slot = FrameSlot()
    slot.end("the camera ended the stream")
    assert slot.take(SOON_S) is None
    assert slot.ended == "the camera ended the stream"
