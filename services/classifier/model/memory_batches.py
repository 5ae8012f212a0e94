"""Splits batches into parts that fit into the device's memory. Knows numpy, but neither device nor model."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from shared.errors import Transient
from shared.logs import get_logger

log = get_logger(__name__)
Forward = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


class MemoryBatches:
    """Runs forwards, and halves the batch when one runs out of memory; later batches keep the size that fits.

    It does not grow again: another process on the GPU comes and goes, and each try that fails costs a forward. A
    restart begins with whole batches.
    """

    def __init__(self, out_of_memory: type[Exception], make_room: Callable[[], None]) -> None:
        self._out_of_memory = out_of_memory
        self._make_room = make_room
        self.largest: int | None = None  # pictures that fit; None: whatever was asked for has fitted

    def run(self, forward: Forward, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return what `forward` gives for uint8[N,…], N >= 1, as one array; raise Transient if one picture is too many.

        Transient, since it is not the picture's fault: it waits until there is room, here or in another replica.
        """
        before = self.largest
        vectors: list[NDArray[np.float32]] = []
        at = 0
        while at < len(pictures):
            part = pictures[at : at + (self.largest or len(pictures))]
            if (found := self._try(forward, part)) is not None:
                vectors.append(found)
                at += len(part)
            elif len(part) > 1:
                self.largest = len(part) // 2
            else:
                raise Transient("the device is out of memory for a single picture")
        if self.largest != before:
            log.warning(
                "out of the device's memory: forwards are smaller from now on; BATCH_PICTURES may say so at once",
                wanted=len(pictures),
                pictures=self.largest,
            )
        return vectors[0] if len(vectors) == 1 else np.concatenate(vectors)

    def _try(self, forward: Forward, part: NDArray[np.uint8]) -> NDArray[np.float32] | None:
        with contextlib.suppress(self._out_of_memory):
            return forward(part)
        self._make_room()  # after the error is gone, whose traceback keeps the forward's tensors alive
        return None
