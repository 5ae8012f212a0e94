"""Every route of both services, asked by everybody who may come: the table below says who is let in.

A route without a row fails, so that whoever adds one has to say here who may use it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from services.motion.http.rules import RULES as MOTION_RULES
from services.recorder.http.rules import RULES as RECORDER_RULES
from shared.clock import now_utc
from shared.http_access import BASE_RULES
from shared.permissions import Permission
from tests.attack.site_rig import API_TOKEN, CAMERAS, MOTION_TOKEN, Site, running_site
from tests.servers import RedisServer, wait_until

pytestmark = pytest.mark.redis
Route = tuple[str, str]
REFUSED = (401, 403, 421, 429)
PASSWORD = "a password of 26 letters"  # noqa: S105 - of a test

# who may: everybody; who has the route's own credential; a permission
PUBLIC, OWN = "PUBLIC", "OWN"
LOOK, OPERATE, ADMIN, METRICS = "LOOK", "OPERATE", "ADMIN", "METRICS"
OF_EVERY_SERVICE: Mapping[Route, str] = {
    ("GET", "/healthz"): PUBLIC,
    ("GET", "/readyz"): PUBLIC,
    ("GET", "/metrics"): METRICS,
    ("GET", "/openapi.json"): LOOK,
}
OF_CAMERAS: Mapping[Route, str] = {
    ("GET", "/api/cameras"): LOOK,
    ("GET", "/api/cameras/{camera_id}"): LOOK,
    ("PATCH", "/api/cameras/{camera_id}"): OPERATE,
    ("PUT", "/api/cameras/{camera_id}/labels"): OPERATE,
    ("POST", "/api/cameras/{camera_id}/pause"): OPERATE,
    ("POST", "/api/cameras/{camera_id}/resume"): OPERATE,
    ("GET", "/api/cameras/{camera_id}/picture.jpg"): LOOK,
    ("GET", "/api/cameras/{camera_id}/video.mjpeg"): LOOK,
    ("GET", "/api/cameras/{camera_id}/looks"): LOOK,
    ("POST", "/api/cameras/{camera_id}/trial"): OPERATE,
    ("POST", "/api/cameras/{camera_id}/whep"): LOOK,
    ("DELETE", "/api/cameras/{camera_id}/whep/{session}"): LOOK,
    ("OPTIONS", "/whip/{camera}"): OWN,
    ("OPTIONS", "/whip/{camera}/{session}"): OWN,
    ("POST", "/whip/{camera}"): OWN,
    ("DELETE", "/whip/{camera}/{session}"): OWN,
}
OF_MOTION: Mapping[Route, str] = {**OF_EVERY_SERVICE, **OF_CAMERAS}
OF_RECORDER: Mapping[Route, str] = {
    **OF_EVERY_SERVICE,
    **OF_CAMERAS,
    ("GET", "/"): PUBLIC,
    ("GET", "/cameras"): PUBLIC,
    ("GET", "/cameras/{camera_id}"): PUBLIC,
    ("GET", "/login"): PUBLIC,
    ("GET", "/users"): PUBLIC,
    ("GET", "/web"): PUBLIC,
    ("GET", "/api/me"): PUBLIC,
    ("POST", "/api/login"): PUBLIC,
    ("POST", "/api/logout"): PUBLIC,
    ("POST", "/api/setup"): PUBLIC,
    ("POST", "/api/me/password"): LOOK,
    ("GET", "/api/users"): ADMIN,
    ("POST", "/api/users"): ADMIN,
    ("PATCH", "/api/users/{name}"): ADMIN,
    ("DELETE", "/api/users/{name}"): ADMIN,
    ("GET", "/api/sessions"): LOOK,  # one's own
    ("DELETE", "/api/sessions/{session_id}"): LOOK,
    ("GET", "/api/tokens"): ADMIN,
    ("POST", "/api/tokens"): ADMIN,
    ("DELETE", "/api/tokens/{token_id}"): ADMIN,
    ("GET", "/api/openapi.json"): LOOK,
    ("GET", "/api/events"): LOOK,
    ("GET", "/api/events/{event_id}"): LOOK,
    ("PUT", "/api/events/{event_id}/protected"): OPERATE,
    ("GET", "/api/events/{event_id}/links"): LOOK,
    ("POST", "/api/events/{event_id}/links"): LOOK,
    ("DELETE", "/api/events/{event_id}/links/{link_id}"): LOOK,
    ("GET", "/api/stream"): LOOK,
    ("GET", "/api/retention"): LOOK,
    ("GET", "/api/record/cameras"): LOOK,
    ("GET", "/api/record/labels"): LOOK,
    ("GET", "/api/stats"): LOOK,
    ("GET", "/api/health"): LOOK,
    ("GET", "/api/search"): LOOK,
    ("GET", "/api/gaps"): LOOK,
    ("POST", "/api/hindsight"): LOOK,  # with `apply` it asks for OPERATE as well
    ("GET", "/media/{name:path}"): LOOK,
}
VALUES = {
    "{camera_id}": "gate",
    "{camera}": "phone",
    "{session}": "0" * 32,
    "{session_id}": "018f0000-0000-7000-8000-000000000000",
    "{token_id}": "018f0000-0000-7000-8000-000000000000",
    "{link_id}": "018f0000-0000-7000-8000-000000000000",
    "{event_id}": "018f0000-0000-7000-8000-000000000000",
    "{name}": "nobody-of-this-name",
    "{name:path}": "2026/11/30/" + "0" * 32 + ".jpg",
}
MAY: Mapping[str, frozenset[str]] = {
    "nobody": frozenset(),
    "viewer": frozenset({LOOK}),
    "operator": frozenset({LOOK, OPERATE}),
    "admin": frozenset({LOOK, OPERATE, ADMIN, METRICS}),
}


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody who comes, as the headers that a browser or program would send; `may` is a key of MAY."""

    may: str
    headers: Mapping[str, str] = field(default_factory=dict)
    is_of_another_site: bool = False
    has_wrong_host: bool = False

    def is_let_in(self, method: str, who: str) -> bool:
        if self.has_wrong_host:
            return False
        if self.is_of_another_site:
            return who == OWN or (who == PUBLIC and method == "GET")
        return who in (PUBLIC, OWN) or who in MAY[self.may]


