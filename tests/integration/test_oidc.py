"""Logging in by a real OpenID provider, which the package oidc-provider-mock brings, on the loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from oidc_provider_mock import User, run_server_in_thread

from services.recorder.access.accounts import Client
from services.recorder.access.authenticator import COOKIE
from services.recorder.access.oidc import BEGUN_MAX, BEGUN_S, OidcLogins, OidcSettings
from shared.permissions import Role
from tests.integration.users_rig import Rig, running_site

USERS = (
    User(sub="1", claims={"preferred_username": "Ada", "groups": ["family", "cameras-admin"]}),
    User(sub="2", claims={"preferred_username": "root", "groups": "family"}),
    User(sub="3", claims={"preferred_username": "../x", "name": "\u202e"}),
)


@pytest.fixture(scope="module")
def provider() -> Iterator[str]:
    """The issuer of a provider that is running."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTHLIB_INSECURE_TRANSPORT", "1")  # of the provider: it is on the loopback
        with run_server_in_thread(require_nonce=True, user_claims=USERS) as server:
            yield f"http://localhost:{server.server_port}"


@pytest.fixture
def settings(provider: str) -> OidcSettings:
    roles = {"cameras-admin": Role.ADMIN, "family": Role.OPERATOR}
    return OidcSettings(provider, "clipwatch", "a secret", "groups", roles, Role.VIEWER)


@pytest.fixture
async def rig(sqlite_record: str, settings: OidcSettings) -> AsyncIterator[Rig]:
    async with running_site(sqlite_record, settings) as made:
        yield made


async def go(client: httpx.AsyncClient, subject: str) -> httpx.URL:
    """Go to the provider, log in there, and return the address to which it sends the browser back."""
    there = await client.get("/api/oidc/login")
    assert there.status_code == 302
    async with httpx.AsyncClient() as browser:
        back = await browser.post(there.headers["location"], data={"sub": subject})
    assert back.status_code == 302, back.text
    return httpx.URL(back.headers["location"])


async def test_a_user_of_the_provider_is_made_once_and_logged_in(rig: Rig) -> None:
    for _ in range(2):
        async with rig.client() as client:
            assert (await client.get("/api/me")).json()["oidc"] is True
            back = await client.get(await go(client, "1"))
            assert (back.status_code, back.headers["location"]) == (303, "../../")
            me = (await client.get("/api/me")).json()
            assert (me["name"], me["role"], me["way"]) == ("Ada", "admin", "user")
    assert rig.access.accounts is not None
    (user,) = await rig.access.accounts.users()
    assert not user.has_password
    assert await rig.access.accounts.login("Ada", "", Client()) is None


async def test_the_request_has_pkce_state_and_nonce(rig: Rig) -> None:
    async with rig.client() as client:
        there = await client.get("/api/oidc/login")
        asked = parse_qs(urlsplit(there.headers["location"]).query)
        assert asked["code_challenge_method"] == ["S256"]
        assert len(asked["code_challenge"][0]) == 43
        assert len(asked["state"][0]) == len(asked["nonce"][0]) == 43
        assert asked["redirect_uri"] == ["http://192.0.2.1:8080/api/oidc/callback"]
        assert "a secret" not in there.headers["location"]
        assert "httponly" in there.headers["set-cookie"].lower()


async def test_a_role_follows_the_claim_and_stays_without_one(rig: Rig) -> None:
    async with rig.client() as client:
        await client.get(await go(client, "2"))
        assert (await client.get("/api/me")).json()["role"] == "operator"
        await client.get(await go(client, "3"))
        me = (await client.get("/api/me")).json()
        assert me["role"] == "viewer"
        assert me["name"].startswith("user-")


async def test_a_user_of_that_name_who_is_there_is_another_one(rig: Rig) -> None:
    await rig.add("root", Role.ADMIN)
    async with rig.client() as client:
        await client.get(await go(client, "2"))
        me = (await client.get("/api/me")).json()
        assert me["name"].startswith("user-")
        assert me["role"] == "operator"


@pytest.mark.parametrize("what", ["another browser", "state", "code", "twice", "issuer", "denied", "nothing"])
async def test_no_other_way_back_counts(rig: Rig, what: str) -> None:
    async with rig.client() as client, rig.client() as other:
        back = await go(client, "1")
        if what == "state":
            back = back.copy_set_param("state", "x" * 43)
        elif what == "code":
            back = back.copy_set_param("code", "x")
        elif what == "issuer":
            back = back.copy_set_param("iss", "https://evil.example")
        elif what == "denied":
            back = back.copy_with(query=b"error=access_denied")
        elif what == "nothing":
            back = back.copy_with(query=b"")
        elif what == "twice":
            assert (await client.get(back)).status_code == 303
            await client.post("/api/logout", json={})
        answer = await (other if what == "another browser" else client).get(back)
        assert answer.status_code == 401
        assert COOKIE not in client.cookies
        assert (await client.get("/api/me")).json()["way"] == "none"


async def test_an_id_token_for_another_program_or_login_does_not_count(settings: OidcSettings) -> None:
    clock = [0.0]
    logins = OidcLogins(settings, seconds=lambda: clock[0])
    address, state = await logins.begin("http://192.0.2.1/api/oidc/callback")
    begun = logins._begun[state]
    async with httpx.AsyncClient() as browser:
        back = httpx.URL((await browser.post(address, data={"sub": "1"})).headers["location"])
    provider = await logins._provider()
    token = await logins._id_token(provider["token_endpoint"], back.params["code"], begun)
    assert (await logins._claims(token, provider["jwks_uri"], begun.nonce))["sub"] == "1"
    head, body, signature = token.split(".")
    none = "eyJhbGciOiJub25lIn0"
    for forged in (f"{head}.{body}.", f"{none}.{body}.", f"{head}.{body}.{signature[::-1]}", "x", ""):
        with pytest.raises(Exception, match="does not count"):
            await logins._claims(forged, provider["jwks_uri"], begun.nonce)
    with pytest.raises(Exception, match="does not count"):
        await logins._claims(token, provider["jwks_uri"], "another nonce")
    for other in (replace(settings, client_id="another"), replace(settings, issuer="https://evil.example")):
        beside = OidcLogins(other)
        with pytest.raises(Exception, match="does not count"):
            await beside._claims(token, provider["jwks_uri"], begun.nonce)
        await beside.close()
    clock[0] = BEGUN_S
    with pytest.raises(Exception, match="too long ago"):
        await logins.finish(state, state, "code", None)
    for _ in range(BEGUN_MAX + 5):
        await logins.begin("http://192.0.2.1/api/oidc/callback")
    assert len(logins._begun) == BEGUN_MAX
    await logins.close()


async def test_a_provider_that_is_away_is_told_and_no_provider_is_none(
    sqlite_record: str, settings: OidcSettings
) -> None:
    away = replace(settings, issuer="http://localhost:9")
    async with running_site(sqlite_record, away) as site, site.client() as client:
        assert (await client.get("/api/oidc/login")).status_code == 503
    async with running_site(sqlite_record) as site, site.client() as client:
        assert (await client.get("/api/oidc/login")).status_code == 404
        assert (await client.get("/api/me")).json()["oidc"] is False
