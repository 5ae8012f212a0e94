"""Quality over a real record, by HTTP: what was said of drawn events becomes precision, and a check asks for more."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, cast

import httpx
import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import insert, select, update

from services.recorder.http.api import add_routes
from services.recorder.http.rules import PATTERNS, RULES
from services.recorder.http.state import ApiState
from services.recorder.media.values import StoredMedia
from services.recorder.metrics import RecorderMetrics
from services.recorder.quality import rows
from services.recorder.quality.watch import QualityWatch
from services.recorder.record.bootstrap import open_database
from services.recorder.record.database import Database
from services.recorder.record.retention import RetentionLimits, RetentionRule, aged, remove_events
from services.recorder.record.rows import snippet_rows
from services.recorder.record.schema import events, snippets, verdicts
from services.recorder.record.transactions import record_snippet
from services.recorder.verdicts.teacher import Teacher
from shared.clock import now_utc, uuid7
from shared.http_api import make_app
from shared.permissions import Identity, Permission
from tests.http_apps import KnownIdentity, client_of, guarded
from tests.unit.recorder.messages import Said, labels_message

NOW = now_utc()
SHOWN = StoredMedia(clip_name="2026/01/01/00.mp4", thumbnail_name="2026/01/01/00.jpg", clip_bytes=1)
DOGS, MOTIONS = 20, 10
NO_LIMITS = RetentionLimits()


def seen(number: int, label: str | None = "a dog", camera: str = "gate", peak: float = 0.8) -> Said:
    """Return an event of `number` minutes ago; without a label its best peak was 0.3."""
    peaks = {"a dog": peak if label else 0.3, "a pedestrian": 0.1, "an empty path": 0.2}
    accepted = [(label, peak)] if label else []
    return Said(
        event=-number,
        is_last=True,
        camera=camera,
        accepted=accepted,
        start=NOW - timedelta(hours=5),
        peaks=peaks,
    )


class Record:
    """A record that a test fills."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def add(self, said: Said, media: StoredMedia = SHOWN) -> str:
        async with self.database.writing() as connection:
            await record_snippet(connection, snippet_rows(labels_message(said)), media, NOW)
        return said.event_id

    async def judge(
        self,
        event_id: str,
        kind: str,
        label: str | None = None,
        *,
        recorded: tuple[str, ...] = ("a dog",),
        drawn_with: float | None = None,
        at: datetime = NOW,
        effect: str = "none",
        started_at: datetime = NOW - timedelta(hours=6),
    ) -> str:
        row = {
            "id": uuid7(at),
            "event_id": event_id,
            "camera": "gate",
            "event_started_at": started_at,
            "kind": kind,
            "label": label,
            "recorded": json.dumps(recorded),
            "drawn_with": drawn_with,
            "drawn_at": None if drawn_with is None else at,
            "effect": effect,
            "made_by": "anna",
            "made_at": at,
        }
        async with self.database.writing() as connection:
            await connection.execute(insert(verdicts).values(row))
        return str(row["id"])


@pytest.fixture
async def record(sqlite_record: str) -> AsyncIterator[Record]:
    database = await open_database(sqlite_record, asyncio.Event(), 30, 30)
    yield Record(database)
    await database.close()


def asking(
    record: Record, *permissions: Permission, limits: RetentionLimits = NO_LIMITS
) -> httpx.AsyncClient:
    """Return a client that may do this, or everything."""
    app = make_app("recorder")
    nobody = cast(
        "Any", None
    )  # Any: answers of a check teach nothing, so nothing is asked of Redis or a classifier
    teacher = Teacher(nobody, record.database, nobody)
    add_routes(app, ApiState(lambda: True, record.database, teacher=teacher, limits=limits))
    identity = Identity("anna", frozenset(permissions or Permission))
    return client_of(guarded(app, RULES, PATTERNS, KnownIdentity(identity)))


async def test_nobody_was_asked_so_nothing_is_stated(record: Record) -> None:
    for number in range(3):
        await record.judge(
            await record.add(seen(number)), "wrong"
        )  # clicked on: this says nothing of the others
    await record.add(seen(5))
    async with asking(record) as client:
        said = (await client.get("/api/quality")).json()
    assert said["together"] is None
    [pair] = said["pairs"]
    assert (pair["precision"], pair["events"], pair["judged"], pair["known_wrong"]) == (None, 4, 3, 3)
    assert pair["drawn"] == 0


