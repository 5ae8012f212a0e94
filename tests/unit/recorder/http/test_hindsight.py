"""A look back whose reader goes away before the first line lets the next one in."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import AsyncIterator
from typing import Any, cast

import httpx
import pytest
from fastapi import FastAPI

from services.recorder.health.pipeline import Pipeline
from services.recorder.http.hindsight import hindsight_routes
from services.recorder.http.search import search_routes
from services.recorder.http.state import ApiState
from services.recorder.search.hindsight import Application, Hindsight
from services.recorder.search.hindsight_values import HindsightRequest, Outcome
from services.recorder.search.words import Search
from shared.http_api import make_app
from shared.presence import Presence, ProcessPresence


class Looking:
    """Stands in for the look back: never at an end."""

    def __init__(self) -> None:
        self.gate = asyncio.Lock()

    async def run(
        self,
        request: HindsightRequest,  # noqa: ARG002 - the port's
        application: Application | None,  # noqa: ARG002 - the port's
    ) -> AsyncIterator[Outcome]:
        while True:
            yield Outcome()


async def test_while_the_model_loads_words_are_refused_at_once_and_the_answer_says_why() -> None:
    loading = ProcessPresence(Presence(service="classifier", name="c1", state="loading"), 1.0)
    state = ApiState(
        lambda: True,
        search=cast("Search", object()),
        hindsight=cast("Hindsight", Looking()),
        pipeline=Pipeline(heard=(loading,)),
    )
    app = make_app("recorder")
    app.include_router(hindsight_routes(state))
    app.include_router(search_routes(state))
    asked = {"labels": ["a fox"], "since": "2026-01-01T00:00:00Z"}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        for answer in (
            await client.get("/api/search?q=fox"),
            await client.post("/api/hindsight", json=asked),
        ):
            assert answer.status_code == 503
            assert answer.json()["error"]["found"] == "the classifier is still loading its model"


async def test_an_answer_that_nobody_reads_holds_no_gate() -> None:
    looking = Looking()
    app = FastAPI()
    app.include_router(hindsight_routes(ApiState(lambda: True, hindsight=cast("Hindsight", looking))))
    body = json.dumps({"labels": ["a fox"], "since": "2026-01-01T00:00:00Z"}).encode()
    scope: dict[str, Any] = {  # Any: ASGI
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "POST",
        "path": "/api/hindsight",
        "raw_path": b"/api/hindsight",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
    }
    was_locked = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        assert message["status"] == 200
        was_locked.append(looking.gate.locked())
        raise OSError("the connection is gone")

    with pytest.raises(Exception, match=r"^$|gone"):
        await app(scope, receive, send)
    assert was_locked == [True]
    for _ in range(50):  # what was let go of is closed by the loop
        if not looking.gate.locked():
            break
        gc.collect()
        await asyncio.sleep(0)
    assert not looking.gate.locked()
