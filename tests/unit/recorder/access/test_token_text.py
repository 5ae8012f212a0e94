"""The texts of tokens and cookies."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.recorder.access.token_text import ID_BYTES, SECRET_BYTES, parse_cookie, parse_token, token_text

ID, SECRET = bytes(range(ID_BYTES)), bytes(range(SECRET_BYTES))


@given(
    st.binary(min_size=ID_BYTES, max_size=ID_BYTES), st.binary(min_size=SECRET_BYTES, max_size=SECRET_BYTES)
)
def test_a_token_is_read_as_it_was_written(token_id: bytes, secret: bytes) -> None:
    text = token_text(token_id, secret)
    parts = parse_token(text)
    assert parts is not None
    assert parts.id == token_id.hex()
    assert parts.secret_hash == hashlib.sha256(secret.hex().encode()).hexdigest()
    assert secret.hex() not in repr(parts)


def test_a_token_says_what_it_is_of() -> None:
    assert token_text(ID, SECRET) == "cw_000102030405_" + SECRET.hex()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "cw_",
        "cw__",
        "cw_000102030405",
        "cw_000102030405_" + SECRET.hex()[:-1],
        "cw_000102030405_" + SECRET.hex() + "0",
        "cw_000102030405_" + SECRET.hex() + "\n",
        "cw_00010203040g_" + SECRET.hex(),
        "CW_000102030405_" + SECRET.hex(),
        "cw_000102030405_" + "A" * 64,
        "cw_000102030405_" + "٣" * 64,
        "x" * 100_000,
    ],
)
def test_any_other_text_is_no_token(text: str) -> None:
    assert parse_token(text) is None


@given(st.text(max_size=100))
def test_no_text_breaks_the_reader(text: str) -> None:
    assert parse_token(text) is None
    assert parse_cookie(text) is None or len(text) == 64


def test_a_cookie_is_hashed_too() -> None:
    assert parse_cookie(SECRET.hex()) == hashlib.sha256(SECRET.hex().encode()).hexdigest()
    assert parse_cookie(SECRET.hex().upper() + "x") is None
