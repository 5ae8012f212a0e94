"""Whoever watches gets the newest look; while nobody does, nothing is kept."""

from __future__ import annotations

import asyncio
import io
import subprocess
import sys
from typing import cast

import av
import numpy as np
import pytest
from aiortc import RTCRtpSender
from PIL import Image

from services.motion.detection.values import Motion
from services.motion.live.latest import PICTURE_PX, LiveFrame, LiveViews, TooManyViewers
from services.motion.live.sender import SHORTEST_S, LiveTrack, viewer_picture
from services.motion.media.frame import Frame

STILL = Motion(0.0, is_active=False)
SOON_S, NOT_YET_S = 20, 0.001


def frame(t_s: float, width: int = 320, height: int = 240) -> Frame:
    plane = np.full((height, width), 90, np.uint8)
    return Frame(t_s, av.VideoFrame.from_ndarray(plane, format="gray").reformat(format="yuv420p"))


async def test_nothing_is_kept_while_nobody_watches() -> None:
    view = LiveViews().of("gate")
    view.show(frame(1), STILL, None)
    assert view.newest is None
    with view.slot() as slot:
        assert await slot.next(NOT_YET_S) is None
        view.show(frame(2), STILL, None)
        assert view.is_watched
    assert view.newest is None
    assert not view.is_watched


async def test_a_slow_watcher_gets_the_newest_look_once() -> None:
    view = LiveViews().of("gate")
    with view.slot() as slow, view.slot() as other:
        for t_s in (1.0, 2.0, 3.0):
            await asyncio.to_thread(view.show, frame(t_s), STILL, None)
        for slot in (slow, other):
            latest = await slot.next(SOON_S)
            assert latest is not None
            assert latest.frame.t_s == 3.0
            assert await slot.next(NOT_YET_S) is None


async def test_viewer_slots_are_limited_over_all_cameras_and_given_back() -> None:
    views = LiveViews(2)
    with views.of("gate").slot():
        with (
            views.of("yard").slot(),
            pytest.raises(TooManyViewers, match="LIVE_VIEWERS_MAX"),
            views.of("gate").slot(),
        ):
            pass
        with views.of("gate").slot():
            assert views.n_viewers == 2
    assert views.n_viewers == 0


async def test_a_jpeg_is_made_once_for_all_and_is_no_larger_than_people_are_shown() -> None:
    view = LiveViews().of("gate")
    with view.slot() as slot:
        view.show(frame(1, 1920, 1080), STILL, None)
        latest = await slot.next(SOON_S)
        assert latest is not None
        first = view.jpeg(latest)
        assert view.jpeg(latest) is first
    assert Image.open(io.BytesIO(first)).size == (PICTURE_PX, 540)


@pytest.mark.parametrize(("size", "wanted"), [((320, 240), (320, 240)), ((1922, 1082), (960, 540))])
def test_an_encoder_is_given_a_frame_of_its_own(size: tuple[int, int], wanted: tuple[int, int]) -> None:
    latest = LiveFrame(1, frame(1, *size), STILL, None)
    copy = viewer_picture(latest)
    assert copy is not latest.frame.image
    assert (copy.width, copy.height, copy.format.name) == (*wanted, "yuv420p")
    assert int(copy.to_ndarray()[10, 10]) == pytest.approx(
        int(latest.frame.image.to_ndarray()[10, 10]), abs=1
    )


async def test_sent_frames_keep_the_distances_that_they_were_taken_at() -> None:
    """By them a page finds what is said of each frame. The camera's clock is set back before the last one."""
    view = LiveViews().of("gate")
    with view.slot() as slot:
        track = LiveTrack(slot)
        sent_s = []
        for t_s in (1000.0, 1000.12, 1000.2, 1060.2, 990.0):
            view.show(frame(t_s), STILL, None)
            sent = await asyncio.wait_for(track.recv(), SOON_S)
            sent_s.append(sent.time)
    assert sent_s == pytest.approx([0, 0.12, 0.2, 60.2, 60.2 + SHORTEST_S], abs=1e-4)


async def test_a_frame_too_soon_after_the_last_is_left_out() -> None:
    view = LiveViews().of("gate")
    with view.slot() as slot:
        track = LiveTrack(slot)
        view.show(frame(5.0), STILL, None)
        await asyncio.wait_for(track.recv(), SOON_S)
        view.show(frame(5.0 + SHORTEST_S / 2), STILL, None)
        soon = asyncio.create_task(track.recv())
        await asyncio.sleep(0.1)
        assert not soon.done()
        view.show(frame(5.1), STILL, None)
        sent = await asyncio.wait_for(soon, SOON_S)
    assert sent.time == pytest.approx(0.1, abs=1e-4)


class Sender:
    """Numbers packets as aiortc's sender does: from anywhere, and those of a dropped frame not at all."""

    def __init__(self) -> None:
        self.origin = 4_294_900_000
        self._RTCRtpSender__rtp_timestamp = 0

    def send(self, sent: av.VideoFrame) -> None:
        assert sent.pts is not None
        self._RTCRtpSender__rtp_timestamp = (self.origin + sent.pts) % 2**32


async def test_which_timestamp_a_frame_has_is_known_although_the_encoder_drops_frames() -> None:
    dropped = {0, 1, 4, 7, 8, 9, 12}
    view = LiveViews().of("gate")
    with view.slot() as slot:
        track, sender = LiveTrack(slot), Sender()
        track.sender = cast("RTCRtpSender", sender)
        for number in range(15):
            view.show(frame(1000 + number / 10), STILL, None)
            sent = await asyncio.wait_for(track.recv(), SOON_S)
            if number > 2:  # the first one that was sent is 2, and 3 is asked for after it
                assert track.rtp_zero == (sender.origin - 1000 * 90_000) % 2**32, number
            else:
                assert track.rtp_zero is None
            if number not in dropped:
                sender.send(sent)


# in a process of its own: what fails here is the process
AT_ONCE = """
import threading
import av
import numpy as np
from services.motion.detection.values import Blob, Motion
from services.motion.live.sender import viewer_picture
from services.motion.media.jpeg import FramePictures
from services.motion.media.frame import Frame
from services.motion.live.latest import LiveFrame

plane = np.full((1080, 1920), 90, np.uint8)
for pixels in ("yuv420p", "yuv422p"):
    for number in range(30):
        image = av.VideoFrame.from_ndarray(plane, format="gray").reformat(format=pixels)
        latest = LiveFrame(number, Frame(number, image), Motion(0.0, is_active=False), None)
        gate = threading.Barrier(4)
        def view():
            gate.wait()
            viewer_picture(latest)
        def keep():
            gate.wait()
            FramePictures(latest.frame).whole(960)
            FramePictures(latest.frame).crop((10, 10, 700, 700), 384)
        threads = [threading.Thread(target=work) for work in (view, view, keep, keep)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
print("alive")
"""


def test_viewers_and_the_camera_may_convert_one_frame_at_once() -> None:
    done = subprocess.run(
        [sys.executable, "-c", AT_ONCE], capture_output=True, check=False, text=True, timeout=240
    )
    assert (done.returncode, done.stdout.strip()) == (0, "alive"), done.stderr[-2000:]
