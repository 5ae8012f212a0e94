"""Gaps from real presence in Redis to rows, the API, webhooks and a real Mosquitto."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from services.recorder.gaps import rows
from services.recorder.gaps.rows import GapFilter
from services.recorder.gaps.tracker import GapChange, GapTracker
from services.recorder.gaps.values import ConfiguredCamera, GapKey
from services.recorder.gaps.watch import GapWatch, LiveState
from services.recorder.health.pipeline import Disk, Pipeline, problems
from services.recorder.http.api import add_routes
from services.recorder.http.rules import RULES
from services.recorder.http.state import ApiState
from services.recorder.media.folder_store import FolderStore
from services.recorder.metrics import RecorderMetrics
from services.recorder.notify.build import NotifierParts, make_notifiers
from services.recorder.notify.file import NotifyFile, Target
from services.recorder.notify.notifier import Notifier
from services.recorder.notify.port import ChannelAway
from services.recorder.record.database import Database
from shared.clock import now_utc
from shared.http_api import make_app
from shared.presence import CameraReport, Presence, announce
from tests.http_apps import client_of, guarded
from tests.integration.hook_server import Hooks
from tests.integration.test_notifications import (
    DOG,
    Clock,
    database,
    either_database,
    ended,
    hook_target,
    hooks,
    listening,
    mqtt_target,
    record,
    told,
)
from tests.servers import MosquittoServer, RedisServer

__all__ = ["database", "either_database", "hooks"]  # fixtures

pytestmark = [pytest.mark.redis]
GATE = GapKey("camera.away", "gate")
MOTION = Presence(service="motion", name="m1", owner="disk-1")
CLASSIFIER = Presence(service="classifier", name="c1")
HUGE = Disk(10**12, 2 * 10**12)
LIMIT_S = 90.0


@dataclass
class Rig:
    """A recorder's gap watch, its notifiers, and the services that it hears."""

    redis: Redis
    database: Database
    folder: Path
    targets: tuple[Target, ...]
    motion: Presence = MOTION
    disk: Disk = HUGE
    after_s: float = 0.2
    clock: Clock = field(default_factory=Clock)
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.live = LiveState()
        self.pipeline = Pipeline(fault="")
        metrics = RecorderMetrics(CollectorRegistry())
        file = NotifyFile(page="http://page.lan", targets=self.targets)
        self.told = make_notifiers(
            file, NotifierParts(self.database, FolderStore.at(self.folder), metrics, "one", self.live)
        )
        self.watch = GapWatch(
            self.redis,
            self.database,
            self.pipeline,
            metrics,
            self.live,
            GapTracker(self.after_s, back_s=self.after_s),
            tuple(target.name for target in self.targets),
            dict,
            self._disk,
            self.kick,
        )

    async def _disk(self) -> Disk:
        return self.disk

    def kick(self) -> None:
        for notifier in self.told:
            notifier.kick()

    def cameras(self, *cameras: CameraReport) -> None:
        self.motion = self.motion.model_copy(update={"cameras": cameras})

    async def speak(self) -> None:
        """Let motion and the classifier say who they are, until `stop`."""
        await asyncio.gather(
            announce(self.redis, lambda: self.motion, self.stop, lambda: self.motion.cameras),
            announce(self.redis, lambda: CLASSIFIER, self.stop),
        )

    async def run(self) -> None:
        """Run everything until `stop`."""
        loops = [notifier.run(self.stop, lambda: None) for notifier in self.told]
        await asyncio.gather(self.speak(), self.watch.run(self.stop, lambda: None), *loops)


