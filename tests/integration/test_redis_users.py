"""The users of Redis: the pipeline works with them, whole and through its faults, and nobody may do more."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry
from redis import Redis as BlockingRedis
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, ResponseError
from ruamel.yaml import YAML

from services.classifier.devices.choice import Gpu
from services.classifier.devices.leases import hold_gpu
from services.motion.leases.redis_leases import HeldLease, ProcessEntry, ReadUntil, RedisLeases
from services.motion.metrics import MotionMetrics
from services.motion.spool.outbox import Outbox
from services.motion.spool.publisher import Publisher
from services.motion.spool.receipts import ReceiptReader
from services.recorder.health.backlog import Backlog
from services.recorder.intake.orphans import remove_orphans
from services.recorder.intake.waiting import _DROP_NEWEST
from services.recorder.search.picture_requests import EmbeddedPictures, PictureEmbedder
from shared.contract import CLASSIFIERS, LABELS, MEDIA, RECORDERS, SNIPPETS, SnippetMessage
from shared.leases import LeaseSettings
from shared.presence import Presence, announce, follow_changes, list_processes
from shared.redis_client import make_redis
from shared.streams.consumer import Consumer
from shared.streams.outcomes import Dead, Delivery, Done, Outcome, Output, Retry
from shared.streams.settings import ConsumerSettings
from tests.integration.redis_users import PASSWORDS, USERS_SH, UsersRedisServer, users_file
from tests.programs import find_redis
from tests.servers import free_port, spawn, wait_until
from tests.unit.classifier.makers import RED, jpeg
from tests.unit.motion.videos import scene, write_video
from tests.unit.recorder.messages import Said, labels_message, media_message

pytestmark = [pytest.mark.redis, pytest.mark.timeout(200)]
ROOT = Path(__file__).parents[2]
SERVICES = ("motion", "classifier", "recorder")


@pytest.fixture(scope="module")
def server() -> Iterator[UsersRedisServer]:
    """One server for the module."""
    server = UsersRedisServer()
    server.start()
    yield server
    server.close()


@pytest.fixture(autouse=True)
def empty(server: UsersRedisServer) -> None:
    """Every test begins with nothing."""
    server.clear()


@pytest.fixture
async def clients(server: UsersRedisServer) -> AsyncIterator[dict[str, Redis]]:
    """A client of each service's user."""
    clients = {name: make_redis(server.url_of(name), socket_timeout=5) for name in SERVICES}
    yield clients
    for client in clients.values():
        await client.aclose()


