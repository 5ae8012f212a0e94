"""One site under a path: whether a proxy takes the prefix away or not, and only the prefix itself."""

from __future__ import annotations

import pytest
from fastapi import FastAPI, Request

from services.recorder.settings import RecorderSettings
from shared.access import NetworkTrust, RequestHead
from shared.http_access import caller_of
from shared.http_rules import LOOK
from shared.settings import read_settings
from tests.http_apps import KnownIdentity, client_of, guarded


def app() -> FastAPI:
    made = FastAPI(openapi_url=None)

    @made.get("/")
    @made.get("/clip")
    async def where(request: Request) -> list[str]:
        caller = caller_of(request)
        return [request.scope["path"], caller.prefix, caller.path]

    return made


@pytest.mark.parametrize(
    ("sent", "wanted"),
    [
        ("/clip", "/clip"),
        ("/cams/clip", "/clip"),
        ("/cams/", "/"),
        ("/", "/"),
    ],
)
async def test_a_path_is_the_same_with_its_prefix_and_without(sent: str, wanted: str) -> None:
    site = guarded(
        app(),
        {("GET", "/"): LOOK, ("GET", "/clip"): LOOK},
        None,
        KnownIdentity(),
        NetworkTrust(prefix="/cams"),
    )
    async with client_of(site) as client:
        answer = await client.get(sent)
        assert answer.json() == [wanted, "/cams", wanted]
        for other in ("/camsclip", "/cams/cams/clip", "/xcams/clip", "/cams//clip"):
            assert (await client.get(other)).status_code == 404, other


async def test_the_prefix_alone_leads_to_the_page_whose_links_are_relative() -> None:
    site = guarded(app(), {("GET", "/"): LOOK}, None, KnownIdentity(), NetworkTrust(prefix="/cams"))
    async with client_of(site) as client:
        answer = await client.get("/cams")
    assert (answer.status_code, answer.headers["location"]) == (308, "/cams/")


@pytest.mark.parametrize(
    "given", ["clipwatch", "/", "//evil.example", "/a/../b", "/api", "/media/x", "/a b", "/a\n"]
)
def test_what_is_no_prefix_is_told(given: str) -> None:
    settings, faults = read_settings(RecorderSettings, {"PATH_PREFIX": given})
    if given == "/":
        assert settings is not None
        assert settings.network_trust.prefix == ""
    else:
        assert faults


def test_a_prefix_is_kept_without_its_last_slash() -> None:
    settings, faults = read_settings(RecorderSettings, {"PATH_PREFIX": "/home/cams/"})
    assert settings is not None
    assert (settings.network_trust.prefix, faults) == ("/home/cams", [])


@pytest.mark.parametrize(("version", "is_local"), [("1.0", False), ("1.1", True), ("2", True)])
def test_a_proxy_that_says_nothing_of_itself_is_known_by_its_http(version: str, is_local: bool) -> None:
    """nginx' default: HTTP/1.0, Host of the upstream, no forwarding header."""
    headers = {"host": "127.0.0.1:8080", "connection": "close"}
    head = RequestHead("127.0.0.1", headers.get, version=version)
    assert NetworkTrust().caller(head).is_local is is_local
