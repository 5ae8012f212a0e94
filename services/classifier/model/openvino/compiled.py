"""Compiles a tower for this CPU, and runs it on several requests at once. Knows numpy, no model and no message.

Measured on 2 cores: many small parts on every stream beat one large batch (docs/design/openvino.md).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino.preprocess import PrePostProcessor

from services.classifier.weights.families import Pixels
from shared.errors import Transient

# Streams never wait for each other, threads of one stream do; a batch has a multiple of so many pictures
MOST_STREAMS = 4
# of a part: more need more memory and are no faster
MOST_AT_ONCE = 4
# Of a part of pictures: for a product of one alone OpenVINO 2026.4 keeps weights in one more order, for ever. Measured
# for ViT-B-32-256 after a single picture: 130 MB of it, and 137 MB of the file's pages that it reads again.
LEAST_AT_ONCE = 2
_NO_MEMORY = ("bad_alloc", "cannot allocate memory", "out of memory")


@dataclass(frozen=True, slots=True)
class Threading:
    """How a tower uses the cores."""

    threads: int
    streams: int
    least_rows: int = 1  # of a part; where there are fewer, the last one is repeated


def one_stream(threads: int) -> Threading:
    return Threading(threads, 1)


def spread(threads: int) -> Threading:
    """Return as many streams as there can be with the same number of threads each, MOST_STREAMS at most."""
    n_streams = max(n for n in range(1, MOST_STREAMS + 1) if threads % n == 0)
    return Threading(threads, n_streams, LEAST_AT_ONCE)


def with_preprocessing(tower: ov.Model, pixels: Pixels) -> ov.Model:
    """Return an image tower that takes uint8[N,S,S,3], RGB, instead of normalised float32[N,3,S,S]."""
    steps = PrePostProcessor(tower)
    steps.input().tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC"))
    steps.input().model().set_layout(ov.Layout("NCHW"))
    steps.input().preprocess().convert_element_type(ov.Type.f32).mean(
        [255 * one for one in pixels.mean]
    ).scale([255 * one for one in pixels.std])
    return steps.build()


class CompiledTower:
    """A tower made ready for the CPU. One thread may call it at a time."""

    def __init__(self, tower: ov.Model, threading: Threading, precision: str) -> None:
        """`precision`: f32 or bf16, in which products are computed; int8 where the tower has it, whatever this says."""
        options = {
            "NUM_STREAMS": threading.streams,
            "INFERENCE_NUM_THREADS": threading.threads,
            "ENABLE_CPU_PINNING": False,  # replicas would all pin to the same cores
            "INFERENCE_PRECISION_HINT": precision,
        }
        with translated():
            self._compiled = ov.Core().compile_model(tower, "CPU", options)
            self._streams, self._least_rows = threading.streams, threading.least_rows
            self._requests = ov.AsyncInferQueue(self._compiled, threading.streams)
            self._requests.set_callback(_take)
        self.is_fixed_length = all(side.is_static for side in list(tower.input(0).get_partial_shape())[1:])
        self.width = int(self._compiled.output(0).get_partial_shape()[1].get_length())

    def run(self, batch: NDArray[Any]) -> NDArray[np.float32]:  # Any: what the tower takes
        """Return float32[N,D] for N >= 1 rows; raise Transient when there is no memory."""
        batch = np.require(
            batch, requirements=["C", "W"]
        )  # to be shared with the runtime, which writes nothing
        if len(batch) < self._least_rows:
            missing = self._least_rows - len(batch)
            return self.run(np.concatenate([batch, *[batch[-1:]] * missing]))[: len(batch)]
        found = np.empty((len(batch), self.width), np.float32)
        with translated():
            for part, rows in zip(
                *(np.array_split(one, self._n_parts(len(batch))) for one in (batch, found)), strict=True
            ):
                self._requests.start_async(ov.Tensor(part, shared_memory=True), rows)
            self._requests.wait_all()
        return found

    def _n_parts(self, n_rows: int) -> int:
        """Return how many parts of nearly one size keep all streams busy, with neither too few rows nor too many."""
        rounds = -(-n_rows // (MOST_AT_ONCE * self._streams))
        return min(n_rows // self._least_rows, rounds * self._streams)


def _take(request: ov.InferRequest, rows: NDArray[np.float32]) -> None:
    rows[:] = request.get_output_tensor(0).data


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Raise the runtime's faults of memory as the port's error; else the snippet would become a dead letter."""
    try:
        yield
    except (MemoryError, RuntimeError) as exc:
        said = " ".join(str(exc).split())[:200]
        if isinstance(exc, MemoryError) or any(words in said.lower() for words in _NO_MEMORY):
            raise Transient(f"this machine is out of memory: {said}") from exc
        raise
