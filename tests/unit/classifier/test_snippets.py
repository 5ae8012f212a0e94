"""The shell's batches: what is broken fails alone."""

from __future__ import annotations

import asyncio
import struct
import tracemalloc
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis
from structlog.testing import capture_logs

from services.classifier.metrics import ClassifierMetrics
from services.classifier.model.batching import MULTIPLE, chunk_sizes
from services.classifier.model.preprocess import REASONS
from services.classifier.settings import ClassifierSettings
from services.classifier.snippets import Classifier
from shared.contract import CLASSIFIERS, LABELS, SNIPPETS, LabelsMessage, SnippetMessage
from shared.streams.consumer import Consumer
from shared.streams.outcomes import Dead, Delivery, Done, Outcome
from shared.streams.settings import ConsumerSettings
from tests.unit.classifier.makers import BLUE, GREEN, RED, ColourModel, jpeg, message


@asynccontextmanager
async def classifier(
    model: ColourModel | None = None, **settings: object
) -> AsyncIterator[tuple[Classifier, CollectorRegistry]]:
    registry = CollectorRegistry()
    with ThreadPoolExecutor(1) as thread:
        made = Classifier(
            model or ColourModel(),
            ClassifierSettings.model_validate(settings),
            ClassifierMetrics(registry),
            thread,
        )
        yield made, registry
        made.close()


def delivery(sent: SnippetMessage | dict[bytes, bytes], number: int = 0) -> Delivery:
    fields = sent.encode() if isinstance(sent, SnippetMessage) else sent
    return Delivery("snippets.v1", f"{number}-0", fields, 1)


def walking(n_moments: int = 4, key: str = "event") -> SnippetMessage:
    return message([[("frame", jpeg(BLUE)), ("crop", jpeg(RED))]] * n_moments, key=key)


def labels_of(outcome: Outcome) -> LabelsMessage:
    assert isinstance(outcome, Done)
    (output,) = outcome.outputs
    assert output.stream == LABELS
    return LabelsMessage.decode(output.fields)


def accepted(outcome: Outcome) -> list[str]:
    return [item.label for item in labels_of(outcome).header.accepted]


async def test_a_batch_over_several_snippets_is_answered_in_order() -> None:
    dog = message([[("crop", jpeg(GREEN))]] * 4)
    async with classifier(batch_pictures=3) as (made, _):
        outcomes = await made.handle([delivery(walking()), delivery(dog), delivery(walking())])
    assert [accepted(outcome) for outcome in outcomes] == [["a person"], ["a dog"], ["a person"]]


async def test_a_poison_snippet_is_dead_alone() -> None:
    async with classifier() as (made, registry):
        outcomes = await made.handle([delivery(walking()), delivery({b"h": b"junk"}), delivery(walking())])
    assert [type(outcome) for outcome in outcomes] == [Done, Dead, Done]
    assert registry.get_sample_value("clipwatch_classifier_snippets_total", {"outcome": "dead"}) == 1


async def test_one_broken_picture_is_left_out_and_counted() -> None:
    sent = message(
        [[("crop", jpeg(RED))], [("crop", jpeg(RED)[:90])], [("crop", jpeg(RED))], [("crop", b"no")]]
    )
    async with classifier() as (made, registry):
        (outcome,) = await made.handle([delivery(sent)])
    found = labels_of(outcome)
    assert len(found.header.moments) == 2
    assert accepted(outcome) == ["a person"]
    vectors = np.frombuffer(found.embeddings, "<f2").reshape(4, 4)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 0, 1, 0], abs=1e-2)
    for reason in ("broken", "not_jpeg"):
        assert (
            registry.get_sample_value("clipwatch_classifier_pictures_refused_total", {"reason": reason}) == 1
        )


