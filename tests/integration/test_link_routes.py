"""Signed links over HTTP: who makes them, and what they show to somebody who is nobody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.recorder.access.links import EventLinks
from services.recorder.http.api import add_routes
from services.recorder.http.rules import PATTERNS, RULES
from services.recorder.http.state import ApiState
from services.recorder.media.files import MediaFolder
from services.recorder.media.folder_store import FolderStore
from services.recorder.record.bootstrap import open_database
from services.recorder.record.rows import snippet_rows
from services.recorder.record.transactions import record_snippet
from shared.access import NetworkTrust, Refusal
from shared.clock import now_utc
from shared.http_api import make_app
from shared.permissions import PERMISSIONS_OF, Identity, Role
from tests.http_apps import KnownIdentity, client_of, guarded
from tests.unit.recorder.messages import CLIP, THUMBNAIL, Said, keep, labels_message

LABEL = "a <script>alert('dog')</script> & \"friend\""
DOG = Said(event=1, camera="gate", labels=(LABEL,), accepted=[(LABEL, 0.9)])
OTHER = Said(event=2, camera="yard")
NOBODY = Refusal(401, "log in", "nobody", "a login", "no_credentials")
OPERATOR = Identity("anna", PERMISSIONS_OF[Role.OPERATOR])
# what a page of another site makes a browser send
FOREIGN = {
    "origin": "https://home.example",
    "sec-fetch-site": "cross-site",
    "referer": "https://home.example/x",
}


class Site:
    """The recorder's routes, with a clock for its links."""

    def __init__(self, database: ApiState) -> None:
        self.api = database
        self.now = now_utc()
        assert database.database is not None
        database.links = EventLinks(database.database, lambda: self.now)
        self.app = make_app("recorder")
        add_routes(self.app, database)

    def client(self, identity: Identity | Refusal = NOBODY) -> httpx.AsyncClient:
        return client_of(guarded(self.app, RULES, PATTERNS, KnownIdentity(identity)))

    async def link(self, said: Said = DOG, **asked: object) -> dict[str, Any]:  # Any: JSON
        async with self.client(OPERATOR) as client:
            answer = await client.post(f"/api/events/{said.event_id}/links", json={"hours": 2, **asked})
        assert answer.status_code == 201, answer.text
        found: dict[str, Any] = answer.json()
        return found


@pytest.fixture
async def site(sqlite_record: str, tmp_path: Path) -> AsyncIterator[Site]:
    database = await open_database(sqlite_record, asyncio.Event(), 30, 30)
    media = MediaFolder(tmp_path / "media")
    media.prepare()
    for said in (DOG, OTHER):
        kept = keep(media, said)
        async with database.writing() as connection:
            await record_snippet(connection, snippet_rows(labels_message(said)), kept, now_utc())
    yield Site(ApiState(lambda: True, database, FolderStore(media)))
    await database.close()


async def test_a_link_shows_clip_picture_and_label_to_somebody_without_a_login(site: Site) -> None:
    link = await site.link(note="for the neighbour")
    assert (link["made_by"], link["note"], link["target"]) == ("anna", "for the neighbour", None)
    assert datetime.fromisoformat(link["ends_at"]) - site.now.astimezone(UTC) <= timedelta(hours=2)
    async with site.client() as nobody:
        for headers in ({}, FOREIGN):
            page = await nobody.get(link["url"], headers=headers)
            event = (await nobody.get(link["url"] + "/event", headers=headers)).json()
            clip = await nobody.get(link["url"] + "/clip", headers=headers)
            picture = await nobody.get(link["url"] + "/thumbnail", headers=headers)
            assert (page.status_code, clip.content, picture.content) == (200, CLIP, THUMBNAIL)
            assert (event["label"], event["camera"], event["clip_url"]) == (LABEL, "gate", "clip")
            assert event["ends_at"] == link["ends_at"]
            assert page.headers["content-type"].startswith("text/html")
            assert "<script" not in page.text
            assert "&lt;script&gt;" in page.text
            assert f'src="{link["url"].removeprefix("/shared/")}/clip"' in page.text
            for answer in (page, clip, picture):
                assert answer.headers["cache-control"] == "private, no-store"
                assert answer.headers["referrer-policy"] == "no-referrer"
                assert "access-control-allow-origin" not in answer.headers
            assert "default-src 'none'" in page.headers["content-security-policy"]
        part = await nobody.get(link["url"] + "/clip", headers={"range": "bytes=10-19"})
        assert (part.status_code, part.content) == (206, CLIP[10:20])
        assert (await nobody.head(link["url"] + "/clip")).headers["content-length"] == str(len(CLIP))
        assert (await nobody.get("/web/shared.css")).status_code == 200


async def test_a_link_opens_nothing_but_its_event(site: Site) -> None:
    link = await site.link()
    token = link["url"].removeprefix("/shared/")
    async with site.client() as nobody:
        for path in (
            "/api/events",
            f"/api/events/{DOG.event_id}",
            f"/api/events/{DOG.event_id}?token={token}",
            f"/api/events/{DOG.event_id}/links",
            f"/media/2026/05/04/{DOG.media_key}.mp4",
            f"/media/2026/05/04/{DOG.media_key}.mp4?token={token}",
        ):
            answer = await nobody.get(path, headers={"authorization": f"Bearer {token}"})
            assert answer.status_code == 401, path
        for path in (
            f"/shared/{token[:-1]}{'A' if token[-1] != 'A' else 'w'}",
            f"/shared/{'A' * 96}/clip",
            "/shared/x",
            "/shared/" + "A" * 900,
        ):
            answer = await nobody.get(path)
            assert answer.status_code == 404, path
            assert set(answer.json()["error"]) == {"found", "wanted", "do"}


