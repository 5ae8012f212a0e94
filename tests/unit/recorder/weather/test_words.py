"""Weather codes in words and signs."""

from services.recorder.weather.words import UNKNOWN, WORDS, icon_of, words_of


def test_every_documented_code_has_words_and_a_sign() -> None:
    assert len(WORDS) == 38
    assert all(words_of(code) == words and icon_of(code, True) != "❔" for code, words in WORDS.items())


def test_unknown_codes_are_said_to_be_unknown() -> None:
    assert (words_of(None), words_of(42), icon_of(42, None)) == (UNKNOWN, UNKNOWN, "❔")


def test_clear_nights_have_a_moon() -> None:
    assert icon_of(0, False) == "🌙"
    assert icon_of(0, True) == icon_of(0, None) == "☀️"
