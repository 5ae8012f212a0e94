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
