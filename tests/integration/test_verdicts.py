"""What people say of events over a real record: it changes what looks alike, on its camera, until it is taken back."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import numpy as np
import pytest
from redis.asyncio import Redis
from sqlalchemy import delete, select, update

from services.classifier.examples import CameraExamples
from services.classifier.words.prompts import LabelBank
from services.recorder.gaps.rows import change_cameras
from services.recorder.gaps.values import ConfiguredCamera
from services.recorder.http.api import add_routes
from services.recorder.http.rules import PATTERNS, RULES
from services.recorder.http.state import ApiState
from services.recorder.record.relabels import find_relabels
from services.recorder.record.schema import detections, events, frame_embeddings, snippets
from services.recorder.search.hindsight import Hindsight
from services.recorder.search.text_requests import NoClassifier
from services.recorder.verdicts import rows
from services.recorder.verdicts.preview import apply_to_past
from services.recorder.verdicts.teacher import Teacher, examples_message, in_force
from services.recorder.verdicts.values import NewVerdict, Verdict, VerdictKind, VerdictRefused
from shared.clock import now_utc
from shared.contract import MAX_EXAMPLES, ExamplesMessage, LabelSet, examples_key
from shared.decisions.examples import Example
from shared.decisions.labeller import EmbeddedSnippet, label
from shared.errors import ContractError
from shared.http_api import make_app
from tests.http_apps import client_of, guarded
from tests.integration.test_search_and_hindsight import Record, answering, record, seen
from tests.unit.classifier.makers import GREEN, RED, Colour

__all__ = ["record"]  # a fixture

pytestmark = pytest.mark.redis
NOBODY = "018f0000-0000-7000-8000-000000000000"
OLIVE, OLIVE_AGAIN = (180, 220, 20), (176, 220, 24)  # taken for a dog, and far from one that is


@pytest.fixture
def teacher(record: Record, redis_client: Redis) -> Teacher:
    return Teacher(redis_client, record.database, record.texts)


async def said(
    record: Record, event_id: str, kind: VerdictKind, text: str | None = None, effect: Any = "future"
) -> Verdict:
    new = NewVerdict(kind, text, effect, "anna")
    async with record.database.writing() as connection:
        made = await rows.add_verdict(connection, event_id, new, now_utc(), None)
    assert made is not None
    return made


async def accepted(record: Record, redis: Redis, colour: Colour, camera: str = "gate") -> set[str]:
    """Return the labels with which a classifier accepts four moments of a colour now."""
    known = CameraExamples(redis, record.model.facts)
    await known.refresh({camera})
    sent = seen(50, [colour] * 4, camera)
    texts = LabelBank(record.model, 1).get(sent.header.label_set)
    pixels = np.stack([np.full((3, 4, 4), np.array(colour)[:, None, None], np.uint8)] * 4)
    looked = EmbeddedSnippet(sent, record.model.embed_pictures(pixels), np.ones(4, np.bool_))
    examples = known.of(camera, sent.header.label_set)
    found = label(looked, texts, record.model.facts, now_utc(), examples)
    return {one.label for one in found.header.accepted}


async def test_what_was_called_wrong_is_not_found_again_and_the_rest_is(
    record: Record, teacher: Teacher, redis_client: Redis
) -> None:
    flag = await record.add(seen(0, [OLIVE] * 4), [OLIVE] * 4)
    await record.add(seen(1, [GREEN] * 4), [GREEN] * 4)
    assert await accepted(record, redis_client, OLIVE_AGAIN) == {"a dog"}
    async with answering(redis_client, record.model):
        verdict = await said(record, flag, "wrong")
        assert await teacher.teach(verdict)
        await teacher.catch_up()
    assert await accepted(record, redis_client, OLIVE_AGAIN) == set()
    assert await accepted(record, redis_client, GREEN) == {"a dog"}
    assert await accepted(record, redis_client, RED) == {"a person"}
    assert await accepted(record, redis_client, OLIVE_AGAIN, "yard") == {"a dog"}, "another camera"


async def test_cameras_of_one_group_learn_from_each_other(
    record: Record, teacher: Teacher, redis_client: Redis
) -> None:
    flag = await record.add(seen(0, [OLIVE] * 4), [OLIVE] * 4)

    async def grouped(**groups: str) -> None:
        named = [ConfiguredCamera(camera, "", "m", group) for camera, group in groups.items()]
        async with record.database.writing() as connection:
            await change_cameras(connection, named, [])
        await teacher.catch_up()

    async with answering(redis_client, record.model):
        await said(record, flag, "wrong")
        await grouped(gate="front", yard="front", barn="")
        assert await accepted(record, redis_client, OLIVE_AGAIN, "yard") == set()
        assert await accepted(record, redis_client, OLIVE_AGAIN, "barn") == {"a dog"}
        await grouped(gate="front", yard="back", barn="")
    assert await accepted(record, redis_client, OLIVE_AGAIN, "gate") == set()
    assert await accepted(record, redis_client, OLIVE_AGAIN, "yard") == {"a dog"}, "it left the group"


async def test_taken_back_it_is_as_before_to_the_last_byte(
    record: Record, teacher: Teacher, redis_client: Redis
) -> None:
    flag = await record.add(seen(0, [OLIVE] * 4), [OLIVE] * 4)
    dog = await record.add(seen(1, [GREEN] * 4), [GREEN] * 4)
    key = examples_key("gate", "colours")
    async with answering(redis_client, record.model):
        await said(record, dog, "right")
        await teacher.catch_up()
        before = await redis_client.hgetall(key)
        verdict = await said(record, flag, "nothing")
        await teacher.catch_up()
        assert await redis_client.hgetall(key) != before
        async with record.database.writing() as connection:
            undone = await rows.undo_verdict(connection, verdict.id, "otto", now_utc(), None)
            again = await rows.undo_verdict(connection, verdict.id, "vera", now_utc(), None)
        await teacher.catch_up()
    assert undone is not None
    assert again is not None
    assert (undone.undone_by, again.undone_by) == ("otto", "otto")
    assert await redis_client.hgetall(key) == before
    assert await accepted(record, redis_client, OLIVE_AGAIN) == {"a dog"}


async def test_a_later_verdict_on_the_same_event_counts_and_its_undoing_restores_the_former(
    record: Record, teacher: Teacher, redis_client: Redis
) -> None:
    flag = await record.add(seen(0, [OLIVE] * 4), [OLIVE] * 4)
    async with answering(redis_client, record.model):
        await said(record, flag, "wrong")
        await teacher.catch_up()
        second = await said(record, flag, "right", "a dog")
        await teacher.catch_up()
        assert await accepted(record, redis_client, OLIVE_AGAIN) == {"a dog"}
        async with record.database.writing() as connection:
            await rows.undo_verdict(connection, second.id, "anna", now_utc(), None)
        await teacher.catch_up()
    assert await accepted(record, redis_client, OLIVE_AGAIN) == set()


async def test_another_name_counts_and_is_ready_for_the_day_on_which_it_is_asked_for(
    record: Record, teacher: Teacher, redis_client: Redis
) -> None:
    fox = await record.add(seen(0, [OLIVE] * 4), [OLIVE] * 4)
    async with answering(redis_client, record.model):
        await said(record, fox, "is", "a fox")
        await teacher.catch_up()
    async with record.database.reading() as connection:
        teaching = await rows.teaching_of(connection, "gate", "colours")
    assert {(one.example.label, one.example.is_right) for one in teaching.examples} == {
        ("a dog", False),
        ("a fox", True),
    }
    assert await accepted(record, redis_client, OLIVE_AGAIN) == set()


async def test_a_verdict_waits_for_a_classifier(
    record: Record, teacher: Teacher, redis_client: Redis
) -> None:
    flag = await record.add(seen(0, [OLIVE] * 4), [OLIVE] * 4)
    teacher.texts = type(record.texts)(redis_client, 0.05)
    await said(record, flag, "wrong")
    await teacher.catch_up()
    assert await accepted(record, redis_client, OLIVE_AGAIN) == {"a dog"}
    teacher.texts = record.texts
    async with answering(redis_client, record.model):
        await teacher.catch_up()
    assert await accepted(record, redis_client, OLIVE_AGAIN) == set()


async def test_redis_gets_back_what_it_lost(record: Record, teacher: Teacher, redis_client: Redis) -> None:
    flag = await record.add(seen(0, [OLIVE] * 4), [OLIVE] * 4)
    async with answering(redis_client, record.model):
        await said(record, flag, "wrong")
        await teacher.catch_up()
    key = examples_key("gate", "colours")
    before = await redis_client.hgetall(key)
    await redis_client.delete(key)
    await teacher.catch_up()
    assert await redis_client.hgetall(key) == before
    other = Teacher(redis_client, record.database, record.texts)
    await redis_client.delete(key)
    await other.catch_up()
    assert await redis_client.hgetall(key) == before, "any recorder writes the same"


async def test_a_verdict_that_is_only_counted_changes_nothing(
    record: Record, teacher: Teacher, redis_client: Redis
) -> None:
    flag = await record.add(seen(0, [OLIVE] * 4), [OLIVE] * 4)
    async with answering(redis_client, record.model):
        await said(record, flag, "wrong", effect="none")
        await teacher.catch_up()
    assert await redis_client.exists(examples_key("gate", "colours")) == 0


async def test_what_was_taught_outlives_its_event(
    record: Record, teacher: Teacher, redis_client: Redis
) -> None:
    flag = await record.add(seen(0, [OLIVE] * 4), [OLIVE] * 4)
    late = await record.add(seen(1, [OLIVE] * 4), [OLIVE] * 4)
    async with answering(redis_client, record.model):
        await said(record, flag, "wrong")
        await teacher.catch_up()
        verdict = await said(record, late, "wrong")
        async with record.database.writing() as connection:
            await connection.execute(delete(events).where(events.c.id.in_([flag, late])))
        await teacher.catch_up()
    assert await accepted(record, redis_client, OLIVE_AGAIN) == set()
    async with record.database.reading() as connection:
        unseen = await rows.find_verdict(connection, verdict.id, None)
    assert unseen is not None
    assert (unseen.is_followed, unseen.taught_at is not None) == (False, True), "its pictures were gone"


async def test_so_many_examples_of_a_label_are_in_force_the_newest_among_them(
    record: Record, teacher: Teacher, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.recorder.verdicts.teacher.LABEL_EXAMPLES_MAX", 4)
    async with answering(redis_client, record.model):
        for number in range(6):
            colour = (60 + 20 * number, 220, 20)
            event = await record.add(seen(number, [colour] * 3), [colour] * 3)
            await said(record, event, "right", "a dog")
            await teacher.catch_up()
    async with record.database.reading() as connection:
        teaching = await rows.teaching_of(connection, "gate", "colours")
    kept = in_force(teaching)
    assert len(kept) == 4 < len(teaching.examples)
    assert {one.number for one in kept} >= {one.number for one in teaching.examples[-2:]}
    assert len(examples_message("gate", "colours", teaching).header.said) == 4


async def test_a_later_verdict_is_looked_at_without_the_one_that_it_takes_the_place_of(
    record: Record, teacher: Teacher, redis_client: Redis
) -> None:
    dog = await record.add(seen(0, [GREEN] * 4), [GREEN] * 4)
    async with answering(redis_client, record.model):
        await said(record, dog, "wrong")
        await teacher.catch_up()
        right = await said(record, dog, "right", "a dog")
        assert await teacher.teach(right), "nothing that counts says otherwise"


async def test_what_is_only_counted_takes_the_place_of_nothing_that_teaches(
    record: Record, teacher: Teacher, redis_client: Redis
) -> None:
    flag = await record.add(seen(0, [OLIVE] * 4), [OLIVE] * 4)
    async with answering(redis_client, record.model):
        await said(record, flag, "wrong")
        await teacher.catch_up()
        await said(record, flag, "wrong", effect="none")
        await said(record, flag, "right", "a dog", effect="none")
        await teacher.catch_up()
    assert await accepted(record, redis_client, OLIVE_AGAIN) == set()


async def test_what_teaches_nothing_leaves_the_measure_of_its_camera(
    record: Record, teacher: Teacher, redis_client: Redis
) -> None:
    flag = await record.add(seen(0, [OLIVE] * 4), [OLIVE] * 4)
    await record.add(seen(1, [GREEN] * 4), [GREEN] * 4)
    gone = await record.add(seen(2, [OLIVE] * 4), [OLIVE] * 4)
    async with answering(redis_client, record.model):
        await said(record, flag, "wrong")
        await teacher.catch_up()
        async with record.database.reading() as connection:
            before = (await rows.teaching_of(connection, "gate", "colours")).unrelated
        async with record.database.writing() as connection:
            await connection.execute(delete(frame_embeddings).where(frame_embeddings.c.event_id == gone))
        await said(record, gone, "wrong")
        await teacher.catch_up()
    async with record.database.reading() as connection:
        assert (await rows.teaching_of(connection, "gate", "colours")).unrelated == before
        assert (await rows.teaching_of(connection, "gate", "another model")).unrelated is None
    assert before is not None


async def test_a_label_that_is_heard_of_often_crowds_out_none(
    record: Record, teacher: Teacher, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.recorder.verdicts.rows.EXAMPLES_READ_MAX", 4)
    rare = await record.add(seen(0, [RED] * 4), [RED] * 4)
    async with answering(redis_client, record.model):
        await said(record, rare, "right", "a person")
        for number in range(1, 4):
            dog = await record.add(seen(number, [GREEN] * 4), [GREEN] * 4)
            await said(record, dog, "right", "a dog")
        await teacher.catch_up()
    async with record.database.reading() as connection:
        teaching = await rows.teaching_of(connection, "gate", "colours")
    assert {one.example.label for one in teaching.examples} == {"a person", "a dog"}


async def test_of_two_verdicts_the_later_one_counts_though_its_clock_is_behind(record: Record) -> None:
    flag = await record.add(seen(0, [OLIVE] * 4), [OLIVE] * 4)
    first = await said(record, flag, "wrong")
    async with record.database.writing() as connection:
        new = NewVerdict("right", "a dog", "future", "otto")
        behind = now_utc() - timedelta(minutes=5)
        second = await rows.add_verdict(connection, flag, new, behind, None)
    assert second is not None
    assert (second.made_at, second.id) > (first.made_at, first.id)
    assert second.id > first.id


def test_no_more_examples_are_in_force_than_a_message_holds() -> None:
    vector = np.ones(2, np.float32)
    kept = tuple(
        rows.KeptExample(number, "v", Example(NOBODY, f"label {number % 12}", number % 2 == 0, vector))
        for number in range(MAX_EXAMPLES + 900)
    )
    found = in_force(rows.CameraTeaching(kept, 0.5))
    assert len(found) == MAX_EXAMPLES
    assert found[-1] == kept[-1]
    message = examples_message("gate", "colours", rows.CameraTeaching(kept, 0.5))
    assert len(message.header.said) == MAX_EXAMPLES


async def test_one_camera_that_cannot_be_told_keeps_no_other_from_it(
    record: Record, teacher: Teacher, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with answering(redis_client, record.model):
        for camera in ("gate", "yard"):
            flag = await record.add(seen(0, [OLIVE] * 4, camera), [OLIVE] * 4)
            await said(record, flag, "wrong")

        def broken(camera: str, model: str, teaching: rows.CameraTeaching) -> ExamplesMessage:
            if camera == "gate":
                raise ContractError("not to be told")
            return examples_message(camera, model, teaching)

        monkeypatch.setattr("services.recorder.verdicts.teacher.examples_message", broken)
        await teacher.catch_up()
    assert await accepted(record, redis_client, OLIVE_AGAIN, "yard") == set()
    assert await redis_client.exists(examples_key("gate", "colours")) == 0


async def test_a_label_more_than_a_snippet_may_have_is_refused_and_waits_for_nothing(
    record: Record, teacher: Teacher, redis_client: Redis
) -> None:
    flag = await record.add(seen(0, [OLIVE] * 4), [OLIVE] * 4)
    many = LabelSet(labels=tuple(f"label {number}" for number in range(200)))
    async with record.database.writing() as connection:
        await connection.execute(update(snippets).values(label_set=many.model_dump_json()))
    async with answering(redis_client, record.model):
        verdict = await said(record, flag, "is", "a fox")
        assert not await teacher.teach(verdict)
    async with record.database.reading() as connection:
        assert await rows.untaught(connection, 9) == []


async def test_the_newest_pictures_of_a_camera_are_considered_and_undoing_gives_back_the_older(
    record: Record, teacher: Teacher, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.recorder.verdicts.rows.EXAMPLES_READ_MAX", 3)
    async with answering(redis_client, record.model):
        for number in range(2):
            event = await record.add(seen(number, [OLIVE] * 4), [OLIVE] * 4)
            await said(record, event, "right", "a dog")
            await teacher.catch_up()
        before = await numbers_considered(record)
        event = await record.add(seen(2, [GREEN] * 4), [GREEN] * 4)
        last = await said(record, event, "right", "a dog")
        await teacher.catch_up()
    after = await numbers_considered(record)
    assert len(after) == len(before) == 3
    assert min(after) > min(before)
    async with record.database.writing() as connection:
        await rows.undo_verdict(connection, last.id, "anna", now_utc(), None)
    assert await numbers_considered(record) == before


async def numbers_considered(record: Record) -> list[int]:
    async with record.database.reading() as connection:
        teaching = await rows.teaching_of(connection, "gate", "colours")
    return [one.number for one in teaching.examples]


async def test_of_one_event_so_many_things_can_be_said(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.recorder.verdicts.rows.EVENT_VERDICTS_MAX", 2)
    flag = await record.add(seen(0, [OLIVE] * 4), [OLIVE] * 4)
    for _ in range(2):
        await said(record, flag, "wrong")
    with pytest.raises(VerdictRefused, match="2 verdicts on one event"):
        await said(record, flag, "wrong")


# -- by HTTP


@pytest.fixture
async def client(record: Record, teacher: Teacher) -> AsyncIterator[httpx.AsyncClient]:
    app = make_app("recorder")
    hindsight = Hindsight(record.texts, record.database, teacher.known, teacher.called_right)
    add_routes(app, ApiState(lambda: True, database=record.database, teacher=teacher, hindsight=hindsight))
    async with client_of(guarded(app, RULES, PATTERNS)) as made:
        yield made


async def test_verdicts_by_http(record: Record, redis_client: Redis, client: httpx.AsyncClient) -> None:
    flag = await record.add(seen(0, [OLIVE] * 4), [OLIVE] * 4)
    path = f"/api/events/{flag}/verdicts"
    async with answering(redis_client, record.model):
        answer = await client.post(path, json={"kind": "wrong", "label": "a dog"})
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert (made["recorded"], made["is_followed"], made["effect"]) == (["a dog"], True, "future")
    assert made["n_examples"] >= 1
    assert [one["id"] for one in (await client.get(path)).json()["verdicts"]] == [made["id"]]
    page = (await client.get("/api/verdicts?camera=gate&limit=1")).json()
    assert [one["id"] for one in page["verdicts"]] == [made["id"]]
    assert page["models"] == [{"model": "colours", "examples": made["n_examples"]}]
    assert (await client.get(f"/api/verdicts?before={page['next']}")).json()["verdicts"] == []
    assert (await client.get("/api/verdicts?camera=yard")).json()["verdicts"] == []
    undone = (await client.post(f"/api/verdicts/{made['id']}/undo", json={})).json()
    assert undone["undone_at"] is not None


@pytest.mark.parametrize(
    ("body", "status", "found"),
    [
        ({"kind": "wrong", "label": "a cat"}, 400, "the event has 'a dog'"),
        ({"kind": "missed", "label": "a dog"}, 400, "has already"),
        ({"kind": "is"}, 400, "without a label"),
        ({"kind": "nothing", "label": "a dog"}, 400, "'nothing' with 'a dog'"),
        ({"kind": "odd"}, 400, "kind"),
        ({"kind": "right", "drawn_with": 1.5, "drawn_at": "2026-01-01T00:00:00Z"}, 400, "drawn_with"),
        ({"kind": "right", "drawn_with": 0.5}, 400, "drawn_at"),
        ({"kind": "right", "drawn_at": "2026-01-01T00:00:00Z"}, 400, "drawn_with"),
        ({"kind": "right", "drawn_with": 0.5, "drawn_at": "2999-01-01T00:00:00Z"}, 400, "in the future"),
        ({"kind": "right", "extra": 1}, 400, "extra"),
        ({"kind": "is", "label": " " * 3}, 400, "label"),
    ],
)
async def test_what_does_not_fit_is_refused_with_what_to_do(
    record: Record, client: httpx.AsyncClient, body: object, status: int, found: str
) -> None:
    dog = await record.add(seen(0, [GREEN] * 4), [GREEN] * 4)
    answer = await client.post(f"/api/events/{dog}/verdicts", json=body)
    assert (answer.status_code, found in answer.text) == (status, True), answer.text
    assert (await client.get("/api/verdicts")).json()["verdicts"] == []


async def test_of_what_is_not_there_nothing_can_be_said(client: httpx.AsyncClient) -> None:
    answer = await client.post(f"/api/events/{NOBODY}/verdicts", json={"kind": "right"})
    assert answer.status_code == 404
    assert (await client.post(f"/api/verdicts/{NOBODY}/undo", json={})).status_code == 404


def result_of(answer: httpx.Response) -> dict[str, Any]:  # Any: JSON
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert lines[0]["of"] == lines[-2]["done"]
    return dict(lines[-1]["result"])


def changes_of(past: Any) -> dict[str, tuple[int, int, int]]:  # Any: JSON
    """Return events that gain, or lose, each label, and those of the latter that somebody called right."""
    return {
        one["label"]: (one["gained"], one["lost"], one["lost_right"])
        for one in past["labels"]
        if one["gained"] or one["lost"]
    }


async def labels_by_event(record: Record) -> dict[str, set[str]]:
    async with record.database.reading() as connection:
        found: dict[str, set[str]] = {}
        for row in await connection.execute(select(detections.c.event_id, detections.c.label)):
            found.setdefault(row.event_id, set()).add(row.label)
    return found


async def test_also_the_past_is_changed_as_was_shown_and_put_back(
    record: Record, redis_client: Redis, client: httpx.AsyncClient
) -> None:
    today = now_utc() - timedelta(hours=9)
    flags = [await record.add(seen(n, [OLIVE] * 4, at=today), [OLIVE] * 4) for n in range(3)]
    await record.add(seen(5, [GREEN] * 4, at=today), [GREEN] * 4)
    elsewhere = await record.add(seen(6, [OLIVE] * 4, "yard", today), [OLIVE] * 4)
    old = await record.add(seen(7, [OLIVE] * 4, at=today - timedelta(days=8)), [OLIVE] * 4)
    before = await labels_by_event(record)
    path = f"/api/events/{flags[0]}/verdicts"
    async with answering(redis_client, record.model):
        shown = result_of(await client.post(f"{path}/preview", json={"kind": "is", "label": "a fox"}))
        made = (await client.post(path, json={"kind": "is", "label": "a fox"})).json()
        applied = result_of(await client.post(f"/api/verdicts/{made['id']}/apply", json={}))
        assert changes_of(applied) == changes_of(shown["past"]) == {"a dog": (0, 3, 0), "a fox": (3, 0, 0)}
        assert await labels_by_event(record) == {**before, **{flag: {"a fox"} for flag in flags}}
        [verdict] = (await client.get(path)).json()["verdicts"]
        assert (verdict["effect"], verdict["relabel_id"]) == ("past", applied["relabel_id"])
        [entry] = (await client.get("/api/relabels")).json()["relabels"]
        assert (entry["id"], entry["kind"], entry["events"]) == (verdict["relabel_id"], "verdicts", 3)
        result_of(await client.post(f"/api/relabels/{entry['id']}/undo", json={}))
        assert await labels_by_event(record) == before
        far = result_of(await client.post(f"/api/verdicts/{made['id']}/apply", json={"days": 30}))
        again = result_of(await client.post(f"/api/verdicts/{made['id']}/apply", json={"days": 30}))
        assert (again["changed"], again["written"]) == (0, 0)
        standing = [
            one for one in (await client.get("/api/relabels")).json()["relabels"] if not one["undone_at"]
        ]
        assert [(one["id"], one["events"]) for one in standing] == [(far["relabel_id"], 4)]
        assert changes_of(far) == {"a dog": (0, 4, 0), "a fox": (4, 0, 0)}
    assert (await labels_by_event(record))[old] == {"a fox"}
    assert (await labels_by_event(record))[elsewhere] == {"a dog"}


async def test_the_past_is_not_changed_by_what_changes_no_decision(
    record: Record, redis_client: Redis, client: httpx.AsyncClient
) -> None:
    flag = await record.add(seen(0, [OLIVE] * 4), [OLIVE] * 4)
    path = f"/api/events/{flag}/verdicts"
    async with answering(redis_client, record.model):
        counted = (await client.post(path, json={"kind": "wrong", "effect": "none"})).json()
        undone = (await client.post(path, json={"kind": "wrong"})).json()
        await client.post(f"/api/verdicts/{undone['id']}/undo", json={})
        right = (await client.post(path, json={"kind": "right"})).json()
        nothing = result_of(await client.post(f"/api/verdicts/{right['id']}/apply", json={}))
        assert (nothing["written"], nothing["relabel_id"]) == (0, None)
        assert (await client.get("/api/relabels")).json()["relabels"] == []
        [last] = [one for one in (await client.get(path)).json()["verdicts"] if one["id"] == right["id"]]
        assert (last["effect"], last["relabel_id"]) == ("future", None)
        for verdict, found in ((counted, "only counted"), (undone, "taken back")):
            answer = await client.post(f"/api/verdicts/{verdict['id']}/apply", json={})
            assert (answer.status_code, found in answer.text) == (409, True)
        answer = await client.post(f"/api/verdicts/{counted['id']}/apply", json={"days": 0})
    assert answer.status_code == 400
    assert await labels_by_event(record) == {flag: {"a dog"}}


async def test_without_a_classifier_the_past_is_left_and_nothing_says_otherwise(
    record: Record, teacher: Teacher, redis_client: Redis
) -> None:
    flag = await record.add(seen(0, [OLIVE] * 4), [OLIVE] * 4)
    verdict = await said(record, flag, "wrong")
    silent = Hindsight(type(record.texts)(redis_client, 0.05), record.database, teacher.known)
    with pytest.raises(NoClassifier):
        await anext(apply_to_past(silent, verdict, "anna", verdict.event_started_at, now_utc()))
    async with record.database.reading() as connection:
        found = await rows.find_verdict(connection, verdict.id, None)
        assert await find_relabels(connection) == []
    assert found is not None
    assert (found.effect, found.relabel_id) == ("future", None)


async def test_words_in_hindsight_are_decided_with_what_was_learned(
    record: Record, teacher: Teacher, redis_client: Redis, client: httpx.AsyncClient
) -> None:
    today = now_utc() - timedelta(hours=9)
    flag = await record.add(seen(0, [OLIVE] * 4, at=today), [OLIVE] * 4)
    await record.add(seen(1, [OLIVE_AGAIN] * 4, at=today), [OLIVE_AGAIN] * 4)
    dog = await record.add(seen(2, [GREEN] * 4, at=today), [GREEN] * 4)
    asked = {"labels": ["a dog"], "since": (today - timedelta(days=1)).isoformat(), "mode": "replace"}
    async with answering(redis_client, record.model):
        assert changes_of(result_of(await client.post("/api/hindsight", json=asked))) == {}
        await client.post(f"/api/events/{flag}/verdicts", json={"kind": "wrong"})
        await client.post(f"/api/events/{dog}/verdicts", json={"kind": "right"})
        assert changes_of(result_of(await client.post("/api/hindsight", json=asked))) == {"a dog": (0, 2, 0)}


async def test_a_preview_says_what_the_last_days_would_lose_and_gain(
    record: Record, redis_client: Redis, client: httpx.AsyncClient
) -> None:
    today = now_utc() - timedelta(hours=9)
    flags = [await record.add(seen(n, [OLIVE] * 4, at=today), [OLIVE] * 4) for n in range(3)]
    dog = await record.add(seen(5, [GREEN] * 4, at=today), [GREEN] * 4)
    await record.add(seen(6, [OLIVE] * 4, "yard", today), [OLIVE] * 4)
    await record.add(seen(7, [OLIVE] * 4, at=today - timedelta(days=8)), [OLIVE] * 4)
    before = await redis_client.keys("*")
    async with answering(redis_client, record.model):
        assert (await client.post(f"/api/events/{dog}/verdicts", json={"kind": "right"})).status_code == 201
        said = {"kind": "right", "effect": "none"}
        assert (await client.post(f"/api/events/{flags[1]}/verdicts", json=said)).status_code == 201
        path = f"/api/events/{flags[0]}/verdicts/preview"
        found = result_of(await client.post(path, json={"kind": "wrong"}))
        fox = result_of(await client.post(path, json={"kind": "is", "label": "a fox"}))
    past = found["past"]
    assert (found["is_followed"], found["not_asked_for"]) == (True, [])
    assert (past["events"], past["left_out"], past["changed"], past["written"]) == (4, 0, 3, 0)
    assert changes_of(past) == {"a dog": (0, 3, 1)}
    assert past["summary"] == "3 events on 1 camera lose 'a dog' (1 of them called right)"
    assert {one["event_id"] for one in past["shown"]} == set(flags)
    assert (changes_of(fox["past"]), fox["not_asked_for"]) == (
        {"a dog": (0, 3, 1), "a fox": (3, 0, 0)},
        ["a fox"],
    )
    assert len((await client.get("/api/verdicts")).json()["verdicts"]) == 2, "a preview keeps nothing"
    assert set(await redis_client.keys("*")) - set(before) <= {
        b"texts.v1",
        examples_key("gate", "colours").encode(),
    }


async def test_a_preview_without_a_classifier_says_so(
    record: Record, teacher: Teacher, client: httpx.AsyncClient, redis_client: Redis
) -> None:
    flag = await record.add(seen(0, [OLIVE] * 4), [OLIVE] * 4)
    teacher.texts = type(record.texts)(redis_client, 0.05)
    answer = await client.post(f"/api/events/{flag}/verdicts/preview", json={"kind": "wrong"})
    assert answer.status_code == 503, answer.text
    kept = await client.post(f"/api/events/{flag}/verdicts", json={"kind": "wrong"})
    assert (kept.status_code, kept.json()["is_followed"]) == (201, None)
