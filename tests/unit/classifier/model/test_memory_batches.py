"""Batches that do not fit into the device's memory."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from structlog.testing import capture_logs

from services.classifier.model.memory_batches import MemoryBatches
from shared.errors import Transient


class Full(Exception):
    """Out of memory."""


class Device:
    """Gives each picture's first pixel; has room for `room` of them at a time."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.sizes: list[int] = []  # of forwards, those that failed too
        self.n_cleared = 0

    def forward(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.sizes.append(len(pictures))
        if len(pictures) > self.room:
            raise Full
        return pictures.reshape(len(pictures), -1).astype(np.float32)[:, :1]

    def clear(self) -> None:
        self.n_cleared += 1


def numbered(n_pictures: int) -> NDArray[np.uint8]:
    return np.arange(n_pictures, dtype=np.uint8).reshape(n_pictures, 1, 1, 1)


def made(room: int) -> tuple[Device, MemoryBatches]:
    device = Device(room)
    return device, MemoryBatches(Full, device.clear)


def test_what_fits_is_one_forward() -> None:
    device, parts = made(room=32)
    assert parts.run(device.forward, numbered(32))[:, 0].tolist() == list(range(32))
    assert (device.sizes, device.n_cleared, parts.largest) == ([32], 0, None)


@pytest.mark.parametrize("room", [1, 2, 3, 7, 8, 31])
def test_what_does_not_fit_is_halved_until_it_does_and_keeps_its_order(room: int) -> None:
    device, parts = made(room)
    assert parts.run(device.forward, numbered(32))[:, 0].tolist() == list(range(32))
    assert room / 2 < (parts.largest or 0) <= room
    assert device.n_cleared == sum(size > room for size in device.sizes)


def test_the_size_that_fits_is_kept_and_said_once() -> None:
    device, parts = made(room=9)
    with capture_logs() as lines:
        parts.run(device.forward, numbered(32))
        device.sizes.clear()
        parts.run(device.forward, numbered(20))
    assert device.sizes == [8, 8, 4]
    assert [(line["log_level"], line["wanted"], line["pictures"]) for line in lines] == [("warning", 32, 8)]


def test_no_room_for_one_picture_is_not_the_pictures_fault() -> None:
    device, parts = made(room=0)
    with pytest.raises(Transient, match="out of memory for a single picture"):
        parts.run(device.forward, numbered(4))
    device.room = 4
    assert parts.run(device.forward, numbered(4))[:, 0].tolist() == [0, 1, 2, 3]


def test_another_error_is_not_hidden() -> None:
    def lost(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        raise RuntimeError("the device is gone")

    _, parts = made(room=4)
    with pytest.raises(RuntimeError, match="the device is gone"):
        parts.run(lost, numbered(4))