@dataclass(slots=True)
class Visitors:
    """Those who come to a site with users."""

    site: Site
    known: dict[str, Visitor]


@pytest.fixture(scope="module")
def visitors(tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer) -> Iterator[Visitors]:
    """A site with users, and everybody who may come to it."""
    redis_server.start()
    redis_server.clear()
    folder = tmp_path_factory.mktemp("users")
    with running_site(folder, redis_server.url, API_TOKEN=API_TOKEN) as site:
        yield Visitors(site, made_visitors(site, folder / "record.db"))


def made_visitors(site: Site, database: Path) -> dict[str, Visitor]:
    boss = {"authorization": f"Bearer {API_TOKEN}"}

    def ask(method: str, path: str, body: object = None, headers: Mapping[str, str] = boss) -> httpx.Response:
        answer = httpx.request(
            method, site.url + path, json=body, headers=dict(headers), trust_env=False, timeout=30
        )
        return answer.raise_for_status()

    def session(name: str, role: str, cameras: list[str] | None = None) -> dict[str, str]:
        ask("POST", "/api/users", {"name": name, "password": PASSWORD, "role": role, "cameras": cameras})
        made = ask("POST", "/api/login", {"name": name, "password": PASSWORD}, {})
        return {"cookie": "; ".join(f"{key}={value}" for key, value in made.cookies.items())}

    def token(name: str, scopes: list[str], **more: object) -> tuple[dict[str, str], str]:
        made = ask("POST", "/api/tokens", {"name": name, "scopes": scopes, **more}).json()
        return {"authorization": f"Bearer {made['token']}"}, made["id"]

    admin = session("anna", "admin")
    late = session("late", "admin")
    with sqlite3.connect(database, timeout=30) as rows:
        rows.execute(
            "update sessions set ends_at = '2020-01-01 00:00:00' "
            "where user_id = (select id from users where name = 'late')"
        )
    ended = session("ended", "admin")
    ask("POST", "/api/logout", {}, ended)
    removed = session("removed", "admin")
    ask("DELETE", "/api/users/removed")
    revoked, revoked_id = token("revoked", ["look", "operate", "admin"])
    ask("DELETE", f"/api/tokens/{revoked_id}")
    over, _ = token(
        "over", ["look", "operate", "admin"], ends_at=(now_utc() + timedelta(seconds=3)).isoformat()
    )
    wait_until(
        lambda: httpx.get(f"{site.url}/api/stats", headers=over, trust_env=False).status_code == 401,
        30,
        "the token has ended",
    )
    return {
        "admin": Visitor("admin", admin),
        "operator": Visitor("operator", session("otto", "operator")),
        "viewer": Visitor("viewer", session("vera", "viewer")),
        "viewer of one camera": Visitor("viewer", session("yara", "viewer", ["yard"])),
        "token of an operator": Visitor("operator", token("home", ["look", "operate"])[0]),
        "token of one camera": Visitor("viewer", token("yard", ["look"], cameras=["yard"])[0]),
        "the page of another site": Visitor("admin", {**admin, "origin": "https://evil.example"}, True),
        "another site, fetched": Visitor("admin", {**admin, "sec-fetch-site": "cross-site"}, True),
        "a page without an origin": Visitor("admin", {**admin, "origin": "null"}, True),
        "DNS rebinding": Visitor("admin", {**admin, "host": "evil.example"}, has_wrong_host=True),
        "nobody on this machine": Visitor("nobody"),
        "nobody through a proxy": Visitor(
            "nobody", {"x-forwarded-for": "127.0.0.1", "x-real-ip": "127.0.0.1"}
        ),
        "an expired session": Visitor("nobody", late),
        "an ended session": Visitor("nobody", ended),
        "a removed user": Visitor("nobody", removed),
        "a revoked token": Visitor("nobody", revoked),
        "an expired token": Visitor("nobody", over),
    }


