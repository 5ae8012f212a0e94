"""Examples of cameras come from Redis to a classifier at its next batch, and only what fits its model."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
from redis.asyncio import Redis

from services.classifier.examples import CameraExamples
from services.classifier.port import ModelFacts
from shared.contract import Column, ExampleSaid, ExamplesHeader, ExamplesMessage, LabelSet, examples_key
from shared.decisions.examples import NO_EXAMPLES
from shared.decisions.label_texts import LabelTexts

FACTS = ModelFacts("colours", 16, 4, 20.0)
DOGS = LabelSet(labels=("a dog",))
TEXTS = LabelTexts(
    (Column(text="a dog", kind="target"), Column(text="other", kind="other")),
    np.eye(2, 4, dtype=np.float32),
    n_targets=1,
    n_background=0,
    rivals=np.zeros((1, 1), np.bool_),
    against=np.ones((1, 1), np.bool_),
    shown=np.ones(1, np.bool_),
)
EVENT = "01890000-0000-7000-8000-000000000001"

pytestmark = pytest.mark.redis


async def write(redis: Redis, revision: int, n: int, model: str = "colours", dim: int = 4) -> None:
    said = tuple(ExampleSaid(event=EVENT, label="a dog", is_right=False) for _ in range(n))
    header = ExamplesHeader(camera="yard", model=model, embedding_dim=dim, unrelated=0.4, said=said)
    rows = np.eye(dim, dtype="<f2")[np.arange(n) % dim]
    fields = ExamplesMessage(header, revision, rows.tobytes()).encode()
    await cast(
        "Any", redis.hset(examples_key("yard", model), mapping=cast("Any", fields))
    )  # Any: redis-py's unions


async def test_a_new_revision_is_in_force_at_the_next_batch(redis_client: Redis) -> None:
    known = CameraExamples(redis_client, FACTS)
    await known.refresh({"yard", "gate"})
    assert known.of("yard", DOGS) is NO_EXAMPLES
    await write(redis_client, 1, 3)
    assert known.of("yard", DOGS) is NO_EXAMPLES
    await known.refresh({"yard", "gate"})
    found = known.of("yard", DOGS)
    assert len(found) == 3
    assert found.unrelated == pytest.approx(0.4)
    assert known.of("yard", DOGS) is found, "prepared once"
    assert known.of("gate", DOGS) is NO_EXAMPLES
    await write(redis_client, 2, 0)
    await known.refresh({"yard"})
    assert known.of("yard", DOGS) is NO_EXAMPLES


async def test_a_redis_that_lost_them_leaves_none(redis_client: Redis) -> None:
    known = CameraExamples(redis_client, FACTS)
    await write(redis_client, 7, 2)
    await known.refresh({"yard"})
    assert known.n_kept == 2
    await redis_client.delete(examples_key("yard", "colours"))
    await known.refresh({"yard"})
    assert known.n_kept == 0


async def test_a_redis_that_is_away_changes_nothing(redis_client: Redis) -> None:
    known = CameraExamples(redis_client, FACTS)
    await write(redis_client, 7, 2)
    await known.refresh({"yard"})
    away: Redis = Redis.from_url("redis://127.0.0.1:1/0", socket_connect_timeout=1)
    known._redis = away
    await known.refresh({"yard"})
    assert len(known.of("yard", DOGS)) == 2
    await away.aclose()


async def test_what_does_not_fit_is_left_out(redis_client: Redis) -> None:
    known = CameraExamples(redis_client, FACTS)
    await write(redis_client, 1, 2, model="another")
    await known.refresh({"yard"})
    assert known.n_kept == 0
    await write(redis_client, 1, 2, dim=8)
    await known.refresh({"yard"})
    assert known.of("yard", DOGS) is NO_EXAMPLES
    await cast("Any", redis_client.hset(examples_key("yard", "colours"), mapping={"revision": "5", "h": "{"}))
    await known.refresh({"yard"})
    assert known.of("yard", DOGS) is NO_EXAMPLES
