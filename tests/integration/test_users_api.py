"""Logging in, users, sessions and tokens by HTTP: behind the access check, on a real database."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from http.cookies import Morsel, SimpleCookie
from typing import Any

import httpx
import pytest

from services.recorder.access.authenticator import COOKIE, SettingTokens
from services.recorder.access.site import ADDRESS_TRIES
from services.recorder.access.tokens import TokenRequest
from shared.clock import now_utc
from shared.permissions import Role
from tests.integration.users_rig import PASSWORD, Rig, running_site

LOGIN = {"name": "ada", "password": PASSWORD}


@pytest.fixture
async def rig(sqlite_record: str) -> AsyncIterator[Rig]:
    async with running_site(sqlite_record) as made:
        yield made


def cookie_of(answer: httpx.Response) -> Morsel[str]:
    return SimpleCookie(answer.headers["set-cookie"])[COOKIE]


def fault(answer: httpx.Response) -> str:
    return str(answer.json()["error"]["found"])


async def test_nobody_is_answered_before_the_database_is_open(rig: Rig) -> None:
    rig.access.accounts = None
    rig.access.authenticator.database = None
    async with rig.here() as client:
        for answer in (
            await client.get("/api/me"),
            await client.post("/api/login", json=LOGIN),
            await client.post("/api/setup", json=LOGIN),
            await client.get("/api/users"),
        ):
            assert answer.status_code == 503


async def test_this_machine_makes_the_first_user_once(rig: Rig) -> None:
    async with rig.here() as here, rig.client() as there:
        me = (await here.get("/api/me")).json()
        assert (me["way"], me["signed_in"], me["setup"]) == ("open", False, True)
        me = (await there.get("/api/me")).json()
        assert (me["way"], me["name"], me["setup"], me["permissions"]) == ("none", None, False, [])
        assert (await there.post("/api/setup", json=LOGIN)).status_code == 403
        assert (await here.post("/api/setup", json={**LOGIN, "password": "short"})).status_code == 400
        answer = await here.post("/api/setup", json=LOGIN)
        assert answer.status_code == 201
        me = answer.json()
        assert (me["name"], me["role"], me["way"], me["signed_in"]) == ("ada", "admin", "user", True)
        assert me["setup"] is False
        assert me == (await here.get("/api/me")).json()
        assert (await here.get("/api/users")).status_code == 200
        here.cookies.clear()
        assert (await here.get("/api/users")).status_code == 401
        assert (await here.post("/api/setup", json={**LOGIN, "name": "eve"})).status_code == 403


async def test_a_token_of_the_settings_leaves_no_first_user_to_strangers_on_this_machine(rig: Rig) -> None:
    rig.access.authenticator.tokens = SettingTokens(api="a token of the settings")
    async with rig.here() as here:
        assert (await here.post("/api/setup", json=LOGIN)).status_code == 403
        assert (await here.get("/api/me")).json()["setup"] is False


async def test_the_cookie_is_kept_from_scripts_and_other_sites(rig: Rig) -> None:
    await rig.add("ada", Role.VIEWER)
    async with rig.client() as client:
        answer = await client.post("/api/login", json=LOGIN)
        cookie = cookie_of(answer)
        assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "lax", "/")
        assert cookie["secure"] == ""
        assert cookie["max-age"] == str(int(timedelta(days=30).total_seconds()))
        assert cookie["domain"] == ""
        assert answer.headers["cache-control"] == "no-store"
        assert cookie.value not in answer.text
    async with rig.client(base="https://cam.example.org") as client:
        assert cookie_of(await client.post("/api/login", json=LOGIN))["secure"] is True


@pytest.mark.parametrize(
    "sent",
    [
        {**LOGIN, "password": "wrong horse"},
        {**LOGIN, "name": "bob"},
        {**LOGIN, "name": ""},
        {**LOGIN, "name": "x" * 256},
        {**LOGIN, "password": ""},
        {**LOGIN, "name": "ada' OR 1=1 --"},
    ],
)
async def test_a_wrong_login_is_one_answer_whatever_was_wrong(rig: Rig, sent: dict[str, str]) -> None:
    await rig.add("ada", Role.VIEWER)
    async with rig.client() as client:
        answer = await client.post("/api/login", json=sent)
        assert answer.status_code == 401
        assert fault(answer) == "a wrong name or password"
        assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "sent",
    [
        {"name": "ada"},
        {**LOGIN, "password": 12345},
        {**LOGIN, "password": "secret" * 1000},
        {**LOGIN, "name": ["secret"]},
        {**LOGIN, "passwort": "my secret"},
        {"password": {"secret": "secret"}, "name": "ada"},
        {**LOGIN, "password": "secret \ud800"},
        "my secret",
    ],
)
async def test_a_login_that_is_none_is_refused_without_showing_it(rig: Rig, sent: Any) -> None:  # Any: JSON
    async with rig.client() as client:
        content, kind = json.dumps(sent), {"content-type": "application/json"}
        answer = await client.post("/api/login", content=content, headers=kind)
        assert answer.status_code == 400
        shown = answer.text.replace("secret'", "") if sent == {**LOGIN, "name": ["secret"]} else answer.text
        assert "secret" not in shown
        assert "12345" not in shown


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"host": "evil.example"}, 421),
        ({"origin": "http://192.0.2.1:8080", "sec-fetch-site": "same-origin"}, 200),
    ],
)
async def test_no_page_of_another_site_logs_anybody_in_or_out(
    rig: Rig, headers: dict[str, str], status: int
) -> None:
    await rig.add("ada", Role.VIEWER)
    async with rig.client() as client:
        answer = await client.post("/api/login", json=LOGIN, headers=headers)
        assert answer.status_code == status
        client.cookies.clear()
        assert (await client.post("/api/login", json=LOGIN)).status_code == 200
        assert (await client.post("/api/logout", json={}, headers=headers)).status_code in (status, 204)
        assert (await client.get("/api/me")).json()["signed_in"] is (status != 200)


async def test_a_long_login_is_not_read(rig: Rig) -> None:
    async with rig.client() as client:
        assert (await client.post("/api/login", json={**LOGIN, "name": "x" * 100_000})).status_code == 413


async def test_who_guesses_waits(rig: Rig) -> None:
    await rig.add("ada", Role.VIEWER)
    async with rig.client() as client, rig.client("192.0.2.8") as other:
        for _ in range(ADDRESS_TRIES):
            assert (await client.post("/api/login", json={**LOGIN, "password": "x"})).status_code == 401
        answer = await client.post("/api/login", json=LOGIN)
        assert answer.status_code == 429
        assert 1 <= int(answer.headers["retry-after"]) <= 300
        assert (await other.post("/api/login", json=LOGIN)).status_code == 200


async def test_a_logout_ends_the_session_and_takes_the_cookie_back(rig: Rig) -> None:
    client = await rig.browser("ada", Role.VIEWER)
    kept = client.cookies[COOKIE]
    answer = await client.post("/api/logout", json={})
    assert answer.status_code == 204
    assert cookie_of(answer)["max-age"] == "0"
    assert (await client.get("/api/me")).json()["way"] == "none"
    client.cookies.set(COOKIE, kept, domain="192.0.2.1", path="/")
    assert (await client.get("/api/me")).json()["way"] == "none"
    assert (await client.post("/api/logout", json={})).status_code == 204
    await client.aclose()


async def test_a_new_login_ends_the_one_before(rig: Rig) -> None:
    client = await rig.browser("ada", Role.VIEWER)
    first = client.cookies[COOKIE]
    assert (await client.post("/api/login", json=LOGIN)).status_code == 200
    assert client.cookies[COOKIE] != first
    assert len((await client.get("/api/sessions")).json()) == 1
    await client.aclose()


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/api/users", None),
        ("POST", "/api/users", {"name": "eve", "password": PASSWORD, "role": "admin"}),
        ("PATCH", "/api/users/ada", {"role": "admin"}),
        ("DELETE", "/api/users/root", None),
        ("GET", "/api/tokens", None),
        ("POST", "/api/tokens", {"name": "x", "scopes": ["admin"]}),
        ("DELETE", "/api/tokens/0123456789ab", None),
        ("GET", "/api/sessions?all=true", None),
    ],
)
@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR])
async def test_users_and_tokens_are_for_admins(
    rig: Rig, role: Role, method: str, path: str, body: dict[str, Any] | None
) -> None:
    await rig.add("root", Role.ADMIN)
    client = await rig.browser("ada", role)
    assert (await client.request(method, path, json=body)).status_code == 403
    client.cookies.clear()
    assert (await client.request(method, path, json=body)).status_code == 401
    await client.aclose()


async def test_an_admin_makes_changes_and_removes_users(rig: Rig) -> None:
    client = await rig.browser("root", Role.ADMIN)
    wanted = {"name": "Ada L. @home", "password": PASSWORD, "role": "viewer", "cameras": ["yard", "gate"]}
    answer = await client.post("/api/users", json=wanted)
    assert answer.status_code == 201
    assert answer.json()["cameras"] == ["gate", "yard"]
    assert "password" not in {*answer.json()} - {"has_password"}
    assert (await client.post("/api/users", json={**wanted, "name": "ADA L. @HOME"})).status_code == 409
    assert (await client.post("/api/users", json={**wanted, "name": "a/b"})).status_code == 400
    assert (await client.post("/api/users", json={**wanted, "name": "x", "role": "king"})).status_code == 400
    path = "/api/users/Ada%20L.%20@home"
    assert (await client.patch(path, json={"role": "operator"})).json()["cameras"] == ["gate", "yard"]
    assert (await client.patch(path, json={"cameras": None})).json()["cameras"] is None
    assert (await client.patch(path, json={"role": "admin", "cameras": ["gate"]})).status_code == 400
    assert (await client.patch(path, json={"password": "another horse"})).status_code == 200
    async with rig.client() as other:
        login = {"name": wanted["name"], "password": "another horse"}
        assert (await other.post("/api/login", json=login)).status_code == 200
    names = [user["name"] for user in (await client.get("/api/users")).json()]
    assert names == ["Ada L. @home", "root"]
    assert (await client.delete(path)).status_code == 204
    assert (await client.delete(path)).status_code == 404
    assert (await client.patch("/api/users/root", json={"role": "viewer"})).status_code == 409
    assert (await client.delete("/api/users/root")).status_code == 409
    await client.aclose()


async def test_names_of_other_alphabets_are_addresses_too(rig: Rig) -> None:
    client = await rig.browser("root", Role.ADMIN)
    await rig.add("Ελένη", Role.VIEWER)
    assert (await client.patch("/api/users/Ελένη", json={"role": "operator"})).status_code == 200
    for name in ("a%00b", "..%2f..", "x" * 300, "%ED%A0%80"):
        assert (await client.delete(f"/api/users/{name}")).status_code == 404
    await client.aclose()


async def test_a_user_changes_the_own_password(rig: Rig) -> None:
    client = await rig.browser("ada", Role.VIEWER)
    other = rig.client()
    assert (await other.post("/api/login", json=LOGIN)).status_code == 200
    wrong = {"old_password": "wrong horse", "new_password": "another horse"}
    assert (await client.post("/api/me/password", json=wrong)).status_code == 403
    weak = {"old_password": PASSWORD, "new_password": "ada"}
    assert (await client.post("/api/me/password", json=weak)).status_code == 400
    right = {"old_password": PASSWORD, "new_password": "another horse"}
    assert (await client.post("/api/me/password", json=right)).status_code == 204
    assert (await client.get("/api/me")).json()["signed_in"] is True
    assert (await other.get("/api/me")).json()["signed_in"] is False
    for one in (client, other):
        await one.aclose()


async def test_a_guest_at_an_open_browser_cannot_guess_the_old_password(rig: Rig) -> None:
    client = await rig.browser("ada", Role.VIEWER)
    wrong = {"old_password": "wrong horse", "new_password": "another horse"}
    codes = [
        (await client.post("/api/me/password", json=wrong)).status_code for _ in range(ADDRESS_TRIES + 1)
    ]
    assert codes == [403] * ADDRESS_TRIES + [429]
    await client.aclose()


async def test_sessions_are_ended_by_their_user_or_an_admin(rig: Rig) -> None:
    ada, bob = await rig.browser("ada", Role.VIEWER), await rig.browser("bob", Role.VIEWER)
    root = await rig.browser("root", Role.ADMIN)
    (own,) = (await ada.get("/api/sessions")).json()
    assert (own["user"], own["is_own"], own["address"]) == ("ada", True, "192.0.2.7")
    assert own["agent"].startswith("python-httpx")
    assert (await bob.delete(f"/api/sessions/{own['id']}")).status_code == 404
    assert {one["user"] for one in (await root.get("/api/sessions?all=true")).json()} == {
        "ada",
        "bob",
        "root",
    }
    assert (await root.delete(f"/api/sessions/{own['id']}")).status_code == 204
    assert (await ada.get("/api/me")).json()["way"] == "none"
    (own,) = (await bob.get("/api/sessions")).json()
    assert (await bob.delete(f"/api/sessions/{own['id']}")).status_code == 204
    assert (await bob.get("/api/sessions")).status_code == 401
    for client in (ada, bob, root):
        await client.aclose()


async def test_a_program_gets_a_token_that_is_shown_once(rig: Rig) -> None:
    root = await rig.browser("root", Role.ADMIN)
    end = (now_utc() + timedelta(days=1)).isoformat()
    wanted = {"name": "Home Assistant", "scopes": ["look"], "cameras": ["gate"], "ends_at": end}
    answer = await root.post("/api/tokens", json=wanted)
    assert answer.status_code == 201
    token = answer.json()["token"]
    listed = await root.get("/api/tokens")
    assert listed.json()[0]["name"] == "Home Assistant"
    assert token not in listed.text
    async with rig.client(token=token) as program:
        me = (await program.get("/api/me")).json()
        assert (me["way"], me["name"], me["permissions"]) == ("token", "Home Assistant", ["look"])
        assert (me["cameras"], me["signed_in"]) == (["gate"], False)
        assert (await program.get("/api/users")).status_code == 403
        assert (await program.get("/api/sessions")).json() == []
        password = {"old_password": PASSWORD, "new_password": "another horse"}
        assert (await program.post("/api/me/password", json=password)).status_code == 409
        assert (await root.delete(f"/api/tokens/{answer.json()['id']}")).status_code == 204
        assert (await program.get("/api/sessions")).status_code == 401
        assert (await program.get("/api/me")).json()["way"] == "none"
    others: list[dict[str, Any]] = [  # Any: JSON
        {"scopes": ["own"]},
        {"scopes": []},
        {"ends_at": "2020-01-01T00:00:00Z"},
        {"name": "a/b"},
    ]
    for other in others:
        assert (await root.post("/api/tokens", json={**wanted, **other})).status_code == 400
    assert (await root.delete("/api/tokens/0123456789ab")).status_code == 404
    await root.aclose()


async def test_with_a_token_and_no_user_this_machine_logs_in_too(rig: Rig) -> None:
    assert rig.access.api_tokens is not None
    await rig.access.api_tokens.make(TokenRequest("grafana"))
    async with rig.here() as here:
        me = (await here.get("/api/me")).json()
        assert (me["way"], me["setup"]) == ("none", False)
