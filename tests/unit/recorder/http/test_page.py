"""The page: complete, without third-party addresses, and fit for its own content security policy."""

from __future__ import annotations

import re

import httpx
import pytest

from services.recorder.http.page import WEB, add_page
from shared.http_api import make_app

TEXTS = {path.name: path.read_text(encoding="utf-8") for path in WEB.iterdir() if path.is_file()}


async def test_every_file_of_the_page_is_served_and_no_other() -> None:
    app = make_app("recorder")
    add_page(app)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        assert (await client.get("/")).text == TEXTS["index.html"]
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


def test_page_keeps_to_its_content_security_policy() -> None:
    page = TEXTS["index.html"]
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", page)
    for name, text in TEXTS.items():
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", text), name


def test_every_id_that_the_scripts_use_is_on_the_page() -> None:
    ids = set(re.findall(r'\bid="([^"]+)"', TEXTS["index.html"]))
    used = set(re.findall(r'byId\("([^"]+)"\)', TEXTS["app.js"]))
    assert used <= ids


def test_every_control_has_a_name() -> None:
    page = TEXTS["index.html"]
    for control in re.findall(r"<(?:select|input)[^>]*>", page):
        before = page[: page.index(control)]
        assert before.rfind("<label") > before.rfind("</label>"), control


def test_both_pages_make_elements_with_the_same_code() -> None:
    """The services do not import each other, so that each carries its own copy of this one file."""
    other = WEB.parents[2] / "motion" / "http" / "web" / "dom.js"
    assert TEXTS["dom.js"] == other.read_text(encoding="utf-8")
