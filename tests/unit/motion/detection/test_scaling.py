"""The detector's planes show what the frame shows, in its own levels, whatever its size and range."""

from __future__ import annotations

import av
import cv2
import numpy as np
import pytest

from services.motion.detection.scaling import PlaneScaler
from services.motion.media.frame import Frame
from services.motion.media.rendering import plane_view


@pytest.mark.parametrize("pixels", ["yuv420p", "yuvj420p", "yuv422p", "nv12", "gray"])
@pytest.mark.parametrize("size", [(1920, 1080), (1280, 720), (640, 480), (1000, 562), (320, 180), (200, 120)])
def test_a_plane_is_the_average_of_the_frames_luma(pixels: str, size: tuple[int, int]) -> None:
    width, height = size
    random = np.random.default_rng(2)
    coarse = random.integers(0, 256, (height // 8 + 1, width // 8 + 1)).astype(np.uint8)
    luma = cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)
    image = av.VideoFrame.from_ndarray(np.asarray(luma, np.uint8), format="gray").reformat(
        format=pixels, src_color_range="JPEG", dst_color_range="JPEG"
    )
    plane = PlaneScaler().luma_plane(Frame(0.0, image))
    own = plane_view(image.planes[0])
    wanted = cv2.resize(own, (plane.shape[1], plane.shape[0]), interpolation=cv2.INTER_AREA)
    apart = np.abs(plane.astype(int) - wanted)
    assert plane.shape == (round(height * min(320, width) / width), min(320, width))
    assert plane.dtype == np.uint8
    assert apart.mean() < 0.5
    assert apart.max() <= 3


def test_one_scaler_serves_frames_of_changing_size() -> None:
    scaler = PlaneScaler()
    for width, height in ((1920, 1080), (640, 480), (1920, 1080)):
        image = av.VideoFrame.from_ndarray(np.full((height, width), 77, np.uint8), format="gray")
        assert (scaler.luma_plane(Frame(0.0, image)) == 77).all()
