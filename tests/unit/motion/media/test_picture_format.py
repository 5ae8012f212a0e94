"""How a stream's pictures are to be shown, as numbers; and where streams say so: matrix, SEI, EXIF."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image, ImageOps

from services.motion.events.watcher import EventWatcher
from services.motion.media.frame import FormatReader, Frame, format_of
from services.motion.media.jpeg import FramePictures
from services.motion.media.packets import StreamFacts
from services.motion.media.picture_format import (
    Colour,
    Orientation,
    PictureFormat,
    exif_orientation,
    pixel_aspect_of,
)
from services.motion.media.rendering import oriented
from services.motion.sources.coded_pictures import CodedPicture, CodedPictureStream
from tests.unit.motion.known_pictures import FIELDS, Case, fields_of, jpeg_pixels, write_case
from tests.unit.motion.media.test_shown_pictures import X264, read

ALL = [Orientation(t, x, y) for t in (False, True) for x in (False, True) for y in (False, True)]


@pytest.mark.parametrize("orientation", ALL)
def test_an_orientation_is_the_same_as_matrix_and_as_turn(orientation: Orientation) -> None:
    assert Orientation.of_matrix(*orientation.matrix) == orientation
    assert Orientation.of_turn(*orientation.turn) == orientation


def test_a_matrix_without_sense_turns_nothing() -> None:
    assert Orientation.of_matrix(0, 0, 0, 0).is_upright


@pytest.mark.parametrize("orientation", ALL)
@pytest.mark.parametrize("aspect", [1.0, 16 / 11, 0.5])
def test_a_box_of_the_shown_picture_is_found_in_the_coded_one(
    orientation: Orientation, aspect: float
) -> None:
    shown = PictureFormat(44, 36, aspect, orientation)
    coded = np.arange(44 * 36).reshape(36, 44).astype(np.float32)
    upright = oriented(coded, orientation)
    x, y, w, h = shown.width // 4, shown.height // 3, 12, 10
    across, down = upright.shape[1] / shown.width, upright.shape[0] / shown.height
    rows = slice(int(y * down), int(np.ceil((y + h) * down)))
    inside = upright[rows, int(x * across) : int(np.ceil((x + w) * across))]
    left, top, wide, high = shown.coded_box(x, y, w, h)
    assert set(coded[top : top + high, left : left + wide].ravel()) == set(inside.ravel())


@pytest.mark.parametrize(
    ("aspect", "size"),
    [(16 / 11, (1024, 576)), (1.0, (704, 576)), (0.5, (704, 1152))],
)
def test_square_pixels_leave_none_out(aspect: float, size: tuple[int, int]) -> None:
    assert PictureFormat(704, 576, aspect).size == size
    assert PictureFormat(704, 576, aspect, Orientation.of_turn(90)).size == size[::-1]


def test_a_shape_of_pixels_without_sense_is_square() -> None:
    assert [pixel_aspect_of(ratio) for ratio in (None, 0.0, 1e-4, 300.0)] == [1.0] * 4


@pytest.mark.parametrize(
    ("colour", "height", "matrix"),
    [
        (Colour(), 1080, 1),
        (Colour(), 576, 6),
        (Colour(matrix=5), 1080, 5),
        (Colour(primaries=1), 480, 1),
        (Colour(transfer=16), 480, 9),
        (Colour(matrix=3), 1080, 1),
        (Colour(color_range=2), 1080, 6),
    ],
)
def test_what_a_stream_does_not_say_of_its_matrix_is_taken_from_what_it_says(
    colour: Colour, height: int, matrix: int
) -> None:
    assert colour.matrix_of(height, "yuv420p") == matrix


def jpeg(number: int) -> bytes:
    """Return the known picture as a JPEG that EXIF says lies in orientation `number`."""
    picture = Image.fromarray(np.kron(FIELDS, np.ones((40, 40, 1))).astype(np.uint8))
    undo = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[number]
    lying = picture if undo is None else picture.transpose(Image.Transpose(undo))
    exif = Image.Exif()
    exif[0x112] = number
    out = io.BytesIO()
    lying.save(out, "JPEG", exif=exif, quality=95)
    return out.getvalue()


@pytest.mark.parametrize("number", range(1, 9))
def test_a_camera_that_sends_jpegs_is_shown_as_their_exif_says(number: int) -> None:
    data = jpeg(number)
    turned = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert np.abs(fields_of(np.asarray(turned)) - FIELDS).max() < 5  # so the test's own JPEG is right
    assert exif_orientation(data) == number
    stream = CodedPictureStream(
        iter([CodedPicture("mjpeg", data, None, 1000.0)] * 2), lambda _reason: None, lambda: None
    )
    frames = [frame for one in stream.read() for frame in one.frames]
    pixels = jpeg_pixels(FramePictures(frames[0]).whole(640).data)
    assert pixels.shape == (80, 160, 3)
    assert np.abs(fields_of(pixels) - FIELDS).max() <= 5
    assert stream.facts.format.orientation == Orientation.of_exif(number)


@pytest.mark.parametrize("size", [0, 3, 12, 30, 45])
def test_a_jpeg_that_is_cut_off_is_upright(size: int) -> None:
    assert exif_orientation(jpeg(6)[:size]) == 1


@pytest.mark.parametrize(
    ("rotate", "flip", "turn"), [("90", "", 90), ("270", "", -90), ("0", "horizontal", 0)]
)
def test_a_stream_may_say_itself_how_it_is_turned(tmp_path: Path, rotate: str, flip: str, turn: int) -> None:
    """By SEI (ITU-T H.264 §D.2.27), as cameras do that are mounted on a wall."""
    case = Case("sei", coded=(180, 320) if turn else (320, 180), turn=turn, flip=flip[:1], options=X264)
    plain = write_case(tmp_path / "plain.ts", case)
    options = f"h264_metadata=display_orientation=insert:rotate={rotate}" + (f":flip={flip}" if flip else "")
    with av.open(str(plain)) as source, av.open(str(tmp_path / "sei.ts"), "w") as out:
        stream = source.streams.video[0]
        copy = out.add_stream_from_template(stream)
        write = av.BitStreamFilterContext(options, stream)
        for packet in source.demux(stream):
            for made in write.filter(packet if packet.size else None):
                made.stream = copy
                out.mux(made)
    facts, _, frame = read(tmp_path / "sei.ts")
    assert facts.format.orientation == Orientation.of_turn(turn, bool(flip))
    pixels = jpeg_pixels(FramePictures(frame).whole(640).data)
    assert np.abs(fields_of(pixels) - FIELDS).max() <= case.tolerance


def test_a_stream_that_changes_is_another_one() -> None:
    """A clip begins anew, since its head says one shape and one colour."""
    reader = FormatReader()
    image = av.VideoFrame(64, 48, "yuv420p")
    first = Frame(0.0, image, reader.of(image, Fraction(1)))
    again = Frame(0.1, image, reader.of(image, Fraction(1)))
    assert again.format is first.format
    watcher = EventWatcher(StreamFacts("h264", 0, 0, b"", 25.0, "").shown_as(first.format, "yuv420p"), str)
    assert watcher.fits(first)
    assert watcher.fits(again)
    assert not watcher.fits(Frame(0.2, image, reader.of(image, Fraction(16, 11))))
    image.color_range = 2
    assert not watcher.fits(Frame(0.3, image, reader.of(image, Fraction(1))))
    assert watcher.fits(Frame(0.4, image, first.format))
    assert format_of(image).colour.color_range == 2
