"""Search by likeness over a real record: from an event, from one of its pictures, and from a picture that is sent."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from redis.asyncio import Redis
from sqlalchemy import update

from services.recorder.http.api import add_routes
from services.recorder.http.rules import PATTERNS, RULES
from services.recorder.http.state import ApiState
from services.recorder.record.bootstrap import open_database
from services.recorder.record.schema import frame_embeddings
from services.recorder.search.common_words import COMMON_WORDS, CommonWords
from services.recorder.search.index import EmbeddingIndex
from services.recorder.search.likeness import Likeness, LikeRequest, LikeResult
from services.recorder.search.picture_requests import PictureEmbedder, PicturesRefused
from services.recorder.search.recorded_pictures import NoPicture, RecordedPictures
from services.recorder.search.text_requests import NoClassifier, TextEmbedder
from services.recorder.search.vectors import PictureFilter
from services.recorder.search.words import SearchRequest
from shared.contract import PICTURES, SnippetMessage
from shared.http_api import make_app
from shared.permissions import Identity, Permission
from tests.http_apps import KnownIdentity, client_of, guarded
from tests.integration.test_picture_requests import embedding, png
from tests.integration.test_search_and_hindsight import Record, answering, seen
from tests.unit.classifier.makers import BLUE, GREEN, NOON, RED, Colour, ColourModel, jpeg

pytestmark = pytest.mark.redis
DARK_RED, OLIVE = (190, 40, 10), (130, 130, 20)
NO_EVENT = "018f0000-0000-7000-8000-000000000000"


@pytest.fixture
async def record(redis_client: Redis, record_url: str, tmp_path: Path) -> AsyncIterator[Record]:
    database = await open_database(record_url, asyncio.Event(), 30, 30)
    index = EmbeddingIndex(tmp_path / "index", database, record_url)
    stop = asyncio.Event()
    with index.opened():
        task = asyncio.create_task(index.run(stop, lambda: None))
        yield Record(database, index, ColourModel(), TextEmbedder(redis_client, 20))
        stop.set()
        index.kick()
        await task
    await database.close()


def likeness(record: Record, redis: Redis, text_s: float = 0.05, picture_s: float = 20) -> Likeness:
    recorded = RecordedPictures(record.database, TextEmbedder(redis, text_s))
    return Likeness(PictureEmbedder(redis, picture_s), recorded, record.nearest())


def ids(found: LikeResult) -> list[str]:
    return [hit.event.id for hit in found.ranking.hits]


def two_crops(number: int, moments: list[tuple[Colour, Colour]]) -> tuple[SnippetMessage, list[Colour]]:
    """Return a snippet with two crops in each moment."""
    colours = list(itertools.chain.from_iterable(moments))
    sent = seen(number, colours)
    pictures = tuple(
        info.model_copy(
            update={"moment": at // 2, "captured_at": NOON + timedelta(minutes=number, seconds=at // 2)}
        )
        for at, info in enumerate(sent.header.pictures)
    )
    return SnippetMessage(sent.header.model_copy(update={"pictures": pictures}), sent.pictures), colours


async def test_what_looks_like_an_event_comes_first_without_itself(
    record: Record, redis_client: Redis
) -> None:
    """No classifier is asked: the event's pictures are embedded already."""
    of = await record.add(seen(0, [RED, RED, BLUE]), [RED, RED, BLUE])
    like = await record.add(seen(1, [BLUE, DARK_RED]), [BLUE, DARK_RED])
    unlike = await record.add(seen(2, [GREEN]), [GREEN])
    found = await likeness(record, redis_client).find(LikeRequest(of))
    assert ids(found) == [like, unlike]
    assert found.of is not None
    assert (found.of.event.id, found.of.picture, found.model) == (of, 0, "colours")
    best = found.ranking.hits[0]
    assert (best.snippet, best.picture) == (0, 1)
    assert best.similarity > 0.9
    assert best.similarity > found.ranking.hits[1].similarity + 0.3
    assert found.ranking.extent.searched == 6


async def test_the_crop_that_fits_the_label_stands_for_an_event(record: Record, redis_client: Redis) -> None:
    """In every moment something blue moves beside the dog."""
    event = await record.add(*two_crops(0, [(BLUE, GREEN)] * 3))
    async with answering(redis_client, record.model):
        best = await RecordedPictures(record.database, record.texts).best(event)
    assert (best.event.label, best.picture % 2) == ("a dog", 1)


