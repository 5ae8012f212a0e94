"""Parts of a batch side by side: the same answers in order, and as many threads as were asked for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from services.classifier.model.open_clip.cpu_streams import LEAST_PICTURES, CpuStreams


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("threads", "n_pictures", "parts", "threads_of_each"),
    [
        (1, 64, [64], 1),
        (2, 2 * LEAST_PICTURES - 1, [2 * LEAST_PICTURES - 1], 2),
        (2, 2 * LEAST_PICTURES, [LEAST_PICTURES] * 2, 1),
        (2, 21, [10, 11], 1),
        (3, 2 * LEAST_PICTURES, [2 * LEAST_PICTURES], 3),  # in two parts a thread would have nothing to do
        (4, 2 * LEAST_PICTURES, [LEAST_PICTURES] * 2, 2),
        (4, 32, [8] * 4, 1),
        (2, 0, [0], 2),
    ],
)
def test_parts_share_the_threads_and_answers_keep_their_order(
    threads: int, n_pictures: int, parts: list[int], threads_of_each: int
) -> None:
    seen: list[tuple[int, int]] = []

    def forward(batch: torch.Tensor) -> torch.Tensor:
        seen.append((len(batch), torch.get_num_threads()))
        return 2 * batch

    torch.set_num_threads(threads)
    streams, batch = CpuStreams(threads), torch.arange(3.0 * n_pictures).reshape(n_pictures, 3)
    for _ in range(2):  # with new threads, and with those of before
        seen.clear()
        assert torch.equal(streams.run(forward, batch), 2 * batch)
        assert sorted(seen) == [(size, threads_of_each) for size in parts]
        with ThreadPoolExecutor(1) as pool:  # a thread that is new to torch takes the process's number
            assert torch.get_num_threads() == threads == pool.submit(torch.get_num_threads).result()


def test_parts_run_at_the_same_time_and_without_gradients() -> None:
    both = threading.Barrier(2)
    weight = torch.ones(3, requires_grad=True)

    def forward(batch: torch.Tensor) -> torch.Tensor:
        both.wait(timeout=20)
        return batch * weight

    assert not CpuStreams(2).run(forward, torch.ones(2 * LEAST_PICTURES, 3)).requires_grad


def test_what_a_part_raises_is_raised_when_all_have_ended() -> None:
    first_failed, ended = threading.Event(), threading.Event()

    def forward(batch: torch.Tensor) -> torch.Tensor:
        if batch[0, 0] == 0:
            first_failed.set()
            raise torch.OutOfMemoryError("no room")
        first_failed.wait(timeout=20)
        torch.mm(torch.ones(500, 500), torch.ones(500, 500))
        ended.set()
        return batch

    torch.set_num_threads(2)
    with pytest.raises(torch.OutOfMemoryError, match="no room"):
        CpuStreams(2).run(forward, torch.arange(32.0).reshape(32, 1))
    assert ended.is_set()
    assert torch.get_num_threads() == 2
