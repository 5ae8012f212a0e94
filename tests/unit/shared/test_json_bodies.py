"""A body is JSON as RFC 8259 has it, a mapping, and of a size that is read at once; what it is not is said."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.json_bodies import DEPTH_MAX, ITEMS_MAX, VALUES_MAX, json_fault

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), JSON, max_size=5), st.booleans())
def test_what_programs_write_is_fine(document: dict[str, object], is_ascii: bool) -> None:
    try:
        body = json.dumps(document, ensure_ascii=is_ascii).encode()
    except UnicodeEncodeError:
        return
    assert json_fault(body) in (None, f"JSON nested deeper than {DEPTH_MAX}")


@given(st.binary(max_size=300))
def test_any_bytes_are_answered(body: bytes) -> None:
    fault = json_fault(body)
    if fault is None:
        assert isinstance(json.loads(body), dict)


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b"", "a body that is not JSON"),
        (b"{", "a body that is not JSON"),
        (b"[]", "JSON that is no mapping"),
        (b"null", "JSON that is no mapping"),
        (b'{"a":1,"a":2}', "a key that is there twice"),
        (b'{"a":{"b":1,"b":1}}', "a key that is there twice"),
        (b'{"a":NaN}', "NaN, which is no JSON"),
        (b'{"a":-Infinity}', "-Infinity, which is no JSON"),
        (b'{"a":1e999}', "a number that is too long, or too large (more than 40 digits, or 1.8e308)"),
        (b'{"a":' + b"9" * 41 + b"}", "a number of more than 40 digits"),
        (b'{"a":' + b"9" * 100_000 + b"}", "a number of more than 40 digits"),
        (b'{"a":"\xff"}', "a body that is not UTF-8"),
        ("{}".encode("utf-16"), "a body that is not UTF-8"),
        (b'{"a":"\\ud800"}', "half a surrogate pair"),
        (b'{"\\udfff":1}', "half a surrogate pair"),
        (b"[" * 200_000, f"JSON with more than {VALUES_MAX} values"),
        (b'{"a":' + b"[" * 5000, f"JSON nested deeper than {DEPTH_MAX}"),
        (b'{"a":' + b"[" * DEPTH_MAX + b"]" * DEPTH_MAX + b"}", f"JSON nested deeper than {DEPTH_MAX}"),
        (b'{"a":[' + b"1," * (VALUES_MAX + 1) + b"1]}", f"JSON with more than {VALUES_MAX} values"),
        (b'{"a":[' + b"1," * ITEMS_MAX + b"1]}", f"a list of more than {ITEMS_MAX} values"),
        (
            b"{" + b",".join(b'"%d":1' % number for number in range(ITEMS_MAX + 1)) + b"}",
            f"a mapping of more than {ITEMS_MAX} keys",
        ),
    ],
)
def test_what_is_wrong_is_said(body: bytes, found: str) -> None:
    assert json_fault(body) == found


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":"\\ud83d\\ude00"}',
        b'{"a":' + b"[" * (DEPTH_MAX - 2) + b"1" + b"]" * (DEPTH_MAX - 2) + b"}",
        b'{"a":[' + b"1," * (ITEMS_MAX - 1) + b"1]}",
        b' {"a": 1e308, "b": -0.0000000001}\r\n',
    ],
)
def test_what_is_just_within_the_bounds_is_fine(body: bytes) -> None:
    assert json_fault(body) is None
