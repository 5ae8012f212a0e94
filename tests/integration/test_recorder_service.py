"""`python -m services.recorder` as a process: killed, cut off from its servers, asked over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis as SyncRedis
from redis.asyncio import Redis
from sqlalchemy import text

from services.recorder import report
from services.recorder.record.database import Database
from services.recorder.record.engines import make_engine
from shared.clock import now_utc
from shared.contract import LABELS, MEDIA, RECORDERS, SNIPPETS
from tests.servers import HOST, MariaDBServer, RedisServer, free_port, spawn, wait_until
from tests.unit.recorder.messages import CLIP, THUMBNAIL, Said, append, labels_message, media_message, send
from tests.unit.recorder.meteo import Meteo, meteo_server
from tests.unit.recorder.openweather import KEY, weather_server


@dataclass
class Recorder:
    """The service as a child process."""

    folder: Path
    redis_url: str
    database_url: str
    environment: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def media(self) -> Path:
        return self.folder / "media"

    @property
    def log(self) -> str:
        return (self.folder / "log.txt").read_text()

    def start(self, is_ready: bool = True) -> Recorder:
        environment = {
            **os.environ,
            "REDIS_URL": self.redis_url,
            "DATABASE_URL": self.database_url,
            "MEDIA_DIR": str(self.media),
            "INDEX_DIR": str(self.folder / "index"),
            "HTTP_PORT": str(self.port),
            "WEATHER_PROVIDER": "none",
            "MIN_IDLE_S": "1",
            "NO_PROXY": "*",
            "LOG_FORMAT": "json",
            **self.environment,
        }
        self.process = spawn(
            [sys.executable, "-m", "services.recorder"], self.folder / "log.txt", environment
        )
        if is_ready:
            wait_until(self.is_ready, 60, f"the recorder on {self.database_url.split(':')[0]} is ready")
        return self

    def is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{self.url}/readyz", timeout=5, trust_env=False).status_code == 200
        return False

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def metric(self, name: str) -> float:
        found = [
            line for line in httpx.get(f"{self.url}/metrics").text.splitlines() if line.startswith(name + " ")
        ]
        return float(found[0].split()[-1])

    def stream(self) -> Generator[tuple[str, dict[str, object]], None, None]:
        """Yield the stream's events by name until it ends."""
        with httpx.stream("GET", f"{self.url}/api/stream", timeout=30) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            name = ""
            for line in answer.iter_lines():
                if line.startswith("event: "):
                    name = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    yield name, json.loads(line.removeprefix("data: "))


async def holds(condition: Callable[[], object], limit_s: float = 60, what: str = "the condition") -> None:
    """Wait for a condition without holding up the loop."""
    await asyncio.to_thread(wait_until, lambda: bool(condition()), limit_s, what)


async def settled(redis: Redis, limit_s: float = 60) -> None:
    """Wait until the queue is empty and nothing is in hand."""
    async with asyncio.timeout(limit_s):
        while await redis.xlen(LABELS):
            await asyncio.sleep(0.02)