async def test_answers_of_a_check_state_precision_and_what_is_missed(record: Record) -> None:
    for number in range(DOGS):
        event_id = await record.add(seen(number))
        if number < 10:
            await record.judge(event_id, "right" if number < 8 else "wrong", "a dog", drawn_with=0.5)
    for number in range(MOTIONS):
        event_id = await record.add(seen(100 + number, None))
        if number < 5:
            await record.judge(
                event_id,
                "missed" if number == 0 else "nothing",
                "a dog" if number == 0 else None,
                recorded=(),
                drawn_with=0.5,
            )
    async with asking(record, Permission.LOOK) as client:
        said = (await client.get("/api/quality")).json()
        curve = (await client.get("/api/quality/threshold?camera=gate&label=a dog")).json()
    [pair] = said["pairs"]
    assert (pair["events"], pair["judged"], pair["drawn"], pair["known_wrong"]) == (DOGS, 10, 10, 2)
    assert pair["precision"]["share"] == pytest.approx(0.8)
    assert 0.4 <= pair["precision"]["low"] < 0.7 < 0.9 <= pair["precision"]["high"] < 1
    assert said["together"] == pair["precision"]
    assert pair["missed"]["events"] == pytest.approx(2)
    assert (pair["missed"]["of"], pair["missed"]["drawn"]) == (MOTIONS, 5)
    assert 1 <= pair["missed"]["low"] < 2 < pair["missed"]["high"] <= 6
    assert (curve["answers"], curve["best"], curve["now"]) == (10, None, 0.5)
    point = next(one for one in curve["curve"] if one["threshold"] == 0.5)
    assert point["precision"] == pytest.approx(0.8)
    assert point["recall"] == pytest.approx(16 / 18)
    low = next(one for one in curve["curve"] if one["threshold"] == 0.2)
    assert low["precision"] == pytest.approx(18 / 30)


async def test_a_threshold_is_proposed_from_twenty_answers(record: Record) -> None:
    for number in range(20):
        is_right = number % 4 != 0
        event_id = await record.add(seen(number, peak=0.9 if is_right else 0.6))
        await record.judge(event_id, "right" if is_right else "wrong", "a dog", drawn_with=1.0)
    async with asking(record) as client:
        said = (await client.get("/api/quality/threshold?camera=gate&label=a dog")).json()
    assert said["best"] == pytest.approx(0.76)  # the middle between 0.6 and 0.9
    assert said["precise"] == pytest.approx(0.62)
    assert said["curve"][0]["precision"] == pytest.approx(0.75)


async def test_only_what_a_check_asked_of_the_label_makes_a_threshold_proposed(record: Record) -> None:
    for number in range(40):
        drawn_with = 1.0 if number < 19 else None  # the others were clicked on before
        at = NOW if number < 19 else NOW - timedelta(minutes=5)
        event_id = await record.add(seen(number, peak=0.9))
        await record.judge(event_id, "right", "a dog", drawn_with=drawn_with, at=at)
    for number in range(MOTIONS):
        event_id = await record.add(seen(100 + number, None))
        await record.judge(event_id, "nothing", recorded=(), drawn_with=1.0)
    async with asking(record) as client:
        said = (await client.get("/api/quality/threshold?camera=gate&label=a dog")).json()
    assert (said["answers"], said["best"]) == (19, None)


@pytest.mark.parametrize(
    "limits",
    [
        RetentionLimits(days=7),
        RetentionLimits(days=60, rules=(RetentionRule(camera="gate", days=7),)),
        RetentionLimits(days=7, rules=(RetentionRule(label="a cat", days=60),)),
        RetentionLimits(
            days=60, rules=(RetentionRule(label="a dog", days=7), RetentionRule(camera="gate", days=7))
        ),
    ],
)
async def test_what_outlives_retention_because_it_was_judged_is_no_sample(
    record: Record, limits: RetentionLimits
) -> None:
    old = NOW - timedelta(days=10)
    for number in range(DOGS):
        event_id = await record.add(seen(number))
        if number < 10:
            await record.judge(event_id, "right", "a dog", drawn_with=0.5)
    for number in range(200, 200 + DOGS):  # of the old ones, those stay that somebody clicked on: wrong ones
        said = replace(seen(number, "a dog" if number % 2 else None), start=old)
        event_id = await record.add(said)
        if number < 206:
            await record.judge(
                event_id,
                "wrong" if number % 2 else "missed",
                "a dog",
                at=old,
                effect="future",
                started_at=old,
            )
    async with record.database.writing() as connection:
        await connection.execute(
            update(events)
            .where(events.c.started_at < NOW - timedelta(days=8))
            .values(created_at=old, updated_at=old)
        )
        assert (await remove_events(connection, aged(limits, NOW), NOW))[0] == DOGS - 6
    registry = CollectorRegistry()
    watch = QualityWatch(record.database, RecorderMetrics(registry), limits)
    await watch.estimate(NOW)
    async with asking(record, limits=limits) as client:
        [pair] = (await client.get("/api/quality")).json()["pairs"]
        questions = (await client.get("/api/check?n=50")).json()["questions"]
    assert (pair["events"], pair["judged"], pair["known_wrong"], pair["missed"]) == (DOGS, 10, 0, None)
    assert pair["precision"]["share"] == 1.0
    assert len(questions) == 10
    labels = {"camera": "gate", "label": "a dog", "bound": "estimate"}
    assert registry.get_sample_value("clipwatch_precision_ratio", labels) == 1.0


