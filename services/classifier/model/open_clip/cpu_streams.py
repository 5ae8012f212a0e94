"""Splits a batch over CPU streams, each with threads of its own. Knows torch, no model.

Threads that share one operation wait for each other at its end, some hundred times a forward, and idle where an
operation has too little work for all of them. Pictures do not depend on each other, so streams never wait.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait

import torch

LEAST_PICTURES = 8  # of a part: products with fewer rows read a layer's weights for too little work

Forward = Callable[[torch.Tensor], torch.Tensor]


class CpuStreams:
    """Runs forwards on `threads` threads. One thread may call it at a time."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, "stream") if threads > 1 else None

    def run(self, forward: Forward, batch: torch.Tensor) -> torch.Tensor:
        """Return what `forward` gives for N pictures, as one tensor; what one part raises is raised.

        `forward` is called from several threads at once, for N / n pictures each.
        """
        most = min(self._threads, len(batch) // LEAST_PICTURES)
        n_parts = max((n for n in range(1, most + 1) if self._threads % n == 0), default=1)
        if self._pool is None or n_parts == 1:
            return forward(batch)
        try:
            parts = [
                self._pool.submit(_run, self._threads // n_parts, forward, part)
                for part in batch.tensor_split(n_parts)
            ]
            wait(parts)  # all of them, also when one has failed
            return torch.cat([part.result() for part in parts])
        finally:
            torch.set_num_threads(self._threads)  # of MKL, and of threads that are new to torch


def _run(threads: int, forward: Forward, part: torch.Tensor) -> torch.Tensor:
    torch.get_num_threads()  # a thread that first asks is set up as the last one was
    torch.set_num_threads(threads)  # each time: MKL's number is the whole process's
    with torch.inference_mode():
        return forward(part)
