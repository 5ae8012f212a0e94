"""Every route of the recorder, asked by a viewer of one camera of two: nothing of the other is in any answer.

Everything that belongs to the other camera says `canary`, or its media key. A route that is new fails until a line here
says how it is asked.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import httpx
import numpy as np
import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.types import ASGIApp

from services.recorder.access.links import EventLinks
from services.recorder.gaps import rows as gap_rows
from services.recorder.gaps.tracker import GapChange
from services.recorder.gaps.values import ConfiguredCamera, GapKey
from services.recorder.health.pipeline import Pipeline
from services.recorder.http.api import add_routes
from services.recorder.http.motion_proxy import only_seen
from services.recorder.http.motion_routes import MOTION_ROUTES
from services.recorder.http.rules import ACCESS_RULES, PATTERNS, RULES
from services.recorder.http.state import ApiState
from services.recorder.media.files import MediaFolder
from services.recorder.media.folder_store import FolderStore
from services.recorder.metrics import RecorderMetrics
from services.recorder.record.bootstrap import open_database
from services.recorder.record.database import Database
from services.recorder.record.feed import Feed
from services.recorder.record.label_history import LabelSettings, NamedChange, note_named, note_recorded
from services.recorder.record.relabels import NewRelabel, count_relabel
from services.recorder.record.retention import RetentionLimits, RetentionRule
from services.recorder.record.rows import snippet_rows
from services.recorder.record.schema import detections, events, links, verdicts
from services.recorder.record.transactions import record_snippet
from services.recorder.search.common_words import CommonWords
from services.recorder.search.explainer import Explainer
from services.recorder.search.hindsight import Hindsight
from services.recorder.search.index import EmbeddingIndex
from services.recorder.search.label_trial import LabelTrial
from services.recorder.search.likeness import Likeness
from services.recorder.search.nearest_events import NearestEvents
from services.recorder.search.picture_requests import EmbeddedPictures, PictureEmbedder
from services.recorder.search.recorded_pictures import RecordedPictures
from services.recorder.search.snippet_decisions import KnownExamples
from services.recorder.search.text_requests import TextEmbedder
from services.recorder.search.words import Search
from services.recorder.verdicts.pictures import SentPicture, add_picture
from services.recorder.verdicts.rows import imagine_verdict
from services.recorder.verdicts.teacher import Teacher
from services.recorder.verdicts.values import NewVerdict
from shared.clock import now_utc, uuid7
from shared.contract import Column, DecisionSettings, LabelSet
from shared.decisions.label_texts import EmbeddedLabelSet, LabelTexts
from shared.http_api import make_app
from shared.permissions import Identity, Permission
from shared.presence import CameraReport, Presence, ProcessPresence
from tests.http_apps import KnownIdentity, client_of, guarded
from tests.unit.recorder.messages import START, Said, keep, labels_message

CANARIES = ("canary", "cafecafe")
ALL = frozenset(Permission)
OF_GATE = Identity("of gate", ALL, frozenset({"gate"}))
OF_ALL = Identity("of all", ALL)
OF_NOTHING = Identity("of nothing", ALL, frozenset())
NOWHERE = uuid7(START, seed="nowhere")


@dataclass(frozen=True, slots=True)
class CanarySaid(Said):
    """What is said of the other camera, whose files have names of their own."""

    @property
    def media_key(self) -> str:
        return f"cafecafe{self.event:08x}{self.snippet:016x}"


MINE = Said(event=1, camera="gate", accepted=[("a dog", 0.9)])
OTHER = CanarySaid(
    event=2,
    camera="canary-yard",
    labels=("canary label",),
    background=("canary background",),
    accepted=[("canary label", 0.9)],
)


class NoExamples:
    """A Redis in which nobody said anything of any camera."""

    async def hgetall(self, _key: str) -> dict[bytes, bytes]:
        return {}


class Texts:
    """Embeds all words as one vector, which all pictures show."""

    redis = NoExamples()

    async def ask(self, label_set: LabelSet, with_others: bool) -> EmbeddedLabelSet:  # noqa: ARG002
        kinds = [("target", text) for text in label_set.labels]
        kinds += [("background", text) for text in label_set.background]
        n, t = len(kinds), len(label_set.labels)
        columns = tuple(Column.model_validate({"kind": kind, "text": text}) for kind, text in kinds)
        nothing = np.zeros((t, 0), np.bool_)
        texts = LabelTexts(
            (*columns, Column(text="other", kind="other")),
            np.full((n, 8), 8**-0.5, np.float32),
            t,
            n - t,
            np.zeros((t, t), np.bool_),
            nothing,
            np.zeros(0, np.bool_),
        )
        return EmbeddedLabelSet("mini", 20.0, 8, texts)


class Pictures:
    """Embeds all pictures as that vector."""

    async def ask(self, jpegs: Sequence[bytes]) -> EmbeddedPictures:
        return EmbeddedPictures("mini", np.full((len(jpegs), 8), 8**-0.5, np.float32))


async def no_examples(camera: str, model: str) -> KnownExamples:  # noqa: ARG001
    return KnownExamples()


def heard() -> tuple[ProcessPresence, ...]:
    cameras = tuple(
        CameraReport(id=camera, name=name, state="away", message=message)
        for camera, name, message in (
            ("gate", "Gate", "no route"),
            ("canary-yard", "Canary Yard", "canary message"),
        )
    )
    return (ProcessPresence(Presence(service="motion", name="m1", cameras=cameras), 1.0),)


@pytest.fixture
async def api(sqlite_record: str, tmp_path: Path) -> AsyncIterator[ApiState]:
    database = await open_database(sqlite_record, asyncio.Event(), 30, 30)
    media = MediaFolder(tmp_path / "media")
    media.prepare()
    for number in range(2):
        for said in (MINE, OTHER):
            await record(database, media, said, number)
    async with database.writing() as connection:
        await _end_recently(connection)
        for camera in ("gate", "canary-yard"):
            change = GapChange(GapKey("camera.away", camera), f"{camera} is away", START, None)
            await gap_rows.write(connection, change, (), now_utc())
        cameras = [ConfiguredCamera("gate", "Gate", "m"), ConfiguredCamera("canary-yard", "Canary Yard", "m")]
        await gap_rows.change_cameras(connection, cameras, ())
        for event_id, link_id, note in (
            (MINE.event_id, OWN["link"], "for us"),
            (OTHER.event_id, OTHERS["link"], "canary note"),
        ):
            row = {"id": link_id, "event_id": event_id, "made_by": f"{note}'s maker", "note": note}
            times = {"made_at": START, "ends_at": now_utc() + timedelta(days=1)}
            await connection.execute(links.insert().values(row | times))
        for camera, relabel_id, name in (
            ("gate", OWN["relabel"], "a dog"),
            ("canary-yard", OTHERS["relabel"], "canary label"),
        ):
            asked = {"labels": [name], "cameras": [camera]}
            entry = NewRelabel(relabel_id, "words", asked, f"{name}'s maker", START)
            await count_relabel(connection, entry, 1, 1)
            asked_now = LabelSettings(LabelSet(labels=(name,)), DecisionSettings())
            await note_named(connection, NamedChange(camera, None, asked_now, f"{name}'s maker"), START)
            known = EmbeddedPictures("colours", np.eye(1, 4, dtype=np.float32))
            sent = SentPicture(camera, name, True, None, b"", f"{name}'s maker")
            await add_picture(connection, sent, known, 0.5, START)
        for said, verdict_id, label in (
            (MINE, OWN["verdict"], "a cat"),
            (OTHER, OTHERS["verdict"], "canary cat"),
        ):
            new = NewVerdict("missed", label, "future", f"{label}'s maker")
            made = await imagine_verdict(connection, said.event_id, new, START, None)
            assert made is not None
            columns = {**asdict(made), "id": verdict_id, "recorded": json.dumps(made.recorded)}
            await connection.execute(verdicts.insert().values(columns))
    index = EmbeddingIndex(tmp_path / "index", database, "one")
    texts, nearest = cast("TextEmbedder", Texts()), NearestEvents(index, database, 0.01)
    with index.opened():
        await index.sync(asyncio.Event())
        rules = (
            RetentionRule(camera="canary-yard", label="canary rule", days=3),
            RetentionRule(camera="gate", days=2),
        )
        yield ApiState(
            lambda: True,
            database,
            FolderStore(media),
            Feed(database, RecorderMetrics(CollectorRegistry()), 8),
            Search(texts, CommonWords(texts), nearest),
            Hindsight(texts, database),
            Pipeline(heard=heard(), is_known=True, fault=""),
            RetentionLimits(days=1, rules=rules),
            links=EventLinks(database),
            explainer=Explainer(texts, database, no_examples),
            label_trial=LabelTrial(texts, cast("PictureEmbedder", Pictures()), no_examples),
            likeness=Likeness(
                cast("PictureEmbedder", Pictures()), RecordedPictures(database, texts), nearest
            ),
            teacher=Teacher(cast("Any", None), database, texts),
        )
    await database.close()


async def _end_recently(connection: AsyncConnection) -> None:
    """Have all events ended an hour ago: checks ask about what has ended, and is no older than retention allows."""
    began = now_utc() - timedelta(hours=1)
    times = {"started_at": began, "ended_at": began + timedelta(seconds=9)}
    await connection.execute(events.update().values(is_open=False, **times))
    await connection.execute(detections.update().values(event_started_at=began))


async def record(database: Database, media: MediaFolder, said: Said, snippet: int) -> None:
    said = type(said)(
        **{name: getattr(said, name) for name in Said.__dataclass_fields__} | {"snippet": snippet}
    )
    kept = keep(media, said)
    async with database.writing() as connection:
        rows = snippet_rows(labels_message(said))
        await record_snippet(connection, rows, kept, now_utc())
        await note_recorded(connection, [rows], now_utc())


def site(api: ApiState, identity: Identity) -> ASGIApp:
    app = make_app("recorder")
    add_routes(app, api)
    return guarded(app, RULES, PATTERNS, KnownIdentity(identity))


def named(said: Said, ending: str = "mp4") -> str:
    return f"2026/05/04/{said.media_key}.{ending}"


def label_sets(**values: object) -> dict[str, object]:
    return {"labels": ["a dog"], "background": [], "since": START.isoformat(), **values}


# How each route is asked: of everything, and of what may be another camera's ({event}, {camera}, {media}).
Body = dict[str, Any] | bytes | None  # bytes: a picture
ASKED: dict[tuple[str, str], list[tuple[str, Body]]] = {
    ("GET", "/"): [("/", None)],
    ("GET", "/cameras"): [("/cameras", None)],
    ("GET", "/cameras/{camera_id}"): [("/cameras/{camera}", None)],
    ("GET", "/login"): [("/login", None)],
    ("GET", "/users"): [("/users", None)],
    ("GET", "/verdicts"): [("/verdicts", None)],
    ("GET", "/quality"): [("/quality", None)],
    ("GET", "/web"): [("/web/app.css", None)],
    ("GET", "/api/openapi.json"): [("/api/openapi.json", None)],
    ("GET", "/api/events"): [
        ("/api/events", None),
        ("/api/events?accepted_only=false&limit=200", None),
        ("/api/events?camera={camera}", None),
        ("/api/events?label={label}", None),
        ("/api/events?camera={camera}&label={label}&accepted_only=false", None),
        ("/api/events?before=4102444800000_{event}", None),
    ],
    ("GET", "/api/events/{event_id}"): [("/api/events/{event}", None)],
    ("GET", "/api/events/{event_id}/why"): [("/api/events/{event}/why", None)],
    ("PUT", "/api/events/{event_id}/protected"): [
        ("/api/events/{event}/protected", {"is_protected": True}),
    ],
    ("GET", "/api/retention"): [("/api/retention", None)],
    ("GET", "/api/record/cameras"): [("/api/record/cameras", None)],
    ("GET", "/api/record/labels"): [("/api/record/labels", None)],
    ("GET", "/api/stats"): [("/api/stats", None)],
    ("GET", "/api/health"): [("/api/health", None)],
    ("GET", "/api/cameras/{camera_id}/label-history"): [("/api/cameras/{camera}/label-history", None)],
    ("GET", "/api/search"): [
        ("/api/search?q=anything&limit=200", None),
        ("/api/search?q=anything&camera={camera}", None),
    ],
    ("GET", "/api/search/like"): [
        ("/api/search/like?event={event}", None),
        ("/api/search/like?event={event}&snippet=0&picture=1&limit=200", None),
        ("/api/search/like?event={event}&camera={camera}", None),
    ],
    ("POST", "/api/search/like"): [
        ("/api/search/like?limit=200", b"a picture"),
        ("/api/search/like?camera={camera}", b"a picture"),
    ],
    ("GET", "/api/gaps"): [("/api/gaps?limit=200", None), ("/api/gaps?camera={camera}", None)],
    ("GET", "/api/check"): [
        ("/api/check?n=50", None),
        ("/api/check?camera={camera}", None),
    ],
    ("GET", "/api/quality"): [
        ("/api/quality?days=366", None),
        ("/api/quality?days=366&camera={camera}", None),
    ],
    ("GET", "/api/verdicts"): [
        ("/api/verdicts?limit=200", None),
        ("/api/verdicts?camera={camera}", None),
        ("/api/verdicts?before=4102444800000_{verdict}", None),
    ],
    ("GET", "/api/events/{event_id}/verdicts"): [("/api/events/{event}/verdicts", None)],
    ("POST", "/api/events/{event_id}/verdicts"): [
        ("/api/events/{event}/verdicts", {"kind": "right", "effect": "none"}),
        (
            "/api/events/{event}/verdicts",
            {"kind": "nothing", "drawn_with": 0.5, "drawn_at": "2026-01-01T00:00:00Z"},
        ),
    ],
    ("POST", "/api/events/{event_id}/verdicts/preview"): [
        ("/api/events/{event}/verdicts/preview", {"kind": "wrong"}),
    ],
    ("POST", "/api/verdicts/{verdict_id}/apply"): [("/api/verdicts/{verdict}/apply", {})],
    ("POST", "/api/verdicts/{verdict_id}/undo"): [("/api/verdicts/{verdict}/undo", {})],
    ("GET", "/api/quality/threshold"): [
        ("/api/quality/threshold?days=366&camera={camera}&label={label}", None),
        ("/api/quality/threshold?days=366&camera=gate&label={label}", None),
    ],
    ("POST", "/api/hindsight"): [
        ("/api/hindsight", label_sets()),
        ("/api/hindsight", label_sets(camera="{camera}")),
        ("/api/hindsight", label_sets(mode="add", background=None)),
    ],
    ("GET", "/api/cameras/{camera_id}/examples"): [("/api/cameras/{camera}/examples?limit=200", None)],
    ("POST", "/api/cameras/{camera_id}/examples"): [
        ("/api/cameras/{camera}/examples?label={label}&event=one", b"a picture"),
    ],
    ("GET", "/api/relabels"): [("/api/relabels", None)],
    ("POST", "/api/relabels/{relabel_id}/undo"): [("/api/relabels/{relabel}/undo", {})],
    ("POST", "/api/cameras/{camera_id}/label-trial"): [
        ("/api/cameras/{camera}/label-trial", {"labels": ["a dog"], "pictures": ["QUJD"]}),
    ],
    ("GET", "/media/{name:path}"): [("/media/{media}", None)],
    ("GET", "/api/events/{event_id}/links"): [("/api/events/{event}/links", None)],
    ("POST", "/api/events/{event_id}/links"): [("/api/events/{event}/links", {"hours": 1})],
    ("GET", "/api/links"): [("/api/links", None)],
    ("DELETE", "/api/links/{link_id}"): [("/api/links/{link}", None)],
    ("DELETE", "/api/events/{event_id}/links"): [("/api/events/{event}/links", None)],
}
SHARED = {key for key in RULES if key[1].startswith("/shared/")}  # for nobody: test_link_routes.py
OF_PEOPLE = set(ACCESS_RULES)  # they say who sees which cameras, and nothing of cameras
STREAMS = {("GET", "/api/stream")}  # asked in a test of its own
PASSED_ON = {key for key in MOTION_ROUTES if "{camera_id}" in key[1]}
# /api/cameras: only_seen below; WHIP asks for a camera's own token
OF_MOTION = set(MOTION_ROUTES) - PASSED_ON


def filled(asked: tuple[str, Body], names: dict[str, str]) -> tuple[str, Body]:
    path, body = asked
    for name, value in names.items():
        path = path.replace("{" + name + "}", value)
    if body is None or isinstance(body, bytes):
        return path, body
    text = json.dumps(body)
    for name, value in names.items():
        text = text.replace("{" + name + "}", value)
    return path, json.loads(text)


async def ask(
    client: httpx.AsyncClient, method: str, asked: tuple[str, Body], **headers: str
) -> httpx.Response:
    path, body = asked
    if isinstance(body, bytes):
        return await client.request(
            method, path, content=body, headers={**headers, "content-type": "image/png"}
        )
    return await client.request(method, path, json=body, headers=headers)


OTHERS = {
    "verdict": "019d3727-0000-7000-8000-0000cafecafe",
    "relabel": "019d3727-0000-7000-8000-00000000cafe",
    "link": "cafe" * 8,
    "event": OTHER.event_id,
    "camera": "canary-yard",
    "label": "canary label",
    "media": named(OTHER),
}
NOBODYS = {
    "verdict": "019d3727-0000-7000-8000-00000000abab",
    "relabel": "019d3727-0000-7000-8000-0000000000ab",
    "link": "ab" * 16,
    "event": NOWHERE,
    "camera": "no-such-cam",
    "label": "no such labe",
    "media": named(Said(event=99)),
}
OWN = {
    "verdict": "019d3727-0000-7000-8000-000000000002",
    "relabel": "019d3727-0000-7000-8000-000000000001",
    "link": "01" * 16,
    "event": MINE.event_id,
    "camera": "gate",
    "label": "a dog",
    "media": named(MINE),
}


def comparable(answer: httpx.Response, names: dict[str, str]) -> tuple[int, str, set[str]]:
    """Return status, text and headers without what the caller sent, and how long it took."""
    text = answer.text
    for name, value in names.items():
        text = text.replace(value, f"<{name}>")
    steady = [line for line in text.splitlines() if line]
    if answer.headers.get("content-type", "").startswith("application/json"):
        document = json.loads(text)
        if isinstance(document, dict):
            document = {
                key: value
                for key, value in document.items()
                if key not in ("took_s", "text_s", "picture_s", "disk", "since", "missed_since")
            }
            for key in ("drawn_with", "drawn_at"):  # chance, and now
                for question in document.get("questions", ()):
                    question.pop(key, None)
            document.get("questions", []).sort(key=json.dumps)  # asked in random order
        steady = [json.dumps(document)]
    return answer.status_code, "\n".join(steady), {*answer.headers} - {"content-length"}


def test_each_route_is_asked() -> None:
    assert set(ASKED) | STREAMS | SHARED | PASSED_ON | OF_MOTION | OF_PEOPLE == set(RULES)


async def test_no_answer_holds_anything_of_another_camera(api: ApiState) -> None:
    async with client_of(site(api, OF_GATE)) as client:
        for (method, _), requests in ASKED.items():
            for asked in requests:
                other = await ask(client, method, filled(asked, OTHERS))
                nobodys = await ask(client, method, filled(asked, NOBODYS))
                own = await ask(client, method, filled(asked, OWN))
                assert comparable(other, OTHERS) == comparable(nobodys, NOBODYS), asked
                for answer in (own, nobodys):
                    said = answer.text + str(answer.headers)
                    assert not [canary for canary in CANARIES if canary in said.lower()], (asked, said)
                assert own.is_success, (asked, own.text)


async def test_who_sees_all_cameras_sees_the_other_in_every_answer_that_has_one(api: ApiState) -> None:
    """Each canary is there to be found: the test above cannot pass because a record is empty."""
    found: set[str] = set()
    async with client_of(site(api, OF_ALL)) as client:
        for (method, path), requests in ASKED.items():
            for asked in requests:
                answer = await ask(client, method, filled(asked, OTHERS))
                assert answer.is_success, (asked, answer.text)
                if any(canary in answer.text.lower() for canary in CANARIES):
                    found.add(path)
    assert found >= {path for _, path in ASKED if path.startswith("/api/")} - {
        "/api/openapi.json",
        "/api/stats",
        "/api/quality/threshold",
        "/api/events/{event_id}/verdicts/preview",
        "/api/verdicts/{verdict_id}/apply",
        "/api/events/{event_id}/protected",
        "/api/links/{link_id}",
        "/api/relabels/{relabel_id}/undo",
        "/api/cameras/{camera_id}/label-trial",
    }


async def test_who_sees_no_camera_gets_an_empty_record(api: ApiState) -> None:
    async with client_of(site(api, OF_NOTHING)) as client:
        assert (await client.get("/api/events?accepted_only=false")).json()["events"] == []
        assert (await client.get("/api/record/cameras")).json() == []
        assert (await client.get("/api/record/labels")).json() == []
        assert (await client.get("/api/stats")).json()["events"] == 0
        assert (await client.get("/api/health")).json()["cameras"] == []
        assert (await client.get("/api/search?q=anything")).json()["results"] == []
        assert (await client.get(f"/media/{named(MINE)}")).status_code == 404


async def test_totals_of_one_viewer_are_not_those_of_another(api: ApiState) -> None:
    app = make_app("recorder")
    add_routes(app, api)
    answers = []
    for identity in (OF_ALL, OF_GATE, OF_NOTHING, OF_ALL):  # all within the second that totals are kept
        async with client_of(guarded(app, RULES, PATTERNS, KnownIdentity(identity))) as client:
            answers.append((await client.get("/api/stats")).json()["events"])
    assert answers == [2, 1, 0, 2]


async def test_files_of_every_snippet_are_for_who_sees_the_camera(api: ApiState) -> None:
    async with client_of(site(api, OF_GATE)) as mine, client_of(site(api, OF_ALL)) as everything:
        for ending in ("mp4", "jpg"):
            for number in range(2):
                own = f"/media/2026/05/04/{1:016x}{number:016x}.{ending}"
                other = f"/media/2026/05/04/cafecafe{2:08x}{number:016x}.{ending}"
                assert (await mine.get(own)).status_code == 200
                for method in ("GET", "HEAD"):
                    assert (await mine.request(method, other)).status_code == 404
                seen = await everything.get(other)
                assert seen.status_code == 200
                assert seen.headers["cache-control"] == "private, no-cache"
                assert seen.headers["cross-origin-resource-policy"] == "same-site"
                # a viewer who knows the file's version is not told that it is there either
                known = {"if-none-match": seen.headers["etag"]}
                assert (await mine.get(other, headers=known)).status_code == 404
                assert (await everything.get(other, headers=known)).status_code == 304


async def test_a_stream_tells_of_the_viewers_cameras(api: ApiState) -> None:
    assert api.feed is not None
    assert api.database is not None
    assert isinstance(api.media, FolderStore)
    with api.feed.follow() as everything:
        stop = asyncio.Event()
        running = asyncio.create_task(api.feed.run(stop, lambda: None))
        async with client_of(site(api, OF_GATE)) as client:
            asking = asyncio.create_task(client.get("/api/stream"))
            async with asyncio.timeout(60):
                while len(api.feed._followers) < 2:
                    await asyncio.sleep(0)
                for said in (OTHER, MINE):
                    await record(api.database, api.media.folder, said, 7)
                api.feed.kick()
                seen = set[str]()
                while seen < {"gate", "canary-yard"}:
                    event = await everything.get()
                    seen.add(event.camera if event else "")
                stop.set()
                await running
                said_all = (await asking).text
    assert MINE.event_id in said_all
    assert not [canary for canary in CANARIES if canary in said_all.lower()]


async def test_motion_is_asked_of_the_viewers_cameras_only(api: ApiState) -> None:
    """Another camera's route and one of no camera are the same; no motion service is there: the own is asked for."""
    async with client_of(site(api, OF_GATE)) as client:

        async def status(route: tuple[str, str], camera: str) -> tuple[int, str]:
            method, path = route
            rule = RULES[route]
            url = path.replace("{camera_id}", camera).replace("{session}", "one")
            headers = {"content-type": rule.content_type} if rule.content_type else {}
            answer = await client.request(method, url, content=b"{}" if headers else None, headers=headers)
            return answer.status_code, answer.text.replace(camera, "")

        for route in sorted(PASSED_ON):
            other = await status(route, "canary-yard")
            assert other == await status(route, "no-such-cam"), route
            assert other[0] == 404, route
            assert (await status(route, "gate"))[0] == 503, route


def test_motions_list_is_cut_to_the_viewers_cameras() -> None:
    document = json.dumps({"cameras": [{"id": "gate"}, {"id": "canary-yard", "url": "canary"}], "outbox": {}})
    assert json.loads(only_seen(document.encode(), OF_GATE)) == {"cameras": [{"id": "gate"}], "outbox": {}}
    assert only_seen(document.encode(), OF_ALL) == document.encode()


async def test_a_look_back_changes_the_viewers_events_only(api: ApiState) -> None:
    async with client_of(site(api, OF_GATE)) as client:
        asked = label_sets(labels=["a fox"], apply=True)
        lines = (await client.post("/api/hindsight", json=asked)).text.splitlines()
        assert json.loads(lines[-1])["result"]["events"] == 1
    async with client_of(site(api, OF_ALL)) as client:
        labels = (await client.get("/api/record/labels")).json()
    assert "canary label" in {one["name"] for one in labels}


async def test_a_search_counts_the_pictures_that_are_seen(api: ApiState) -> None:
    async with client_of(site(api, OF_GATE)) as client:
        found = (await client.get("/api/search?q=anything&limit=1")).json()
    assert [one["event"]["camera"] for one in found["results"]] == ["gate"]
    assert found["searched"] == 16
