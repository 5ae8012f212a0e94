"""Faults are pages for people who open an address, and JSON for everybody else."""

from __future__ import annotations

import httpx
import pytest
from fastapi import FastAPI

from shared.access import NetworkTrust, Refusal
from shared.fault_page import FaultPages, is_for_people
from shared.http_api import make_app
from shared.http_rules import LOOK, PUBLIC
from tests.http_apps import KnownIdentity, client_of, guarded

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
LOG_IN = Refusal(401, "log in", "nobody is <i>logged in</i>", "a user", "no_credentials")
RULES = {("GET", "/things"): LOOK, ("GET", "/wrong"): PUBLIC}


def example() -> FastAPI:
    app = make_app("example")
    app.state.fault_pages = FaultPages("/web/page.css", "/")

    @app.get("/things")
    async def things() -> str:
        return "things"

    @app.get("/wrong")
    async def wrong() -> str:
        raise ValueError("a detail that is nobody's business")

    return app


def asking(accept: str, prefix: str = "", **more: str) -> httpx.AsyncClient:
    app = guarded(example(), RULES, None, KnownIdentity(LOG_IN), NetworkTrust(prefix=prefix))
    return client_of(app, headers={"accept": accept, **more})


@pytest.mark.parametrize("prefix", ["", "/clipwatch"])
async def test_a_browser_gets_a_page_that_says_what_was_found_and_what_to_do(prefix: str) -> None:
    async with asking(BROWSER, prefix) as client:
        missing, refused, bug = [
            await client.get(prefix + path) for path in ("/nothing", "/things", "/wrong")
        ]
    assert [answer.status_code for answer in (missing, refused, bug)] == [404, 401, 500]
    for answer in (missing, refused, bug):
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert f'<link rel="stylesheet" href="{prefix}/web/page.css">' in answer.text
        assert f'<a href="{prefix}/">' in answer.text
        assert "<script" not in answer.text
        assert "style=" not in answer.text
    assert "<h1>Nothing is at this address</h1>" in missing.text
    assert "<h1>Nobody is &lt;i&gt;logged in&lt;/i&gt;</h1>" in refused.text
    assert "What to do: Log in." in refused.text
    assert refused.headers["www-authenticate"] == "Bearer"
    assert "business" not in bug.text


async def test_under_a_name_that_is_not_the_sites_a_page_has_no_address_of_it() -> None:
    async with asking(BROWSER, "", host="nas.lan:8080") as client:
        answer = await client.get("/things")
    assert answer.status_code == 421
    assert "<h1>The Host &#x27;nas.lan:8080&#x27;</h1>" in answer.text
    assert "ALLOWED_HOSTS" in answer.text
    assert "href" not in answer.text


@pytest.mark.parametrize("accept", ["application/json", "*/*", "image/avif,image/*,*/*;q=0.8"])
async def test_programs_and_scripts_get_json(accept: str) -> None:
    async with asking(accept) as client:
        for path, status in (("/nothing", 404), ("/things", 401), ("/wrong", 500)):
            answer = await client.get(path)
            assert (answer.status_code, answer.headers["vary"]) == (status, "accept")
            assert set(answer.json()["error"]) == {"found", "wanted", "do"}
        assert (await client.post("/things")).json()["errors"]


def test_only_what_is_shown_is_for_people() -> None:
    assert is_for_people("GET", BROWSER)
    assert not is_for_people("POST", BROWSER)
    assert not is_for_people("GET", None)
