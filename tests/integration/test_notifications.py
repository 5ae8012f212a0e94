"""Told: MQTT on a real Mosquitto and webhooks on a local server, from rows of a real database."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from sqlalchemy import select

from services.recorder.access.links import EventLinks
from services.recorder.media.files import MediaFolder
from services.recorder.media.folder_store import FolderStore
from services.recorder.media.values import StoredMedia
from services.recorder.metrics import RecorderMetrics
from services.recorder.notify import outbox
from services.recorder.notify.build import NotifierParts, make_notifiers
from services.recorder.notify.file import MqttTarget, NotifyFile, Target, WebhookTarget, signing_key
from services.recorder.notify.notifier import Notifier
from services.recorder.notify.outbox import NoticeOutbox
from services.recorder.notify.port import ChannelAway
from services.recorder.notify.webhook import signature
from services.recorder.record.bootstrap import open_database
from services.recorder.record.database import Database
from services.recorder.record.rows import snippet_rows
from services.recorder.record.schema import notices
from services.recorder.record.transactions import QuietEventCloser, record_snippet
from shared.clock import now_utc
from shared.urls import SecretUrl
from tests.integration.hook_server import Hooks, hook_server
from tests.servers import HOST, MosquittoServer
from tests.unit.recorder.messages import THUMBNAIL, Said, keep, labels_message

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
DOG = Said(accepted=[("a dog", 0.75)])


@pytest.fixture
async def either_database(record_url: str) -> AsyncIterator[Database]:
    database = await open_database(record_url, asyncio.Event(), connect_s=30, transaction_s=60)
    yield database
    await database.close()


@pytest.fixture
async def database(sqlite_record: str) -> AsyncIterator[Database]:
    database = await open_database(sqlite_record, asyncio.Event(), connect_s=30, transaction_s=60)
    yield database
    await database.close()


@pytest.fixture
def hooks() -> Iterator[Hooks]:
    with hook_server() as hooks:
        yield hooks


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = now_utc()
        self.passed_s = 0.0

    def __call__(self) -> datetime:
        return self.now

    def forward(self, seconds: float) -> None:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)
        self.passed_s += seconds

    def set(self, seconds: float) -> None:
        """Set the clock; no time passes."""
        self.now += timedelta(seconds=seconds)


def hook_target(hooks: Hooks, name: str = "hook", **more: Any) -> Target:  # Any: fields of either model
    fields = {key: more.pop(key) for key in ("when", "cooldown_s", "timeout_s") if key in more}
    webhook = WebhookTarget(url=SecretUrl(hooks.url), secret=SecretStr(SECRET), **fields)
    return Target(name=name, webhook=webhook, **more)


def mqtt_target(broker: MosquittoServer, **more: Any) -> Target:  # Any: fields of the model
    return Target(name="home", mqtt=MqttTarget(host=HOST, port=broker.port, timeout_s=10), **more)


def delivery_of(
    target: Target,
    database: Database,
    folder: Path,
    clock: Clock | None = None,
    holder: str = "one",
    give_up_h: float = 24,
) -> Notifier:
    file = NotifyFile(page="http://page.lan", give_up_h=give_up_h, targets=(target,))
    metrics = RecorderMetrics(CollectorRegistry())
    [delivery] = make_notifiers(file, NotifierParts(database, FolderStore.at(folder), metrics, holder))
    if clock is not None:
        delivery.clock = clock
        delivery.seconds = lambda: clock.passed_s
    return delivery


async def record(database: Database, said: Said, target: Target, at: datetime | None = None) -> None:
    """Record a snippet and note it, in one transaction, as the intake does."""
    at = at or now_utc()
    media = StoredMedia(f"2026/05/04/{said.media_key}.mp4", f"2026/05/04/{said.media_key}.jpg", 10)
    async with database.writing() as connection:
        await record_snippet(connection, snippet_rows(labels_message(said)), media, at)
        await NoticeOutbox((target.name,)).note(connection, [said.event_id], at)


async def starts(database: Database, *targets: Target) -> None:
    """Make the targets known, as a recorder does at its start."""
    async with database.writing() as connection:
        await outbox.introduce(connection, [target.name for target in targets], now_utc())


async def close_quiet(database: Database, *targets: Target) -> list[str]:
    """Close what an earlier run left open, as housekeeping does."""
    async with database.writing() as connection:
        closed = await QuietEventCloser(-1).close(connection, now_utc())
        await NoticeOutbox(tuple(target.name for target in targets)).note(connection, closed, now_utc())
    return closed


async def told(delivery: Notifier) -> None:
    """Let one round run."""
    await delivery.round(asyncio.Event(), lambda: None)


async def waiting(database: Database) -> int:
    async with database.reading() as connection:
        found = await connection.execute(select(notices.c.event_id).where(notices.c.due_at.is_not(None)))
        return len(found.all())


# -- webhooks


async def test_a_webhook_carries_the_event_and_a_signature_of_it(
    either_database: Database, hooks: Hooks, tmp_path: Path
) -> None:
    target = hook_target(hooks)
    delivery = delivery_of(target, either_database, tmp_path)
    await record(either_database, DOG, target)
    await told(delivery)
    [(headers, body)] = hooks.taken
    said = json.loads(body)
    assert said["type"] == "event.seen"
    assert said["data"]["camera"] == "gate"
    assert said["data"]["matched"] == {"label": "a dog", "probability": 0.75}
    assert said["data"]["urls"]["page"] == f"http://page.lan/#{DOG.event_id}"
    assert headers["webhook-signature"] == signature(
        signing_key(SECRET), headers["webhook-id"], headers["webhook-timestamp"], body
    )
    assert await waiting(either_database) == 0
    await told(delivery)
    assert len(hooks.taken) == 1  # nothing is left to tell


async def test_what_a_target_is_sent_opens_without_a_login_by_one_link_an_event(
    either_database: Database, hooks: Hooks, tmp_path: Path
) -> None:
    target = hook_target(hooks, when="changes", links_for="2d")
    delivery = delivery_of(target, either_database, tmp_path)
    for snippet, is_last in ((0, False), (1, True)):
        await record(either_database, replace(DOG, snippet=snippet, is_last=is_last), target)
        await told(delivery)
    first, last = (json.loads(body)["data"]["urls"] for _, body in hooks.taken)
    assert first == last
    prefix, _, token = first["shared"].rpartition("/")
    assert prefix == "http://page.lan/shared"
    assert (first["clip"], first["thumbnail"]) == (f"{first['shared']}/clip", f"{first['shared']}/thumbnail")
    links = EventLinks(either_database)
    shown = await links.open(token)
    assert shown is not None
    assert (shown.event.id, shown.ends_at.isoformat()) == (DOG.event_id, first["ends_at"])
    assert timedelta(days=1.9) < shown.ends_at - now_utc() < timedelta(days=2)
    assert [link.target for link in await links.of_event(DOG.event_id) or ()] == ["hook"]


async def test_a_target_without_links_is_sent_addresses_behind_the_login(
    either_database: Database, hooks: Hooks, tmp_path: Path
) -> None:
    target = hook_target(hooks, links_for="off")
    await record(either_database, DOG, target)
    await told(delivery_of(target, either_database, tmp_path))
    urls = json.loads(hooks.taken[0][1])["data"]["urls"]
    assert (urls["shared"], urls["ends_at"]) == (None, None)
    assert urls["clip"] == f"http://page.lan/media/2026/05/04/{DOG.media_key}.mp4"
    assert await EventLinks(either_database).of_event(DOG.event_id) == []


async def test_the_first_match_is_told_once_however_the_event_grows(
    either_database: Database, hooks: Hooks, tmp_path: Path
) -> None:
    target = hook_target(hooks)
    delivery = delivery_of(target, either_database, tmp_path)
    await record(either_database, replace(DOG, accepted=()), target)
    await told(delivery)
    assert hooks.taken == []
    for number in (1, 2, 3):
        await record(either_database, replace(DOG, snippet=number), target)
        await told(delivery)
    assert hooks.events == [DOG.event_id]


async def test_a_target_that_is_added_later_is_not_told_of_an_event_that_was_left_open(
    either_database: Database, hooks: Hooks, tmp_path: Path
) -> None:
    old, new = hook_target(hooks, "old", when="end"), hook_target(hooks, "new", when="end")
    an_hour_ago = now_utc() - timedelta(hours=1)
    await starts(either_database, old)
    await record(either_database, DOG, old, an_hour_ago)  # killed with the event open
    await starts(either_database, old, new)
    assert await close_quiet(either_database, old, new) == [DOG.event_id]
    await told(delivery_of(new, either_database, tmp_path))
    assert hooks.taken == []
    await told(delivery_of(old, either_database, tmp_path))
    assert hooks.events == [DOG.event_id]  # it was there before the event
    later = replace(DOG, event=1, is_last=True)
    await record(either_database, later, new)
    await told(delivery_of(new, either_database, tmp_path))
    assert hooks.events == [DOG.event_id, later.event_id]


async def test_a_target_that_was_taken_out_of_the_file_is_new_when_it_comes_back(
    database: Database, hooks: Hooks, tmp_path: Path
) -> None:
    old, other = hook_target(hooks, "old", when="end"), hook_target(hooks, "other", when="end")
    await starts(database, old)
    await starts(database, other)
    await record(database, DOG, other, now_utc() - timedelta(hours=1))
    await starts(database, old, other)
    await close_quiet(database, old, other)
    await told(delivery_of(old, database, tmp_path))
    assert hooks.taken == []
    assert await waiting(database) == 1  # of the other one


async def test_changes_and_ends_are_told_to_who_wants_them(
    database: Database, hooks: Hooks, tmp_path: Path
) -> None:
    every = hook_target(hooks, "every", when="changes")
    delivery = delivery_of(every, database, tmp_path)
    await record(database, DOG, every)
    await told(delivery)
    await record(
        database, replace(DOG, snippet=1, accepted=[("a dog", 0.9)]), every
    )  # the same label: no news
    await told(delivery)
    await record(database, replace(DOG, snippet=2, accepted=[("a pedestrian", 0.95)]), every)
    await told(delivery)
    await record(database, replace(DOG, snippet=3, is_last=True), every)
    await told(delivery)
    assert [(json.loads(body)["type"], json.loads(body)["data"]["label"]) for _, body in hooks.taken] == [
        ("event.seen", "a dog"),
        ("event.seen", "a pedestrian"),
        ("event.ended", "a pedestrian"),
    ]
    assert len({headers["webhook-id"] for headers, _ in hooks.taken}) == 3
    end = hook_target(hooks, "end", when="end")
    second = delivery_of(end, database, tmp_path)
    hooks.taken.clear()
    await record(database, replace(DOG, event=1), end)
    await told(second)
    assert hooks.taken == []
    await record(database, replace(DOG, event=1, snippet=1, is_last=True), end)
    await told(second)
    assert [json.loads(body)["type"] for _, body in hooks.taken] == ["event.ended"]


async def test_a_cooldown_counts_only_what_was_sent(
    either_database: Database, hooks: Hooks, tmp_path: Path
) -> None:
    clock = Clock()
    target = hook_target(hooks, cooldown_s=60)
    delivery = delivery_of(target, either_database, tmp_path, clock)
    hooks.status = 503
    await record(either_database, DOG, target, clock())
    with pytest.raises(ChannelAway):
        await told(delivery)  # this one was not sent: it silences nothing
    hooks.status = 204
    await record(either_database, replace(DOG, event=1), target, clock())
    async with either_database.writing() as connection:  # let only the second be due
        due = await outbox.find_due(connection, "hook", clock(), 9)
        first = next(d for d in due if d.event_id == DOG.event_id)
        await outbox.postpone(connection, "hook", first, clock() + timedelta(seconds=30))
    await told(delivery)
    assert hooks.events == [replace(DOG, event=1).event_id]
    clock.forward(31)
    await told(delivery)  # within the cooldown of the one that was sent
    await record(either_database, replace(DOG, event=2, camera="yard"), target, clock())
    await record(either_database, replace(DOG, event=3, accepted=[("a pedestrian", 0.9)]), target, clock())
    await told(delivery)
    assert len(hooks.taken) == 3  # another camera and another label are not silenced
    clock.forward(61)
    await record(either_database, replace(DOG, event=4), target, clock())
    await told(delivery)
    assert hooks.events[-1] == replace(DOG, event=4).event_id


async def test_a_server_that_is_away_loses_nothing(database: Database, hooks: Hooks, tmp_path: Path) -> None:
    clock = Clock()
    target = hook_target(hooks)
    delivery = delivery_of(target, database, tmp_path, clock)
    for number in range(5):
        await record(database, replace(DOG, event=number), target, clock())
    for silent, status in ((True, 204), (False, 500), (False, 429)):
        hooks.is_silent, hooks.status = silent, status
        tries = hooks.tries
        with pytest.raises(ChannelAway) as away:
            await told(delivery)
        assert hooks.tries - tries == 1  # one asks for all
        assert "not-to-be-logged" not in str(away.value)
    hooks.is_silent, hooks.status = False, 200
    await told(delivery)
    assert sorted(hooks.events) == sorted(replace(DOG, event=number).event_id for number in range(5))


async def test_a_notice_that_is_refused_holds_up_no_other(
    database: Database, hooks: Hooks, tmp_path: Path
) -> None:
    clock = Clock()
    target = hook_target(hooks)
    delivery = delivery_of(target, database, tmp_path, clock, give_up_h=1)
    bad = replace(DOG, event=1)
    hooks.refused_events = {bad.event_id}
    for number in range(3):
        await record(database, replace(DOG, event=number), target, clock())
    await told(delivery)
    assert len(hooks.taken) == 2
    assert await waiting(database) == 1
    clock.forward(2)
    await told(delivery)
    assert hooks.tries == 4  # tried again after its pause
    clock.forward(3601)
    again = delivery_of(target, database, tmp_path, clock, give_up_h=1)
    await told(again)
    assert await waiting(database) == 0
    assert hooks.tries == 4
    assert again.metrics.notices_dropped.labels("webhook")._value.get() == 1


async def test_only_one_of_two_recorders_tells_and_the_other_takes_over(
    either_database: Database, hooks: Hooks, tmp_path: Path
) -> None:
    clock = Clock()
    target = hook_target(hooks)
    first = delivery_of(target, either_database, tmp_path, clock, "first")
    second = delivery_of(target, either_database, tmp_path, clock, "second")
    await told(first)
    await record(either_database, DOG, target, clock())
    await told(second)
    assert hooks.taken == []
    await told(first)
    assert len(hooks.taken) == 1
    await record(either_database, replace(DOG, event=1), target, clock())
    clock.forward(first.lease_s + 1)  # the first was killed
    third = delivery_of(target, either_database, tmp_path, clock, "third")
    await told(third)  # sees the lease for the first time
    await told(second)
    assert len(hooks.taken) == 2


@pytest.mark.parametrize("kind", ["webhook", "mqtt"])
async def test_a_recorder_that_lost_its_lease_and_holds_it_again_tells(
    request: pytest.FixtureRequest, database: Database, hooks: Hooks, tmp_path: Path, kind: str
) -> None:
    target = hook_target(hooks) if kind == "webhook" else mqtt_target(request.getfixturevalue("broker"))
    delivery = delivery_of(target, database, tmp_path)
    await record(database, DOG, target)
    await told(delivery)
    await delivery.recipient.channel.close()  # what the loop does when another recorder took the lease
    await delivery.recipient.channel.close()  # and again at its stop
    await record(database, replace(DOG, event=1), target)
    await told(delivery)
    assert await waiting(database) == 0
    await delivery.recipient.channel.close()


@pytest.mark.parametrize("step_s", [-3600.0, -1.0, 3600.0, 30 * 365 * 86_400.0])
async def test_a_clock_that_is_set_takes_the_lease_from_nobody(
    database: Database, hooks: Hooks, tmp_path: Path, step_s: float
) -> None:
    target, ahead, right = hook_target(hooks), Clock(), Clock()
    first = delivery_of(target, database, tmp_path, right, "first")
    second = delivery_of(target, database, tmp_path, ahead, "second")
    await told(first)
    await told(second)
    ahead.set(step_s)
    for event in range(5):  # both go on; the first renews what it holds
        await record(database, replace(DOG, event=event), target, right())
        right.forward(first.lease_s / 2)
        ahead.forward(first.lease_s / 2)
        await told(second)
        assert len(hooks.taken) == event
        await told(first)
        assert len(hooks.taken) == event + 1
    ahead.forward(first.lease_s + 1)  # the first was killed: it is waited for, however the clocks are
    await record(database, replace(DOG, event=9), target, right())
    await told(second)
    ahead.forward(first.lease_s + 1)
    await told(second)
    assert len(hooks.taken) == 6


@pytest.mark.parametrize("step_s", [-86_400.0, -100.0, 100.0, 365 * 86_400.0])
async def test_a_clock_that_is_set_holds_back_no_notice_and_drops_none(
    database: Database, hooks: Hooks, tmp_path: Path, step_s: float
) -> None:
    target, clock = hook_target(hooks, cooldown_s=60), Clock()
    delivery = delivery_of(target, database, tmp_path, clock, give_up_h=1)
    await record(database, DOG, target, clock())
    await told(delivery)
    clock.forward(100)
    await record(database, replace(DOG, event=1), target, clock())
    clock.set(step_s)  # before it was told
    clock.forward(100)
    await told(delivery)
    assert len(hooks.taken) == 2
    assert delivery.metrics.notices_dropped.labels("webhook")._value.get() == 0


async def test_a_postponed_notice_does_not_wait_for_a_clock_that_was_set_back(
    database: Database, hooks: Hooks, tmp_path: Path
) -> None:
    target, clock = hook_target(hooks), Clock()
    delivery = delivery_of(target, database, tmp_path, clock)
    await record(database, DOG, target, clock())
    async with database.writing() as connection:
        [due] = await outbox.find_due(connection, "hook", clock(), 9)
        await outbox.postpone(connection, "hook", due, clock() + timedelta(seconds=30))
    await told(delivery)
    assert hooks.taken == []
    clock.set(-86_400.0)
    clock.forward(delivery.lease_s)
    await told(delivery)
    assert len(hooks.taken) == 1


async def test_an_event_that_changes_while_it_is_told_is_told_again(
    either_database: Database, hooks: Hooks, tmp_path: Path
) -> None:
    target = hook_target(hooks)
    await record(either_database, DOG, target)
    async with either_database.reading() as connection:
        [due] = await outbox.find_due(connection, "hook", now_utc(), 9)
    await record(either_database, replace(DOG, snippet=1), target)
    async with either_database.writing() as connection:
        await outbox.settle(connection, "hook", due, outbox.SentNotice("first", now_utc(), "gate", "a dog"))
    async with either_database.reading() as connection:
        [again] = await outbox.find_due(connection, "hook", now_utc(), 9)
    assert (again.version, again.last_sent) == (2, "first")


async def test_old_rows_are_forgotten(either_database: Database, hooks: Hooks) -> None:
    target = hook_target(hooks)
    await record(either_database, DOG, target, now_utc() - timedelta(days=31))
    await record(either_database, replace(DOG, event=1), target)
    async with either_database.writing() as connection:
        assert await outbox.prune(connection, now_utc()) == 1
    assert await waiting(either_database) == 1


# -- MQTT


class Listener:
    """Somebody who follows everything on the broker."""

    def __init__(self) -> None:
        self.last: dict[str, bytes] = {}
        self.all: list[tuple[str, bytes]] = []
        self._changed = asyncio.Condition()

    async def follow(self, port: int, is_up: asyncio.Event) -> None:
        async with aiomqtt.Client(HOST, port, timeout=30) as client:
            await client.subscribe("#", qos=1)
            is_up.set()
            async for message in client.messages:
                payload = message.payload if isinstance(message.payload, bytes) else b""
                self.last[message.topic.value] = payload
                self.all.append((message.topic.value, payload))
                async with self._changed:
                    self._changed.notify_all()

    async def has(self, topic: str, payload: bytes, limit_s: float = 60) -> None:
        async with asyncio.timeout(limit_s), self._changed:
            await self._changed.wait_for(lambda: self.last.get(topic) == payload)


async def listening(broker: MosquittoServer) -> tuple[Listener, asyncio.Task[None]]:
    listener, is_up = Listener(), asyncio.Event()
    task = asyncio.create_task(listener.follow(broker.port, is_up))
    async with asyncio.timeout(60):
        await is_up.wait()
    return listener, task


def configs_of(listener: Listener, camera: str) -> dict[tuple[str, str], dict[str, Any]]:  # Any: JSON
    """Return the discovery configs of a camera, by kind and part of its entity."""
    found = {}
    for topic, payload in listener.last.items():
        prefix, *levels = topic.split("/")
        if prefix == "homeassistant" and levels[1].endswith(f"_home_{camera}") and payload:
            found[levels[0], levels[2]] = json.loads(payload)
    return found


async def ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_home_assistant_finds_a_label_a_motion_and_a_picture_a_camera(
    database: Database, broker: MosquittoServer, tmp_path: Path
) -> None:
    target = mqtt_target(broker)
    delivery = delivery_of(target, database, tmp_path)
    media = MediaFolder(tmp_path)
    media.prepare()
    keep(media, DOG)
    await record(database, DOG, target)
    await told(delivery)
    listener, task = await listening(broker)  # comes later: all it sees is retained
    await listener.has("clipwatch/status", b"online")
    configs = configs_of(listener, "gate")
    assert {part: kind for kind, part in configs} == {
        "label": "sensor",
        "motion": "binary_sensor",
        "picture": "image",
        "detection": "event",
    }
    assert len({config["unique_id"] for config in configs.values()}) == 4
    for (_, part), config in configs.items():
        assert [one["topic"] for one in config["availability"]] == [
            "clipwatch/status",
            "clipwatch/gate/availability",
        ]
        assert config["availability_mode"] == "all"
        assert len(config["device"]["identifiers"]) == 1
        topic = config.get("state_topic") or config["image_topic"]
        assert (topic in listener.last) is (part != "detection")  # an event is no state: nothing is retained
    label = json.loads(listener.last["clipwatch/gate/label"])
    assert label["label"] == "a dog"
    shown = await EventLinks(database).open(label["urls"]["shared"].rpartition("/")[2])
    assert shown is not None
    assert shown.event.id == DOG.event_id
    assert listener.last["clipwatch/gate/motion"] == b"ON"
    assert listener.last["clipwatch/gate/picture"] == THUMBNAIL
    await record(database, replace(DOG, snippet=1, is_last=True), target)
    await told(delivery)
    await listener.has("clipwatch/gate/motion", b"OFF")
    sent = json.loads(listener.last["clipwatch/events"])
    assert (sent["matched"]["label"], sent["urls"]) == ("a dog", label["urls"])
    await delivery.recipient.channel.close()
    await listener.has("clipwatch/status", b"offline")
    await ended(task)


async def test_what_does_not_pass_the_filter_moves_only_the_motion_sensor(
    database: Database, broker: MosquittoServer, tmp_path: Path
) -> None:
    target = mqtt_target(broker, cameras=("gate",), labels=("a pedestrian",))
    delivery = delivery_of(target, database, tmp_path)
    listener, task = await listening(broker)
    await record(database, DOG, target)
    await record(database, replace(DOG, camera="yard", accepted=[("a pedestrian", 0.9)]), target)
    await told(delivery)
    await listener.has("clipwatch/gate/motion", b"ON")
    assert "clipwatch/gate/label" not in listener.last
    assert "clipwatch/events" not in listener.last
    # but for the one pass over what older versions announced, which only empties
    assert not [topic for topic, payload in listener.all if "yard" in topic and payload]
    assert await waiting(database) == 0
    await delivery.recipient.channel.close()
    await ended(task)


async def test_a_broker_that_is_killed_loses_nothing_and_knows_all_again(
    database: Database, broker: MosquittoServer, tmp_path: Path
) -> None:
    target = mqtt_target(broker)
    delivery = delivery_of(target, database, tmp_path)
    await record(database, DOG, target)
    await told(delivery)
    broker.kill()
    await record(database, replace(DOG, event=1, accepted=[("a pedestrian", 0.9)]), target)
    with pytest.raises(ChannelAway):
        await told(delivery)
    assert await waiting(database) == 1
    broker.start()  # it kept nothing
    listener, task = await listening(broker)
    await told(delivery)
    await listener.has("clipwatch/status", b"online")
    assert await waiting(database) == 0
    assert json.loads(listener.last["clipwatch/gate/label"])["label"] == "a pedestrian"
    assert json.loads(listener.last["clipwatch/events"])["id"] == replace(DOG, event=1).event_id
    assert ("sensor", "label") in configs_of(listener, "gate")
    await delivery.recipient.channel.close()
    await ended(task)


async def test_the_broker_says_offline_for_a_recorder_that_is_gone(
    database: Database, broker: MosquittoServer, tmp_path: Path
) -> None:
    delivery = delivery_of(mqtt_target(broker), database, tmp_path)
    await told(delivery)
    listener, task = await listening(broker)
    await listener.has("clipwatch/status", b"online")
    client = delivery.recipient.channel._connection._client  # type: ignore[attr-defined]  # the wire is cut below the adapter
    client._client.socket().close()
    await listener.has("clipwatch/status", b"offline")
    await ended(task)


async def test_a_recorder_that_was_replaced_does_not_say_offline_for_the_other(
    database: Database, broker: MosquittoServer, tmp_path: Path
) -> None:
    clock = Clock()
    target = mqtt_target(broker)
    first = delivery_of(target, database, tmp_path, clock, "first")
    await told(first)
    second = delivery_of(target, database, tmp_path, clock, "second")
    await told(second)  # sees the lease for the first time
    clock.forward(first.lease_s + 1)  # the database did not answer the first one
    await told(second)
    listener, task = await listening(broker)
    first._renew_at = 0
    await told(first)  # it finds that it is replaced
    assert not first.is_holder
    await record(database, DOG, target, clock())
    await told(second)
    await listener.has("clipwatch/gate/motion", b"ON")
    assert listener.last["clipwatch/status"] == b"online"
    await second.recipient.channel.close()
    await listener.has("clipwatch/status", b"offline")
    await ended(task)


async def test_each_event_fires_once_for_each_label_and_nothing_after_a_restart(
    database: Database, broker: MosquittoServer, tmp_path: Path
) -> None:
    target = mqtt_target(broker)
    delivery = delivery_of(target, database, tmp_path)
    listener, task = await listening(broker)
    await record(database, DOG, target)
    await told(delivery)
    await record(
        database, replace(DOG, snippet=1, accepted=[("a dog", 0.9)]), target
    )  # the same event, no news
    await told(delivery)
    await record(database, replace(DOG, snippet=2, accepted=[("a pedestrian", 0.8)]), target)
    await told(delivery)
    await delivery.recipient.channel.close()
    second = delivery_of(target, database, tmp_path)  # a restart
    await told(second)
    await record(database, replace(DOG, event=1), target)  # another event, with a label that was seen before
    await told(second)
    await listener.has("clipwatch/status", b"online")
    await second.recipient.channel.close()
    await listener.has("clipwatch/status", b"offline")
    fired = [json.loads(payload) for topic, payload in listener.all if topic == "clipwatch/gate/event"]
    assert [(said["label"], said["id"]) for said in fired] == [
        ("a dog", DOG.event_id),
        ("a pedestrian", DOG.event_id),
        ("a dog", replace(DOG, event=1).event_id),
    ]
    types = configs_of(listener, "gate")["event", "detection"]["event_types"]
    assert all(said["event_type"] in types for said in fired)
    late, task_of_late = await listening(broker)  # Home Assistant that is started again
    await late.has("clipwatch/status", b"offline")
    assert "clipwatch/gate/event" not in late.last
    await ended(task)
    await ended(task_of_late)


async def test_what_was_noted_long_ago_is_recorded_and_fires_no_automation(
    database: Database, broker: MosquittoServer, tmp_path: Path
) -> None:
    target = mqtt_target(broker)
    delivery = delivery_of(target, database, tmp_path)
    listener, task = await listening(broker)
    await record(database, DOG, target, now_utc() - timedelta(minutes=11))
    await told(delivery)
    await delivery.recipient.channel.close()
    await listener.has("clipwatch/status", b"offline")
    assert json.loads(listener.last["clipwatch/events"])["id"] == DOG.event_id
    assert "clipwatch/gate/event" not in listener.last
    await ended(task)


async def test_a_picture_is_published_once_however_often_its_event_changes(
    database: Database, broker: MosquittoServer, tmp_path: Path
) -> None:
    target = mqtt_target(broker)
    delivery = delivery_of(target, database, tmp_path)
    media = MediaFolder(tmp_path)
    media.prepare()
    keep(media, DOG)
    listener, task = await listening(broker)
    for number in range(8):
        await record(database, replace(DOG, snippet=number, is_last=number == 7), target)
        await told(delivery)
    await listener.has("clipwatch/gate/motion", b"OFF")
    topics = [topic for topic, _ in listener.all]
    assert topics.count("clipwatch/gate/picture") == 1
    assert topics.count("clipwatch/gate/motion") == 2  # ON and OFF
    assert topics.count("clipwatch/events") == 8
    await delivery.recipient.channel.close()
    await ended(task)


async def test_two_installations_with_the_same_names_do_not_share_entities(
    database: Database, broker: MosquittoServer, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/other.db"
    other = await open_database(url, asyncio.Event(), connect_s=30, transaction_s=60)
    first = mqtt_target(broker)
    assert first.mqtt is not None
    second = first.model_copy(update={"mqtt": first.mqtt.model_copy(update={"topic": "cabin"})})
    listener, task = await listening(broker)
    for target, place in ((first, database), (second, other)):
        await record(place, DOG, target)
        delivery = delivery_of(target, place, tmp_path)
        await told(delivery)
        await delivery.recipient.channel.close()
    await listener.has("cabin/status", b"offline")
    states = [
        json.loads(payload)["state_topic"]
        for topic, payload in listener.last.items()
        if topic.startswith("homeassistant/sensor/") and payload
    ]
    assert sorted(states) == ["cabin/gate/label", "clipwatch/gate/label"]
    await ended(task)
    await other.close()


async def test_what_older_versions_announced_is_taken_back_once(
    database: Database, broker: MosquittoServer, tmp_path: Path
) -> None:
    target = mqtt_target(broker)
    old = "homeassistant/sensor/clipwatch_home_gate/label/config"
    async with aiomqtt.Client(HOST, broker.port, timeout=30) as client:
        await client.publish(old, b'{"unique_id": "clipwatch_home_gate_label"}', qos=1, retain=True)
    await record(database, DOG, target)
    for _ in range(2):
        listener, task = await listening(broker)
        delivery = delivery_of(target, database, tmp_path)
        await told(delivery)
        await delivery.recipient.channel.close()
        await listener.has("clipwatch/status", b"offline")
        await ended(task)
        emptied = [topic for topic, payload in listener.all if topic == old and not payload]
        if _ == 0:
            assert emptied == [old]
    assert emptied == []
    assert ("sensor", "label") in configs_of(listener, "gate")


async def test_another_topic_takes_back_what_stood_under_the_old_one(
    database: Database, broker: MosquittoServer, tmp_path: Path
) -> None:
    target = mqtt_target(broker)
    await record(database, DOG, target)
    assert target.mqtt is not None
    for mqtt in (target.mqtt, target.mqtt.model_copy(update={"topic": "cabin", "discovery": "ha"})):
        delivery = delivery_of(target.model_copy(update={"mqtt": mqtt}), database, tmp_path)
        await told(delivery)
        await delivery.recipient.channel.close()
    listener, task = await listening(broker)
    await listener.has("cabin/status", b"offline")
    assert not [topic for topic in listener.last if topic.startswith(("homeassistant/", "clipwatch/gate/"))]
    assert [topic for topic in listener.last if topic.startswith("ha/sensor/")]
    await ended(task)


async def test_the_loop_tells_by_itself_and_says_good_bye(
    database: Database, hooks: Hooks, tmp_path: Path
) -> None:
    target = hook_target(hooks)
    delivery = delivery_of(target, database, tmp_path)
    stop, beats = asyncio.Event(), Counter[str]()
    task = asyncio.create_task(delivery.run(stop, lambda: beats.update(["beat"])))
    await record(database, DOG, target)
    delivery.kick()
    async with asyncio.timeout(60):
        while not hooks.taken:
            await asyncio.sleep(0.01)
    stop.set()
    async with asyncio.timeout(60):
        await task
    assert beats["beat"] >= 1
    second = delivery_of(target, database, tmp_path, holder="second")
    await record(database, replace(DOG, event=1), target)
    await told(second)  # the lease was given back
    assert len(hooks.taken) == 2
