"""Every route of both services, asked by everybody who may come: allowed.py says who is let in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from services.motion.http.rules import RULES as MOTION_RULES
from services.recorder.http.rules import RULES as RECORDER_RULES
from shared.http_access import BASE_RULES
from shared.http_rules import RouteRules
from shared.permissions import Permission
from tests.attack.allowed import OPERATE, OWN, PUBLIC, Row, rows_of
from tests.attack.site_rig import API_TOKEN, MOTION_TOKEN, WHIP_TOKEN, Site, running_site
from tests.attack.visitors import (
    BODIES,
    BOSS,
    HIDDEN,
    NO_ID,
    OPEN_VISITORS,
    SEEN,
    VISITORS,
    Answer,
    Record,
    Visitor,
    asked,
    made_visitors,
    recorded,
)
from tests.integration.test_recorder_service import Recorder
from tests.servers import RedisServer, wait_until

pytestmark = pytest.mark.redis
OF_ONE_CAMERA = [name for name, visitor in VISITORS.items() if visitor.sees_one_camera]


@dataclass(slots=True)
class VisitedSite:
    """A site with users and a record, and what each visitor sends."""

    site: Site
    record: Record
    headers: dict[str, dict[str, str]] = field(repr=False)

    @property
    def port(self) -> int:
        return self.site.recorder.port

    def ask(self, name: str, row: Row, camera: str = SEEN) -> Answer:
        path = self.record.path(row, camera)
        return asked(self.port, row.method, path, self.headers[name], BODIES.get(row.path))

    def link(self, camera: str, hours: float = 1) -> tuple[str, str]:
        """Make a link to a camera's event; return its id and token."""
        path = f"/api/events/{self.record.events[camera]}/links"
        made = json.loads(asked(self.port, "POST", path, BOSS, {"hours": hours}).text)
        return made["id"], made["url"].removeprefix("/shared/")


@pytest.fixture(scope="module")
def visited(tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer) -> Iterator[VisitedSite]:
    redis_server.start()
    redis_server.clear()
    folder = tmp_path_factory.mktemp("users")
    with running_site(folder, redis_server.url, API_TOKEN=API_TOKEN) as site:
        record = recorded(site, redis_server.url)
        yield VisitedSite(site, record, made_visitors(site, folder / "record.db"))


@pytest.fixture(scope="module")
def open_port(
    visited: VisitedSite, tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer
) -> Iterator[int]:
    """The port of another recorder, which has neither users nor tokens."""
    folder = tmp_path_factory.mktemp("open")
    made = Recorder(folder, redis_server.url, f"sqlite:///{folder}/record.db")
    made.environment = {"MOTION_URL": visited.site.motion_url, "MOTION_TOKEN": MOTION_TOKEN}
    made.start()
    yield made.port
    made.kill()


@pytest.mark.parametrize(
    ("service", "rules"), [("recorder", RECORDER_RULES), ("motion", MOTION_RULES)], ids=["recorder", "motion"]
)
def test_every_route_has_a_row_in_the_table(service: str, rules: RouteRules) -> None:
    """The services' own rules are what the access check goes by; a route without one answers nobody (403)."""
    found = {**BASE_RULES, **rules}
    table = {(row.method, row.path): row for row in rows_of(service)}
    assert len(table) == len(rows_of(service)), "a route has one row"
    assert set(found) - set(table) == set(), "say in allowed.py who may use these"
    assert set(table) - set(found) == set(), "these are gone: take their rows away"
    wrong = {route for route, row in table.items() if found[route].permission is not Permission[row.who]}
    assert wrong == set()


def wrongly_answered(row: Row, visitor: Visitor, answer: Answer) -> bool:
    """Whether somebody is let in whom the table keeps out, or the other way round."""
    if row.who == OWN and not visitor.has_wrong_host and row.method != "OPTIONS":
        # nobody here has a camera's token or a link
        return (answer.status, "token of this camera" in answer.text) not in ((401, True), (404, False))
    if row.who == PUBLIC and row.path in ("/api/login", "/api/setup") and visitor.is_let_in(row):
        return answer.status not in (400, 403) or "page of another site" in answer.text
    return answer.is_let_in != visitor.is_let_in(row)