async def test_without_a_classifier_the_crop_that_others_resemble_stands_for_an_event(
    record: Record, redis_client: Redis
) -> None:
    event = await record.add(*two_crops(0, [(OLIVE, RED), (BLUE, RED), (GREEN, RED), (OLIVE, RED)]))
    best = await RecordedPictures(record.database, TextEmbedder(redis_client, 0.05)).best(event)
    assert (best.event.label, best.picture % 2) == ("a person", 1)


async def test_a_named_picture_is_compared(record: Record, redis_client: Redis) -> None:
    of = await record.add(seen(0, [RED, GREEN]), [RED, GREEN])
    red = await record.add(seen(1, [RED]), [RED])
    green = await record.add(seen(2, [GREEN]), [GREEN])
    search = likeness(record, redis_client)
    for picture, nearest in ((0, red), (1, green)):
        found = await search.find(LikeRequest(of, (0, picture)))
        assert ids(found)[0] == nearest
        assert found.of is not None
        assert (found.of.snippet, found.of.picture, found.of.offset_s) == (0, picture, 1 + picture * 0.5)


async def test_a_search_by_likeness_keeps_to_camera_time_and_viewer(
    record: Record, redis_client: Redis
) -> None:
    made = {
        (camera, number): await record.add(seen(number, [RED], camera), [RED])
        for camera in ("gate", "yard")
        for number in (0, 10)
    }
    search = likeness(record, redis_client)

    async def found(limit: int = 24, **within: Any) -> set[str]:  # Any: of PictureFilter
        asked = LikeRequest(made["gate", 0], None, PictureFilter(**within), limit)
        return set(ids(await search.find(asked)))

    assert await found() == set(made.values()) - {made["gate", 0]}
    assert await found(camera="yard") == {made["yard", 0], made["yard", 10]}
    assert await found(since=NOON + timedelta(minutes=5)) == {made["gate", 10], made["yard", 10]}
    assert await found(camera="yard", until=NOON + timedelta(minutes=5)) == {made["yard", 0]}
    assert await found(cameras=frozenset({"gate"})) == {made["gate", 10]}
    assert len(await found(limit=1)) == 1
    with pytest.raises(NoPicture, match=f"no event '{made['gate', 0]}'"):
        await found(cameras=frozenset({"yard"}))


async def test_an_event_of_many_pictures_leaves_the_answer_to_others(
    record: Record, redis_client: Redis
) -> None:
    of = await record.add(seen(0, [RED] * 60), [RED] * 60)
    others = {await record.add(seen(number, [GREEN]), [GREEN]) for number in range(1, 4)}
    found = await likeness(record, redis_client).find(LikeRequest(of, limit=3))
    assert set(ids(found)) == others


async def test_a_sent_picture_finds_what_looks_like_it(record: Record, redis_client: Redis) -> None:
    red = await record.add(seen(0, [RED]), [RED])
    green = await record.add(seen(1, [GREEN]), [GREEN])
    search = likeness(record, redis_client)
    async with embedding(redis_client, record.model):
        assert ids(await search.find_sent(jpeg(RED), PictureFilter(), 24)) == [red, green]
        assert ids(await search.find_sent(png(GREEN), PictureFilter(), 1)) == [green]
        found = await search.find_sent(jpeg(GREEN), PictureFilter(camera="yard"), 24)
        assert (ids(found), found.of) == ([], None)
        with pytest.raises(PicturesRefused, match="no JPEG, PNG or WebP"):
            await search.find_sent(b"GIF89a", PictureFilter(), 24)
    with pytest.raises(NoClassifier):
        await likeness(record, redis_client, picture_s=0.05).find_sent(jpeg(RED), PictureFilter(), 24)


async def test_what_is_not_in_the_record_is_named(record: Record, redis_client: Redis) -> None:
    event = await record.add(seen(0, [RED]), [RED])
    blank = await record.add(seen(1, [GREEN]), [GREEN])
    async with record.database.writing() as connection:
        of_blank = update(frame_embeddings).where(frame_embeddings.c.event_id == blank)
        await connection.execute(of_blank.values(embedding=bytes(8)))
    search = likeness(record, redis_client)
    for request, fault in (
        (LikeRequest(NO_EVENT), f"no event '{NO_EVENT}'"),
        (LikeRequest(event, (0, 7)), f"no picture 7 in clip 0 of event {event}"),
        (LikeRequest(event, (3, 0)), f"no picture 0 in clip 3 of event {event}"),
        (LikeRequest(blank), f"event {blank} has no picture that could be embedded"),
    ):
        with pytest.raises(NoPicture, match=fault):
            await search.find(request)