async def test_a_verdict_that_was_taken_back_counts_no_more(record: Record) -> None:
    verdict = await record.judge(await record.add(seen(0)), "wrong", "a dog", drawn_with=1.0)
    async with record.database.writing() as connection:
        await connection.execute(
            update(verdicts).where(verdicts.c.id == verdict).values(undone_by="anna", undone_at=NOW)
        )
    async with asking(record) as client:
        [pair] = (await client.get("/api/quality")).json()["pairs"]
    assert (pair["judged"], pair["precision"]) == (0, None)


async def test_a_check_asks_ten_questions_that_nobody_answered(record: Record) -> None:
    judged = await record.add(seen(0))
    await record.judge(judged, "right", "a dog")
    hidden = await record.add(seen(1), StoredMedia())
    for number in range(2, DOGS):
        await record.add(seen(number))
    for number in range(MOTIONS):
        await record.add(seen(100 + number, None))
    async with asking(record) as client:
        questions = (await client.get("/api/check")).json()["questions"]
        few = (await client.get("/api/check?n=3")).json()["questions"]
        none = (await client.get("/api/check?camera=yard")).json()["questions"]
    assert (len(questions), len(few), none) == (10, 3, [])
    asked = {one["event"]["id"] for one in questions}
    assert len(asked) == 10
    assert not asked & {judged, hidden}
    of_label = [one for one in questions if one["label"]]
    missed = [one for one in questions if not one["label"]]
    assert (len(of_label), len(missed)) == (8, 2)
    assert {one["question"] for one in of_label} == {"Is this 'a dog'?"}
    assert [one["drawn_with"] for one in of_label] == pytest.approx([8 / 18] * 8)
    assert [one["labels"] for one in missed] == [["a dog", "a pedestrian"]] * 2
    assert [one["drawn_with"] for one in missed] == pytest.approx([0.2] * 2)


async def test_answers_by_the_route_of_verdicts_are_counted_as_they_were_drawn(record: Record) -> None:
    for number in range(DOGS):
        await record.add(seen(number))
    for number in range(MOTIONS):
        await record.add(seen(100 + number, None))
    async with asking(record) as client:
        made = [
            await answered(client, one, number)
            for number, one in enumerate((await client.get("/api/check")).json()["questions"])
        ]
        [pair] = (await client.get("/api/quality")).json()["pairs"]
        again = (await client.get("/api/check?n=50")).json()["questions"]
        for one in made:
            assert (await client.post(f"/api/verdicts/{one['id']}/undo", json={})).is_success
        [unasked] = (await client.get("/api/quality")).json()["pairs"]
    assert (pair["events"], pair["judged"], pair["drawn"], pair["known_wrong"]) == (DOGS, 8, 8, 0)
    assert pair["precision"]["share"] == 1.0
    assert pair["precision"]["low"] < 0.95
    assert (pair["missed"]["of"], pair["missed"]["drawn"]) == (MOTIONS, 2)
    assert {one["effect"] for one in made} == {"none"}
    assert len(again) == DOGS + MOTIONS - 10
    assert not {one["event"]["id"] for one in again} & {one["event_id"] for one in made}
    assert (unasked["judged"], unasked["precision"], unasked["missed"]) == (0, None, None)


