"""The check before every app: refuses what has no row, a foreign name or page, or nobody who may."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from ipaddress import ip_network
from typing import Any

import httpx
import pytest
import structlog
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from shared.access import NetworkTrust, Refusal
from shared.http_access import (
    SECURITY_HEADERS,
    TOKENS_MAX,
    TOKENS_WINDOW_S,
    HttpAccess,
    TokenAuthenticator,
    caller_of,
    identity_of,
    require,
)
from shared.http_api import FaultOut, make_app
from shared.http_rules import CHANGE, JSON_TYPE, LOOK, PUBLIC, RouteRule
from shared.metrics import HttpMetrics
from shared.open_streams import StreamKind
from shared.permissions import Identity, Permission
from tests.http_apps import KnownIdentity, client_of, guarded

TOKEN = "0123456789abcdef"
SCRAPE = "fedcba9876543210"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
VIEWER = Identity("anna", frozenset({Permission.LOOK}), frozenset({"gate"}))
RULES = {
    ("GET", "/"): PUBLIC,
    ("GET", "/me"): RouteRule(Permission.PUBLIC, is_identified=True),
    ("POST", "/login"): RouteRule(Permission.PUBLIC, 100, JSON_TYPE),
    ("GET", "/read/{thing_id}"): LOOK,
    ("GET", "/shown"): RouteRule(Permission.LOOK, is_shown_same_site=True),
    ("PUT", "/change"): CHANGE,
    ("POST", "/maybe"): RouteRule(Permission.LOOK, 100, JSON_TYPE),
    ("POST", "/own"): RouteRule(Permission.OWN, 100),
    ("GET", "/metrics"): RouteRule(Permission.METRICS),
    ("GET", "/bug"): LOOK,
    ("GET", "/endless"): RouteRule(Permission.LOOK, stream=StreamKind.EVENTS),
}


def example() -> FastAPI:
    app = make_app("example")

    @app.get("/")
    @app.get("/me")
    @app.get("/read/{thing_id}")
    @app.get("/shown")
    @app.get("/metrics")
    async def read(request: Request) -> dict[str, Any]:
        identity = identity_of(request)
        return {"name": identity.name, "sees": identity.sees("gate"), "address": caller_of(request).address}

    @app.post("/login")
    @app.post("/own")
    @app.put("/change")
    async def change(request: Request) -> dict[str, Any]:
        return {"n_bytes": len(await request.body())}

    @app.post("/maybe")
    async def maybe(request: Request) -> None:
        require(request, Permission.OPERATE)

    @app.get("/bug")
    async def bug() -> None:
        raise ZeroDivisionError

    @app.get("/endless")
    async def endless() -> StreamingResponse:
        async def content() -> AsyncIterator[bytes]:
            while True:
                yield b"tick"
                await asyncio.sleep(0)

        return StreamingResponse(content())

    @app.get("/forgotten")
    @app.delete("/change")
    async def forgotten() -> None:
        raise AssertionError("a route without a row was reached")

    return app


def with_tokens(**arguments: Any) -> HttpAccess:  # Any: of `guarded`
    return guarded(example(), RULES, authenticator=TokenAuthenticator(TOKEN, SCRAPE), **arguments)


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    """A client of this machine, of an app without tokens."""
    async with client_of(guarded(example(), RULES)) as client:
        yield client


@pytest.fixture
async def tokens() -> AsyncIterator[httpx.AsyncClient]:
    """A client of this machine, of an app with tokens."""
    async with client_of(with_tokens()) as client:
        yield client


async def test_a_route_without_a_row_answers_nobody(http: httpx.AsyncClient) -> None:
    assert (await http.get("/forgotten")).status_code == 403
    assert (await http.delete("/change")).status_code == 403


async def test_what_is_no_route_stays_404_and_405(tokens: httpx.AsyncClient) -> None:
    assert (await tokens.get("/nothing")).status_code == 404
    assert (await tokens.get("/read/x/")).status_code == 404
    assert (await tokens.get("/change")).status_code == 405
    assert (await tokens.options("/change")).status_code == 405


async def test_with_a_token_everything_but_public_routes_needs_it(tokens: httpx.AsyncClient) -> None:
    for path in ("/read/x", "/shown", "/metrics", "/bug", "/endless", "/openapi.json"):
        answer = await tokens.get(path)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer"), path
        assert (await tokens.head(path)).status_code in (401, 405), path
    assert (await tokens.put("/change", json={})).status_code == 401
    assert (await tokens.post("/maybe", json={})).status_code == 401
    assert (await tokens.get("/")).status_code == 200
    assert (await tokens.get("/read/x", headers=BEARER)).json()["name"] == "API_TOKEN"
    assert (await tokens.put("/change", json={}, headers=BEARER)).status_code == 200


@pytest.mark.parametrize(
    "sent",
    [
        "",
        "Bearer",
        "Bearer ",
        f"Basic {TOKEN}",
        TOKEN,
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        "Bearer ä",
    ],
)
async def test_another_token_is_refused(tokens: httpx.AsyncClient, sent: str) -> None:
    answer = await tokens.get("/read/x", headers={b"Authorization": sent.encode()})
    assert answer.status_code == 401


async def test_wrong_tokens_of_an_address_are_limited_counted_and_logged_once() -> None:
    app, counted = with_tokens(), list[str]()
    app._access.count_refused = counted.append
    wrong = {"Authorization": "Bearer 0123456789abcdeg"}
    with structlog.testing.capture_logs() as lines:
        async with client_of(app, "192.0.2.7") as client, client_of(app, "192.0.2.8") as other:
            statuses = [
                (await client.get("/read/x", headers=wrong)).status_code for _ in range(TOKENS_MAX + 9)
            ]
            limited = await client.get("/read/x", headers=wrong)
            assert (await client.get("/read/x", headers=BEARER)).status_code == 200
            assert (await client.get("/read/x")).status_code == 401
            assert (await other.get("/read/x", headers=wrong)).status_code == 401
    assert statuses == [401] * TOKENS_MAX + [429] * 9
    assert 1 <= int(limited.headers["retry-after"]) <= TOKENS_WINDOW_S
    assert counted.count("wrong_credentials") == TOKENS_MAX + 1
    assert counted.count("limited") == 10
    assert [line["address"] for line in lines] == ["192.0.2.7", "192.0.2.8"]
    assert "abcdeg" not in str(lines)


async def test_wrong_tokens_are_limited_too_where_nobody_is_let_in_and_who_calls_is_asked() -> None:
    app, counted = with_tokens(), list[str]()
    app._access.count_refused = counted.append
    wrong = {"Authorization": "Bearer 0123456789abcdeg"}
    async with client_of(app, "192.0.2.7") as client:
        statuses = [(await client.get("/me", headers=wrong)).status_code for _ in range(TOKENS_MAX + 1)]
        assert (await client.get("/me")).status_code == 200
        assert (await client.get("/me", headers=BEARER)).json()["name"] == "API_TOKEN"
    assert statuses == [200] * TOKENS_MAX + [429]
    assert counted == ["wrong_credentials"] * TOKENS_MAX + ["limited"]


def test_a_refusal_is_counted_by_a_reason_of_a_closed_set() -> None:
    registry = CollectorRegistry()
    metrics = HttpMetrics(registry)
    for reason in ("host", "nonsense", "other"):
        metrics.count_refused(reason)
    name = "clipwatch_http_refused_total"
    assert registry.get_sample_value(name, {"reason": "host"}) == 1
    assert registry.get_sample_value(name, {"reason": "other"}) == 2


async def test_the_token_of_metrics_opens_nothing_else(tokens: httpx.AsyncClient) -> None:
    scrape = {"Authorization": f"Bearer {SCRAPE}"}
    assert (await tokens.get("/metrics", headers=scrape)).status_code == 200
    assert (await tokens.get("/metrics", headers=BEARER)).status_code == 200
    assert (await tokens.get("/read/x", headers=scrape)).status_code == 403
    assert (await tokens.put("/change", json={}, headers=scrape)).status_code == 403


async def test_without_a_token_everything_is_for_this_machine_only(http: httpx.AsyncClient) -> None:
    assert (await http.get("/read/x")).json() == {
        "name": "this machine",
        "sees": True,
        "address": "127.0.0.1",
    }
    async with client_of(guarded(example(), RULES), "10.0.0.9") as far:
        assert (await far.get("/")).status_code == 200
        for answer in (
            await far.get("/read/x"),
            await far.put("/change", json={}),
            await far.get("/metrics"),
        ):
            assert answer.status_code == 403
            assert "set API_TOKEN" in answer.json()["error"]["do"]


async def test_a_proxy_of_this_machine_lets_nobody_in(http: httpx.AsyncClient) -> None:
    for name in ("X-Forwarded-For", "X-Real-IP", "Via", "Forwarded", "X-Forwarded-Host", "X-Forwarded-Proto"):
        assert (await http.put("/change", json={}, headers={name: "127.0.0.1"})).status_code == 403, name
    proxies = NetworkTrust(proxies=(ip_network("127.0.0.1"),))
    async with client_of(guarded(example(), RULES, trust=proxies)) as client:
        assert (await client.get("/read/x")).status_code == 403
        assert (await client.get("/read/x", headers={"X-Forwarded-For": "127.0.0.1"})).status_code == 403


async def test_every_route_needs_a_known_host(http: httpx.AsyncClient) -> None:
    for method, path in (*RULES, ("GET", "/forgotten"), ("GET", "/nothing"), ("GET", "/healthz")):
        answer = await http.request(method, path.format(thing_id="x"), headers={"Host": "evil.example"})
        assert answer.status_code == 421, path
        FaultOut.model_validate(answer.json())


FOREIGN: list[dict[str, str]] = [
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
]


@pytest.mark.parametrize("headers", FOREIGN)
async def test_pages_of_other_sites_read_and_change_nothing(
    http: httpx.AsyncClient, tokens: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    for client in (http, tokens):
        for method, path in RULES:
            answer = await client.request(
                method, path.format(thing_id="x"), json={}, headers={**headers, **BEARER}
            )
            if path in ("/", "/me", "/own") or (
                path == "/shown" and headers.get("Sec-Fetch-Site") == "same-site"
            ):
                assert answer.status_code in (200, 413), path
            else:
                assert answer.status_code == 403, path
            assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""]
)
async def test_a_change_is_made_of_what_no_other_page_can_send(
    http: httpx.AsyncClient, content_type: str
) -> None:
    for path in ("/change", "/login", "/maybe"):
        method = "PUT" if path == "/change" else "POST"
        answer = await http.request(method, path, content="{}", headers={"Content-Type": content_type})
        assert answer.status_code == 415, path
    fine = {"Content-Type": "Application/JSON; charset=utf-8"}
    assert (await http.put("/change", content="{}", headers=fine)).status_code == 200


async def test_a_permission_that_is_lacking_is_told() -> None:
    async with client_of(guarded(example(), RULES, authenticator=KnownIdentity(VIEWER))) as client:
        assert (await client.get("/read/x")).json()["name"] == "anna"
        answer = await client.put("/change", json={})
        assert answer.status_code == 403
        assert answer.json()["error"]["found"] == "'anna'"
        assert "operate" in answer.json()["error"]["wanted"]
        assert (await client.post("/maybe", json={})).status_code == 403


async def test_a_public_route_asks_for_nobody_unless_it_wants_to_know() -> None:
    authenticator = KnownIdentity(VIEWER)
    async with client_of(guarded(example(), RULES, authenticator=authenticator)) as client:
        assert (await client.get("/")).json()["sees"] is False
        assert authenticator.asked == []
        assert (await client.get("/me")).json()["name"] == "anna"
        authenticator.identity = Refusal(401, "log in")
        assert (await client.get("/me")).json() == {"name": "nobody", "sees": False, "address": "127.0.0.1"}


async def test_what_an_authenticator_refuses_is_answered_as_it_says() -> None:
    refusal = Refusal(429, "wait", "many", "fewer", "rate", retry_after_s=12.4)
    async with client_of(guarded(example(), RULES, authenticator=KnownIdentity(refusal))) as client:
        answer = await client.get("/read/x")
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "12")
    assert answer.json()["error"] == {"found": "many", "wanted": "fewer", "do": "wait"}


async def test_every_answer_has_the_security_headers(http: httpx.AsyncClient) -> None:
    asked = [
        http.get("/"),
        http.get("/read/x"),
        http.get("/nothing"),
        http.get("/forgotten"),
        http.get("/change"),
        http.get("/bug"),
        http.get("/read/x?a=" + "a" * 9000),
        http.get("/", headers={"Host": "evil.example"}),
        http.put("/change", content="{}"),
        http.put("/change", content=b"a" * 70_000, headers={"Content-Type": JSON_TYPE}),
    ]
    statuses = []
    for answer in [await one for one in asked]:
        statuses.append(answer.status_code)
        assert {name: answer.headers[name] for name in SECURITY_HEADERS} == SECURITY_HEADERS
    assert statuses == [200, 200, 404, 403, 405, 500, 414, 421, 415, 413]
    assert "unsafe" not in str(SECURITY_HEADERS)


async def pieces(n_pieces: int, told: list[int]) -> AsyncIterator[bytes]:
    for number in range(n_pieces):
        told.append(number)
        yield b" " * 1000 if number else b"{}".ljust(1000)


async def test_no_more_of_a_body_is_read_than_its_row_says(http: httpx.AsyncClient) -> None:
    headers = {"Content-Type": JSON_TYPE}
    read: list[int] = []
    answer = await http.put("/change", content=pieces(1000, read), headers=headers)
    assert answer.status_code == 413
    assert len(read) == 66
    fine = await http.put("/change", content=pieces(65, []), headers=headers)
    assert fine.json() == {"n_bytes": 65_000}


async def test_nothing_of_a_body_is_read_before_it_is_known_who_sends_it() -> None:
    async def receive() -> Any:  # Any: an ASGI message
        raise AssertionError("the body was read")

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    for headers, status in (
        ([(b"host", b"localhost"), (b"content-type", b"application/json")], 401),
        ([(b"host", b"evil"), (b"content-type", b"application/json")], 421),
        ([(b"host", b"localhost"), (b"authorization", b"Bearer " + TOKEN.encode())], 415),
        (
            [
                (b"host", b"localhost"),
                (b"authorization", b"Bearer " + TOKEN.encode()),
                (b"content-type", b"application/json"),
                (b"content-length", b"200000000"),
            ],
            413,
        ),
    ):
        sent.clear()
        scope = {
            "type": "http",
            "method": "PUT",
            "path": "/change",
            "query_string": b"",
            "headers": headers,
            "client": ("127.0.0.1", 1),
        }
        await with_tokens()(scope, receive, send)
        assert sent[0]["status"] == status


@given(
    st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "get", ""]),
    st.text(max_size=3000),
    st.binary(max_size=3000),
    st.lists(
        st.tuples(
            st.sampled_from(
                [b"host", b"origin", b"authorization", b"content-type", b"content-length", b"cookie"]
            ),
            st.binary(max_size=300),
        ),
        max_size=8,
    ),
)
def test_no_head_of_a_request_breaks_the_check_or_reaches_a_route(
    method: str, path: str, query: bytes, headers: list[tuple[bytes, bytes]]
) -> None:
    access, app = with_tokens(), example()
    scope = {
        "type": "http",
        "method": method,
        "path": f"/{path}",
        "query_string": query,
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "state": {},
    }
    found = asyncio.run(access._access.check(app, scope))
    if not isinstance(found, Refusal):
        rule, identity = found
        assert rule is None or rule.permission in (Permission.PUBLIC, Permission.OWN)
        assert identity.permissions == frozenset()


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/read/" + "a" * 64_000, {}),
        ("/read/" + "://" * 21_000, {}),
        ("/x" + "/" * 64_000, {}),
        ("/read/x?" + "a=1&" * 16_000, {}),
        ("/read/x", {"Host": "a." * 32_000}),
        ("/read/x", {"Origin": "http://" + "[" * 64_000}),
        ("/read/x", {"Authorization": "Bearer " + " " * 64_000}),
        ("/read/x", {"X-Forwarded-For": "1.1.1.1," * 8_000}),
        ("/read/x", {"Content-Type": ";" * 64_000}),
        ("/read/x", {"Content-Length": "9" * 64_000}),
        ("/read/x", {"Cookie": "a=b; " * 12_000}),
    ],
)
async def test_no_length_of_anything_holds_the_service(path: str, headers: dict[str, str]) -> None:
    trust = NetworkTrust(proxies=(ip_network("127.0.0.1"),))
    async with client_of(with_tokens(trust=trust)) as client:
        request = client.build_request("GET", path, headers={**BEARER, **headers})
        await client.send(request)
        begun_s = time.process_time()
        answer = await client.send(request)
        assert time.process_time() - begun_s < 0.05
        assert len(answer.content) < 2000
