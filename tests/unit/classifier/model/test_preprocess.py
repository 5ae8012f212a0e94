"""JPEG bytes to pixels, and what is refused on the way."""

from __future__ import annotations

import io
import struct
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from services.classifier.model.preprocess import (
    MAX_SCANS,
    PictureRefusal,
    PixelBudget,
    decode,
    inspect,
    load_picture,
    stack,
)
from tests.unit.classifier.makers import RED, jpeg, photo

BUDGET = PixelBudget(picture_pixels=1_000_000, snippet_pixels=3_000_000)


def resize(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(picture).resize((32, 32)))


def reason(data: bytes) -> str:
    verdict = inspect((data,), BUDGET)[0]
    return verdict.reason if verdict else ""


def load(data: bytes) -> NDArray[np.uint8] | PictureRefusal:
    verdict = inspect((data,), BUDGET)[0]
    return verdict or load_picture(data, 32, resize)


def reason_of(data: bytes) -> str:
    """Return why a picture is refused, be it by its header or by its data."""
    found = load(data)
    return found.reason if isinstance(found, PictureRefusal) else ""


def photo_jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(photo(48, 48)).save(buffer, "JPEG")
    return buffer.getvalue()


def with_size(data: bytes, width: int, height: int) -> bytes:
    """Return the JPEG with another size written in its frame header."""
    at = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))
    return data[: at + 5] + struct.pack(">HH", height, width) + data[at + 9 :]


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
def test_every_kind_of_jpeg_becomes_rgb(mode: str, options: dict[str, bool]) -> None:
    found = load(jpeg((200, 200, 200) if mode == "L" else RED, mode=mode, **options))
    assert isinstance(found, np.ndarray)
    assert found.shape == (32, 32, 3)
    wanted = (200, 200, 200) if mode == "L" else RED
    assert np.abs(found.reshape(-1, 3).mean(axis=0) - wanted).max() < 12


@pytest.mark.parametrize("size", [(1, 1), (7, 300), (300, 7)])
def test_odd_shapes_are_squashed(size: tuple[int, int]) -> None:
    found = load(jpeg(RED, *size))
    assert isinstance(found, np.ndarray)
    assert found.shape == (32, 32, 3)


def test_a_picture_that_is_not_reduced_has_pillows_pixels() -> None:
    buffer = io.BytesIO()
    Image.fromarray(photo(384, 216)).save(buffer, "JPEG", quality=88)
    theirs = np.asarray(Image.open(buffer).convert("RGB")).astype(np.int16)
    apart = np.abs(decode(buffer.getvalue(), 224).astype(np.int16) - theirs)
    assert apart.max() <= 1  # with the quick transform and upsampling: 10


def test_large_pictures_are_decoded_at_a_reduced_size() -> None:
    data = jpeg(RED, 640, 400)
    assert decode(data, 32).shape == (50, 80, 3)
    assert decode(data, 224).shape == (400, 640, 3)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.95])
def test_a_truncated_picture_is_refused(part: float) -> None:
    buffer = io.BytesIO()
    Image.fromarray(photo(200, 150)).save(buffer, "JPEG")
    found = load(buffer.getvalue()[: int(len(buffer.getvalue()) * part)])
    assert isinstance(found, PictureRefusal)
    assert found.reason == "broken"


def test_what_is_no_jpeg_is_refused() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    assert reason(buffer.getvalue()) == "not_jpeg"
    assert reason(b"") == "not_jpeg"
    assert reason(b"\xff\xd8") == "broken"


def test_a_picture_bomb_is_refused_by_its_header_alone() -> None:
    bomb = with_size(jpeg(), 65500, 65500)
    started = time.perf_counter()
    assert reason(bomb) == "too_large"
    assert time.perf_counter() - started < 0.5


def test_a_progressive_bomb_of_many_scans_is_refused() -> None:
    data = jpeg(progressive=True)
    at = data.rfind(b"\xff\xda")
    scan = data[at:-2]
    assert reason(data) == ""
    assert reason(data[:-2] + scan * MAX_SCANS + data[-2:]) == "too_many_scans"


def marked(marker: int) -> bytes:
    """Return a baseline JPEG whose frame header claims another process of coding."""
    data = jpeg()
    at = data.find(b"\xff\xc0")
    return data[: at + 1] + bytes([marker]) + data[at + 2 :]


@pytest.mark.parametrize("marker", [0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF])
def test_codings_that_are_only_claimed_are_refused(marker: int) -> None:
    """Progressive, lossless, hierarchical, arithmetic."""
    found = load(marked(marker))
    assert isinstance(found, PictureRefusal)
    assert found.reason == "broken"


