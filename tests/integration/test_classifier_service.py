"""The classifier as a process: snippets in, labels out, over a real Redis; killed, poisoned, stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from redis import Redis

from shared.contract import CLASSIFIERS, LABELS, SNIPPETS, LabelsMessage, SnippetMessage
from shared.presence import KEY, Presence
from tests.servers import RedisServer, spawn, wait_until
from tests.unit.classifier.makers import BLUE, RED, jpeg, make_tiny_model, message

START_LIMIT_S = 90.0  # importing torch on a busy machine
ROOT = Path(__file__).resolve().parents[2]
MINI = Path(sys.prefix) / "share" / "clipwatch" / "models" / "mini"
Start = Callable[..., "subprocess.Popen[bytes]"]

pytestmark = [pytest.mark.redis, pytest.mark.e2e]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny", name="tiny", temperature=20.0)


@pytest.fixture
def start(redis_url: str, tmp_path: Path, tiny: Path) -> Iterator[Start]:
    """Start the service as a process; it is gone after the test."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(**environment: str) -> subprocess.Popen[bytes]:
        ours = {
            "REDIS_URL": redis_url,
            "MODEL": str(tiny),
            "LOG_FORMAT": "json",
            "INSTANCE": "one",
            "THREADS": "1",
        }
        inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        command = [sys.executable, "-m", "services.classifier"]
        started.append(
            spawn(command, tmp_path / "log", {**inherited, "PYTHONPATH": str(ROOT), **ours, **environment})
        )
        return started[-1]

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    client = Redis.from_url(redis_url)
    yield client
    client.close()


def send(redis: Redis, n_snippets: int, n_moments: int = 4) -> set[str]:
    """Publish snippets; return their event ids."""
    ids = set()
    for number in range(n_snippets):
        sent = message([[("frame", jpeg(BLUE)), ("crop", jpeg(RED))]] * n_moments, key=f"event {number}")
        ids.add(sent.header.event_id)
        publish(redis, sent)
    return ids


def publish(redis: Redis, sent: SnippetMessage) -> None:
    redis.xadd(SNIPPETS, cast("dict[Any, Any]", sent.encode()))  # Any: redis-py's field type is invariant


def labelled(redis: Redis) -> list[LabelsMessage]:
    entries = cast("list[tuple[bytes, dict[bytes, bytes]]]", redis.xrange(LABELS))
    return [LabelsMessage.decode(fields) for _, fields in entries]


def until_labelled(redis: Redis, n_snippets: int, process: subprocess.Popen[bytes]) -> None:
    def arrived() -> bool:
        assert process.poll() is None, "the classifier ended"
        return int(redis.xlen(LABELS)) >= n_snippets

    wait_until(arrived, START_LIMIT_S, f"{n_snippets} labels")


def test_snippets_become_labels_and_leave_the_stream(redis: Redis, start: Start) -> None:
    ids = send(redis, 5)
    process = start()
    until_labelled(redis, 5, process)
    found = labelled(redis)
    assert {one.header.snippet.event_id for one in found} == ids
    assert {one.header.model for one in found} == {"tiny"}
    assert all(len(one.header.moments) == 4 for one in found)
    wait_until(lambda: redis.xlen(SNIPPETS) == 0, what="an empty stream")
    assert redis.xpending(SNIPPETS, CLASSIFIERS)["pending"] == 0
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 0


def test_a_model_that_loads_is_told_until_it_is_ready(redis: Redis, start: Start) -> None:
    process = start()
    states: list[str] = []

    def is_ready() -> bool:
        assert process.poll() is None, "the classifier ended"
        said = cast("bytes | None", redis.hget(KEY, "classifier one"))
        if said is not None:
            states.append(Presence.model_validate_json(said.partition(b" ")[2]).state)
        return states[-1:] == ["ready"]

    wait_until(is_ready, START_LIMIT_S, "a classifier that is ready")
    assert set(states) == {"loading", "ready"}
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 0
    assert not redis.hexists(KEY, "classifier one")


@pytest.mark.slow  # shorter: test_streams.py, in one process
def test_a_poison_snippet_dies_alone(redis: Redis, start: Start) -> None:
    send(redis, 2)
    redis.xadd(SNIPPETS, {b"h": b"junk"})
    sent = message([[("crop", b"no picture")]], key="broken")
    publish(redis, sent)
    send(redis, 2)
    until_labelled(redis, 4, start())
    wait_until(lambda: redis.xlen(f"{SNIPPETS}:dead") == 2, what="two dead letters")
    assert redis.xlen(SNIPPETS) == 0


def test_killed_in_the_middle_every_snippet_is_labelled_exactly_once(redis: Redis, start: Start) -> None:
    ids = send(redis, 60, n_moments=12)
    first = start(BATCH_SNIPPETS="3", BATCH_PICTURES="4")
    until_labelled(redis, 5, first)
    first.kill()
    first.wait()
    n_before = redis.xlen(LABELS)
    assert n_before < len(ids), "killed too late to show anything"
    until_labelled(redis, len(ids), start())
    wait_until(lambda: redis.xlen(SNIPPETS) == 0, what="an empty stream")
    events = [one.header.snippet.event_id for one in labelled(redis)]
    assert sorted(events) == sorted(ids)


def test_what_cannot_start_says_so_in_one_line(start: Start, tmp_path: Path) -> None:
    for environment, says in (
        ({"MODEL": "mimi"}, "classifier: MODEL=mimi: not known"),
        ({"DEVICE": "cuda:7"}, "classifier: DEVICE=cuda:7: found no GPU"),
        ({"BATCH_PICTURES": "0"}, "classifier: environment: BATCH_PICTURES=0: must be 1..1024"),
    ):
        assert start(**environment).wait(timeout=START_LIMIT_S) == 2
        log = (tmp_path / "log").read_text()
        assert says in log
        assert "Traceback" not in log


@pytest.mark.slow  # shorter: test_streams_faults.py, in one process
def test_redis_that_restarts_is_waited_for(start: Start, own_redis: RedisServer) -> None:
    process = start(REDIS_URL=own_redis.url)
    client = Redis.from_url(own_redis.url)
    send(client, 2)
    until_labelled(client, 2, process)
    own_redis.kill()
    own_redis.start()
    send(client, 2)
    until_labelled(client, 4, process)
    client.close()


@pytest.mark.model
def test_the_offline_model_labels(redis: Redis, start: Start) -> None:
    assert MINI.is_dir(), f"{MINI}: the offline model is not there: make install"
    ids = send(redis, 3)
    until_labelled(redis, 3, start(MODEL="mini", MODELS_DIR=str(MINI.parent)))
    found = labelled(redis)
    assert {one.header.snippet.event_id for one in found} == ids
    assert {(one.header.model, one.header.embedding_dim) for one in found} == {("mini", 384)}
