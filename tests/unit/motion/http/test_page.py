"""The page of the cameras: complete, without third-party addresses, and in the colours of the record's page."""

from __future__ import annotations

import re

import httpx
import pytest

from services.motion.http.page import WEB, add_page_routes
from services.recorder.http.page import WEB as RECORD
from shared.http_api import make_app

TEXTS = {path.name: path.read_text(encoding="utf-8") for path in WEB.iterdir() if path.is_file()}
PAGES = {"cameras.html": "cameras.js", "camera.html": "camera.js"}


async def test_every_file_of_the_page_is_served_and_no_other() -> None:
    app = make_app("motion")
    add_page_routes(app)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        assert (await client.get("/")).text == TEXTS["cameras.html"]
        assert (await client.get("/cameras/gate")).text == TEXTS["camera.html"]
        for name, text in TEXTS.items():
            answer = await client.get(f"/web/{name}")
            assert (answer.status_code, answer.text) == (200, text)
            assert answer.headers["cache-control"] == "no-cache"
            again = await client.get(f"/web/{name}", headers={"if-none-match": answer.headers["etag"]})
            assert again.status_code == 304
            kind = {"css": "text/css", "js": "text/javascript", "html": "text/html"}[name.rpartition(".")[2]]
            assert answer.headers["content-type"] == f"{kind}; charset=utf-8"
        for path in ("/web/", "/web/none.js", "/web/%2e%2e/page.py", "/web/..%2fpage.py"):
            assert (await client.get(path)).status_code == 404


def test_every_module_that_is_imported_exists() -> None:
    for name, text in TEXTS.items():
        for imported in re.findall(r'from "\./([^"]+)"', text):
            assert imported in TEXTS, f"{name} imports {imported}"


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_page_loads_nothing_from_elsewhere(name: str) -> None:
    found = set(re.findall(r"https?://[^\s'\"<>)]+", TEXTS[name]))
    assert found <= {"http://www.w3.org/2000/svg"}  # a name, not an address


@pytest.mark.parametrize(("page", "script"), PAGES.items())
def test_page_keeps_to_its_content_security_policy_and_has_every_id(page: str, script: str) -> None:
    text = TEXTS[page]
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", text)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", TEXTS[script])
    assert set(re.findall(r'byId\("([^"]+)"\)', TEXTS[script])) <= set(re.findall(r'\bid="([^"]+)"', text))


def test_colours_are_those_of_the_record_in_light_and_dark() -> None:
    record = (RECORD / "app.css").read_text(encoding="utf-8")
    for name in ("ground", "panel", "ink", "soft", "edge", "accent", "accent-ink"):
        colours = re.findall(rf"--{name}: (#[0-9a-f]+)", TEXTS["app.css"])
        assert len(colours) == 2
        assert colours == re.findall(rf"--{name}: (#[0-9a-f]+)", record)
