r"""Text that others wrote (labels, names, errors of cameras), for a terminal, a line of a log, or a name that is kept.

A control character there moves the cursor, hides what was printed, begins a line of its own, or turns letters round.
"""

from __future__ import annotations

import json
import re
import sys

from shared.errors import redact

# C0 and C1, what orders letters from right to left and back, ends of lines, marks that nobody sees, halves of pairs.
# Joiners (U+200C, U+200D) stay: words of some languages and many pictures need them.
_CONTROL = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff]"
)


def printable(text: str) -> str:
    r"""Return `text` in one line, with each control character as its escape: \x1b, \n, \u202e."""
    return _CONTROL.sub(_escaped, text)


def printable_lines(text: str) -> str:
    """Return `text` as `printable` does, its lines and indentation kept: for tracebacks and lists."""
    return "\n".join(printable(line.expandtabs()) for line in text.split("\n"))


def say(*lines: str, is_error: bool = False) -> None:
    """Print lines for people on stdout, or on stderr: without secrets, and no line becomes two."""
    for line in lines:
        print(printable(redact(line)), file=sys.stderr if is_error else sys.stdout, flush=True)


def say_json(value: object) -> None:
    """Print a value as one line of JSON, with control characters escaped as JSON does it."""
    text = json.dumps(value, ensure_ascii=False)
    print(_CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text), flush=True)


def control_fault(text: str) -> str | None:
    """Say which control character a name holds; None: it holds none."""
    found = _CONTROL.search(text)
    if found is None:
        return None
    return f"holds the control character {_escaped(found)}, wanted letters, digits, signs and spaces; leave it out"


def without_controls(text: str) -> str:
    """Return a name or label that somebody sets; raises ValueError when it holds a control character."""
    if (fault := control_fault(text)) is not None:
        raise ValueError(fault)
    return text


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
