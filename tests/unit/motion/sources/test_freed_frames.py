"""A decoded picture is megabytes: it is freed when nobody holds it any more, not when the garbage collector runs."""

from __future__ import annotations

import gc
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import pytest
from PIL import Image

from services.motion.sources.coded_pictures import CodedPicture, CodedPictureStream
from services.motion.sources.file import open_file
from services.motion.sources.stream import SourceStream
from tests.unit.motion.known_pictures import Case, write_case

KEYS = {"g": "1", "crf": "12"}  # every frame is a key frame, and says how it is to be shown


@pytest.fixture
def _no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def n_pictures() -> int:
    return sum(isinstance(one, av.VideoFrame) for one in gc.get_objects())


def of_file(case: Case) -> Callable[[Path], SourceStream]:
    def open_case(folder: Path) -> SourceStream:
        return open_file(
            str(write_case(folder / f"case.{case.container}", case)), 1000.0, lambda _reason: None
        )

    return open_case


def of_camera(_: Path) -> SourceStream:
    """Return a stream of JPEGs that say by EXIF how they are to be shown."""
    exif, data = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    Image.new("RGB", (320, 180)).save(data, "JPEG", exif=exif)
    pictures = [CodedPicture("mjpeg", data.getvalue(), None, 1000.0)] * 12
    return CodedPictureStream(iter(pictures), lambda _reason: None, lambda: None)


@pytest.mark.usefixtures("_no_collector")
@pytest.mark.parametrize(
    "open_stream",
    [
        of_file(Case("upright", options=KEYS)),
        of_file(Case("turned", coded=(180, 320), turn=90, options=KEYS)),
        of_file(Case("MJPEG", "mjpeg", "avi", "yuvj420p", full=True, options={"qmin": "2", "qmax": "3"})),
        of_camera,
    ],
    ids=["upright", "turned", "MJPEG", "EXIF"],
)
def test_pictures_that_nobody_holds_are_freed_at_once(
    open_stream: Callable[[Path], SourceStream], tmp_path: Path
) -> None:
    video = open_stream(tmp_path)
    n_before, n_read = n_pictures(), 0
    for read in video.read():
        n_read += len(read.frames)
        assert n_pictures() - n_before <= 2  # this one, and the one that the decoder gave out before
    video.close()
    assert n_read >= 8
