"""The pages: complete, without third-party addresses, and fit for their own content security policy."""

from __future__ import annotations

import re

import httpx
import pytest

from services.recorder.http.page import PAGES, WEB, add_page
from shared.http_api import make_app

TEXTS = {path.name: path.read_text(encoding="utf-8") for path in WEB.iterdir() if path.is_file()}
SCRIPTS = {name: text for name, text in TEXTS.items() if name.endswith(".js")}
HTML = {name: text for name, text in TEXTS.items() if name.endswith(".html")}
MADE = {"account", "health", "pipeline"}  # by site.js, on every page
KINDS = {"css": "text/css", "js": "text/javascript", "html": "text/html"}


def modules_of(page: str) -> set[str]:
    """Return the scripts that a page loads, with all that these import."""
    found: set[str] = set()
    left = re.findall(r'src="(?:\.\./)?web/([^"]+)"', HTML[page])
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += re.findall(r'from "\./([^"]+)"', SCRIPTS[name])
    return found


async def test_every_page_and_every_file_is_served_and_no_other() -> None:
    app = make_app("recorder")
    add_page(app)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        for path, name in PAGES.items():
            assert (await client.get(path.format(camera_id="gate"))).text == TEXTS[name]
            assert (await client.head(path.format(camera_id="gate"))).status_code == 200
        for name, text in TEXTS.items():
            answer = await client.get(f"/web/{name}")
            assert (answer.status_code, answer.text) == (200, text)
            assert answer.headers["cache-control"] == "no-cache"
            again = await client.get(f"/web/{name}", headers={"if-none-match": answer.headers["etag"]})
            assert again.status_code == 304
            kind = KINDS.get(name.rpartition(".")[2])
            assert answer.headers["content-type"] == (f"{kind}; charset=utf-8" if kind else "image/svg+xml")
        for path in ("/web/", "/web/none.js", "/web/%2e%2e/page.py", "/web/..%2fpage.py", "/cameras/a/b"):
            assert (await client.get(path)).status_code == 404


def test_every_module_that_is_imported_exists() -> None:
    for name, text in TEXTS.items():
        for imported in re.findall(r'from "\./([^"]+)"', text):
            assert imported in TEXTS, f"{name} imports {imported}"


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_page_loads_nothing_from_elsewhere(name: str) -> None:
    found = set(re.findall(r"https?://[^\s'\"<>)]+", TEXTS[name]))
    assert found <= {"http://www.w3.org/2000/svg"}  # a name, not an address


@pytest.mark.parametrize("name", sorted(HTML))
def test_pages_keep_to_their_content_security_policy(name: str) -> None:
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=|data:", HTML[name])


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_scripts_make_no_markup_and_no_code_of_texts(name: str) -> None:
    text = SCRIPTS[name]
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text
    )
    assert not re.search(r"setAttribute\(\"(?:style|on)|\bstyle:", text)


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_every_request_goes_through_one_module(name: str) -> None:
    if name != "api.js":
        assert not re.search(r"\bfetch\(|XMLHttpRequest|new EventSource|sendBeacon|WebSocket", SCRIPTS[name])


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_addresses_are_relative_so_that_a_proxy_may_add_a_path(name: str) -> None:
    assert not re.search(r"""(?:href|src|action)="/|\bat\([`"']/|(?:href|src): [`"']""", TEXTS[name])
    depth = "../" if name == "camera.html" else ""
    for address in re.findall(r'(?:href|src)="([^"#]+)"', TEXTS[name] if name in HTML else ""):
        assert address.startswith((f"{depth}web/", f"{depth}api/")) or address in ("../", "cameras"), address


def test_nothing_secret_is_kept_by_a_script() -> None:
    for name, text in SCRIPTS.items():
        assert not re.search(r"sessionStorage|localStorage|indexedDB|document\.cookie", text), name


@pytest.mark.parametrize("page", sorted(HTML))
def test_every_id_that_a_page_s_scripts_use_is_on_it(page: str) -> None:
    ids = set(re.findall(r'\bid="([^"]+)"', HTML[page])) | MADE
    own = re.findall(r'src="(?:\.\./)?web/([^"]+)"', HTML[page])
    made = {found for name in own for found in re.findall(r'section\("([^"]+)"', SCRIPTS[name])}
    used = {found for name in own for found in re.findall(r'byId\("([^"]+)"\)', SCRIPTS[name])}
    assert used <= ids | made


@pytest.mark.parametrize("page", sorted(HTML))
def test_every_page_has_the_same_head_and_one_heading(page: str) -> None:
    text = HTML[page]
    assert text.count("<h1") == 1
    assert "site.js" in modules_of(page)
    if page != "login.html":
        assert '<header class="top" id="top"></header>' in text
        assert '<a class="skip" href="#' in text


@pytest.mark.parametrize("page", sorted(HTML))
def test_every_control_has_a_name(page: str) -> None:
    text = HTML[page]
    for control in re.findall(r"<(?:select|input)[^>]*>", text):
        before = text[: text.index(control)]
        assert "aria-label=" in control or before.rfind("<label") > before.rfind("</label>"), control
