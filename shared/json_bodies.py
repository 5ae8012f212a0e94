"""What a JSON body of a request may be, before anything reads it. Pure.

Python's reader takes more than JSON: NaN, numbers without an end, a key twice (the last one counts), UTF-16. It takes
half a surrogate pair too, which no database and no answer can hold. A body of many small values takes long to read and
longer to check, and a deep one ends in a RecursionError wherever it is looked at.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator

DEPTH_MAX = 16  # masks of a camera lie six deep
VALUES_MAX = 8000  # all together, counted by their commas
ITEMS_MAX = (
    500  # of one list or mapping: a user's cameras; each that does not fit is a fault that is looked for
)
DIGITS_MAX = 40


class BadJson(ValueError):
    """Says what was found."""


def json_fault(body: bytes) -> str | None:
    """Return what is wrong with a body, None for a fine one."""
    if body.count(b",") > VALUES_MAX or body.count(b"[") + body.count(b"{") > VALUES_MAX:
        return f"JSON with more than {VALUES_MAX} values"
    try:
        text = body.decode()
        found = json.loads(
            text,
            object_pairs_hook=_mapping,
            parse_int=_whole_number,
            parse_float=_number,
            parse_constant=_no_number,
        )
    except UnicodeDecodeError:
        return "a body that is not UTF-8"
    except BadJson as exc:
        return str(exc)
    except RecursionError:
        return f"JSON nested deeper than {DEPTH_MAX}"
    except ValueError:
        return "a body that is not JSON"
    if not isinstance(found, dict):
        return "JSON that is no mapping"
    if (fault := _shape_fault(found)) is not None:
        return fault
    if "\\u" in text and not _is_text(found):
        return "half a surrogate pair"
    return None


def _mapping(pairs: list[tuple[str, object]]) -> dict[str, object]:
    made = dict(pairs)
    if len(made) > ITEMS_MAX:
        raise BadJson(f"a mapping of more than {ITEMS_MAX} keys")
    if len(made) < len(pairs):
        raise BadJson("a key that is there twice")
    return made


def _whole_number(digits: str) -> int:
    if len(digits) > DIGITS_MAX:
        raise BadJson(f"a number of more than {DIGITS_MAX} digits")
    return int(digits)


def _number(digits: str) -> float:
    if len(digits) > DIGITS_MAX or not math.isfinite(float(digits)):
        raise BadJson(f"a number that is too long, or too large (more than {DIGITS_MAX} digits, or 1.8e308)")
    return float(digits)


def _no_number(name: str) -> float:
    raise BadJson(f"{name}, which is no JSON")


def _shape_fault(found: object) -> str | None:
    level = [found]
    for _ in range(DEPTH_MAX):
        if any(isinstance(one, list) and len(one) > ITEMS_MAX for one in level):
            return f"a list of more than {ITEMS_MAX} values"
        level = [one for parent in level for one in _children(parent) if isinstance(one, list | dict)]
        if not level:
            return None
    return f"JSON nested deeper than {DEPTH_MAX}"


def _is_text(found: object) -> bool:
    """Whether every text in it can be written as UTF-8."""
    waiting = [found]
    while waiting:
        one = waiting.pop()
        texts = [one] if isinstance(one, str) else list(one) if isinstance(one, dict) else []
        try:
            "".join(texts).encode()
        except UnicodeEncodeError:
            return False
        waiting.extend(_children(one))
    return True


def _children(parent: object) -> Iterator[object]:
    if isinstance(parent, dict):
        yield from parent.values()
    elif isinstance(parent, list):
        yield from parent