@pytest.fixture(params=["sqlite", pytest.param("mariadb", marks=pytest.mark.slow)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/clipwatch.db"
    return str(request.getfixturevalue("mariadb_url"))


@contextlib.contextmanager
def started(folder: Path, redis_url: str, **environment: str) -> Iterator[Recorder]:
    """Run a recorder with its record in `folder` and its files beside it, until the block ends."""
    (folder / "recorder").mkdir()
    made = Recorder(folder / "recorder", redis_url, f"sqlite:///{folder}/clipwatch.db", environment)
    yield made.start()
    if made.process is not None and made.process.poll() is None:
        made.kill()


@pytest.fixture
def recorder(tmp_path: Path, redis_url: str) -> Iterator[Recorder]:
    recorder = Recorder(tmp_path, redis_url, f"sqlite:///{tmp_path}/clipwatch.db")
    yield recorder
    if recorder.process is not None and recorder.process.poll() is None:
        recorder.kill()


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client: Redis = Redis.from_url(redis_url)
    yield client
    await client.aclose()


async def test_whether_a_classifier_is_due_is_a_figure(recorder: Recorder, redis: Redis) -> None:
    """Grafana's rule *Service down* follows it."""
    recorder.environment = {"CLASSIFIER_START_S": "1"}
    recorder.start()
    await holds(lambda: recorder.metric("clipwatch_classifier_due_ratio") == 0, what="none is due")
    await redis.xadd(SNIPPETS, {"waits": "for a classifier"})
    await holds(lambda: recorder.metric("clipwatch_classifier_due_ratio") == 1, what="one is due")
    await redis.delete(SNIPPETS)
    await holds(lambda: recorder.metric("clipwatch_classifier_due_ratio") == 0, what="none is due again")
    assert recorder.stop() == 0
    recorder.environment = {}
    recorder.start()  # until it is ready, which it is after a look at the queue
    assert recorder.metric("clipwatch_classifier_due_ratio") == 1


# -- nothing lost, nothing doubled


async def test_killed_again_and_again_each_snippet_is_recorded_once(
    recorder: Recorder, redis: Redis, database_url: str
) -> None:
    recorder.database_url = database_url
    said = [
        Said(event=e, snippet=s, is_last=s == 2, accepted=[("a dog", 0.5 + s / 10)])
        for e in range(120)
        for s in range(3)
    ]
    clip = CLIP * 20
    for one in said[:300]:  # seconds of work: a kill that this test is slow to send comes amid it, too
        await send(redis, one, clip)
    engine = make_engine(database_url)
    n_recorded = 0
    for round_number in range(3):
        recorder.start()
        for one in said[300 + 20 * round_number : 320 + 20 * round_number]:
            await send(redis, one, clip)
        goal = n_recorded + 10
        async with asyncio.timeout(60):
            while (n_recorded := (await report.totals(engine)).snippets) < goal:
                await asyncio.sleep(0.005)
        recorder.kill()
    assert await redis.xlen(LABELS) > 0, "the kills came too late to show anything"
    recorder.start()
    await settled(redis)
    recorded = await report.event_records(engine)
    await engine.dispose()
    assert len(recorded) == 120
    assert all([s.snippet for s in event.snippets] == [0, 1, 2] and not event.is_open for event in recorded)
    assert {(event.label, event.probability) for event in recorded} == {("a dog", 0.7)}
    files = [path for path in recorder.media.rglob("*") if path.is_file()]
    assert len(files) == 2 * len(said)
    assert all(p.read_bytes() == (clip if p.suffix == ".mp4" else THUMBNAIL) for p in files)
    assert await redis.xlen(MEDIA) == 0
    assert await redis.xlen(f"{LABELS}:dead") == 0
    assert recorder.stop() == 0


async def test_database_that_goes_away_costs_no_message(
    recorder: Recorder, redis: Redis, own_mariadb: MariaDBServer
) -> None:
    recorder.database_url = own_mariadb.url(own_mariadb.new_database())
    recorder.environment = {"MAX_ATTEMPTS": "2", "MIN_IDLE_S": "1"}
    recorder.start()
    await send(redis, Said(event=0))
    await settled(redis)
    own_mariadb.kill()
    for event in range(1, 4):
        await send(redis, Said(event=event))
    await holds(lambda: not recorder.is_ready(), what="readiness follows the database")
    waited = now_utc() + timedelta(seconds=4)  # several times min_idle: attempts would be used up
    await holds(lambda: now_utc() > waited)
    assert httpx.get(f"{recorder.url}/healthz").status_code == 200
    assert httpx.get(f"{recorder.url}/api/events").status_code == 503
    own_mariadb.start()
    await settled(redis)
    await holds(recorder.is_ready)
    assert await redis.xlen(f"{LABELS}:dead") == 0
    assert httpx.get(f"{recorder.url}/api/stats").json()["events"] == 4
    assert "the database is back" in recorder.log


@pytest.mark.slow  # shorter: a database that goes away costs no message
async def test_stop_while_the_database_is_away_leaves_the_message(
    recorder: Recorder, redis: Redis, own_mariadb: MariaDBServer
) -> None:
    recorder.database_url = own_mariadb.url(own_mariadb.new_database())
    recorder.start()
    own_mariadb.kill()
    await send(redis, Said())
    await holds(lambda: "the database is away" in recorder.log)
    assert recorder.stop() == 0
    assert await redis.xlen(LABELS) == 1
    own_mariadb.start()
    recorder.start()
    await settled(redis)
    assert httpx.get(f"{recorder.url}/api/stats").json()["events"] == 1


@pytest.mark.slow  # shorter: a stop while the database is away
async def test_a_stop_while_another_program_holds_the_lock_is_in_time_and_charges_nothing(
    recorder: Recorder, redis: Redis
) -> None:
    recorder.environment = {"DRAIN_S": "5", "MAX_ATTEMPTS": "2"}
    recorder.start()
    other = sqlite3.connect(recorder.folder / "clipwatch.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for event in range(3):
        await send(redis, Said(event=event))
    for _ in range(3):
        await holds(lambda: any((recorder.media / ".incoming").iterdir()), what="a message is in hand")
        await holds(lambda: not recorder.is_ready(), what="readiness follows the lock")
        started = time.monotonic()
        assert recorder.stop() == 0, recorder.log
        assert time.monotonic() - started < 5 + 4  # the drain, and closing on a loaded machine
        recorder.start(is_ready=False)
    other.close()
    await settled(redis)
    assert await redis.xlen(f"{LABELS}:dead") == 0
    assert httpx.get(f"{recorder.url}/api/stats").json()["events"] == 3
    assert "the drain ran out" not in recorder.log


@pytest.mark.slow  # shorter: test_stop.py
async def test_a_stop_at_any_moment_of_the_start_ends_with_0(recorder: Recorder, redis: Redis) -> None:
    for event in range(5):
        await send(redis, Said(event=event))
    recorder.environment = {"DRAIN_S": "5"}
    for moment in ('"listening"', '"ready"'):
        recorder.start(is_ready=False)
        recorder.folder.joinpath("log.txt").write_text("")
        await holds(lambda moment=moment: moment in recorder.log)  # type: ignore[misc]  # bound in the loop
        assert recorder.stop() == 0, recorder.log
    assert "the drain ran out" not in recorder.log


async def test_redis_that_restarts_costs_no_message(tmp_path: Path, own_redis: RedisServer) -> None:
    recorder = Recorder(tmp_path, own_redis.url, f"sqlite:///{tmp_path}/c.db")
    client: Redis = Redis.from_url(own_redis.url)
    try:
        recorder.start()
        await send(client, Said(event=0))
        await settled(client)
        own_redis.restart()
        await client.connection_pool.disconnect()
        await send(client, Said(event=1))
        await settled(client)
        await holds(lambda: httpx.get(f"{recorder.url}/api/stats").json()["events"] == 2)
    finally:
        await client.aclose()
        if recorder.process is not None:
            recorder.kill()


async def test_broken_message_goes_to_the_dead_letters_alone(recorder: Recorder, redis: Redis) -> None:
    await append(redis, LABELS, {b"h": b"{"})
    await send(redis, Said(event=0))
    far = labels_message(Said(event=1))
    await append(
        redis, LABELS, {**far.encode(), b"probabilities": b"\xff\x7f" * (len(far.probabilities) // 2)}
    )
    await send(redis, Said(event=2))
    recorder.start()
    await settled(redis)
    dead: Any = await redis.xrange(f"{LABELS}:dead")  # Any: redis-py\'s wide unions
    reasons = [json.loads(fields[b"dead"])["reason"] for _, fields in dead]
    assert "LabelsHeader" in reasons[0]
    assert "probabilities" in reasons[1]
    assert httpx.get(f"{recorder.url}/api/stats").json()["events"] == 2


async def test_event_without_its_clip_is_recorded_all_the_same(recorder: Recorder, redis: Redis) -> None:
    ids = ["", "99-1", await append(redis, MEDIA, media_message(Said(event=2)).encode())]
    for event, media_id in enumerate(ids):
        said = Said(event=event, accepted=[("a dog", 0.9)], snippet=1 if event == 2 else 0)
        await append(redis, LABELS, labels_message(said, media_id).encode())
    recorder.start()
    await settled(redis)
    found = httpx.get(f"{recorder.url}/api/events").json()["events"]
    assert [event["thumbnail_url"] for event in found] == [None] * 3
    assert httpx.get(f"{recorder.url}/api/stats").json()["lost_clips"] == 3
    counted = {
        r: recorder.metric(f'clipwatch_media_lost_total{{reason="{r}"}}') for r in ("none", "gone", "broken")
    }
    assert counted == {"none": 1, "gone": 1, "broken": 1}


@pytest.mark.slow  # shorter: many recorders agree in test_recorder_record.py
async def test_two_recorders_share_the_work(
    recorder: Recorder, redis: Redis, mariadb_url: str, tmp_path: Path
) -> None:
    (tmp_path / "second").mkdir()
    second = Recorder(
        tmp_path / "second",
        recorder.redis_url,
        mariadb_url,
        {"MEDIA_DIR": str(recorder.media), "BATCH_MAX": "1"},
    )
    recorder.database_url, recorder.environment = mariadb_url, {"BATCH_MAX": "1"}
    recorder.start(is_ready=False)
    second.start()
    await holds(recorder.is_ready)
    for event in range(30):
        for snippet in range(2):
            await send(redis, Said(event=event, snippet=snippet, is_last=snippet == 1))
    await settled(redis)
    shares = [r.metric('clipwatch_snippets_recorded_total{kind="new"}') for r in (recorder, second)]
    assert sum(shares) == 60
    assert min(shares) > 0
    assert httpx.get(f"{second.url}/api/stats").json()["events"] == 30
    second.kill()


# -- HTTP


async def fill(recorder: Recorder) -> Recorder:
    """Start a recorder on five events."""
    redis: Redis = Redis.from_url(recorder.redis_url)
    for event in range(5):
        await send(redis, Said(event=event, is_last=True, accepted=[("a dog", 0.9)] if event % 2 else []))
    recorder.start()
    await settled(redis)
    await redis.aclose()
    return recorder


@pytest.fixture
async def filled(recorder: Recorder) -> Recorder:
    return await fill(recorder)


@pytest.fixture(scope="module")
def filled_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorder]:
    """A recorder with a Redis of its own, for all tests that only read."""
    server = RedisServer()
    server.start()
    folder = tmp_path_factory.mktemp("filled")
    recorder = asyncio.run(fill(Recorder(folder, server.url, f"sqlite:///{folder}/clipwatch.db")))
    yield recorder
    recorder.kill()
    server.close()


def test_clip_is_served_by_ranges(filled_once: Recorder) -> None:
    with httpx.Client(base_url=filled_once.url) as client:
        url = client.get("/api/events").json()["events"][0]["clip_url"]
        whole = client.get(url)
        assert (whole.status_code, whole.content, whole.headers["content-type"]) == (200, CLIP, "video/mp4")
        assert whole.headers["accept-ranges"] == "bytes"
        assert whole.headers["cache-control"] == "private, no-cache"
        part = client.get(url, headers={"range": "bytes=100-199"})
        assert (part.status_code, part.content) == (206, CLIP[100:200])
        assert part.headers["content-range"] == f"bytes 100-199/{len(CLIP)}"
        assert client.get(url, headers={"range": "bytes=-7"}).content == CLIP[-7:]
        assert client.get(url, headers={"range": f"bytes={len(CLIP) - 3}-"}).content == CLIP[-3:]
        beyond = client.get(url, headers={"range": "bytes=999999-"})
        assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{len(CLIP)}")
        etag = whole.headers["etag"]
        assert client.get(url, headers={"if-none-match": etag}).status_code == 304
        assert client.get(url, headers={"range": "bytes=0-1", "if-range": etag}).status_code == 206
        assert client.get(url, headers={"range": "bytes=0-1", "if-range": '"old"'}).status_code == 200
        head = client.head(url)
        assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(CLIP)))
        assert client.get(url.replace(".mp4", ".jpg")).headers["content-type"] == "image/jpeg"


def test_nothing_but_media_is_served_from_the_media_folder(filled_once: Recorder) -> None:
    (filled_once.media / "secret.mp4").write_text("secret")
    with httpx.Client(base_url=filled_once.url) as client:
        for path in (
            "secret.mp4",
            "..%2fclipwatch.db",
            "2026/05/04/..%2f..%2fsecret.mp4",
            "",
            "%00",
            "2026/05/04/",
        ):
            answer = client.get(f"/media/{path}")
            assert answer.status_code == 404, path
            assert set(answer.json()["error"]) == {"found", "wanted", "do"}


def test_events_are_paged_and_filtered(filled_once: Recorder) -> None:
    with httpx.Client(base_url=filled_once.url) as client:
        assert len(client.get("/api/events").json()["events"]) == 2
        first = client.get("/api/events", params={"accepted_only": "false", "limit": 3}).json()
        rest = client.get(
            "/api/events", params={"accepted_only": "false", "limit": 3, "before": first["next"]}
        ).json()
        ids = [event["id"] for event in first["events"] + rest["events"]]
        assert ids == [Said(event=event).event_id for event in (4, 3, 2, 1, 0)]
        assert rest["next"] is None
        assert (
            client.get("/api/events", params={"label": "a dog", "camera": "elsewhere"}).json()["events"] == []
        )
        assert (
            client.get("/api/events", params={"open": "true", "accepted_only": "false"}).json()["events"]
            == []
        )
        since = {"since": "2026-05-04T03:05:00Z", "accepted_only": "false"}
        assert len(client.get("/api/events", params=since).json()["events"]) == 2
        detail = client.get(f"/api/events/{ids[1]}").json()
        assert detail["detections"][0]["label"] == "a dog"
        assert detail["snippets"][0]["clip_url"] == detail["clip_url"]
        assert len(detail["frames"][0]["moments"]) == 4
        assert [named["name"] for named in client.get("/api/record/cameras").json()] == ["gate"]
        assert [named["name"] for named in client.get("/api/record/labels").json()] == ["a dog"]


FAULTS = [
    ("/api/events?limit=0", 400),
    ("/api/events?before=yesterday", 400),
    ("/api/events?before=999999999999999_01a20737-a13f-7a3f-985f-0c762e23e34a", 200),
    ("/api/events?since=monday", 400),
    ("/api/events?since=2020", 400),  # no seconds since 1970
    ("/api/events?since=2026-01-01", 400),
    ("/api/events?until=1767225600", 400),
    ("/api/events?until=2026-01-01T00:00:00%2B01:00", 200),
    ("/api/events?since=0001-01-01T00:00:00%2B14:00", 400),
    ("/api/events?labels=a+dog", 400),
    ("/api/events?camera=gate&camera=yard", 400),
    ("/api/search?q=a+dog&lable=x", 400),
    ("/api/stats?x=1", 400),
    ("/?camera=gate&anything=x", 200),  # the page's own address
    ("/api/events?since=2026-01-01T00:00:00", 400),
    ("/api/events?label=%00", 200),
    ("/api/events/nothing", 404),
    ("/api/nothing", 404),
    ("/web/../api.py", 404),
    ("/web/api.py", 404),
]


def test_faults_say_found_wanted_do(filled_once: Recorder) -> None:
    for path, status in FAULTS:
        answer = httpx.get(f"{filled_once.url}{path}")
        assert answer.status_code == status, path
        if status != 200:
            assert all(answer.json()["error"][part] for part in ("found", "wanted", "do")), path


def test_page_and_api_description_are_served_safely(filled_once: Recorder) -> None:
    with httpx.Client(base_url=filled_once.url) as client:
        page = client.get("/")
        assert page.status_code == 200
        assert page.headers["content-type"].startswith("text/html")
        for path in (
            "/",
            "/web/app.js",
            "/web/app.css",
            "/api/events",
            "/media/x",
            "/healthz",
            "/api/nothing",
        ):
            headers = client.get(path).headers
            assert "script-src 'self'" in headers["content-security-policy"]
            assert headers["x-content-type-options"] == "nosniff"
        assert client.get("/", headers={"if-none-match": page.headers["etag"]}).status_code == 304
        paths = client.get("/api/openapi.json").json()["paths"]
        assert {"/api/events", "/api/events/{event_id}", "/api/stream", "/media/{name}"} <= set(paths)


async def test_stream_tells_new_events_and_changes(filled: Recorder, redis: Redis) -> None:
    told: list[tuple[str, dict[str, object]]] = []

    def listen() -> None:
        with contextlib.suppress(httpx.HTTPError):
            for name, data in filled.stream():
                told.append((name, data))

    listening = asyncio.create_task(asyncio.to_thread(listen))
    try:
        await holds(lambda: told and told[0][0] == "hello")
        await send(redis, Said(event=9, snippet=0, accepted=[("a dog", 0.6)]))
        await holds(lambda: any(data.get("probability") == 0.6 for _, data in told), 10)
        await send(redis, Said(event=9, snippet=1, is_last=True, accepted=[("a dog", 0.8)]))
        await holds(lambda: any(data.get("probability") == 0.8 for _, data in told), 10)
        assert filled.metric("clipwatch_page_streams_open") == 1
        database = Database(make_engine(filled.database_url))  # what another recorder wrote is told as well
        async with database.writing() as connection:
            await connection.execute(
                text("UPDATE events SET camera = 'renamed', updated_at = :now WHERE id = :id"),
                {"now": now_utc().replace(tzinfo=None).isoformat(" "), "id": Said(event=9).event_id},
            )
        await database.close()
        await holds(lambda: any(data.get("camera") == "renamed" for _, data in told), 10)
        changes = [data["updated_at"] for _, data in told if data.get("id") == Said(event=9).event_id]
        assert len(changes) == len(set(changes)) == 3  # each change once
        assert filled.stop() == 0  # a page that listens does not hold up the end
    finally:
        filled.kill()
        await listening


def test_too_many_pages_are_told_so(recorder: Recorder) -> None:
    recorder.environment = {"STREAMS_MAX": "1"}
    recorder.start()
    with contextlib.closing(recorder.stream()) as first, contextlib.closing(recorder.stream()) as second:
        assert next(first)[0] == "hello"
        assert next(second)[0] == "full", recorder.log


# -- weather


@pytest.fixture
def meteo() -> Iterator[Meteo]:
    with meteo_server() as server:
        yield server


async def test_openweather_gives_weather_and_its_key_is_in_no_log(recorder: Recorder, redis: Redis) -> None:
    with weather_server() as weather:
        weather.current["dt"] = int(now_utc().timestamp())
        recorder.environment = {
            "WEATHER_PROVIDER": "openweather",
            "OPENWEATHER_KEY": KEY,
            "WEATHER_URL": weather.url,
            "LOG_LEVEL": "DEBUG",
        }
        weather.mode = "echo"  # refuses, and says the key back
        place, now = (52.5171, 13.3889), now_utc()
        recorder.start()
        await send(redis, Said(event=0, start=now, place=place, accepted=[("a dog", 0.9)]))
        await holds(lambda: "refused a question" in recorder.log, what="the refusal is logged")
        weather.mode = "fine"
        await send(
            redis, Said(event=0, start=now, place=(48.1, 11.6), camera="yard", accepted=[("a dog", 0.9)])
        )
        await holds(
            lambda: [
                event
                for event in httpx.get(f"{recorder.url}/api/events?camera=yard").json()["events"]
                if event["weather"]
            ],
            what="the weather is there",
        )
        said = httpx.get(f"{recorder.url}/api/events?camera=yard").json()["events"][0]["weather"]
        metrics = httpx.get(f"{recorder.url}/metrics").text
    assert (said["provider"], said["words"], said["temperature_c"]) == ("openweather", "rain", 17.3)
    assert "OpenWeather" in said["attribution"]
    assert recorder.stop() == 0
    assert "***" in recorder.log
    assert KEY not in recorder.log + metrics


@pytest.mark.slow  # shorter: OpenWeather's, and the unit tests of weather
async def test_weather_comes_later_and_only_where_there_is_a_place(
    recorder: Recorder, redis: Redis, meteo: Meteo
) -> None:
    recorder.environment = {
        "WEATHER_PROVIDER": "open_meteo",
        "WEATHER_URL": meteo.url,
        "WEATHER_MAX_AGE_H": "24",
    }
    meteo.mode = "broken"
    now = now_utc()
    place = (52.5171, 13.3889)
    await send(redis, Said(event=0, start=now, place=place, accepted=[("a dog", 0.9)]))
    await send(redis, Said(event=1, start=now, place=place, accepted=[("a dog", 0.9)]))
    await send(
        redis, Said(event=0, start=now - timedelta(hours=5), place=place, camera="old", accepted=[("x", 0.9)])
    )
    await send(redis, Said(event=0, start=now - timedelta(hours=30), place=place, camera="older"))
    await send(redis, Said(event=0, start=now, camera="nowhere", accepted=[("a dog", 0.9)]))
    recorder.start()
    await settled(redis)

    def weathers() -> dict[str, list[object]]:
        found: dict[str, list[object]] = {}
        for event in httpx.get(f"{recorder.url}/api/events?accepted_only=false").json()["events"]:
            found.setdefault(event["camera"], []).append(event["weather"] and event["weather"]["words"])
        return found

    assert {str(words) for part in weathers().values() for words in part} == {
        "None"
    }  # recorded without waiting for it
    await holds(lambda: meteo.asked)
    recorder.kill()  # what lacks weather is found again after a restart
    meteo.mode = "fine"
    recorder.start()
    wanted = {"gate": ["slight rain"] * 2, "old": ["slight rain"], "older": [None], "nowhere": [None]}
    await holds(lambda: weathers() == wanted, what="the weather is completed")
    asked = len(meteo.asked)
    await send(redis, Said(event=2, start=now, place=(52.5169, 13.3891), accepted=[("a dog", 0.9)]))
    await holds(lambda: weathers()["gate"] == ["slight rain"] * 3)
    assert len(meteo.asked) == asked, "the weather of a place is asked for once in 10 minutes"
    event = httpx.get(f"{recorder.url}/api/events").json()["events"][0]
    assert event["weather"]["attribution"].startswith("Weather data by Open-Meteo")
    assert event["weather"]["icon"] == "🌧️"


# -- the start


def test_bad_settings_are_listed_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    environment = {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": "postgresql://me:geheim@h/d",
        "MEDIA_DIR": str(tmp_path / "file" / "media"),
    }
    done = subprocess.run(
        [sys.executable, "-m", "services.recorder", "--check"],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 2
    assert "'postgresql' is not known" in done.stderr
    assert "cannot be written; choose another folder" in done.stderr
    assert "geheim" not in done.stderr
    assert "Traceback" not in done.stderr


def test_wrong_password_stops_the_start_with_one_line(
    tmp_path: Path, redis_url: str, mariadb_server: MariaDBServer
) -> None:
    url = f"mysql://clipwatch:wrong@{HOST}:{mariadb_server.port}/nowhere"
    environment = {
        "PATH": os.environ["PATH"],
        "REDIS_URL": redis_url,
        "DATABASE_URL": url,
        "MEDIA_DIR": str(tmp_path),
        "CONNECT_S": "30",
    }
    done = subprocess.run(
        [sys.executable, "-m", "services.recorder"],
        capture_output=True,
        text=True,
        env=environment,
        timeout=60,
    )
    assert done.returncode == 2
    assert "DATABASE_URL: refused" in done.stderr
    assert ":wrong@" not in done.stderr


def test_group_is_the_recorders(filled_once: Recorder) -> None:
    redis: Any = SyncRedis.from_url(filled_once.redis_url)  # Any: redis-py's wide unions
    assert [group["name"] for group in redis.xinfo_groups(LABELS)] == [RECORDERS.encode()]
    redis.close()