# -- what is a match


async def test_a_search_says_whether_anything_matches(record: Record, redis_client: Redis) -> None:
    for number in range(15):
        await record.add(seen(number, [RED, DARK_RED]), [RED, DARK_RED])
    dog = await record.add(seen(20, [GREEN]), [GREEN])
    async with answering(redis_client, record.model), embedding(redis_client, record.model):
        by_words = record.search()
        found = (await by_words.find(SearchRequest("a dog", limit=3))).ranking.hits
        assert [(hit.event.id == dog, hit.is_good) for hit in found] == [
            (True, True),
            (False, False),
            (False, False),
        ]
        absent = (await by_words.find(SearchRequest("a blue wall", limit=3))).ranking.hits
        assert {hit.is_good for hit in absent} == {False}
        search = likeness(record, redis_client)
        like = (await search.find_sent(jpeg(GREEN), PictureFilter(), 3)).ranking.hits
        assert [hit.is_good for hit in like] == [True, False, False]
        unlike = (await search.find_sent(jpeg(BLUE), PictureFilter(), 3)).ranking.hits
        assert {hit.is_good for hit in unlike} == {False}


def leaf(number: int) -> tuple[SnippetMessage, list[Colour]]:
    """Return a snippet of one object that happens to look like a dog in one picture."""
    colours = [GREEN, RED, RED, RED]
    sent = seen(number, colours)
    pictures = tuple(info.model_copy(update={"track": 3}) for info in sent.header.pictures)
    return SnippetMessage(sent.header.model_copy(update={"pictures": pictures}), sent.pictures), colours


async def dogs(record: Record, redis: Redis) -> dict[str, bool | None]:
    async with answering(redis, record.model):
        found = (await record.search().find(SearchRequest("a dog", limit=2))).ranking.hits
    return {hit.event.id: hit.is_good for hit in found}


async def test_a_match_shows_in_most_pictures_of_its_object(record: Record, redis_client: Redis) -> None:
    """Without track numbers nobody knows which pictures show the same, and the best one counts."""
    dog = await record.add(seen(10, [GREEN, RED, RED, RED]), [GREEN, RED, RED, RED])
    other = await record.add(*leaf(20))
    assert await dogs(record, redis_client) == {dog: True, other: False}


async def test_where_the_best_is_no_match_nothing_is(record: Record, redis_client: Redis) -> None:
    nearer = await record.add(*leaf(10))
    beyond = await record.add(seen(20, [(60, 220, 20)]), [(60, 220, 20)])
    assert await dogs(record, redis_client) == {nearer: False, beyond: False}


async def test_common_words_are_embedded_once(record: Record, redis_client: Redis) -> None:
    nobody = CommonWords(TextEmbedder(redis_client, 0.05))
    assert (await nobody.of("colours", 4)).shape == (0, 4)
    common = CommonWords(record.texts)
    async with answering(redis_client, record.model):
        while len(await common.of("colours", 4)) < len(COMMON_WORDS):
            pass
        n_texts = record.model.n_texts
        rows = await common.of("colours", 4)
        assert record.model.n_texts == n_texts
        assert (await common.of("others", 4)).shape == (0, 4)
    wanted = record.model.embed_texts(COMMON_WORDS)
    assert rows == pytest.approx(wanted, abs=1e-6)


async def test_too_few_pictures_tell_nothing_of_a_match(record: Record, redis_client: Redis) -> None:
    of = await record.add(seen(0, [RED]), [RED])
    await record.add(seen(1, [RED]), [RED])
    found = await likeness(record, redis_client).find(LikeRequest(of))
    assert [hit.is_good for hit in found.ranking.hits] == [None]


# -- over HTTP


def site(record: Record, redis: Redis, cameras: frozenset[str] | None = None) -> Any:  # Any: an ASGI app
    app = make_app("recorder")
    search = likeness(record, redis, picture_s=20)
    add_routes(app, ApiState(lambda: True, record.database, likeness=search))
    viewer = Identity("vera", frozenset({Permission.LOOK}), cameras=cameras)
    return guarded(app, RULES, PATTERNS, KnownIdentity(viewer))