# -- what works


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes that are ended after the test."""
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for process in started:
        process.kill()
        process.wait()


def test_the_whole_pipeline_works_with_a_user_for_each_service(
    server: UsersRedisServer, tmp_path: Path, processes: list[subprocess.Popen[bytes]]
) -> None:
    port = free_port()
    video = write_video(tmp_path / "a.mp4", scene(120, moves=range(40, 90)))
    for name in ("open_clip_config.json", "open_clip_model.safetensors"):  # only named
        (tmp_path / name).write_text("{}")
    camera = {
        "id": "cam", "url": str(video), "pace": "fast", "loop": False,
        "labels": ["red"], "background": ["black"], "starts_at": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    with (tmp_path / "cameras.yml").open("w") as file:
        YAML().dump({"cameras": [camera]}, file)
    modules = {
        "motion": "services.motion",
        "classifier": "tests.integration.simulated_classifier",
        "recorder": "services.recorder",
    }

    def start(name: str, **more: str) -> subprocess.Popen[bytes]:
        environment = {
            **os.environ,
            "REDIS_URL": f"redis://{name}@127.0.0.1:{server.port}/0",
            "REDIS_PASSWORD": PASSWORDS[name],
            "NO_PROXY": "*",
            "LOG_FORMAT": "json",
            "INSTANCE": f"{name}-1",
            **more,
        }
        process = spawn([sys.executable, "-m", modules[name]], tmp_path / f"{name}.txt", environment)
        processes.append(process)
        return process

    recorder = start(
        "recorder", DATABASE_URL=f"sqlite:///{tmp_path}/c.db", MEDIA_DIR=str(tmp_path / "media"),
        HTTP_PORT=str(port), WEATHER_PROVIDER="none",
    )  # fmt: skip
    classifier = start("classifier", SIMULATED_GPUS="GPU-1", MODEL=f"local-dir:{tmp_path}", DEVICE="cuda")
    motion = start("motion", CAMERAS_FILE=str(tmp_path / "cameras.yml"), DATA_DIR=str(tmp_path / "motion"))

    def page(path: str, **parameters: str) -> httpx.Response | None:
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"http://127.0.0.1:{port}{path}", params=parameters, timeout=20, trust_env=False)
        return None

    def is_recorded() -> bool:
        for name, process in (("recorder", recorder), ("classifier", classifier)):
            assert process.poll() is None, (tmp_path / f"{name}.txt").read_text()
        answer = page("/api/events", accepted_only="false")
        return answer is not None and answer.status_code == 200 and bool(answer.json()["events"])

    wait_until(is_recorded, 90, "an event is recorded")
    assert motion.wait(60) == 0, (tmp_path / "motion.txt").read_text()
    with contextlib.closing(server.client()) as admin:
        wait_until(lambda: not admin.xlen(SNIPPETS) + admin.xlen(LABELS) + admin.xlen(MEDIA), 60, "all done")
        assert admin.zcard("gpu-leases.v1") == 1
    embedded = asyncio.run(_embedded(server.url_of("recorder")))
    assert embedded.model == "colours"
    answer = page("/api/search", q="a red car")
    assert answer is not None
    assert answer.status_code == 200, answer.text
    for process in processes:
        process.send_signal(signal.SIGTERM)
    assert [process.wait(40) for process in processes] == [0, 0, 0]
    assert server.refusals() == []


async def _embedded(url: str) -> EmbeddedPictures:
    async with make_redis(url, socket_timeout=5) as redis:
        return await PictureEmbedder(redis, 20).ask([jpeg(RED)])


@pytest.mark.parametrize(
    ("user", "stream", "group", "source"),
    [("classifier", SNIPPETS, CLASSIFIERS, "motion"), ("recorder", LABELS, RECORDERS, "classifier")],
)
async def test_what_goes_wrong_is_settled_with_these_rights_too(
    user: str, stream: str, group: str, source: str, server: UsersRedisServer, clients: dict[str, Redis]
) -> None:
    """Retries, takeovers, uncharged waits, dead letters with receipts, consumers that are gone."""
    seen: list[int] = []
    stop = asyncio.Event()
    receipt = Output("receipts.v1", {b"a": b"b"}, 10)
    output = Output(LABELS, {b"a": b"b"}) if user == "classifier" else receipt

    async def handle(deliveries: Sequence[Delivery]) -> list[Outcome]:
        await consumer.uncharge(deliveries[0])
        seen.append(deliveries[0].attempts)
        if len(seen) < 3:
            return [Retry("not now", is_charged=len(seen) == 1)] * len(deliveries)
        if len(seen) == 3:
            return [Dead("never")] * len(deliveries)
        stop.set()
        return [Done((output,))] * len(deliveries)

    settings = ConsumerSettings(
        stream,
        group,
        "one",
        block_ms=50,
        min_idle_s=0.1,
        claim_every_s=0.1,
        max_attempts=3,
        forget_after_s=0.01,
    )
    consumer = Consumer(clients[user], settings, handle, on_dead=lambda _: (receipt,))
    await clients[source].xadd(stream, {"a": "b"})
    running = asyncio.create_task(consumer.run(stop))
    await _until(lambda: len(seen) == 3)
    await clients[source].xadd(stream, {"a": "b"})
    await asyncio.wait_for(running, 20)
    await consumer._entries.forget_consumers()
    with contextlib.closing(server.client()) as admin:
        assert admin.xlen(f"{stream}:dead") == 1
    assert server.refusals() == []


async def test_each_part_of_a_service_has_its_rights(
    server: UsersRedisServer, clients: dict[str, Redis], tmp_path: Path
) -> None:
    motion, classifier, recorder = (clients[name] for name in SERVICES)
    metrics = MotionMetrics(CollectorRegistry())
    outbox = Outbox(tmp_path / "outbox", 1 << 26, metrics)
    message = labels_message(Said()).header.snippet
    outbox.put(media_message(Said()), SnippetMessage(message, tuple(b"\xff\xd8" for _ in message.pictures)))
    assert await Publisher(outbox, motion, 10, "owner", metrics).send_one() == "sent"
    reader = ReceiptReader(outbox, motion, "owner", metrics)
    await recorder.xadd("receipts.v1", {"a": "b"})
    await reader.read()
    await reader.check()  # the mark is renewed
    with contextlib.closing(server.client()) as admin:
        admin.delete(SNIPPETS)
    await reader.check()  # gone: its mark is deleted, it is sent again
    assert await remove_orphans(recorder, 0) == 0
    assert [queue.stream for queue in await Backlog(CollectorRegistry()).look(recorder)] == [
        SNIPPETS,
        MEDIA,
        LABELS,
    ]
    assert "used_memory" in await recorder.info("memory")
    assert await recorder.register_script(_DROP_NEWEST)(keys=[MEDIA])
    stop = asyncio.Event()
    woken = asyncio.Event()
    following = asyncio.create_task(follow_changes(recorder, stop, woken.set))
    mine, theirs = Presence(service="motion", name="one"), Presence(service="classifier", name="one")
    there = [
        asyncio.create_task(announce(motion, lambda: mine, stop, lambda: stop)),
        asyncio.create_task(announce(classifier, lambda: theirs, stop, lambda: stop)),
    ]
    async with asyncio.timeout(60):
        while len(await list_processes(recorder)) < 2:
            await asyncio.sleep(0.02)
    gpu = Gpu(0, "Simulated 1", has_bf16=True, id="GPU-1", total_bytes=1, free_bytes=1)
    async with hold_gpu(classifier, [gpu], LeaseSettings("one", 3), stop, lambda _: None) as lease:
        assert lease.gpu == gpu
    leases = RedisLeases(motion, LeaseSettings("one", 3))
    claim = (await leases.claim({"gate": 1.0}))["gate"]
    assert (await leases.renew(ProcessEntry(), {"gate": HeldLease(claim.epoch, 1.0)})).leases["gate"].is_held
    await leases.release({"gate": (claim.epoch, ReadUntil.NOW)})
    await leases.leave()
    stop.set()
    await asyncio.gather(following, *there)
    assert await list_processes(recorder) == []
    assert server.refusals() == []


# -- what does not

NARROW = "redis 7"  # keys that may only be read, commands for some keys alone: older ones have no such thing
FORBIDDEN: list[tuple[str, str, tuple[str, ...]]] = [
    # nobody asks Redis about itself or changes it, sees all keys, or reads files
    *(
        (user, "", command)
        for user in SERVICES
        for command in (
            ("CONFIG", "GET", "*"),
            ("CONFIG", "SET", "dir", "/tmp"),
            ("ACL", "LIST"),
            ("ACL", "SETUSER", "x", "on"),
            ("FLUSHALL",),
            ("FLUSHDB",),
            ("KEYS", "*"),
            ("SCAN", "0"),
            ("SHUTDOWN",),
            ("SAVE",),
            ("MONITOR",),
            ("CLIENT", "LIST"),
            ("CLIENT", "KILL", "TYPE", "normal"),
            ("REPLICAOF", "127.0.0.1", "1"),
            ("MODULE", "LIST"),
            ("SCRIPT", "FLUSH"),
            ("EVAL", "return 1", "0"),
            ("FUNCTION", "LIST"),
            ("MIGRATE", "127.0.0.1", "1", "presence.v1", "0", "1"),
            ("RESTORE", "presence.v1", "0", "x"),
            ("SET", "other", "1"),
            ("XADD", "other.v1", "*", "a", "b"),
            ("PUBLISH", "other", "x"),
        )
    ),
    # motion adds; it takes nothing out, and forges neither answers nor receipts
    ("motion", "", ("XREADGROUP", "GROUP", "classifiers", "x", "STREAMS", "snippets.v1", ">")),
    ("motion", "", ("XDEL", "media.v1", "0-1")),
    ("motion", "", ("XTRIM", "snippets.v1", "MAXLEN", "0")),
    ("motion", "", ("XACK", "snippets.v1", "classifiers", "0-1")),
    ("motion", "", ("XADD", "texts.v1", "*", "a", "b")),
    ("motion", "", ("XADD", "pictures.v1", "*", "a", "b")),
    ("motion", "", ("XRANGE", "pictures.v1", "-", "+")),
    ("motion", "", ("XADD", "snippets.v1:dead", "*", "a", "b")),
    ("motion", NARROW, ("HGETALL", "presence.v1")),
    ("motion", "", ("DEL", "camera-leases.v1")),
    ("classifier", NARROW, ("HGETALL", "camera-leases.v1")),
    ("recorder", "", ("HGETALL", "camera-leases.v1")),
    ("recorder", "", ("HSET", "camera-leases.v1", "a", "b")),
    ("motion", "", ("SUBSCRIBE", "presence.v1")),
    ("motion", "", ("ZADD", "gpu-leases.v1", "1", "a")),
    ("motion", "", ("INFO",)),
    ("motion", NARROW, ("XADD", "labels.v1", "*", "a", "b")),
    ("motion", NARROW, ("DEL", "labels.v1")),
    ("motion", NARROW, ("XADD", "receipts.v1", "*", "a", "b")),
    # the classifier sees no clip, and deletes no stream
    ("classifier", "", ("XRANGE", "media.v1", "-", "+")),
    ("classifier", "", ("XADD", "media.v1", "*", "a", "b")),
    ("classifier", "", ("XDEL", "media.v1", "0-1")),
    ("classifier", "", ("XADD", "labels.v1:dead", "*", "a", "b")),
    ("classifier", "", ("DEL", "snippets.v1")),
    ("classifier", "", ("XGROUP", "DESTROY", "snippets.v1", "classifiers")),
    ("classifier", "", ("XGROUP", "SETID", "snippets.v1", "classifiers", "$")),
    ("classifier", "", ("GET", "clipwatch:published:a:b")),
    ("classifier", NARROW, ("HGETALL", "presence.v1")),
    ("classifier", "", ("INFO",)),
    # the recorder makes no snippets, and is nobody's presence
    ("recorder", "", ("XGROUP", "DESTROY", "labels.v1", "recorders")),
    ("recorder", "", ("GET", "clipwatch:published:a:b")),
    ("recorder", "", ("SET", "clipwatch:published:a:b", "recorded")),
    ("recorder", "", ("ZRANGE", "gpu-leases.v1", "0", "-1")),
    ("recorder", NARROW, ("HSET", "presence.v1", "a", "b")),
    ("classifier", NARROW, ("HSET", "examples.v1:gate:mini", "revision", "1")),
    ("motion", "", ("HSET", "examples.v1:gate:mini", "revision", "1")),
    ("motion", "", ("HGETALL", "examples.v1:gate:mini")),
    ("recorder", "", ("PUBLISH", "presence.v1", "a")),
    ("recorder", "", ("CONFIG", "GET", "maxmemory")),
    ("recorder", NARROW, ("XADD", "snippets.v1", "*", "a", "b")),
    ("recorder", NARROW, ("XDEL", "snippets.v1", "0-1")),
    ("recorder", NARROW, ("DEL", "snippets.v1:dead")),
    ("health", "", ("INFO",)),
    ("health", "", ("GET", "presence.v1")),
    ("health", "", ("EVAL", "return 1", "0")),
    ("health", "", ("EVALSHA", "0" * 40, "0")),
]


@pytest.mark.parametrize(
    ("user", "since", "command"),
    FORBIDDEN,
    ids=[f"{user} {' '.join(row)}"[:60] for user, _, row in FORBIDDEN],
)
def test_a_user_may_not(user: str, since: str, command: tuple[str, ...], server: UsersRedisServer) -> None:
    if since == NARROW and not server.is_narrow:
        pytest.skip("Redis 6.2 knows no keys that may only be read; compose's is 7.4")
    if command[0] == "FUNCTION" and not server.is_narrow:
        pytest.skip("Redis 6.2 has no functions")
    is_health = user == "health"
    with contextlib.closing(server.client() if is_health else server.client_of(user)) as client:
        if is_health:
            _ask(client, "AUTH", "health", "any")
        with pytest.raises(NoPermissionError):
            _ask(client, *command)


def test_nobody_comes_in_without_a_name_or_with_another_password(server: UsersRedisServer) -> None:
    with contextlib.closing(server.client()) as client:
        for name, password in (
            ("motion", PASSWORDS["recorder"]),
            ("default", ""),
            ("default", PASSWORDS["admin"]),
        ):
            with pytest.raises(AuthenticationError):
                _ask(client, "AUTH", name, password)
    with (
        contextlib.closing(BlockingRedis(port=server.port)) as client,
        pytest.raises((AuthenticationError, ResponseError)),
    ):
        client.ping()


def test_health_asks_whether_it_is_there(server: UsersRedisServer) -> None:
    with contextlib.closing(server.client()) as client:
        _ask(client, "AUTH", "health", "any")
        assert client.ping()


# -- the file


def test_the_file_holds_hashes_and_an_older_server_gets_keys_without_kinds(tmp_path: Path) -> None:
    for version, has_kinds in (("6.2.14", False), ("7.4.1", True), ("8.0.0", True)):
        program = tmp_path / f"redis-{version}"
        program.write_text(f"#!/bin/sh\necho 'Redis server v={version} sha=0:0 bits=64'\n")
        program.chmod(0o755)
        text = users_file(program, **PASSWORDS)
        assert ("%R~" in text) == has_kinds
        assert len(text.splitlines()) == 6
        assert not [secret for secret in PASSWORDS.values() if secret in text]
        assert "@ADMIN@" not in text


@pytest.mark.parametrize("missing", PASSWORDS)
def test_a_missing_password_is_a_sentence_and_no_user_without_one(missing: str) -> None:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        users_file(find_redis(), **{name: value for name, value in PASSWORDS.items() if name != missing})
    assert caught.value.stderr == f"users.sh: REDIS_{missing.upper()}_PASSWORD is not set\n"
    assert caught.value.returncode == 2


def test_every_command_of_a_script_is_somebodys_right() -> None:
    """A script that is added calls what no user may: the pipeline would find out in production."""
    template = (USERS_SH.parent / "users.acl.template").read_text()
    granted = {word.lstrip("+").partition("|")[0] for word in template.split() if word.startswith("+")}
    called = {
        name.lower()
        for folder in ("services", "shared")
        for path in (ROOT / folder).rglob("*.py")
        for name in re.findall(r"redis\.call\('([A-Z]+)'", path.read_text(encoding="utf-8"))
    }
    assert called
    assert called - granted == set()


def _ask(client: BlockingRedis, *command: str) -> Any:  # Any: whatever Redis answers
    return client.execute_command(*command)  # type: ignore[no-untyped-call]  # redis-py leaves it bare


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)