def test_arithmetic_coding_does_no_harm() -> None:
    found = load(marked(0xC9))  # libjpeg-turbo decodes it, here to noise
    assert isinstance(found, PictureRefusal) or found.shape == (32, 32, 3)


@pytest.mark.parametrize("bits", [0, 7, 12, 16, 255])
def test_other_sample_depths_are_refused(bits: int) -> None:
    data = jpeg()
    at = data.find(b"\xff\xc0")
    assert reason_of(data[: at + 4] + bytes([bits]) + data[at + 5 :]) == "broken"


@pytest.mark.parametrize(
    ("width", "height"),
    [(48, 0), (0, 48), (48, 900), (900, 48), (8, 8), (1000, 1000), (65500, 15)],
    ids=[
        "lines counted later (DNL)",
        "no width",
        "higher",
        "wider",
        "smaller",
        "as large as allowed",
        "a stripe",
    ],
)
def test_a_size_that_the_data_do_not_have_is_refused(width: int, height: int) -> None:
    assert reason_of(with_size(photo_jpeg(), width, height)) == "broken"


@pytest.mark.parametrize(("width", "height"), [(65500, 65500), (65500, 16), (16, 65500), (1001, 1000)])
def test_too_many_pixels_are_refused_whatever_their_shape(width: int, height: int) -> None:
    assert reason(with_size(jpeg(), width, height)) == "too_large"


def test_two_frame_headers_are_refused() -> None:
    data = jpeg()
    at, scan = data.find(b"\xff\xc0"), data.find(b"\xff\xda")
    header = data[at : at + 19]
    assert reason_of(data[:scan] + header + data[scan:]) == "broken"
    assert reason_of(with_size(data[:scan] + header + data[scan:], 1000, 1000)) == "broken"


def test_data_that_go_on_after_the_picture_are_refused_or_not_looked_at() -> None:
    data = jpeg()
    assert reason_of(data[:-2] + b"\x55" * 3_000_000 + data[-2:]) == "broken"
    for tail in (data, b"\0" * 1_000_000):  # several pictures in one: the first counts
        assert reason_of(data + tail) == ""


def test_megabytes_before_the_picture_are_passed_over() -> None:
    data = jpeg()
    segment = b"\xff\xe1\xff\xff" + bytes(65533)
    for filling in (segment * 60, b"\xff" * 1_000_000):
        assert reason_of(data[:2] + filling + data[2:]) == ""


def test_restart_markers_without_end_do_no_harm() -> None:
    data = jpeg()
    markers = b"".join(bytes([0xFF, 0xD0 + number % 8]) for number in range(8)) * 100_000
    found = load(data[:-2] + markers + data[-2:])
    assert isinstance(found, PictureRefusal) or found.shape == (32, 32, 3)


def test_passes_over_a_picture_are_paid_for() -> None:
    data = jpeg(RED, 1000, 900, progressive=True)
    at = data.rfind(b"\xff\xda")
    slow = data[:-2] + data[at:-2] * 20 + data[-2:]
    assert [found.reason if found else "" for found in inspect((data,) * 3, BUDGET)] == ["", "", ""]
    assert [found.reason if found else "" for found in inspect((slow, data), BUDGET)] == [
        "",
        "snippet_budget",
    ]


def test_the_pictures_of_a_snippet_share_a_budget() -> None:
    large = jpeg(RED, 1000, 900)
    verdicts = inspect((large,) * 5, BUDGET)
    assert [verdict.reason if verdict else "" for verdict in verdicts] == [
        "",
        "",
        "",
        "snippet_budget",
        "snippet_budget",
    ]
    assert inspect((large, b"junk", large), BUDGET)[2] is None


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=400), st.integers(0, 600))
def test_no_bytes_raise(noise: bytes, at: int) -> None:
    data = jpeg()
    for attack in (noise, b"\xff\xd8" + noise, data[:at] + noise + data[at + len(noise) :]):
        found = load(attack)
        assert isinstance(found, np.ndarray | PictureRefusal)


def test_a_stack_is_planes_first_with_channels_last_in_memory() -> None:
    pictures = [np.full((4, 4, 3), index, dtype=np.uint8) for index in range(3)]
    batch = stack(pictures)
    assert batch.shape == (3, 3, 4, 4)
    assert batch.transpose(0, 2, 3, 1).flags.c_contiguous