def test_every_route_has_a_row_here() -> None:
    """The services' own rules are what the access check goes by; a route without one answers nobody (403)."""
    for table, rules in ((OF_RECORDER, RECORDER_RULES), (OF_MOTION, MOTION_RULES)):
        found = {**BASE_RULES, **rules}
        assert set(found) - set(table) == set(), "say in this file who may use these"
        assert set(table) - set(found) == set(), "these are gone: take their rows away"
        wrong = {route: who for route, who in table.items() if found[route].permission is not Permission[who]}
        assert wrong == {}


@pytest.mark.parametrize("number", range(17))
def test_each_visitor_is_let_in_where_the_table_says(visitors: Visitors, number: int) -> None:
    name, visitor = list(visitors.known.items())[number]
    wrong = []
    for (method, path), who in OF_RECORDER.items():
        if path in ("/web", "/api/logout"):  # a folder of files; the end of the very session that asks
            continue
        status, text = asked(visitors.site.url, method, path, visitor.headers)
        if who == OWN and not visitor.has_wrong_host:
            if method != "OPTIONS" and (status != 401 or "token of this camera" not in text):
                wrong.append((name, method, path, status))
        elif (status not in REFUSED) != visitor.is_let_in(method, who):
            wrong.append((name, method, path, status))
    assert wrong == []


def test_who_sees_one_camera_hears_of_no_other(visitors: Visitors) -> None:
    for name in ("viewer of one camera", "token of one camera"):
        for (method, path), who in OF_RECORDER.items():
            if who != LOOK or method != "GET" or path.endswith("openapi.json"):
                continue
            status, text = asked(visitors.site.url, method, path, visitors.known[name].headers)
            others = [camera for camera in CAMERAS if camera != "yard" and f'"{camera}"' in text]
            assert status >= 400 or others == [], (name, path, others)
            if path.startswith("/api/cameras/{camera_id}"):
                assert status in (403, 404), (name, path, status)


@pytest.mark.parametrize(
    ("may", "headers"),
    [
        ("nobody", {}),
        ("nobody", {"authorization": f"Bearer {API_TOKEN}"}),  # the recorder's own, which is not motion's
        ("nobody", {"authorization": f"Basic {MOTION_TOKEN}"}),
        ("nobody", {"x-forwarded-for": "127.0.0.1"}),
        ("admin", {"authorization": f"Bearer {MOTION_TOKEN}"}),
    ],
)
def test_motion_itself_answers_its_token_only(visitors: Visitors, may: str, headers: dict[str, str]) -> None:
    visitor = Visitor(may, headers)
    wrong = []
    for (method, path), who in OF_MOTION.items():
        status, _ = asked(visitors.site.motion_url, method, path, headers)
        if who != OWN and (status not in REFUSED) != visitor.is_let_in(method, who):
            wrong.append((method, path, status))
    assert wrong == []


def asked(base: str, method: str, path: str, headers: Mapping[str, str]) -> tuple[int, str]:
    """Ask one route, with the type of body that it wants; return status and what came of the answer at first."""
    for name, value in VALUES.items():
        path = path.replace(name, value)
    kind = "application/sdp" if "/whep" in path or path.startswith("/whip") else "application/json"
    body = b"" if method in ("GET", "DELETE", "OPTIONS") else b"{}"
    given = {**headers, **({"content-type": kind} if body else {})}
    with httpx.stream(
        method, base + path, headers=given, content=body, trust_env=False, timeout=30
    ) as answer:
        is_whole = "content-length" in answer.headers
        return answer.status_code, answer.read().decode(errors="replace") if is_whole else ""