async def test_a_snippet_of_broken_pictures_only_is_dead_with_the_reason() -> None:
    sent = message([[("crop", b"no")]] * 3)
    async with classifier() as (made, _):
        outcomes = await made.handle([delivery(sent), delivery(walking())])
    assert isinstance(outcomes[0], Dead)
    assert "not_jpeg" in outcomes[0].reason
    assert accepted(outcomes[1]) == ["a person"]


async def test_pictures_over_the_budget_are_not_decoded() -> None:
    sent = message([[("crop", jpeg(RED, 200, 200))]] * 4)
    async with classifier(max_snippet_pixels=90_000) as (made, registry):
        (outcome,) = await made.handle([delivery(sent)])
    assert len(labels_of(outcome).header.moments) == 2
    assert registry.get_sample_value("clipwatch_classifier_pictures_total") == 2


async def test_changed_labels_act_on_the_next_snippet() -> None:
    async with classifier() as (made, _):
        (before,) = await made.handle([delivery(message([[("crop", jpeg(RED))]] * 3, ("a dog",)))])
        (after,) = await made.handle([delivery(message([[("crop", jpeg(RED))]] * 3, ("a pedestrian",)))])
    assert accepted(before) == []
    assert accepted(after) == ["a pedestrian"]


def claiming(width: int, height: int) -> bytes:
    """Return a small JPEG that says it has this size."""
    data = jpeg()
    at = data.find(b"\xff\xc0")
    return data[: at + 5] + struct.pack(">HH", height, width) + data[at + 9 :]


async def test_bombs_neither_fill_the_memory_nor_hold_their_neighbours() -> None:
    stripe = jpeg(RED, 30, 65000)  # 2 Mpx that no reduced decoding makes smaller: 5.9 MB each
    progressive = jpeg(RED, 1500, 1500, progressive=True)
    scan = progressive[progressive.rfind(b"\xff\xda") : -2]
    bombs = [
        message([[("crop", claiming(65500, 65500))]] * 64, key="claims"),
        message([[("crop", progressive[:-2] + scan * 40 + progressive[-2:])]] * 8, key="scans"),
        message([[("crop", stripe)]] * 64, key="stripes"),
        message([[("crop", jpeg(GREEN, 1, 1))]] * 64, key="specks"),
    ]
    async with classifier(max_snippet_pixels=24_000_000) as (made, registry):
        tracemalloc.start()
        try:
            outcomes = await made.handle([delivery(sent) for sent in (walking(), *bombs, walking())])
            peak_bytes = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    kinds = [type(outcome) for outcome in outcomes]
    assert kinds == [Done, Dead, Dead, Done, Done, Done]
    assert accepted(outcomes[0]) == accepted(outcomes[-1]) == ["a person"]
    assert accepted(outcomes[4]) == ["a dog"]
    assert len(labels_of(outcomes[3]).header.moments) == 12  # of 64: what the snippet's budget allows
    assert peak_bytes < 45e6  # a few stripes at a time; the twelve together would be 70 MB
    counted = {
        reason: registry.get_sample_value("clipwatch_classifier_pictures_refused_total", {"reason": reason})
        for reason in REASONS
    }
    assert counted == {
        "not_jpeg": 0,
        "too_large": 64,
        "too_many_scans": 8,
        "broken": 0,
        "snippet_budget": 52,
    }


async def test_a_large_but_allowed_picture_is_answered_with_its_neighbours() -> None:
    large = message([[("crop", jpeg(GREEN, 2000, 2000))]] * 3)
    async with classifier() as (made, _):
        outcomes = await made.handle([delivery(walking()), delivery(large), delivery(walking())])
    assert [accepted(outcome) for outcome in outcomes] == [["a person"], ["a dog"], ["a person"]]


