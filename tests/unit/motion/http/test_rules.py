"""Every route of motion has a row in its table of rules, and every row a route."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from services.motion.app import add_routes
from services.motion.http.cameras import CameraRoutes
from services.motion.http.live import LiveRoutes
from services.motion.http.rules import PATTERNS, RULES
from shared.http_api import make_app
from shared.runtime import Health, Runtime
from tests.http_apps import client_of, faults_of_rules, guarded


def runtime() -> Runtime:
    made = Runtime("motion", asyncio.Event(), Health(), make_app("motion"))
    add_routes(made, cast("CameraRoutes", None), cast("LiveRoutes", None), lambda _: None)
    return made


def test_every_route_has_a_row_and_every_row_a_route() -> None:
    made = runtime()
    assert faults_of_rules(made.app, RULES) == {"without a row": set(), "without a route": set()}
    assert made.access.rules.items() >= RULES.items()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"/api/cameras/{'a' * 65}"),
        ("GET", f"/api/cameras/{'a' * 900}"),
        ("GET", "/api/cameras/..%2f"),
        ("GET", "/api/cameras/%00/looks"),
        ("GET", "/cameras/-gate"),
        ("PUT", "/api/cameras/a%0ab/labels"),
        ("DELETE", f"/api/cameras/gate/whep/{'a' * 129}"),
        ("POST", "/whip/%E2%80%AEgate"),
        ("DELETE", "/whip/gate/a.b"),
    ],
)
async def test_an_id_that_cannot_be_one_is_not_found_whoever_asks(method: str, path: str) -> None:
    async with client_of(guarded(runtime().app, RULES, PATTERNS), "10.0.0.9") as http:
        answer = await http.request(method, path)
    assert answer.status_code == 404
    assert len(answer.content) < 1000
