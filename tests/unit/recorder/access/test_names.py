"""Names of users and tokens, and passwords: what is taken, and what counts as the same."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.recorder.access.names import (
    NAME_KEY_CHARS,
    PASSWORD_MAX,
    USER_NAME_CHARS,
    clean_cameras,
    clean_name,
    clean_password,
    name_key,
    normal_password,
)
from shared.errors import ConfigError


@pytest.mark.parametrize(
    "name",
    ["admin", "Ada Lovelace", "ada@home.example", "müller", "Ελένη", "a", "x" * USER_NAME_CHARS, "ß-2"],
)
def test_a_name_of_letters_is_kept_as_it_is(name: str) -> None:
    assert clean_name(name) == name
    assert clean_name(f"  {name} ") == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        ".",
        "..",
        "a/b",
        "a\\b",
        "a\nb",
        "a\x00",
        "a\u202eb",
        "a\u200bb",
        "x" * 65,
        "\ud800",
        "a%2f",
        "ﷺ" * 64,
    ],
)
def test_other_names_are_refused_without_their_control_characters(name: str) -> None:
    with pytest.raises(ConfigError) as refused:
        clean_name(name)
    assert str(refused.value).isprintable()
    assert "wanted" in str(refused.value)


@pytest.mark.parametrize(
    ("one", "other"),
    [("Admin", "aDMIN"), ("müller", "mu\u0308ller"), ("straße", "STRASSE"), ("ａdmin", "admin"), ("ﬁ", "fi")],
)
def test_names_that_look_alike_are_the_same(one: str, other: str) -> None:
    assert name_key(one) == name_key(other)


@given(st.text(max_size=90))
def test_a_name_that_is_taken_is_short_composed_and_taken_again(text: str) -> None:
    try:
        name = clean_name(text)
    except ConfigError:
        return
    assert 1 <= len(name) <= USER_NAME_CHARS
    assert len(name_key(name)) <= NAME_KEY_CHARS
    assert name.isprintable()
    assert "/" not in name
    assert unicodedata.is_normalized("NFC", name)
    assert clean_name(name) == name
    assert name_key(name.upper()) == name_key(name.upper().lower())


@pytest.mark.parametrize(
    "password", ["correct horse", "ten chars!", "pässwörter", "x1" * 128, " spaces  count "]
)
def test_a_long_password_is_taken_as_it_is(password: str) -> None:
    assert clean_password(password, "ada") == password


@pytest.mark.parametrize(
    ("password", "found"),
    [
        ("short", "5 characters"),
        ("ninechars", "9 characters"),
        ("x1" * 128 + "y", "257 characters"),
        ("x1" * 50_000, "1024 characters"),
        ("Ada Lovelace", "the user's name"),
        ("ADA LOVELACE", "the user's name"),
        ("tab\tin the middle", "control character"),
        ("surrogate \ud800 inside", "control character"),
        ("aaaaaaaaaaaa", "one character"),
    ],
)
def test_other_passwords_are_refused_and_not_shown(password: str, found: str) -> None:
    with pytest.raises(ConfigError) as refused:
        clean_password(password, "Ada Lovelace")
    assert found in str(refused.value)
    assert "must be" in str(refused.value)
    assert password not in str(refused.value)


def test_two_keyboards_make_one_password() -> None:
    assert clean_password("pa\u0308sswo\u0308rter", "ada") == clean_password("pässwörter", "ada")
    assert normal_password("pa\u0308sswo\u0308rter") == "pässwörter"


@given(st.text(max_size=400))
def test_what_is_hashed_has_a_bound_and_stays_the_same(text: str) -> None:
    normal = normal_password(text)
    assert normal_password(normal[: 4 * PASSWORD_MAX]) == normal[: 4 * PASSWORD_MAX]
    try:
        password = clean_password(text, "ada")
    except ConfigError:
        return
    assert 10 <= len(password) <= PASSWORD_MAX
    assert password.encode()  # no half of a surrogate pair


def test_cameras_are_ids_and_none_is_all() -> None:
    assert clean_cameras(None) is None
    assert clean_cameras([]) == frozenset()
    assert clean_cameras(["gate", "yard-2", "gate"]) == frozenset({"gate", "yard-2"})
    for camera in ("", "a b", "../x", "x" * 65, "*"):
        with pytest.raises(ConfigError):
            clean_cameras(["gate", camera])
    with pytest.raises(ConfigError):
        clean_cameras(f"c{number}" for number in range(501))
