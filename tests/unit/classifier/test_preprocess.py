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

from services.classifier.preprocess import MAX_SCANS, Budget, Refused, decode, inspect, load_picture, stack
from tests.unit.classifier.makers import RED, jpeg, photo

BUDGET = Budget(picture_pixels=1_000_000, snippet_pixels=3_000_000)


def resize(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(picture).resize((32, 32)))


def reason(data: bytes) -> str:
    verdict = inspect((data,), BUDGET)[0]
    return verdict.reason if verdict else ""


def load(data: bytes) -> NDArray[np.uint8] | Refused:
    verdict = inspect((data,), BUDGET)[0]
    return verdict or load_picture(data, 32, resize)


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


def test_large_pictures_are_decoded_at_a_reduced_size() -> None:
    data = jpeg(RED, 640, 400)
    assert decode(data, 32).shape == (50, 80, 3)
    assert decode(data, 224).shape == (400, 640, 3)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.95])
def test_a_truncated_picture_is_refused(part: float) -> None:
    buffer = io.BytesIO()
    Image.fromarray(photo(200, 150)).save(buffer, "JPEG")
    found = load(buffer.getvalue()[: int(len(buffer.getvalue()) * part)])
    assert isinstance(found, Refused)
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
        assert isinstance(found, np.ndarray | Refused)


def test_a_stack_is_planes_first_with_channels_last_in_memory() -> None:
    pictures = [np.full((4, 4, 3), index, dtype=np.uint8) for index in range(3)]
    batch = stack(pictures)
    assert batch.shape == (3, 3, 4, 4)
    assert batch.transpose(0, 2, 3, 1).flags.c_contiguous
