"""The page: complete, without third-party addresses, and fit for its own content security policy."""

from __future__ import annotations

import re

import pytest

from services.recorder.http.api import WEB, WEB_FILES

TEXTS = {path.name: path.read_text(encoding="utf-8") for path in WEB.iterdir() if path.is_file()}


def test_every_file_of_the_page_is_served_and_no_other() -> None:
    assert set(TEXTS) == {"index.html", *WEB_FILES}


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
    other = WEB.parents[1] / "motion" / "web" / "dom.js"
    assert TEXTS["dom.js"] == other.read_text(encoding="utf-8")
