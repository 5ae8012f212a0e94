"""Pictures that people send: three kinds, and what is refused before anything is decoded."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from services.classifier.model.preprocess import PictureRefusal, PixelBudget
from services.classifier.model.sent_pictures import inspect_sent, load_sent
from tests.unit.classifier.makers import RED, jpeg, photo

BUDGET = PixelBudget(picture_pixels=1_000_000, snippet_pixels=3_000_000)
KINDS = {
    "jpeg": ("JPEG", {}),
    "png": ("PNG", {}),
    "webp": ("WEBP", {}),
    "lossless webp": ("WEBP", {"lossless": True}),
}


def resize(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(picture).resize((32, 32)))


def written(image: Image.Image, kind: str = "png", **more: object) -> bytes:
    name, options = KINDS[kind]
    buffer = io.BytesIO()
    image.save(buffer, name, **options, **more)
    return buffer.getvalue()


def load(data: bytes) -> NDArray[np.uint8] | PictureRefusal:
    return inspect_sent([data], BUDGET)[0] or load_sent(data, 32, resize)


def colour(data: bytes) -> NDArray[np.float64]:
    found = load(data)
    assert isinstance(found, np.ndarray), found
    assert found.shape == (32, 32, 3)
    assert found.dtype == np.uint8
    mean: NDArray[np.float64] = found.reshape(-1, 3).mean(axis=0)
    return mean


def png_of_size(width: int, height: int) -> bytes:
    """Return the header chunk of a PNG of that size."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("size", [(48, 48), (1, 1), (7, 300)])
def test_each_kind_becomes_rgb(kind: str, size: tuple[int, int]) -> None:
    assert np.abs(colour(written(Image.new("RGB", size, RED), kind)) - RED).max() < 12


@pytest.mark.parametrize("mode", ["L", "P", "1", "LA", "RGBA", "I;16"])
def test_each_mode_of_a_png_becomes_rgb(mode: str) -> None:
    if mode == "I;16":
        image = Image.fromarray(np.full((20, 30), 51_400, np.uint16))
    else:
        image = Image.new("RGB", (30, 20), (255, 255, 255) if mode == "1" else (200, 200, 200)).convert(mode)
    assert np.abs(colour(written(image)) - (255 if mode == "1" else 200)).max() <= 1


@pytest.mark.parametrize("kind", ["png", "webp"])
def test_what_is_transparent_is_white(kind: str) -> None:
    assert colour(written(Image.new("RGBA", (20, 20), (0, 0, 0, 0)), kind)).min() > 250


def test_of_an_animation_the_first_picture_is_taken() -> None:
    later = [Image.new("RGB", (20, 20), "blue")]
    data = written(Image.new("RGB", (20, 20), RED), "webp", save_all=True, append_images=later)
    assert np.abs(colour(data) - RED).max() < 12


@pytest.mark.parametrize("kind", list(KINDS))
def test_too_many_pixels_are_refused_by_the_header(kind: str) -> None:
    data = written(Image.new("RGB", (1001, 1000), RED), kind)
    refusal = inspect_sent([data[:64] if kind != "jpeg" else data], BUDGET)[0]
    assert refusal is not None
    assert (refusal.reason, "1001x1000 px, at most 1000000" in refusal.detail) == ("too_large", True)


def test_a_canvas_that_is_only_claimed_is_refused() -> None:
    data = bytearray(written(Image.new("RGBA", (20, 20), (9, 9, 9, 90)), "webp"))
    assert data[12:16] == b"VP8X"
    data[24:30] = b"\xfe\x3f\x00\xfe\x3f\x00"
    refusal = load(bytes(data))
    assert isinstance(refusal, PictureRefusal)
    assert refusal.detail.startswith("16383x16383 px")


def test_a_second_header_does_not_hide_behind_the_first() -> None:
    data = written(Image.new("RGB", (20, 20), RED))
    refusal = load(data[:33] + png_of_size(50_000, 50_000) + data[33:])
    assert isinstance(refusal, PictureRefusal)
    assert refusal.reason == "broken"


def test_pictures_share_a_budget() -> None:
    pictures = [written(Image.new("RGB", (1000, 1000)), kind) for kind in ("png", "jpeg", "webp", "png")]
    refused = inspect_sent(pictures, BUDGET)
    assert [refusal is None for refusal in refused].count(True) == 3
    assert refused[1] is not None, "what is decoded at a reduced size pays last"


@pytest.mark.parametrize(
    "data",
    [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n", b"RIFF\x00\x00\x00\x00WEBP", b"RIFF....WEBPVP8Z" + bytes(40)],
)
def test_what_is_none_of_the_three_is_refused(data: bytes) -> None:
    refusal = load(data)
    assert isinstance(refusal, PictureRefusal)
    assert f"{len(data)} bytes that are no JPEG, PNG or WebP" in refusal.detail


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("part", [0.3, 0.6, 0.95])
def test_a_truncated_picture_is_refused(kind: str, part: float) -> None:
    data = written(Image.fromarray(photo(200, 150)), kind)
    refusal = load(data[: int(len(data) * part)])
    assert isinstance(refusal, PictureRefusal)
    assert refusal.reason == "broken"


@pytest.mark.parametrize("kind", list(KINDS))
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_bytes_changed_at_random_are_a_picture_or_a_refusal(kind: str, data: st.DataObject) -> None:
    value = bytearray(written(Image.fromarray(photo(40, 30)), kind))
    for _ in range(data.draw(st.integers(1, 5))):
        value[data.draw(st.integers(0, len(value) - 1))] = data.draw(st.integers(0, 255))
    found = load(bytes(value))
    assert isinstance(found, PictureRefusal) or found.shape == (32, 32, 3)


def test_a_jpeg_is_read_as_those_of_snippets_are() -> None:
    assert np.abs(colour(jpeg(RED)) - RED).max() < 12
    assert isinstance(load(jpeg()[:-20]), PictureRefusal)
