"""Faults of both APIs have one shape, all at once; unknown parameters and bare numbers as times are refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Query, Request
from pydantic import BaseModel

from shared.errors import Transient
from shared.http_api import ApiFault, FaultOut, IsoTime, bounded_body, documented, make_app
from shared.secrets import know


class Wanted(BaseModel):
    name: str
    size: Annotated[int, Query(ge=1)]


def example() -> Any:  # Any: FastAPI
    app = make_app("example")

    @app.get("/api/times", responses=documented(404))
    async def times(since: IsoTime | None = None, limit: Annotated[int, Query(ge=1)] = 1) -> dict[str, Any]:
        if limit == 404:
            raise ApiFault(404, "404", "less", "ask for less")
        return {"since": since}

    @app.post("/api/bodies", responses=documented(413))
    async def bodies(wanted: Wanted) -> dict[str, str]:
        return {"name": wanted.name}

    @app.put("/api/raw", responses=documented(413))
    async def raw(request: Request) -> dict[str, int]:
        return {"n_bytes": len(await bounded_body(request, 10))}

    @app.get("/api/bug")
    async def bug() -> None:
        raise ZeroDivisionError("rtsp://u:hunter2@cam/")

    @app.get("/api/away", responses=documented(503))
    async def away() -> None:
        raise Transient("mysql://u:hunter2@db/")

    @app.get("/api/cameras", responses=documented(503))
    async def cameras() -> None:
        lines = [
            f"camera: lost, said {'x' * 70}hunter22; wait",
            "pw: must be other than hunter22; change hunter22",
        ]
        raise ApiFault.of_lines(503, lines, "a camera without hunter22", "look at hunter22")

    @app.get("/page")
    async def page() -> dict[str, str]:
        return {}

    return app


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(example(), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        yield client


@pytest.mark.parametrize(
    ("method", "path", "json", "status", "found"),
    [
        ("GET", "/api/times?limit=404", None, 404, ["404"]),
        ("GET", "/api/times?limit=0&since=2020", None, 400, ["since='2020'", "limit='0'"]),
        ("GET", "/api/times?until=1", None, 400, ["the parameter 'until'"]),
        ("GET", "/api/times?limit=1&limit=2", None, 400, ["the parameter 'limit', 2 times"]),
        ("GET", "/api/nothing", None, 404, ["nothing is at this address"]),
        ("PATCH", "/api/times", None, 405, ["Method Not Allowed"]),
        ("POST", "/api/bodies", {"size": 0}, 400, ["name is missing", "size=0"]),
        ("POST", "/api/bodies", [1], 400, ["a body that is not JSON"]),
        ("PUT", "/api/raw", {"name": "0123456789"}, 413, ["a body that is too long"]),
        ("GET", "/api/bug", None, 500, ["a fault of the service"]),
        ("GET", "/api/away", None, 503, ["the database does not answer"]),
    ],
)
async def test_every_fault_says_found_wanted_do_all_at_once(
    http: httpx.AsyncClient, method: str, path: str, json: Any, status: int, found: list[str]
) -> None:
    answer = await http.request(method, path, json=json)
    assert answer.status_code == status
    said = FaultOut.model_validate(answer.json())
    assert [error.found for error in said.errors] == found
    assert said.error == said.errors[0]
    assert all(error.wanted and error.do for error in said.errors)
    assert "hunter2" not in answer.text


@pytest.mark.parametrize(
    "text", ["2020", "1767225600", "1767225600.5", "2026-01-01", "20260101T000000Z", "now", ""]
)
async def test_what_is_no_time_with_a_zone_is_no_time(http: httpx.AsyncClient, text: str) -> None:
    answer = await http.get("/api/times", params={"since": text})
    assert answer.status_code == 400
    assert "such as 2026-03-29T12:00:00Z" in answer.json()["error"]["wanted"]


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-29T14:00:00+02:00",
        "2026-03-29T14:00:00 02:00",
        "2026-03-29t12:00:00z",
        "2026-03-29 12:00:00Z",
    ],
)
async def test_times_are_taken_with_any_zone(http: httpx.AsyncClient, text: str) -> None:
    answer = await http.get("/api/times", params={"since": text})
    assert datetime.fromisoformat(answer.json()["since"]) == datetime(2026, 3, 29, 12, tzinfo=UTC)


async def test_a_page_may_have_any_parameters(http: httpx.AsyncClient) -> None:
    assert (await http.get("/page", params={"camera": "gate"})).status_code == 200


def test_lines_become_found_wanted_do() -> None:
    lines = [
        "camera 'gate': threshold=7: must be 0..1",
        "labels: is empty, wanted at least one label",
        "margins: is not known; did you mean 'margin'?",
        "until is not after since",
    ]
    said = [
        tuple(text.model_dump().values())
        for text in ApiFault.of_lines(422, lines, "settings", "change it").texts
    ]
    assert said == [
        ("camera 'gate': threshold=7", "0..1", "change it"),
        ("labels: is empty", "at least one label", "change it"),
        ("margins: is not known", "settings", "did you mean 'margin'?"),
        ("until is not after since", "settings", "change it"),
    ]


def test_every_status_is_in_the_api_document() -> None:
    document = example().openapi()
    assert "ValidationError" not in str(document)
    paths = document["paths"]
    for operation in (operation for path in paths.values() for operation in path.values()):
        for status, answer in operation["responses"].items():
            if status != "200":
                schema = answer["content"]["application/json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/FaultOut"}, (operation["operationId"], status)


async def test_no_part_of_a_fault_holds_a_known_secret(http: httpx.AsyncClient) -> None:
    know("hunter22")
    answers = [
        await http.get("/api/cameras"),
        await http.get("/api/times", params={"limit": "hunter22"}),
        await http.get("/api/times", params={f"{'x' * 76}hunter22": "1"}),
        await http.post("/api/bodies", json={"name": ["hunter22"], "size": "hunter22"}),
        await http.get("/hunter22"),
    ]
    assert [answer.status_code for answer in answers] == [503, 400, 400, 400, 404]
    for answer in answers:
        FaultOut.model_validate(answer.json())
        assert "hunt" not in answer.text


async def test_a_long_value_is_not_shown_in_part(http: httpx.AsyncClient) -> None:
    """The beginning of a URL does not tell that a password is in it."""
    answer = await http.post(
        "/api/bodies", json={"name": "gate", "size": f"rtsp://ann:{'hunter' * 1000}@10.0.0.7/s"}
    )
    assert answer.status_code == 400
    assert "hunt" not in answer.text
    assert "size=6,0" in FaultOut.model_validate(answer.json()).error.found
