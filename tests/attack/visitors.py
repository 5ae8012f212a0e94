"""Everybody who may come to a site: users, tokens, pages of other sites, and those who were let in once."""

from __future__ import annotations

import asyncio
import http.client
import itertools
import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from redis.asyncio import Redis

from shared.clock import now_utc
from tests.attack.allowed import MAY, OWN, PUBLIC, Row
from tests.attack.site_rig import API_TOKEN, Site
from tests.servers import HOST, wait_until
from tests.unit.recorder.messages import Said, send

PASSWORD = "a password of 26 letters"  # noqa: S105 - of a test
BOSS = {"authorization": f"Bearer {API_TOKEN}"}
SEEN, HIDDEN = "yard", "gate"  # the camera that visitors of one camera see, and one that they do not
NO_ID = "018f0000-0000-7000-8000-000000000000"
BODIES = {  # of those that change a record, so that they would
    "/api/events/{event_id}/protected": {"is_protected": False},
    "/api/events/{event_id}/links": {"hours": 1},
    "/api/events/{event_id}/verdicts": {"kind": "right", "effect": "none"},
    "/api/events/{event_id}/verdicts/preview": {"kind": "right"},
    "/api/verdicts/{verdict_id}/undo": {},
    "/api/verdicts/{verdict_id}/apply": {},
}
QUERIES = {  # that name what is asked for
    ("GET", "/api/search/like"): "?event={event_id}",
    ("POST", "/api/cameras/{camera_id}/examples"): "?is_right=false",
}
_SOURCES = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody who comes; `may` is a key of MAY."""

    may: str
    is_of_another_site: bool = False
    has_wrong_host: bool = False
    sees_one_camera: bool = False

    def is_let_in(self, row: Row) -> bool:
        """Whether the table lets the visitor in."""
        if self.has_wrong_host:
            return False
        if self.is_of_another_site:
            return row.who == OWN or (row.who == PUBLIC and row.method == "GET")
        return row.who in (PUBLIC, OWN) or row.who in MAY[self.may]


VISITORS: Mapping[str, Visitor] = {
    "admin": Visitor("admin"),
    "operator": Visitor("operator"),
    "viewer": Visitor("viewer"),
    "viewer of one camera": Visitor("viewer", sees_one_camera=True),
    "operator of one camera": Visitor("operator", sees_one_camera=True),
    "token of an operator": Visitor("operator"),
    "token of one camera": Visitor("operator", sees_one_camera=True),
    "page of another site": Visitor("admin", is_of_another_site=True),
    "image on another site": Visitor("admin", is_of_another_site=True),
    "page without an origin": Visitor("admin", is_of_another_site=True),
    "rebound name": Visitor("admin", has_wrong_host=True),
    "no name": Visitor("admin", has_wrong_host=True),
    "nobody": Visitor("nobody"),
    "nobody, through a proxy": Visitor("nobody"),
    "wrong token": Visitor("nobody"),
    "wrong cookie": Visitor("nobody"),
    "expired session": Visitor("nobody"),
    "ended session": Visitor("nobody"),
    "removed user": Visitor("nobody"),
    "revoked token": Visitor("nobody"),
    "expired token": Visitor("nobody"),
}
# of a site on this machine that has neither users nor tokens
OPEN_VISITORS: Mapping[str, tuple[Visitor, Mapping[str, str]]] = {
    "this machine": (Visitor("admin"), {}),
    "page of another site": (
        Visitor("admin", is_of_another_site=True),
        {"origin": "https://evil.example"},
    ),
    "image on another site": (
        Visitor("admin", is_of_another_site=True),
        {"sec-fetch-site": "cross-site"},
    ),
    "page of another port": (
        Visitor("admin", is_of_another_site=True),
        {"origin": "http://127.0.0.1:3000"},
    ),
    "rebound name": (Visitor("admin", has_wrong_host=True), {"host": "evil.example"}),
    "nobody, by this machine's address in the network": (Visitor("nobody"), {"host": "192.0.2.7:8080"}),
    "nobody, through a proxy": (Visitor("nobody"), {"x-forwarded-for": "127.0.0.1"}),
    "nobody, through a proxy that says little": (Visitor("nobody"), {"via": "1.1 proxy"}),
}


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and text; no text of an answer without an end."""

    status: int
    text: str

    @property
    def is_let_in(self) -> bool:
        """Whether somebody was let in, whatever the route said then."""
        return self.status not in (401, 403, 421)


def asked(
    port: int,
    method: str,
    path: str,
    headers: Mapping[str, str],
    body: object = None,
) -> Answer:
    """Ask once, from an address of its own, so that no visitor pays for the wrong tokens of another."""
    number = next(_SOURCES)
    source = f"127.{1 + number // 65536 % 250}.{number // 256 % 256}.{number % 256}"
    connection = http.client.HTTPConnection(HOST, port, timeout=30, source_address=(source, 0))
    try:
        data = b"" if method in ("GET", "DELETE", "OPTIONS") else json.dumps(body or {}).encode()
        kind = {"content-type": _content_type(path)} if data else {}
        connection.request(method, path, data or None, {**headers, **kind})
        answer = connection.getresponse()
        has_end = answer.getheader("content-length") is not None
        return Answer(answer.status, answer.read().decode(errors="replace") if has_end else "")
    finally:
        connection.close()


def _content_type(path: str) -> str:
    """Return what the route takes, so that it is not refused for its body before it looks whose camera it is."""
    if "/whep" in path or path.startswith("/whip"):
        return "application/sdp"
    is_picture = path.partition("?")[0].endswith(("/examples", "/search/like"))
    return "image/jpeg" if is_picture else "application/json"


