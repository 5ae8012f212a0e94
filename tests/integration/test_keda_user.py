"""KEDA's user of Redis and the chart's triggers: what is asked is answered, with no classifier too, and nothing else.

What KEDA's scaler `redis-streams` asks: PING at the start; for a lag INFO, XINFO GROUPS, and where the group is missing
XLEN; for pending entries XPENDING.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, cast

import pytest
from redis import Redis as BlockingRedis
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, ResponseError

from shared.contract import CLASSIFIERS, PICTURES, SNIPPETS, TEXTS
from shared.redis_client import make_redis
from shared.streams.consumer import Consumer
from shared.streams.outcomes import Delivery, Done, Outcome
from shared.streams.settings import ConsumerSettings
from tests.helm import LEAST, merged, named, render
from tests.integration.redis_users import KEDA_PASSWORD, UsersRedisServer

pytestmark = [pytest.mark.redis, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def server() -> Iterator[UsersRedisServer]:
    """One server for the module."""
    server = UsersRedisServer(keda=KEDA_PASSWORD)
    server.start()
    if not server.is_narrow:
        server.close()
        pytest.skip("KEDA reads lags of Redis 7 and newer")
    yield server
    server.close()


@pytest.fixture(autouse=True)
def empty(server: UsersRedisServer) -> None:
    """Every test begins with nothing."""
    server.clear()


@pytest.fixture
def keda(server: UsersRedisServer) -> Iterator[BlockingRedis]:
    """The scaler's client."""
    with contextlib.closing(server.client_of("keda")) as client:
        yield client


@pytest.fixture
async def classifier(server: UsersRedisServer) -> AsyncIterator[Redis]:
    """A classifier's client."""
    client = make_redis(server.url_of("classifier"), socket_timeout=5)
    yield client
    await client.aclose()


@pytest.fixture(scope="module")
def triggers() -> list[dict[str, str]]:
    """The metadata of the chart's triggers."""
    objects = render(merged(LEAST, {"classifier": {"keda": {"enabled": True, "maxReplicas": 1}}}))
    scaled = named(objects, "ScaledObject", "clipwatch-classifier")
    return [trigger["metadata"] for trigger in scaled["spec"]["triggers"]]


def ask(client: BlockingRedis, *command: str) -> Any:  # Any: whatever Redis answers
    return client.execute_command(*command)  # type: ignore[no-untyped-call]  # redis-py leaves it bare


def counted(client: BlockingRedis, trigger: dict[str, str]) -> int:
    """Return what KEDA counts for a trigger; raises what its user may not ask."""
    stream, group = trigger["stream"], trigger["consumerGroup"]
    assert client.ping()
    if "pendingEntriesCount" in trigger:
        return int(cast("Any", client.xpending(stream, group))["pending"])
    assert "redis_version" in client.info()
    try:
        groups = client.xinfo_groups(stream)
    except ResponseError as exc:
        if str(exc) == "no such key":
            return 0
        raise
    for found in groups:
        if found["name"] == group.encode():
            assert found["lag"] is not None, "Redis does not know it: KEDA would take it for nothing"
            return int(found["lag"])
    return int(client.xlen(stream))


def refusals(server: UsersRedisServer) -> list[str]:
    """Return what was refused, but for the client's own name: like KEDA's, it goes on without."""
    return [line for line in server.refusals() if "client|setinfo" not in line]


def add(server: UsersRedisServer, user: str, stream: str, n: int) -> None:
    with contextlib.closing(server.client_of(user)) as client:
        for _ in range(n):
            client.xadd(stream, {"a": "b"})


async def classify(classifier: Redis, n: int) -> None:
    """Settle n snippets as a classifier does, with its own loop."""
    seen: list[Delivery] = []
    stop = asyncio.Event()

    async def handle(deliveries: Sequence[Delivery]) -> list[Outcome]:
        seen.extend(deliveries)
        if len(seen) == n:
            stop.set()
        return [Done(())] * len(deliveries)

    settings = ConsumerSettings(SNIPPETS, CLASSIFIERS, "one", block_ms=50, forget_after_s=0.01)
    consumer = Consumer(classifier, settings, handle)
    await asyncio.wait_for(consumer.run(stop), 60)
    await consumer._entries.forget_consumers()


