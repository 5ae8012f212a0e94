"""Why events were accepted or not, over a real record; the classifier embeds the words through a real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, cast

import httpx
import numpy as np
import pytest
from redis.asyncio import Redis
from sqlalchemy import delete, update

from services.recorder.http.api import add_routes
from services.recorder.http.rules import PATTERNS, RULES
from services.recorder.http.state import ApiState
from services.recorder.record.schema import events, frame_embeddings, frame_probabilities, snippets
from services.recorder.search.camera_examples import ExamplesInRedis
from services.recorder.search.explainer import Explainer
from services.recorder.search.text_requests import TextEmbedder
from shared.clock import uuid7
from shared.contract import (
    Box,
    ExampleSaid,
    ExamplesHeader,
    ExamplesMessage,
    SnippetMessage,
    examples_key,
)
from shared.http_api import make_app
from shared.permissions import Identity, Permission
from tests.http_apps import KnownIdentity, client_of, guarded
from tests.integration.test_search_and_hindsight import Record, answering, record, seen
from tests.unit.classifier.makers import BLUE, GREEN, NOON, RED, Colour

__all__ = ["record"]  # a fixture

pytestmark = pytest.mark.redis
Json = dict[str, Any]  # Any: JSON values


def with_boxes(sent: SnippetMessage) -> SnippetMessage:
    """Return a snippet whose crops move to the right."""
    pictures = tuple(
        one.model_copy(update={"box": Box(x=0.1 * number, y=0.25, w=0.2, h=0.5)})
        for number, one in enumerate(sent.header.pictures)
    )
    return SnippetMessage(sent.header.model_copy(update={"pictures": pictures}), sent.pictures)


async def recorded(record: Record, number: int, colours: list[Colour], camera: str = "gate") -> str:
    return await record.add(with_boxes(seen(number, colours, camera)), colours)


@asynccontextmanager
async def asking(record: Record, redis: Redis, deadline_s: float = 20) -> AsyncIterator[httpx.AsyncClient]:
    app = make_app("recorder")
    explainer = Explainer(TextEmbedder(redis, deadline_s), record.database, ExamplesInRedis(redis).of)
    add_routes(app, ApiState(lambda: True, record.database, explainer=explainer))
    async with client_of(guarded(app, RULES, PATTERNS)) as client:
        yield client


async def why(client: httpx.AsyncClient, event_id: str) -> Json:
    answer = await client.get(f"/api/events/{event_id}/why")
    assert answer.status_code == 200, answer.text
    return cast("Json", answer.json())


def of(said: Json, label: str) -> Json:
    return next(cast("Json", one) for one in said["labels"] if one["label"] == label)


async def test_an_accepted_event_says_what_was_looked_at_and_what_decided(
    record: Record, redis_client: Redis
) -> None:
    event_id = await recorded(record, 0, [BLUE, GREEN, GREEN, GREEN])
    async with answering(redis_client, record.model), asking(record, redis_client) as client:
        said = await why(client, event_id)
        detail = (await client.get(f"/api/events/{event_id}")).json()
    dog, person = of(said, "a dog"), of(said, "a person")
    assert [one["label"] for one in said["labels"]] == ["a dog", "a person"]
    assert (dog["is_accepted"], person["is_accepted"], said["missing"]) == (True, False, [])
    assert said["sentence"] == dog["sentence"]
    assert dog["sentence"].startswith("'a dog' was accepted: for ")
    assert dog["peak"] == pytest.approx(detail["detections"][0]["probability"])
    assert dog["run"]["started_at"] == detail["detections"][0]["started_at"]
    assert (dog["threshold"], dog["leave_threshold"], dog["threshold_reason"]) == (0.5, 0.4, "")
    pictures = said["snippets"][0]["pictures"]
    assert [one["box"] for one in pictures] == [pytest.approx([0.1 * n, 0.25, 0.2, 0.5]) for n in range(4)]
    assert [(one["label"], one["decides"]) for one in pictures][1:] == [("a dog", True)] * 3
    assert [one["offset_s"] for one in pictures] == [1.0, 1.5, 2.0, 2.5]
    best = dog["moments"][-1]
    assert (best["picture"], best["offset_s"], best["kind"]) == (3, 2.5, "crop")
    assert best["box"] == pictures[3]["box"]
    assert best["own_score"] == pytest.approx(pictures[3]["score"])
    assert person["rival"]["name"] == "a dog"
    assert "'a dog' fitted" in person["sentence"]


async def test_an_event_without_a_label_says_what_came_nearest(record: Record, redis_client: Redis) -> None:
    event_id = await recorded(record, 0, [BLUE] * 4)
    async with answering(redis_client, record.model), asking(record, redis_client) as client:
        said = await why(client, event_id)
    assert said["sentence"].startswith("No label was accepted; '")
    assert "the background 'an empty street' fitted the same crops better" in said["sentence"]
    assert not any(one["is_accepted"] for one in said["labels"])
    assert all(one["moments"] for one in said["labels"])


async def test_without_a_classifier_what_is_recorded_is_explained_and_the_rest_is_said_to_be_missing(
    record: Record, redis_client: Redis
) -> None:
    event_id = await recorded(record, 0, [GREEN] * 4)
    async with asking(record, redis_client, 0.05) as client:
        said, again = await why(client, event_id), await why(client, event_id)
    dog = of(said, "a dog")
    assert dog["is_accepted"]
    assert dog["background"] is not None
    assert dog["run"]["n_own"] is None
    assert [one["own_score"] for one in dog["moments"]] == [None] * 4
    assert [one["picture"] for one in dog["moments"]] == [0, 1, 2, 3], "a moment of one crop hangs on that"
    assert said["snippets"][0]["pictures"][0]["box"] is not None
    assert said["missing"] == [
        "The scores of single pictures are not known: no classifier answered within 0.05 s."
    ]
    assert again["missing"] == [
        "The scores of single pictures are not known: no classifier answered a moment ago."
    ]


async def test_pictures_of_another_model_keep_their_recorded_reasons(
    record: Record, redis_client: Redis
) -> None:
    event_id = await recorded(record, 0, [GREEN] * 4)
    async with record.database.writing() as connection:
        await connection.execute(update(snippets).values(model="of last year"))
        await connection.execute(update(frame_embeddings).values(model="of last year"))
    async with answering(redis_client, record.model), asking(record, redis_client) as client:
        said = await why(client, event_id)
    assert of(said, "a dog")["is_accepted"]
    assert said["missing"] == [
        "The scores of single pictures are not known: they were looked at by the model 'of last year', "
        "and the classifier has 'colours' now."
    ]


async def test_what_cannot_lead_to_the_recorded_decision_is_left_out(
    record: Record, redis_client: Redis
) -> None:
    event_id = await recorded(record, 0, [GREEN] * 4)
    async with record.database.writing() as connection:
        is_dog = frame_probabilities.c.label == "a dog"
        await connection.execute(update(frame_probabilities).where(is_dog).values(score=0.6))
    async with answering(redis_client, record.model), asking(record, redis_client) as client:
        said = await why(client, event_id)
    dog = of(said, "a dog")
    assert (dog["is_accepted"], dog["moments"][0]["own_score"]) == (True, None)
    assert "they do not lead to what was recorded" in said["missing"][0]


async def test_examples_that_decided_are_named(record: Record, redis_client: Redis) -> None:
    """The classifier decided with an example; the explanation reads it from where the classifier does."""
    event_id = await recorded(record, 0, [GREEN] * 4)
    other = uuid7(NOON, seed="other")
    vector = record.model.embed_pictures(np.full((1, 3, 4, 4), np.array(GREEN)[:, None, None], np.uint8))
    header = ExamplesHeader(
        camera="gate",
        model="colours",
        embedding_dim=4,
        unrelated=0.4,
        said=(ExampleSaid(event=other, label="a dog", is_right=True),),
    )
    message = ExamplesMessage(header, 1, vector.astype("<f2").tobytes())
    key = examples_key("gate", "colours")
    # Any: redis-py's unions of both clients
    await cast("Any", redis_client.hset(key, mapping=cast("Any", message.encode())))
    async with answering(redis_client, record.model), asking(record, redis_client) as client:
        dog = of(await why(client, event_id), "a dog")
    assert dog["is_accepted_without_examples"] is True
    assert [(one["event"], one["is_right"]) for one in dog["examples"]] == [(other, True)]


async def test_events_whose_pictures_or_moments_are_gone_are_a_clear_answer(
    record: Record, redis_client: Redis
) -> None:
    bare, empty = await recorded(record, 0, [GREEN] * 4), await recorded(record, 1, [GREEN] * 4)
    async with record.database.writing() as connection:
        await connection.execute(delete(frame_embeddings))
        await connection.execute(delete(frame_probabilities).where(frame_probabilities.c.event_id == empty))
    async with asking(record, redis_client, 0.05) as client:
        without, nothing = await why(client, bare), await why(client, empty)
    assert without["sentence"].startswith("'a dog' was accepted: for 1.5 s ")
    assert without["missing"] == ["Which pictures were looked at was not kept."]
    assert without["snippets"][0]["pictures"] == []
    assert nothing["sentence"] == "No label could be accepted: no picture of this event could be looked at."


async def test_an_event_of_several_snippets_is_explained_by_the_best(
    record: Record, redis_client: Redis
) -> None:
    first = with_boxes(seen(0, [BLUE] * 4))
    event_id = await record.add(first, [BLUE] * 4)
    later = first.header.model_copy(
        update={
            "snippet": 1,
            "started_at": first.header.started_at + timedelta(seconds=10),
            "ended_at": first.header.ended_at + timedelta(seconds=10),
            "pictures": tuple(
                one.model_copy(update={"captured_at": one.captured_at + timedelta(seconds=10)})
                for one in first.header.pictures
            ),
        }
    )
    await record.add(SnippetMessage(later, first.pictures), [RED] * 4)
    async with answering(redis_client, record.model), asking(record, redis_client) as client:
        said = await why(client, event_id)
    person = of(said, "a person")
    assert (person["is_accepted"], person["snippet"]) == (True, 1)
    assert [one["offset_s"] for one in person["moments"]] == [1.0, 1.5, 2.0, 2.5]
    assert [len(one["pictures"]) for one in said["snippets"]] == [4, 4]


async def test_there_is_nothing_to_say_of_events_that_are_not_there_or_not_seen(
    record: Record, redis_client: Redis
) -> None:
    event_id = await recorded(record, 0, [GREEN] * 4, "yard")
    app = make_app("recorder")
    explainer = Explainer(TextEmbedder(redis_client, 0.05), record.database, ExamplesInRedis(redis_client).of)
    add_routes(app, ApiState(lambda: True, record.database, explainer=explainer))
    looker = KnownIdentity(Identity("a viewer", frozenset({Permission.LOOK}), frozenset({"gate"})))
    async with client_of(guarded(app, RULES, PATTERNS, authenticator=looker)) as viewer:
        hidden = await viewer.get(f"/api/events/{event_id}/why")
        none = await viewer.get(f"/api/events/{uuid7(NOON, seed='none')}/why")
        odd = await viewer.get("/api/events/none/why")
    assert [one.status_code for one in (hidden, none, odd)] == [404] * 3
    assert set(hidden.json()["error"]) == {"found", "wanted", "do"}


async def test_events_are_found_by_how_their_id_starts(record: Record, redis_client: Redis) -> None:
    ids = sorted([await recorded(record, number, [BLUE] * 2) for number in range(3)])
    async with asking(record, redis_client, 0.05) as client:

        async def found(start: str, **more: str) -> list[str]:
            query = {"id_start": start, "accepted_only": "false", **more}
            answer = await client.get("/api/events", params=query)
            return sorted(event["id"] for event in answer.json()["events"])

        assert await found(ids[1]) == [ids[1]]
        assert await found(ids[1][:30]) == [ids[1]]
        assert await found(ids[1][:6]) == ids
        assert await found("ffff") == []
        assert await found(ids[1], camera="yard") == []
        assert (await client.get("/api/events", params={"id_start": "%"})).status_code == 400


async def test_many_who_ask_at_once_are_all_answered(record: Record, redis_client: Redis) -> None:
    ids = [await recorded(record, number, [GREEN] * 3) for number in range(4)]
    async with answering(redis_client, record.model), asking(record, redis_client) as client:
        said = await asyncio.gather(*(why(client, one) for one in ids * 3))
    assert {one["event_id"] for one in said} == set(ids)
    assert all(one["missing"] == [] for one in said)
    async with record.database.writing() as connection:
        await connection.execute(delete(events))
