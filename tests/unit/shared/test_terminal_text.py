"""Nothing that others wrote moves a terminal's cursor, begins a line, or turns letters round."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import redact
from shared.secrets import know
from shared.terminal_text import (
    control_fault,
    printable,
    printable_lines,
    say,
    say_json,
    without_controls,
)

HOSTILE = [
    "a\x1b[2Jb", "a\x1b]0;title\x07b", "a\x9b31mb", "a\rb", "a\nb", "a\x08b", "a\x7fb", "a\x00b", "a\u202eb",
    "a\u2066b\u2069", "a\u200bb", "a\u2060b", "a\u2028b", "a\x85b", "a\u200fb", "a\ud800b",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_control_characters_are_shown_as_escapes_and_refused_in_names(text: str) -> None:
    shown = printable(text)
    assert shown.startswith("a\\")
    assert shown.isprintable()
    assert shown.isascii()
    assert control_fault(text) is not None
    with pytest.raises(ValueError, match="control character"):
        without_controls(text)


@pytest.mark.parametrize(
    "text", ["a dog", "Müller's 门", "\N{WOMAN}\u200d\N{ROCKET}", "نمی\u200cخواهم", "a\u00a0b", "\\x1b"]
)
def test_names_of_all_languages_stay_as_they_are(text: str) -> None:
    assert printable(text) == text
    assert without_controls(text) == text


@given(st.text())
def test_what_is_printable_stays_so_and_is_one_line(text: str) -> None:
    assert printable(printable(text)) == printable(text)
    assert len(printable(text).splitlines()) <= 1


def test_lines_are_kept_where_they_are_meant() -> None:
    assert printable_lines("Traceback:\n\ta\x1b[2J\r\n") == "Traceback:\n        a\\x1b[2J\\r\n"


def test_what_is_said_holds_no_secret_and_json_stays_json(capsys: pytest.CaptureFixture[str]) -> None:
    know("hunter22")
    say("the password hunter22\x1b[2J", "next\nline")
    say_json({"label": "a\u202e\x9b\x1b b", "门": 1})
    out = capsys.readouterr().out
    assert out.startswith("the password ***\\x1b[2J\nnext\\nline\n")
    text = out.splitlines()[2]
    assert printable(text) == text
    assert json.loads(text) == {"label": "a\u202e\x9b\x1b b", "门": 1}
    assert redact("hunter22") == "***"