async def holds(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.fixture
async def running() -> AsyncIterator[Callable[[Rig], None]]:
    started: list[tuple[Rig, asyncio.Task[None]]] = []

    def start(rig: Rig) -> None:
        started.append((rig, asyncio.create_task(rig.run())))

    yield start
    for rig, task in started:
        rig.stop.set()
        async with asyncio.timeout(LIMIT_S):
            await task


async def found(database: Database, wanted: GapFilter | None = None) -> list[tuple[str, str, bool]]:
    async with database.reading() as connection:
        gaps = await rows.find(connection, wanted or GapFilter(), 50)
    return [(gap.key.kind, gap.key.subject, gap.ended_at is None) for gap in gaps]


def seen(state: str = "running", id_: str = "gate", **more: object) -> CameraReport:
    return CameraReport.model_validate({"id": id_, "state": state, **more})


# -- rows


def change(key: GapKey = GATE, ended_s: float | None = None) -> GapChange:
    started_at = now_utc() - timedelta(seconds=60)
    ended_at = None if ended_s is None else started_at + timedelta(seconds=ended_s)
    return GapChange(key, "no route to host", started_at, ended_at)


async def test_of_two_recorders_one_writes_a_gap_and_one_its_end(either_database: Database) -> None:
    written = []
    for said in (change(), change(), change(ended_s=30), change(ended_s=31)):
        async with either_database.writing() as connection:
            written.append(await rows.write(connection, said, ("home",), now_utc()))
    assert written == [True, False, True, False]
    assert await found(either_database) == [("camera.away", "gate", False)]
    async with either_database.reading() as connection:
        [due] = await rows.find_due(connection, "home", now_utc(), 9)
    assert due.gap.duration_s == pytest.approx(30, abs=1)
    async with either_database.writing() as connection:
        assert await rows.write(connection, change(), (), now_utc())  # the camera may go away again


async def test_a_gap_that_ends_while_its_begin_is_told_is_told_again(either_database: Database) -> None:
    async with either_database.writing() as connection:
        await rows.write(connection, change(), ("home",), now_utc())
    async with either_database.reading() as connection:
        [due] = await rows.find_due(connection, "home", now_utc(), 9)
    async with either_database.writing() as connection:
        await rows.write(connection, change(ended_s=30), ("home", "new"), now_utc() + timedelta(seconds=1))
        await rows.settle(connection, "home", due, rows.BEGAN)
    later = now_utc() + timedelta(seconds=5)
    async with either_database.reading() as connection:
        [again] = await rows.find_due(connection, "home", later, 9)
        assert await rows.find_due(connection, "new", later, 9) == []  # it was added since
    assert (again.last_sent, again.gap.ended_at is None) == ("began", False)


async def test_a_clock_that_is_set_back_delays_no_gap(database: Database) -> None:
    tomorrow = now_utc() + timedelta(days=1)
    async with database.writing() as connection:
        await rows.write(connection, change(), ("home",), tomorrow)
    async with database.reading() as connection:
        assert len(await rows.find_due(connection, "home", now_utc(), 9)) == 1


async def test_old_gaps_are_forgotten_and_those_that_last_are_not(either_database: Database) -> None:
    async with either_database.writing() as connection:
        await rows.write(connection, change(GapKey("disk.full", "media")), ("home",), now_utc())
        await rows.write(connection, change(), ("home",), now_utc())
        await rows.write(connection, change(ended_s=1), ("home",), now_utc())
        assert await rows.prune(connection, now_utc() + timedelta(days=1)) == 1
    assert await found(either_database) == [("disk.full", "media", True)]


async def test_the_api_filters_gaps_as_it_filters_events(database: Database) -> None:
    async with database.writing() as connection:
        await rows.write(connection, change(), (), now_utc())
        await rows.write(connection, change(ended_s=30), (), now_utc())
        await rows.write(connection, change(GapKey("camera.away", "yard")), (), now_utc())
        await rows.write(connection, change(GapKey("motion.gone", "motion")), (), now_utc())
    app = make_app("recorder")
    add_routes(app, ApiState(lambda: True, database=database))
    async with client_of(guarded(app, RULES)) as client:

        async def asked(query: str) -> list[str]:
            answer = await client.get(f"/api/gaps?{query}")
            assert answer.status_code == 200, answer.text
            return [gap["subject"] for gap in answer.json()["gaps"]]

        assert sorted(await asked("")) == ["gate", "motion", "yard"]
        assert sorted(await asked("camera=gate")) == ["gate", "motion"]  # no camera was watched then
        assert await asked("camera=gate&open=false") == ["gate"]
        assert await asked("kind=motion.gone") == ["motion"]
        future = (now_utc() + timedelta(days=1)).isoformat().replace("+00:00", "Z")
        assert sorted(await asked(f"since={future}")) == ["motion", "yard"]  # they last
        first = (await client.get("/api/gaps?limit=2")).json()
        rest = (await client.get(f"/api/gaps?limit=2&before={first['next']}")).json()
        assert len({gap["id"] for gap in first["gaps"] + rest["gaps"]}) == 3
        [gate] = (await client.get("/api/gaps?camera=gate&open=false")).json()["gaps"]
        assert gate["duration_s"] == pytest.approx(30, abs=5)
        assert gate["reason"] == "no route to host"
        for wrong in ("kind=nap", "camra=gate", "since=2020", "before=x"):
            answer = await client.get(f"/api/gaps?{wrong}")
            assert answer.status_code == 400, wrong
            assert set(answer.json()["error"]) == {"found", "wanted", "do"}


# -- from presence to who is told


async def test_a_camera_that_is_away_is_told_once_each_way(
    database: Database, redis_client: Redis, hooks: Hooks, tmp_path: Path, running: Callable[[Rig], None]
) -> None:
    wants, other = hook_target(hooks), hook_target(hooks, "other", cameras=("yard",))
    quiet = hook_target(hooks, "quiet", gaps=False)
    rig = Rig(redis_client, database, tmp_path, (wants, other, quiet))
    gate = {"name": "Front gate"}
    rig.cameras(seen(**gate), seen(id_="yard"))
    running(rig)
    await holds(lambda: len(rig.live.cameras or {}) == 2)
    rig.cameras(seen("away", message="no route to host", **gate), seen(id_="yard"))
    await holds(lambda: len(hooks.taken) >= 1)
    rig.cameras(seen(), seen(id_="yard"))
    await holds(lambda: len(hooks.taken) >= 2)
    began, ended_ = hooks.document(0), hooks.document(1)
    assert (began["type"], ended_["type"]) == ("camera.away", "camera.back")
    assert began["data"]["reason"] == ended_["data"]["reason"] == "no route to host"
    assert (began["data"]["camera"], began["data"]["camera_name"]) == ("gate", "Front gate")
    assert began["data"]["duration_s"] is None
    assert ended_["data"]["duration_s"] > 0
    assert began["data"]["id"] == ended_["data"]["id"]
    assert len({headers["webhook-id"] for headers, _ in hooks.taken}) == 2
    assert await found(database) == [("camera.away", "gate", False)]
    assert len(hooks.taken) == 2  # nobody else, and nothing twice


async def test_what_is_over_when_the_recorder_is_back_is_ended_and_told(
    database: Database, redis_client: Redis, hooks: Hooks, tmp_path: Path, running: Callable[[Rig], None]
) -> None:
    rig = Rig(redis_client, database, tmp_path, (hook_target(hooks),))
    async with database.writing() as connection:  # a recorder before this one
        await rows.change_cameras(connection, [], [])
        await rows.write(connection, change(), ("hook",), now_utc())
    rig.cameras(seen())
    running(rig)
    await holds(lambda: len(hooks.taken) >= 1 and hooks.document(-1)["type"] == "camera.back")
    assert hooks.document(-1)["data"]["duration_s"] >= 60


async def test_a_full_disk_and_a_motion_service_that_left_are_gaps(
    database: Database, redis_client: Redis, hooks: Hooks, tmp_path: Path
) -> None:
    rig = Rig(redis_client, database, tmp_path, (hook_target(hooks),), after_s=0)
    rig.cameras(seen(is_moving=True))
    speaking = asyncio.create_task(rig.speak())
    await holds_after_look(rig, lambda: bool((rig.live.cameras or {}).get("gate")))
    rig.disk = Disk(10**6, 10**9)
    await rig.watch.look()
    rig.stop.set()
    await speaking  # a clean stop: nothing of it is left in Redis
    await rig.watch.look()
    assert sorted(await found(database)) == [
        ("classifier.gone", "classifier", True),
        ("disk.full", "media", True),
        ("motion.gone", "motion", True),
    ]
    assert rig.live.cameras is not None
    assert not rig.live.cameras["gate"].is_available
    await told(rig.told[0])
    assert sorted(json.loads(body)["type"] for _, body in hooks.taken) == [
        "classifier.gone",
        "disk.full",
        "motion.gone",
    ]


async def test_a_full_redis_is_no_service_that_is_gone(
    database: Database, own_redis: RedisServer, tmp_path: Path
) -> None:
    redis: Redis = Redis.from_url(own_redis.url)
    rig = Rig(redis, database, tmp_path, (), after_s=0)
    rig.cameras(seen())
    speaking = asyncio.create_task(rig.speak())
    await holds_after_look(rig, lambda: bool((rig.live.cameras or {}).get("gate")))
    rig.stop.set()
    await speaking
    await redis.config_set("maxmemory", 1)
    await rig.watch.look()
    assert await found(database) == []
    await redis.config_set("maxmemory", 0)
    await rig.watch.look()
    assert sorted(await found(database)) == [
        ("classifier.gone", "classifier", True),
        ("motion.gone", "motion", True),
    ]
    await redis.aclose()


async def holds_after_look(rig: Rig, condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not condition():
            await rig.watch.look()
            await asyncio.sleep(0.01)


def has_cameras(rig: Rig, n: int) -> bool:
    return len(rig.live.cameras or {}) == n


# -- MQTT


async def test_motion_is_on_within_a_second_of_the_detector(
    database: Database,
    redis_client: Redis,
    broker: MosquittoServer,
    tmp_path: Path,
    running: Callable[[Rig], None],
) -> None:
    rig = Rig(redis_client, database, tmp_path, (mqtt_target(broker),))
    rig.cameras(seen(name="Front gate", is_moving=False))
    listener, task = await listening(broker)
    running(rig)
    await listener.has("clipwatch/gate/motion", b"OFF")
    took_s = []
    for is_moving, payload in ((True, b"ON"), (False, b"OFF")) * 5:
        began_s = time.monotonic()
        rig.cameras(seen(name="Front gate", is_moving=is_moving))
        await listener.has("clipwatch/gate/motion", payload)
        took_s.append(time.monotonic() - began_s)
    print("seconds from the detector to the broker's listener:", sorted(round(s, 3) for s in took_s))
    assert sorted(took_s)[len(took_s) // 2] < 0.8  # the machine may be busy; a poll of a second takes 1.0 s
    await ended(task)


async def test_configured_cameras_are_announced_by_name_and_removed_ones_taken_back(
    database: Database,
    redis_client: Redis,
    broker: MosquittoServer,
    tmp_path: Path,
    running: Callable[[Rig], None],
) -> None:
    await record(database, DOG, mqtt_target(broker))  # the gate has a past, and is configured no more
    rig = Rig(redis_client, database, tmp_path, (mqtt_target(broker),))
    rig.cameras(seen(id_="yard", name="Back yard"), seen("connecting", "shed"))
    listener, task = await listening(broker)
    running(rig)
    await listener.has("clipwatch/yard/availability", b"online")
    await listener.has("clipwatch/shed/availability", b"offline")
    names = {
        json.loads(payload)["device"]["name"]
        for topic, payload in listener.last.items()
        if topic.startswith("homeassistant/sensor/") and payload
    }
    assert names == {"Back yard", "shed"}
    shed = [topic for topic, payload in listener.last.items() if "_shed/" in topic and payload]
    assert len(shed) == 4
    rig.cameras(seen(id_="yard", name="Back yard"))  # taken out of the camera file
    await holds(lambda: not any(listener.last[topic] for topic in shed))
    await listener.has("clipwatch/shed/availability", b"")
    assert not [topic for topic in listener.last if "clipwatch/gate/" in topic and listener.last[topic]]
    await ended(task)


async def test_a_camera_that_was_removed_between_two_runs_is_taken_back(
    database: Database, redis_client: Redis, broker: MosquittoServer, tmp_path: Path
) -> None:
    for cameras in ((seen(), seen(id_="yard")), (seen(),)):
        rig = Rig(redis_client, database, tmp_path, (mqtt_target(broker),))
        rig.cameras(*cameras)
        speaking = asyncio.create_task(rig.speak())
        await holds_after_look(rig, partial(has_cameras, rig, len(cameras)))
        await told(rig.told[0])
        await rig.told[0].recipient.channel.close()
        rig.stop.set()
        await speaking
    listener, task = await listening(broker)
    await listener.has("clipwatch/status", b"offline")
    configs = [topic for topic in listener.last if topic.startswith("homeassistant/")]
    assert [topic for topic in configs if "yard" in topic] == []  # an empty retained message is none
    assert len([topic for topic in configs if "gate" in topic]) == 4
    await ended(task)


async def test_a_restart_shows_no_motion_that_is_over(
    database: Database, redis_client: Redis, broker: MosquittoServer, tmp_path: Path
) -> None:
    await record(database, DOG, mqtt_target(broker))  # open in the record until its last snippet comes
    async with database.writing() as connection:
        await rows.change_cameras(connection, [ConfiguredCamera("gate", "", "disk-1")], [])
    rig = Rig(redis_client, database, tmp_path, (mqtt_target(broker),))
    rig.cameras(seen(is_moving=False))
    listener, task = await listening(broker)
    await rig.watch.look()  # motion was not heard yet
    await told(rig.told[0])
    speaking = asyncio.create_task(rig.speak())
    await holds_after_look(rig, lambda: (rig.live.cameras or {})["gate"].is_heard)
    await told(rig.told[0])
    await listener.has("clipwatch/gate/motion", b"OFF")
    assert [said for topic, said in listener.all if topic == "clipwatch/gate/motion"] == [b"OFF"]
    rig.stop.set()
    await speaking
    await rig.told[0].recipient.channel.close()
    await ended(task)


async def test_a_gap_is_on_mqtt_once_each_way_and_in_health_while_it_lasts(
    database: Database,
    redis_client: Redis,
    broker: MosquittoServer,
    tmp_path: Path,
    running: Callable[[Rig], None],
) -> None:
    rig = Rig(redis_client, database, tmp_path, (mqtt_target(broker),))
    rig.cameras(seen())
    listener, task = await listening(broker)
    running(rig)
    await listener.has("clipwatch/gate/availability", b"online")
    rig.cameras(seen("away", message="no route to host"))
    await listener.has("clipwatch/gate/availability", b"offline")
    await holds(lambda: "clipwatch/gaps" in listener.last)
    assert json.loads(listener.last["clipwatch/gaps"])["type"] == "camera.away"
    health = json.loads(listener.last["clipwatch/health"])
    assert [(gap["kind"], gap["camera"]) for gap in health["gaps"]] == [("camera.away", "gate")]
    rig.cameras(seen())
    await listener.has("clipwatch/gate/availability", b"online")
    await holds(lambda: json.loads(listener.last["clipwatch/gaps"])["type"] == "camera.back")
    assert json.loads(listener.last["clipwatch/health"])["state"] == "ok"
    assert [topic for topic, _ in listener.all].count("clipwatch/gaps") == 2
    await ended(task)


@pytest.mark.parametrize("status", [401, 403, 410])
async def test_a_webhook_that_refuses_us_is_a_fault_of_health_with_its_name(
    database: Database, hooks: Hooks, tmp_path: Path, status: int
) -> None:
    target = hook_target(hooks, "night-watch")
    [notifier] = notifiers_of(target, database, tmp_path)
    hooks.status = status
    await record(database, DOG, target)
    await told(notifier)
    assert faults_of(notifier) == [("bad", True, True)]
    hooks.status = 204
    notifier.clock = Clock()
    notifier.clock.forward(60)
    await told(notifier)
    assert notifier.fault == ""


async def test_a_broker_that_refuses_our_login_is_a_fault_of_health(
    database: Database, tmp_path: Path, closed_broker: MosquittoServer
) -> None:
    [notifier] = notifiers_of(mqtt_target(closed_broker), database, tmp_path)
    with pytest.raises(ChannelAway, match="refuses our login") as refused:
        await told(notifier)
    notifier._went(refused.value)  # as the loop does
    assert faults_of(notifier) == [("bad", True, True)]


def notifiers_of(target: Target, database: Database, folder: Path) -> list[Notifier]:
    metrics = RecorderMetrics(CollectorRegistry())
    return make_notifiers(
        NotifyFile(targets=(target,)), NotifierParts(database, FolderStore.at(folder), metrics, "one")
    )


def faults_of(notifier: Notifier) -> list[tuple[str, bool, bool]]:
    """Return of each problem: how bad, whether it names the target, whether it says that it refuses."""
    pipeline = Pipeline(fault="", target_faults={notifier.recipient.name: notifier.fault or ""})
    return [
        (one.severity, f"'{notifier.recipient.name}'" in one.text, "refuse" in one.text)
        for one in problems(pipeline, None)
    ]
