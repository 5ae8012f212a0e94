"""Clip, thumbnail, crop, live picture and mask show a stream as it is to be shown, whatever its range, matrix, shape of
a pixel, orientation and depth. One table of cases, whose colours and shapes are known.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from services.motion.detection.planes import plane_size
from services.motion.detection.scaling import luma_plane
from services.motion.detection.values import Blob, DetectorSettings, Motion
from services.motion.detection.zones import mask_of, only_in
from services.motion.live.latest import LiveFrame
from services.motion.live.sender import viewer_picture
from services.motion.media.clips import Clip, make_clip
from services.motion.media.frame import Frame
from services.motion.media.jpeg import FramePictures
from services.motion.media.packets import Packet, StreamFacts
from services.motion.sources.file import open_file
from shared.cameras import MotionSettings
from tests.unit.motion.known_pictures import (
    FIELDS,
    Case,
    fields_of,
    image_pixels,
    jpeg_pixels,
    played,
    write_case,
)

X265 = {"x265-params": "log-level=none:crf=12"}
X264 = {"crf": "12"}
FINE = {"qmin": "2", "qmax": "3"}
TALL = (180, 320)
CASES = [
    Case("limited 601", options=X264),
    Case("limited 709", matrix=1, primaries=1, transfer=1, options=X264),
    Case("small and untagged", is_tagged=False, options=X264),
    Case("large and untagged", is_tagged=False, matrix=1, coded=(1280, 720), shown=(1280, 720), options=X264),
    Case("full H.264", full=True, pixels="yuvj420p", options=X264),
    Case("full H.264 by flag", full=True, options=X264),
    Case("full 709 HEVC", "libx265", full=True, matrix=1, primaries=1, transfer=1, options=X265),
    Case("full untagged HEVC", "libx265", full=True, is_tagged=False, options=X265),
    Case("MJPEG", "mjpeg", "avi", "yuvj420p", full=True, options=FINE),
    Case("MJPEG 4:2:2", "mjpeg", "avi", "yuvj422p", full=True, options=FINE),
    Case(
        "large MJPEG",
        "mjpeg",
        "avi",
        "yuvj420p",
        full=True,
        coded=(1280, 720),
        shown=(1280, 720),
        options=FINE,
    ),
    Case("MPEG-4", "mpeg4", "avi", options=FINE),
    Case("MPEG-2", "mpeg2video", "ts", options=FINE),
    Case("10 bit H.264", pixels="yuv420p10le", matrix=1, primaries=1, transfer=1, options=X264),
    Case("4:2:2 H.264", pixels="yuv422p", options=X264),
    Case("4:4:4 full H.264", pixels="yuv444p", full=True, options=X264),
    Case("10 bit HEVC", "libx265", pixels="yuv420p10le", options=X265),
    Case(
        "VP9",
        "libvpx-vp9",
        "webm",
        full=True,
        matrix=1,
        primaries=1,
        transfer=1,
        options={"crf": "10", "b": "0"},
    ),
    Case("AV1", "libsvtav1", pixels="yuv420p10le", options={"crf": "15", "preset": "10"}),
    Case("wide SDR", "libx265", "mp4", "yuv420p10le", False, 9, 9, 14, options=X265),
    Case("PQ", "libx265", "mp4", "yuv420p10le", False, 9, 9, 16, options=X265),
    Case("HLG", "libx265", "mp4", "yuv420p10le", False, 9, 9, 18, options=X265),
    Case("full PQ", "libx265", "mp4", "yuv420p10le", True, 9, 9, 16, options=X265),
    Case("anamorphic HEVC", "libx265", coded=(220, 180), aspect=Fraction(16, 11), options=X265),
    Case("anamorphic H.264", coded=(220, 180), aspect=Fraction(16, 11), options=X264),
    Case("anamorphic H.264 in TS", "libx264", "ts", coded=(220, 180), aspect=Fraction(16, 11), options=X264),
    Case("anamorphic MPEG-2", "mpeg2video", "ts", coded=(240, 180), aspect=Fraction(4, 3), options=FINE),
    Case("anamorphic MPEG-4", "mpeg4", "mp4", coded=(240, 180), aspect=Fraction(4, 3), options=FINE),
    Case("tall pixels", coded=(320, 90), aspect=Fraction(1, 2), options=X264),
    Case("on its left side", coded=TALL, turn=90, options=X264),
    Case("on its right side", coded=TALL, turn=270, options=X264),
    Case("on its head", turn=180, options=X264),
    Case("mirrored", flip="h", options=X264),
    Case("upside down", flip="v", options=X264),
    Case("mirrored and turned", coded=TALL, turn=90, flip="h", options=X264),
    Case("turned HEVC", "libx265", coded=TALL, turn=90, options=X265),
    Case("mirrored HEVC", "libx265", flip="h", options=X265),
    Case(
        "turned anamorphic HEVC", "libx265", coded=(180, 220), aspect=Fraction(11, 16), turn=270, options=X265
    ),
    Case("turned anamorphic H.264", coded=(180, 220), aspect=Fraction(11, 16), turn=90, options=X264),
    Case("turned PQ", "libx265", "mp4", "yuv420p10le", False, 9, 9, 16, coded=TALL, turn=90, options=X265),
    Case("odd size", "mjpeg", "avi", "yuvj420p", full=True, coded=(321, 181), shown=(321, 181), options=FINE),
]
ReadResult = tuple[StreamFacts, list[Packet], Frame]
each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def read(path: Path) -> ReadResult:
    """Return what a source gives of a file: facts, packets, the fourth frame."""
    video = open_file(str(path), 1000.0, lambda _reason: None)
    packets: list[Packet] = []
    frames: list[Frame] = []
    for one in video.read():
        packets += [one.packet] if one.packet else []
        frames += one.frames
    video.close()
    return video.facts, packets, frames[3]


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ReadResult]:
    folder = tmp_path_factory.mktemp("known")
    return {
        case.name: read(write_case(folder / f"{number}.{case.container}", case))
        for number, case in enumerate(CASES)
    }


def assert_shows(pixels: np.ndarray, case: Case, shape: tuple[int, int]) -> None:
    assert (pixels.shape[1], pixels.shape[0]) == shape
    apart = np.abs(fields_of(pixels) - FIELDS)
    assert apart.max() <= case.tolerance, f"{fields_of(pixels).round().tolist()}"


def even(size: tuple[int, int]) -> tuple[int, int]:
    return round(size[0] / 2) * 2, round(size[1] / 2) * 2


@each_case
def test_a_clip_shows_the_picture(known: dict[str, ReadResult], case: Case) -> None:
    facts, packets, _ = known[case.name]
    clip = make_clip(facts, packets)
    assert isinstance(clip, Clip)
    wanted = case.shown if facts.can_be_copied else even(case.shown)
    assert (clip.width, clip.height) == wanted
    assert_shows(played(clip.mp4), case, wanted)


@each_case
def test_a_thumbnail_shows_the_picture(known: dict[str, ReadResult], case: Case) -> None:
    scale = min(1.0, 640 / max(case.shown))
    wanted = round(case.shown[0] * scale), round(case.shown[1] * scale)
    assert_shows(jpeg_pixels(FramePictures(known[case.name][2]).whole(640).data), case, wanted)


@each_case
def test_a_crop_shows_its_place_in_square_pixels(known: dict[str, ReadResult], case: Case) -> None:
    frame = known[case.name][2]
    field_w, field_h = case.shown[0] / 4, case.shown[1] / 2
    side = round(min(field_w, field_h) * 0.8)
    for row in range(2):
        for column in range(4):
            x = round((column + 0.5) * field_w - side / 2)
            y = round((row + 0.5) * field_h - side / 2)
            crop = jpeg_pixels(FramePictures(frame).crop((x, y, side, side), 128).data)
            assert crop.shape[0] == pytest.approx(crop.shape[1], abs=5)  # whole samples of chroma
            inner = crop[crop.shape[0] // 4 : -crop.shape[0] // 4, crop.shape[1] // 4 : -crop.shape[1] // 4]
            assert np.abs(inner.reshape(-1, 3).mean(0) - FIELDS[row, column]).max() <= case.tolerance


@each_case
def test_a_live_picture_shows_the_picture(known: dict[str, ReadResult], case: Case) -> None:
    frame = known[case.name][2]
    made = viewer_picture(LiveFrame(1, frame, Motion(0.0, is_active=False), None))
    size = min(1.0, 960 / max(case.shown))
    wanted = (int(round(case.shown[0] * size) & ~1), int(round(case.shown[1] * size) & ~1))
    made.colorspace, made.color_range = 6, 1  # what a browser takes WebRTC's pictures for
    assert_shows(image_pixels(made), case, wanted)


@each_case
def test_masks_and_zones_lie_on_the_shown_picture(known: dict[str, ReadResult], case: Case) -> None:
    """The white field, lower left: what the plane holds where a mask over it lies."""
    frame = known[case.name][2]
    plane = luma_plane(frame)
    assert (plane.shape[1], plane.shape[0]) == plane_size(*case.shown)
    over_white = ((0.05, 0.55), (0.2, 0.55), (0.2, 0.95), (0.05, 0.95))
    mask = mask_of((over_white,), plane.shape)
    assert mask is not None
    brightness = fields_of(np.repeat(plane[..., None], 3, axis=2))[..., 0]
    assert brightness.argmax() == 4
    assert np.abs(plane[mask].mean() - brightness.max()) < 2
    white = Blob(round(0.05 * frame.width), round(0.6 * frame.height), 20, 20)
    seen = Motion(0.5, is_active=True, boxes=(white,))
    assert only_in(seen, (over_white,), frame.width, frame.height).boxes == (white,)
    settings = DetectorSettings.of(MotionSettings(), plane.shape[1], frame.width, frame.height)
    assert (settings.frame_width, settings.frame_height) == case.shown