@dataclass(frozen=True, slots=True)
class Record:
    """The ids of what was recorded, by camera."""

    events: Mapping[str, str]
    pictures: Mapping[str, str]
    verdicts: Mapping[str, str]

    def path(self, row: Row, camera: str) -> str:
        """Return the address of a route that asks for something of a camera, or of nothing for NO_ID."""
        values = {
            "{camera_id}": camera,
            "{camera}": "phone",
            "{session}": "0" * 32,
            "{session_id}": NO_ID,
            "{token_id}": NO_ID,
            "{link_id}": "0" * 32,
            "{token}": "A" * 96,
            "{relabel_id}": NO_ID,
            "{event_id}": self.events.get(camera, NO_ID),
            "{verdict_id}": self.verdicts.get(camera, NO_ID),
            "{name}": "nobody-of-this-name",
            "{name:path}": self.pictures.get(camera, f"2026/11/30/{'f' * 32}.jpg"),
        }
        path = row.path + QUERIES.get((row.method, row.path), "")
        for name, value in values.items():
            path = path.replace(name, value)
        return "/web/icon.svg" if path == "/web" else path


def recorded(site: Site, redis_url: str) -> Record:
    """Let an event of either camera be recorded."""
    said = [
        Said(event=number, camera=camera, accepted=[("a dog", 0.9)], start=now_utc() - timedelta(minutes=9))
        for number, camera in enumerate((SEEN, HIDDEN))
    ]

    async def send_all() -> None:
        client: Redis = Redis.from_url(redis_url)
        for one in said:
            await send(client, one)
        await client.aclose()

    asyncio.run(send_all())
    found: dict[str, dict[str, str]] = {}

    def is_there() -> bool:
        events = json.loads(asked(site.recorder.port, "GET", "/api/events", BOSS).text)["events"]
        found.update({event["camera"]: event for event in events})
        return len(found) == len(said)

    wait_until(is_there, 60, "both events are recorded")

    def judged(event: Mapping[str, str]) -> str:
        body = {"kind": "right", "effect": "none"}
        answer = asked(site.recorder.port, "POST", f"/api/events/{event['id']}/verdicts", BOSS, body)
        return str(json.loads(answer.text)["id"])

    return Record(
        {camera: event["id"] for camera, event in found.items()},
        {camera: event["thumbnail_url"].removeprefix("/media/") for camera, event in found.items()},
        {camera: judged(event) for camera, event in found.items()},
    )


def made_visitors(site: Site, database: Path) -> dict[str, dict[str, str]]:
    """Return the headers that each of VISITORS sends."""
    port = site.recorder.port

    def ask(method: str, path: str, body: object = None, headers: Mapping[str, str] = BOSS) -> str:
        answer = asked(port, method, path, headers, body)
        assert answer.status < 300, answer
        return answer.text

    def session(name: str, role: str, cameras: list[str] | None = None) -> dict[str, str]:
        ask("POST", "/api/users", {"name": name, "password": PASSWORD, "role": role, "cameras": cameras})
        return {"cookie": logged_in(port, name)}

    def token(name: str, **more: object) -> tuple[dict[str, str], str]:
        scopes = ["look", "operate"] if name in ("home", SEEN) else ["look", "operate", "admin"]
        made = json.loads(ask("POST", "/api/tokens", {"name": name, "scopes": scopes, **more}))
        return {"authorization": f"Bearer {made['token']}"}, made["id"]

    admin = session("anna", "admin")
    late = session("late", "admin")
    with sqlite3.connect(database, timeout=30) as rows:
        rows.execute(
            "update sessions set ends_at = '2020-01-01 00:00:00' "
            "where user_id = (select id from users where name = 'late')"
        )
    ended, removed, (revoked, revoked_id) = (
        session("ended", "admin"),
        session("removed", "admin"),
        token("revoked"),
    )
    ask("POST", "/api/logout", {}, ended)
    ask("DELETE", "/api/users/removed")
    ask("DELETE", f"/api/tokens/{revoked_id}")
    over, _ = token("over", ends_at=(now_utc() + timedelta(seconds=2)).isoformat())
    wait_until(lambda: asked(port, "GET", "/api/stats", over).status == 401, 60, "the token has ended")
    return {
        "admin": admin,
        "operator": session("otto", "operator"),
        "viewer": session("vera", "viewer"),
        "viewer of one camera": session("yara", "viewer", [SEEN]),
        "operator of one camera": session("olga", "operator", [SEEN]),
        "token of an operator": token("home")[0],
        "token of one camera": token(SEEN, cameras=[SEEN])[0],
        "page of another site": {**admin, "origin": "https://evil.example"},
        "image on another site": {**admin, "sec-fetch-site": "cross-site"},
        "page without an origin": {**admin, "origin": "null"},
        "rebound name": {**admin, "host": "evil.example"},
        "no name": {**admin, "host": ""},
        "nobody": {},
        "nobody, through a proxy": {"x-forwarded-for": "127.0.0.1", "x-real-ip": "127.0.0.1"},
        "wrong token": {"authorization": f"{revoked['authorization'][:-1]}?"},
        "wrong cookie": {"cookie": f"{admin['cookie'][:-4]}AAAA"},
        "expired session": late,
        "ended session": ended,
        "removed user": removed,
        "revoked token": revoked,
        "expired token": over,
    }


def logged_in(port: int, name: str) -> str:
    """Log in; return the Cookie header."""
    connection = http.client.HTTPConnection(HOST, port, timeout=30)
    try:
        body = json.dumps({"name": name, "password": PASSWORD})
        connection.request("POST", "/api/login", body, {"content-type": "application/json"})
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        return (answer.getheader("set-cookie") or "").partition(";")[0]
    finally:
        connection.close()