@pytest.mark.parametrize("name", VISITORS)
def test_each_visitor_is_let_in_where_the_table_says(visited: VisitedSite, name: str) -> None:
    wrong = []
    for row in rows_of("recorder"):
        if row.path == "/api/logout" and VISITORS[name].is_let_in(row):
            continue  # it would end the session that asks
        answer = visited.ask(name, row)
        if wrongly_answered(row, VISITORS[name], answer) or answer.status in (429, 500):
            wrong.append((row.method, row.path, answer))
    assert wrong == []


@pytest.mark.parametrize("name", OPEN_VISITORS)
def test_a_site_without_users_is_for_this_machine_only(open_port: int, name: str) -> None:
    visitor, headers = OPEN_VISITORS[name]
    nothing = Record({}, {}, {})
    wrong = []
    for row in rows_of("recorder"):
        answer = asked(open_port, row.method, nothing.path(row, SEEN), headers)
        if wrongly_answered(row, visitor, answer) or answer.status in (429, 500):
            wrong.append((row.method, row.path, answer))
    assert wrong == []


@pytest.mark.parametrize("name", OF_ONE_CAMERA)
def test_the_other_camera_is_not_there_for_who_sees_one(visited: VisitedSite, name: str) -> None:
    """What belongs to the other camera is answered as what is not there at all, word for word but for the id."""
    wrong = []
    asked_elsewhere = (
        "/api/links/{link_id}",
        "/api/relabels/{relabel_id}/undo",
    )  # the latter: test_relabels.py
    for row in (
        row for row in rows_of("recorder") if row.about == "thing" and row.path not in asked_elsewhere
    ):
        own, other, none = (visited.ask(name, row, camera) for camera in (SEEN, HIDDEN, "nowhere"))
        hidden = {HIDDEN: "nowhere", visited.record.events[HIDDEN]: NO_ID}
        text = other.text
        for word, instead in hidden.items():
            text = text.replace(word, instead)
        is_refused = row.who == OPERATE and VISITORS[name].may == "viewer"
        expected = 403 if is_refused else 404
        is_own_there = is_refused or own.status != 404 or row.path.endswith("{session}")
        if (other.status, text) != (none.status, none.text) or other.status != expected or not is_own_there:
            wrong.append((row.method, row.path, own, other, none))
    assert wrong == []


@pytest.mark.parametrize("name", OF_ONE_CAMERA)
def test_lists_hold_nothing_of_the_other_camera(visited: VisitedSite, name: str) -> None:
    wrong = []
    for row in (row for row in rows_of("recorder") if row.about == "list"):
        answer = visited.ask(name, row)
        words = (HIDDEN, "phone", visited.record.events[HIDDEN], visited.record.pictures[HIDDEN])
        if any(f'"{word}' in answer.text or f"/{word}" in answer.text for word in words):
            wrong.append((row.method, row.path, answer))
    assert wrong == []
    assert SEEN in asked(visited.port, "GET", "/api/events", visited.headers[name]).text
    filtered = asked(visited.port, "GET", f"/api/events?camera={HIDDEN}", visited.headers[name])
    assert json.loads(filtered.text)["events"] == []


def test_links_are_made_and_revoked_by_who_sees_their_event(visited: VisitedSite) -> None:
    for name in OF_ONE_CAMERA:
        is_refused = VISITORS[name].may == "viewer"
        for camera, expected in ((SEEN, 200), (HIDDEN, 404)):
            link_id, token = visited.link(camera)
            answer = asked(visited.port, "DELETE", f"/api/links/{link_id}", visited.headers[name])
            assert answer.status == (403 if is_refused else expected), (name, camera, answer)
            is_open = is_refused or camera == HIDDEN
            assert asked(visited.port, "GET", f"/shared/{token}", {}).status == (200 if is_open else 410)