async def test_a_check_names_itself(record: Record) -> None:
    for number in range(DOGS):
        await record.add(seen(number))
    async with asking(record) as client:
        first = (await client.get("/api/check?n=3")).json()["questions"]
        second = (await client.get("/api/check?n=3")).json()["questions"]
        for number, one in enumerate(first):
            await answered(client, one, number)
        # a check draws from the days of the estimates, or they took it to be drawn from others
        assert (await client.get("/api/check?days=1")).status_code == 400
    async with record.database.reading() as connection:
        kept = set((await connection.scalars(select(verdicts.c.drawn_at))).all())
    times = [{datetime.fromisoformat(one["drawn_at"]) for one in check} for check in (first, second)]
    assert [len(one) for one in times] == [1, 1]
    assert NOW < max(times[0]) < max(times[1])
    assert kept == times[0]


async def answered(client: httpx.AsyncClient, question: dict[str, Any], number: int) -> dict[str, Any]:
    """Answer as the page does: all labels are right, and a dog was missed on every other event without one."""
    said = {"kind": "right", "label": question["label"]}
    if question["label"] is None:
        said = {"kind": "missed", "label": "a dog"} if number % 2 else {"kind": "nothing"}
    path = f"/api/events/{question['event']['id']}/verdicts"
    drawn = {name: question[name] for name in ("drawn_with", "drawn_at")}
    answer = await client.post(path, json={**said, **drawn})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def test_a_click_that_nobody_asked_for_is_known_and_stands_for_nothing_else(record: Record) -> None:
    ids = [await record.add(seen(number)) for number in range(DOGS)]
    async with asking(record) as client:
        for event_id in ids[:3]:
            said = {"kind": "wrong", "effect": "none"}
            assert (await client.post(f"/api/events/{event_id}/verdicts", json=said)).is_success
        [before] = (await client.get("/api/quality")).json()["pairs"]
        for number, one in enumerate((await client.get("/api/check")).json()["questions"]):
            await answered(client, one, number)
        [after] = (await client.get("/api/quality")).json()["pairs"]
    assert (before["known_wrong"], before["precision"]) == (3, None)
    assert (after["judged"], after["drawn"]) == (13, 10)
    assert after["precision"]["share"] == pytest.approx(17 / 20)
    assert after["precision"]["high"] == pytest.approx(17 / 20)


async def test_who_only_looks_is_not_asked(record: Record) -> None:
    async with asking(record, Permission.LOOK) as client:
        assert (await client.get("/api/quality")).status_code == 200
        assert (await client.get("/api/check")).status_code == 403


async def test_metrics_follow_and_forget(record: Record) -> None:
    event_id = await record.add(seen(0))
    verdict = await record.judge(event_id, "right", "a dog", drawn_with=1.0)
    registry = CollectorRegistry()
    watch = QualityWatch(record.database, RecorderMetrics(registry), NO_LIMITS)
    await watch.estimate(now_utc())
    labels = {"camera": "gate", "label": "a dog", "bound": "estimate"}
    assert registry.get_sample_value("clipwatch_precision_ratio", labels) == 1.0
    async with record.database.writing() as connection:
        await connection.execute(update(verdicts).where(verdicts.c.id == verdict).values(undone_at=NOW))
    await watch.estimate(now_utc())
    assert registry.get_sample_value("clipwatch_precision_ratio", labels) is None


async def test_a_row_that_cannot_be_read_does_not_end_the_recorder(record: Record) -> None:
    event_id = await record.add(seen(0, None))
    async with record.database.writing() as connection:
        await connection.execute(
            update(snippets).where(snippets.c.event_id == event_id).values(label_set="{}")
        )
    stop, beats = asyncio.Event(), 0

    def beat() -> None:
        nonlocal beats
        beats += 1
        stop.set()

    await QualityWatch(record.database, RecorderMetrics(CollectorRegistry()), NO_LIMITS).run(stop, beat)
    assert beats == 1


async def test_others_have_their_turn_while_many_rows_are_read(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(40):
        await record.add(seen(number, None))
    monkeypatch.setattr(rows, "_ROWS_AT_ONCE", 10)
    at_once, most = 0, 0
    settings_of = rows._ParsedSettings.of

    def counted(self: rows._ParsedSettings, label_set: str, decision: str) -> tuple[Sequence[str], float]:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        return settings_of(self, label_set, decision)

    async def others() -> None:
        nonlocal at_once
        while True:
            at_once = 0
            await asyncio.sleep(0)

    monkeypatch.setattr(rows._ParsedSettings, "of", counted)
    turns = asyncio.create_task(others())
    async with record.database.reading() as connection:
        units = await rows.recorded_units(connection, NO_LIMITS, now_utc(), 30, None)
    turns.cancel()
    assert len(units.motions) == 40
    assert 0 < most <= 10