async def test_the_api_answers_and_says_what_is_wrong(record: Record, redis_client: Redis) -> None:
    of = await record.add(seen(0, [RED, GREEN]), [RED, GREEN])
    red = await record.add(seen(1, [RED], "yard"), [RED])
    async with client_of(site(record, redis_client)) as client:
        answer = await client.get("/api/search/like", params={"event": of})
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "no-store"
        said = answer.json()
        assert [hit["event"]["id"] for hit in said["results"]] == [red]
        assert (said["of"]["event_id"], said["of"]["camera"], said["model"]) == (of, "gate", "colours")
        named = {"event": red, "snippet": 0, "picture": said["results"][0]["picture"]}
        assert (await client.get("/api/search/like", params=named)).json()["of"]["event_id"] == red
        for asked, status, found in (
            ({"event": NO_EVENT}, 404, f"no event '{NO_EVENT}'"),
            ({"event": of, "snippet": 0, "picture": 99}, 404, "no picture 99 in clip 0"),
            ({"event": of, "snippet": 0}, 400, "no picture"),
            ({"event": of, "picture": 0}, 400, "no snippet"),
            ({"event": "../etc"}, 400, "event="),
            ({}, 400, "event is missing"),
            ({"event": of, "limit": 0}, 400, "limit="),
            ({"event": of, "q": "a dog"}, 400, "the parameter 'q'"),
        ):
            refused = await client.get("/api/search/like", params=cast("dict[str, str]", asked))
            assert refused.status_code == status, refused.text
            assert refused.json()["error"]["found"].startswith(found)


async def test_a_picture_is_bounded_before_it_is_read(record: Record, redis_client: Redis) -> None:
    red = await record.add(seen(0, [RED]), [RED])
    async with client_of(site(record, redis_client)) as client, embedding(redis_client, record.model):

        async def send(body: bytes, kind: str = "image/jpeg", **headers: str) -> tuple[int, str]:
            answer = await client.post(
                "/api/search/like", content=body, headers={"content-type": kind, **headers}
            )
            return answer.status_code, answer.text

        status, text = await send(png(RED), "image/png")
        assert (status, red in text) == (200, True)
        assert (await send(jpeg(RED), "image/jpeg; charset=x"))[0] == 200
        for kind in ("application/json", "text/plain", "image/gif", "multipart/form-data", ""):
            status, text = await send(jpeg(RED), kind)
            assert (status, "image/jpeg or image/png or image/webp" in text) == (415, True), kind
        assert (await send(bytes((4 << 20) + 1)))[0] == 413
        assert (await send(b""))[0] == 400
        status, text = await send(jpeg(RED, 1001, 1000))
        assert (status, "1001x1000 px" in text) == (400, True)
        assert (await send(jpeg(RED), Origin="http://evil.example"))[0] == 403
        assert await redis_client.xlen(PICTURES) == 0


async def test_a_picture_of_another_camera_is_not_there(record: Record, redis_client: Redis) -> None:
    other = await record.add(seen(0, [RED], "yard"), [RED])
    async with client_of(site(record, redis_client, frozenset({"gate"}))) as client:
        for asked in ({"event": other}, {"event": other, "snippet": "0", "picture": "0"}):
            found = await client.get("/api/search/like", params=asked)
            assert (found.status_code, found.json()["error"]["found"]) == (404, f"no event '{other}'")


async def test_without_a_classifier_a_sent_picture_is_answered_with_what_to_do(
    record: Record, redis_client: Redis
) -> None:
    app = make_app("recorder")
    add_routes(
        app,
        ApiState(lambda: True, record.database, likeness=likeness(record, redis_client, picture_s=0.05)),
    )
    viewer = Identity("vera", frozenset({Permission.LOOK}), cameras=None)
    async with client_of(guarded(app, RULES, PATTERNS, KnownIdentity(viewer))) as client:
        answer = await client.post(
            "/api/search/like", content=jpeg(RED), headers={"content-type": "image/jpeg"}
        )
    assert answer.status_code == 503
    assert "no classifier answered" in answer.json()["error"]["found"]
    assert "start the classifier" in answer.json()["error"]["do"]