def test_a_link_opens_its_event_until_it_ends(visited: VisitedSite) -> None:
    _, token = visited.link(SEEN)
    _, short = visited.link(SEEN, hours=0.5 / 3600)
    revoked_id, revoked = visited.link(SEEN)
    assert asked(visited.port, "DELETE", f"/api/links/{revoked_id}", BOSS).status == 200
    wait_until(lambda: asked(visited.port, "GET", f"/shared/{short}", {}).status == 410, 60, "it has ended")
    paths = [row.path for row in rows_of("recorder") if row.path.startswith("/shared/")]
    assert len(paths) == 4
    changed = ("A" if token[0] != "A" else "B") + token[1:]
    for path in paths:
        cases = {
            token: 200,
            short: 410,
            revoked: 410,
            changed: 404,
            token[:-1] + ("A" if token[-1] != "A" else "w"): 404,
            visited.record.events[SEEN]: 404,
        }
        found = {one: asked(visited.port, "GET", path.replace("{token}", one), {}).status for one in cases}
        assert found == cases, path
        rebound = asked(visited.port, "GET", path.replace("{token}", token), {"host": "evil.example"})
        assert rebound.status == 421


def test_a_cameras_token_publishes_to_that_camera_only(visited: VisitedSite) -> None:
    sent = {"authorization": f"Bearer {WHIP_TOKEN}"}
    assert asked(visited.port, "POST", "/whip/phone", sent).status == 400  # no offer, but let in
    assert asked(visited.port, "POST", "/whip/phone", {**sent, "host": "evil.example"}).status == 421
    for camera in (SEEN, HIDDEN, "nowhere"):
        assert asked(visited.port, "POST", f"/whip/{camera}", sent).status == 401
    assert asked(visited.port, "GET", "/api/cameras", sent).status == 401


def test_a_user_sees_and_ends_own_sessions_only(visited: VisitedSite) -> None:
    everybody = json.loads(asked(visited.port, "GET", "/api/sessions?all=true", BOSS).text)
    admins = next(one["id"] for one in everybody if one["user"] == "anna")
    for name in ("viewer", "operator", "viewer of one camera", "token of an operator"):
        headers = visited.headers[name]
        assert asked(visited.port, "GET", "/api/sessions?all=true", headers).status == 403
        assert "anna" not in asked(visited.port, "GET", "/api/sessions", headers).text
        assert asked(visited.port, "DELETE", f"/api/sessions/{admins}", headers).status == 404
    assert asked(visited.port, "GET", "/api/users", visited.headers["admin"]).status == 200


@pytest.mark.parametrize(
    ("may", "headers"),
    [
        ("nobody", {}),
        ("nobody", {"authorization": f"Bearer {API_TOKEN}"}),  # the recorder's own, which is not motion's
        ("nobody", {"authorization": f"Basic {MOTION_TOKEN}"}),
        ("nobody", {"x-forwarded-for": "127.0.0.1"}),
        ("admin", {"authorization": f"Bearer {MOTION_TOKEN}"}),
    ],
    ids=["nobody", "the site's token", "basic", "through a proxy", "motion's token"],
)
def test_motion_itself_answers_its_token_only(
    visited: VisitedSite, may: str, headers: dict[str, str]
) -> None:
    wrong = []
    for row in rows_of("motion"):
        answer = asked(visited.site.motion.port, row.method, visited.record.path(row, SEEN), headers)
        if wrongly_answered(row, Visitor(may), answer) or answer.status in (429, 500):
            wrong.append((row.method, row.path, answer))
    assert wrong == []


@pytest.mark.parametrize("headers", [{"host": "evil.example"}, {"origin": "https://evil.example"}])
def test_motion_itself_answers_no_other_site(visited: VisitedSite, headers: dict[str, str]) -> None:
    visitor = Visitor("admin", is_of_another_site="origin" in headers, has_wrong_host="host" in headers)
    sent = {"authorization": f"Bearer {MOTION_TOKEN}", **headers}
    wrong = []
    for row in rows_of("motion"):
        answer = asked(visited.site.motion.port, row.method, visited.record.path(row, SEEN), sent)
        if wrongly_answered(row, visitor, answer):
            wrong.append((row.method, row.path, answer))
    assert wrong == []