@pytest.mark.parametrize("how", ["one", "all", "end"])
async def test_what_was_revoked_or_has_ended_shows_nothing_more(site: Site, how: str) -> None:
    link, kept = await site.link(), await site.link(OTHER, hours=8760)
    async with site.client(OPERATOR) as client:
        listed = (await client.get(f"/api/events/{DOG.event_id}/links")).json()
        assert listed == [link]
        if how == "one":
            assert (await client.delete(f"/api/links/{link['id']}")).json() == {"revoked": 1}
            assert (await client.delete(f"/api/links/{link['id']}")).status_code == 404
        elif how == "all":
            assert (await client.delete(f"/api/events/{DOG.event_id}/links")).json() == {"revoked": 1}
        else:
            site.now += timedelta(hours=2)
        assert (await client.get(f"/api/events/{DOG.event_id}/links")).json() == []
    async with site.client() as nobody:
        known = (await nobody.get(kept["url"] + "/clip")).headers["etag"]
        for part in ("", "/event", "/clip", "/thumbnail"):
            for headers in ({}, {"if-none-match": "*"}, {"range": "bytes=0-1"}, {"if-none-match": known}):
                answer = await nobody.get(link["url"] + part, headers=headers)
                assert answer.status_code == 410, (part, headers)
        assert (await nobody.get(kept["url"] + "/clip")).status_code == 200


async def test_all_links_that_open_something_are_listed_with_their_events(site: Site) -> None:
    first = await site.link(note="for the neighbour")
    site.now += timedelta(minutes=1)
    second = await site.link(OTHER)
    assert site.api.links is not None
    assert await site.api.links.for_target(DOG.event_id, "home", timedelta(days=7))
    of_gate = Identity("of gate", OPERATOR.permissions, frozenset({"gate"}))
    async with site.client(OPERATOR) as client, site.client(of_gate) as narrow:
        listed = (await client.get("/api/links")).json()
        assert [link["id"] for link in listed["links"]] == [second["id"], first["id"]]
        assert listed["sent_to_targets"] == 1
        shown = listed["links"][1]
        assert (shown["event_id"], shown["camera"], shown["label"]) == (DOG.event_id, "gate", LABEL)
        assert (shown["note"], shown["made_by"]) == ("for the neighbour", "anna")
        assert first["url"] not in str(listed)
        assert [link["id"] for link in (await narrow.get("/api/links")).json()["links"]] == [first["id"]]
        await client.delete(f"/api/links/{first['id']}")
        assert [link["id"] for link in (await client.get("/api/links")).json()["links"]] == [second["id"]]
        site.now += timedelta(hours=3)
        assert (await client.get("/api/links")).json()["links"] == []


@pytest.mark.parametrize("prefix", ["", "/clipwatch"])
async def test_a_browser_shows_a_link_that_opens_nothing_as_a_page_in_words(site: Site, prefix: str) -> None:
    link = await site.link()
    cut = link["url"][:-9]
    site.now += timedelta(hours=2)
    trust = NetworkTrust(prefix=prefix)
    guarded_app = guarded(site.app, RULES, PATTERNS, KnownIdentity(NOBODY), trust)
    async with client_of(
        guarded_app, headers={"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    ) as browser:
        for path, status, words in (
            (link["url"], 410, "This link has ended"),
            (cut, 404, "This link opens nothing"),
        ):
            answer = await browser.get(prefix + path)
            assert (answer.status_code, answer.headers["vary"]) == (status, "accept")
            assert answer.headers["content-type"].startswith("text/html")
            assert f"<h1>{words}</h1>" in answer.text
            assert "Ask whoever sent it for a new one." in answer.text
            assert f'href="{prefix}/web/shared.css"' in answer.text
            assert "<a " not in answer.text  # it leads nowhere else
            assert "default-src 'none'" in answer.headers["content-security-policy"]


async def test_links_are_for_who_may_change_the_record(site: Site) -> None:
    link = await site.link()
    of_yard = Identity("of yard", OPERATOR.permissions, frozenset({"yard"}))
    viewer = Identity("viewer", PERMISSIONS_OF[Role.VIEWER])
    of_event = f"/api/events/{DOG.event_id}/links"
    for identity, status in ((viewer, 403), (NOBODY, 401), (of_yard, 404)):
        async with site.client(identity) as client:
            answers = [
                await client.post(of_event, json={"hours": 1}),
                await client.get(of_event),
                await client.get("/api/links"),
                await client.delete(of_event),
                await client.delete(f"/api/links/{link['id']}"),
            ]
        of_all = 200 if identity is of_yard else status  # it sees the links of its own cameras
        assert [answer.status_code for answer in answers] == [status, status, of_all, status, status]
        assert not any(link["url"] in answer.text for answer in answers)
    async with site.client(OPERATOR) as client:
        foreign = [
            await client.post(of_event, json={"hours": 1}, headers=FOREIGN),
            await client.delete(of_event, headers=FOREIGN),
        ]
        assert [answer.status_code for answer in foreign] == [403, 403]
        for body in ({}, {"hours": 0}, {"hours": 8761}, {"hours": 1, "note": "x\n"}, {"hours": 1, "more": 1}):
            assert (await client.post(of_event, json=body)).status_code == 400, body
        assert (await client.get(of_event)).json() == [link]


async def test_an_event_without_files_has_a_page_all_the_same(site: Site) -> None:
    link = await site.link()
    assert isinstance(site.api.media, FolderStore)
    for path in site.api.media.folder.root.rglob(f"{DOG.media_key}.*"):
        path.unlink()
    async with site.client() as nobody:
        assert (await nobody.get(link["url"])).status_code == 200
        assert (await nobody.get(link["url"] + "/clip")).status_code == 404