def test_the_triggers_are_of_snippets_alone(triggers: list[dict[str, str]]) -> None:
    """The recorder deletes a search's request unread after seconds: a poll misses it, or its lag stays for good."""
    assert [trigger["stream"] for trigger in triggers] == [SNIPPETS, SNIPPETS]
    assert {trigger["consumerGroup"] for trigger in triggers} == {CLASSIFIERS}
    assert ["lagCount" in trigger for trigger in triggers] == [True, False]


async def test_what_waits_is_counted_before_the_first_classifier_and_after_the_last_one(
    server: UsersRedisServer, keda: BlockingRedis, classifier: Redis, triggers: list[dict[str, str]]
) -> None:
    lag, pending = triggers
    assert counted(keda, lag) == 0  # no stream
    add(server, "motion", SNIPPETS, 3)
    assert counted(keda, lag) == 3  # no group
    await classify(classifier, 3)
    assert (counted(keda, lag), counted(keda, pending)) == (0, 0)
    add(server, "motion", SNIPPETS, 2)
    assert (counted(keda, lag), counted(keda, pending)) == (2, 0)  # no consumer
    await classifier.xreadgroup(CLASSIFIERS, "two", {SNIPPETS: ">"}, count=2)
    assert (counted(keda, lag), counted(keda, pending)) == (0, 2)  # taken, not finished: the last one stays
    assert refusals(server) == []


async def test_a_redis_that_was_emptied_is_counted_too(
    server: UsersRedisServer, keda: BlockingRedis, classifier: Redis, triggers: list[dict[str, str]]
) -> None:
    add(server, "motion", SNIPPETS, 2)
    await classify(classifier, 2)
    with contextlib.closing(server.client()) as admin:
        admin.flushall()
    add(server, "motion", SNIPPETS, 4)
    assert counted(keda, triggers[0]) == 4
    await classify(classifier, 4)
    assert counted(keda, triggers[0]) == 0


FORBIDDEN = [
    *(
        (command, stream, *rest)
        for stream in (SNIPPETS, TEXTS, PICTURES)
        for command, *rest in (
            ("XRANGE", "-", "+"),
            ("XADD", "*", "a", "b"),
            ("XDEL", "0-1"),
            ("XTRIM", "MAXLEN", "0"),
            ("DEL",),
            ("XACK", CLASSIFIERS, "0-1"),
            ("XCLAIM", CLASSIFIERS, "x", "0", "0-1"),
        )
    ),
    ("XREAD", "STREAMS", SNIPPETS, "0"),
    ("XREADGROUP", "GROUP", CLASSIFIERS, "x", "STREAMS", SNIPPETS, ">"),
    ("XGROUP", "CREATE", SNIPPETS, "other", "0"),
    ("XGROUP", "DESTROY", SNIPPETS, CLASSIFIERS),
    ("XINFO", "STREAM", SNIPPETS),
    ("XINFO", "CONSUMERS", SNIPPETS, CLASSIFIERS),
    *(
        (*command, stream, *rest)
        for stream in (TEXTS, PICTURES)
        for command, *rest in (
            (("XLEN",),),
            (("XINFO", "GROUPS"),),
            (("XPENDING",), CLASSIFIERS),
        )
    ),
    ("XLEN", "labels.v1"),
    ("XLEN", "media.v1"),
    ("XINFO", "GROUPS", "labels.v1"),
    ("XPENDING", "labels.v1", "recorders"),
    ("XLEN", "snippets.v1:dead"),
    ("HGETALL", "presence.v1"),
    ("PUBLISH", "presence.v1", "a"),
    ("KEYS", "*"),
    ("SCAN", "0"),
    ("CONFIG", "GET", "*"),
    ("ACL", "LIST"),
    ("FLUSHALL",),
    ("EVAL", "return 1", "0"),
    ("CLIENT", "LIST"),
    ("MONITOR",),
]


@pytest.mark.parametrize("command", FORBIDDEN, ids=lambda command: " ".join(command)[:60])
def test_the_scaler_may_do_nothing_else(command: tuple[str, ...], keda: BlockingRedis) -> None:
    with pytest.raises(NoPermissionError):
        ask(keda, *command)