class Allergic(ColourModel):
    """A model that fails on every batch with a green picture in it."""

    def embed_pictures(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        if (pictures[:, 1].astype(int).mean(axis=(1, 2)) > 200).any():
            raise RuntimeError("cannot look at green")
        return super().embed_pictures(pictures)


async def entries(redis: Redis, stream: str) -> list[tuple[bytes, dict[bytes, bytes]]]:
    found: Any = await redis.xrange(stream)  # Any: redis-py's union over RESP versions
    return list(found)


@pytest.mark.redis
async def test_a_snippet_that_fails_the_model_is_retried_alone(redis_client: Redis) -> None:
    sent = [walking(key="before"), message([[("crop", jpeg(GREEN))]] * 4, key="green"), walking(key="after")]
    for one in sent:
        fields: Any = one.encode()  # Any: redis-py's field type is invariant
        await redis_client.xadd(SNIPPETS, fields)
    settings = ConsumerSettings(
        SNIPPETS, CLASSIFIERS, "one", block_ms=20, min_idle_s=0.1, claim_every_s=0.05, max_attempts=1
    )
    async with classifier(Allergic()) as (made, _):
        stop = asyncio.Event()
        task = asyncio.create_task(Consumer(redis_client, settings, made.handle).run(stop))
        with capture_logs():
            async with asyncio.timeout(60):
                while await redis_client.xlen(SNIPPETS):
                    await asyncio.sleep(0.02)
            stop.set()
            await task
    ((_, dead),) = await entries(redis_client, f"{SNIPPETS}:dead")
    assert SnippetMessage.decode(dead).header.event_id == sent[1].header.event_id
    assert "cannot look at green" in dead[b"dead"].decode()
    answered = [LabelsMessage.decode(fields) for _, fields in await entries(redis_client, LABELS)]
    assert [one.header.snippet.event_id for one in answered] == [
        sent[0].header.event_id,
        sent[2].header.event_id,
    ]


class Failing(ColourModel):
    """A model whose device is lost."""

    def embed_pictures(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        raise RuntimeError("the device is gone")


async def test_a_model_that_fails_is_not_hidden() -> None:
    async with classifier(Failing()) as (made, _):
        with pytest.raises(RuntimeError, match="the device is gone"):
            await made.handle([delivery(walking())])


async def test_the_beat_goes_on_within_a_long_batch() -> None:
    beats: list[int] = []
    async with classifier(batch_pictures=2) as (made, _):
        made.beat = lambda: beats.append(1)
        await made.handle([delivery(walking())])
    assert len(beats) == 4


async def test_a_warm_up_leaves_no_trace_in_the_counters() -> None:
    async with classifier() as (made, registry):
        await made.warm_up()
    assert registry.get_sample_value("clipwatch_classifier_pictures_total") == 0


async def test_other_labels_act_on_the_next_snippet_and_each_set_is_embedded_once() -> None:
    first, then = walking(), walking()
    label_set = then.header.label_set.model_copy(update={"labels": ("a dog",)})
    then = replace(then, header=then.header.model_copy(update={"label_set": label_set}))
    async with classifier() as (made, registry):
        outcomes = await made.handle([delivery(sent) for sent in (first, then, first, then)])
        columns = [labels_of(outcome).header.columns[0].text for outcome in outcomes]
        assert columns == ["a person", "a dog", "a person", "a dog"]
        assert registry.get_sample_value("clipwatch_classifier_label_sets_embedded_total") == 2


@given(st.integers(0, 600), st.integers(1, 70))
def test_pictures_are_shared_out_evenly_and_little_is_paid_for_twice(n_pictures: int, most: int) -> None:
    sizes = chunk_sizes(n_pictures, most)
    assert sum(sizes) == n_pictures
    assert all(0 < size <= most for size in sizes)
    paid = sum(-(-size // MULTIPLE) * MULTIPLE for size in sizes)
    if most >= MULTIPLE:
        assert paid - n_pictures < MULTIPLE
        assert len(sizes) <= -(-n_pictures // (most // MULTIPLE * MULTIPLE))
        assert not sizes or max(sizes) - min(sizes) < 2 * MULTIPLE


def test_nine_snippets_are_seven_forwards_with_two_blank_pictures() -> None:
    assert chunk_sizes(202, 32) == [32, 32, 28, 28, 28, 28, 26]
