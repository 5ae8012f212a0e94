"""What the JPEGs of frames show."""

from __future__ import annotations

from fractions import Fraction

import av
import cv2
import numpy as np
import numpy.typing as npt
import pytest

from services.motion.media.frame import Frame, format_of
from services.motion.media.jpeg import FramePictures
from services.motion.media.picture_format import Orientation


def decoded(jpeg: bytes) -> npt.NDArray[np.float64]:
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return picture.astype(np.float64)


def coloured(width: int, height: int, pixels: str = "yuv420p") -> av.VideoFrame:
    picture = np.zeros((height, width, 3), np.uint8)
    picture[:, : width // 2] = (40, 40, 220)
    picture[: height // 2, width // 2 :] = (40, 200, 40)
    frame = av.VideoFrame.from_ndarray(picture, format="bgr24").reformat(format=pixels)
    frame.pts, frame.time_base = 0, Fraction(1, 25)
    return frame


@pytest.mark.parametrize(
    "pixels", ["yuv420p", "yuvj420p", "yuv422p", "yuv444p", "gray", "yuv420p10le", "nv12", "bgr24"]
)
def test_pictures_of_any_format_are_not_larger_than_asked(pixels: str) -> None:
    made = FramePictures(Frame(0.0, coloured(800, 600, pixels)))
    whole, crop = made.whole(384), made.crop((101, 51, 99, 99), 384)
    assert (whole.width, whole.height) == (384, 288)
    assert decoded(whole.data).shape == (288, 384, 3)
    assert 98 <= crop.width <= 101
    assert 98 <= crop.height <= 101


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv444p", "nv12"])
def test_crops_show_the_right_place_in_the_right_colour(pixels: str) -> None:
    made = FramePictures(Frame(0.0, coloured(801, 601, pixels)))
    red = decoded(made.crop((11, 301, 100, 100), 64).data)
    green = decoded(made.crop((601, 11, 100, 100), 64).data)
    assert red.shape == (64, 64, 3)
    assert np.abs(red.reshape(-1, 3).mean(0) - (40, 40, 220)).max() < 12
    assert np.abs(green.reshape(-1, 3).mean(0) - (40, 200, 40)).max() < 12


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv422p"])
def test_a_crop_that_is_made_smaller_is_an_average_of_what_it_shows(pixels: str) -> None:
    fine = np.random.default_rng(4).integers(0, 256, (600, 800)).astype(np.uint8)
    frame = av.VideoFrame.from_ndarray(np.dstack([fine] * 3), format="bgr24").reformat(format=pixels)
    shown = decoded(FramePictures(Frame(0.0, frame)).crop((100, 50, 500, 500), 200).data)
    wanted = cv2.resize(fine[50:550, 100:600], (200, 200), interpolation=cv2.INTER_AREA)
    assert np.abs(shown.mean(2) - wanted).mean() < 6  # JPEG leaves 4.2; bilinear samples 10


@pytest.mark.parametrize(
    ("rotation", "size"), [(0, (200, 100)), (90, (100, 200)), (180, (200, 100)), (-90, (100, 200))]
)
def test_rotated_frames_are_shown_upright(rotation: int, size: tuple[int, int]) -> None:
    image = coloured(200, 100)
    made = FramePictures(Frame(0.0, image, format_of(image, orientation=Orientation.of_turn(rotation))))
    whole = made.whole(384)
    assert (whole.width, whole.height) == size
    corner = {0: (110, 10), 90: (10, 10), 180: (10, 60), -90: (60, 110)}[rotation]
    green = decoded(made.crop((*corner, 60 if size[0] > 100 else 30, 30), 384).data)
    assert np.abs(green.reshape(-1, 3).mean(0) - (40, 200, 40)).max() < 12
