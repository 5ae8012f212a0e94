"""Every route of the recorder has a row in its table of rules, and every row a route."""

from __future__ import annotations

import pytest

from services.recorder.http.api import add_routes
from services.recorder.http.rules import PATTERNS, RULES
from services.recorder.http.state import ApiState
from shared.http_api import make_app
from tests.http_apps import client_of, faults_of_rules, guarded


def test_every_route_has_a_row_and_every_row_a_route() -> None:
    app = make_app("recorder")
    add_routes(app, ApiState(lambda: True))
    assert faults_of_rules(app, RULES) == {"without a row": set(), "without a route": set()}


@pytest.mark.parametrize(
    "path",
    [
        "/api/events/none",
        f"/api/events/{'a' * 36}{'a' * 900}",
        "/api/events/0190%0aa",
        "/media/..%2f..%2fetc/passwd",
        "/media/2026/01/01/0123.mp4",
        "/media/",
        f"/media/{'a/' * 400}",
    ],
)
async def test_an_id_that_cannot_be_one_is_not_found_whoever_asks(path: str) -> None:
    app = make_app("recorder")
    add_routes(app, ApiState(lambda: True))
    async with client_of(guarded(app, RULES, PATTERNS), "10.0.0.9") as http:
        answer = await http.get(path)
    assert answer.status_code == 404
    assert set(answer.json()["error"]) == {"found", "wanted", "do"}
    assert len(answer.content) < 1000
