"""What a camera says of itself: it holds for the state that the camera is in."""

from __future__ import annotations

from typing import Literal

import pytest
from prometheus_client import CollectorRegistry

from services.motion.metrics import MotionMetrics
from services.motion.status import CameraStatus


@pytest.mark.parametrize("before", ["connecting", "away", "ended", "failed"])
def test_a_reason_ends_when_pictures_come_again(
    before: Literal["connecting", "away", "ended", "failed"],
) -> None:
    status = CameraStatus("gate", "rtsp://gate/1", MotionMetrics(CollectorRegistry()))
    status.become(before)
    status.last_error, status.message = "Connection refused", "was read to its end before"
    status.become("running")
    assert (status.as_json()["last_error"], status.as_json()["message"]) == (None, None)


def test_what_is_found_while_a_file_is_read_stays_over_its_repetitions() -> None:
    status = CameraStatus("gate", "walk.mp4", MotionMetrics(CollectorRegistry()))
    status.become("running")
    status.message = "ends at 3.0 s of 10.0 s"
    status.become("running")
    assert status.as_json()["message"] == "ends at 3.0 s of 10.0 s"


def test_a_late_frame_and_the_burst_after_it_are_no_other_rate() -> None:
    status = CameraStatus("gate", "rtsp://gate/1", MotionMetrics(CollectorRegistry()))
    status.fps = 15.0
    for interval_s in [0.5] + [0.001] * 7 + [1 / 15] * 7:  # seven came late, at once
        status.note_interval(interval_s)
    assert status.fps == pytest.approx(15.0, rel=0.15)


@pytest.mark.parametrize("fps", [5.0, 15.0, 60.0])
def test_a_rate_follows_the_camera_whatever_its_header_said(fps: float) -> None:
    status = CameraStatus("gate", "rtsp://gate/1", MotionMetrics(CollectorRegistry()))
    status.fps = 25.0
    for _ in range(100):
        status.note_interval(1 / fps)
    assert status.fps == pytest.approx(fps, rel=0.03)


def test_frames_without_time_between_them_have_a_rate_that_can_be_shown() -> None:
    status = CameraStatus("gate", "rtsp://gate/1", MotionMetrics(CollectorRegistry()))
    for _ in range(100):
        status.note_interval(1e-9)
    assert status.as_json()["fps"] == 240.0
