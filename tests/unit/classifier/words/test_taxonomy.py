"""Kinds of things."""

from __future__ import annotations

import pytest

from services.classifier.words.taxonomy import are_kin, concepts, covers, is_rival


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a puppy", "a dog"),
        ("dogs", "a dog"),
        ("an animal", "a horse"),
        ("a red car", "a car"),
        ("a taxi", "a car"),
        ("an automobile", "a car"),
        ("a pedestrian", "a person"),
        ("a man with a dog", "a dog"),
        ("a vehicle", "a bicycle"),
        ("a bike", "a bicycle"),
        ("Two Children", "a person"),
    ],
)
def test_kin_do_not_compete(one: str, other: str) -> None:
    assert are_kin(one, other)
    assert are_kin(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a dog", "a cat"),
        ("a car", "a truck"),
        ("a red car", "a blue car"),
        ("a person", "a dog"),
        ("a carpet", "a car"),
    ],
)
def test_different_things_compete(one: str, other: str) -> None:
    assert not are_kin(one, other)


def test_the_general_covers_the_special_but_not_the_other_way_round() -> None:
    assert covers("a vehicle", "a red car")
    assert not covers("a red car", "a vehicle")


def test_a_special_thing_speaks_for_the_general_label_and_the_general_thing_against_the_special() -> None:
    assert not is_rival("a person", "a cyclist")
    assert is_rival("a person with a dog", "a person")


def test_synonyms_are_no_rivals() -> None:
    assert not is_rival("a person", "a pedestrian")
    assert not is_rival("a pedestrian", "a person")
    assert not is_rival("a car", "an automobile")


def test_an_unknown_word_stands_for_itself() -> None:
    assert concepts("a drumlin") == {"drumlin"}
    assert concepts("das Fahrrad") == {"das", "fahrrad"}
    assert concepts("的") == {"的"}
    assert concepts("!!") == {"!!"}
    assert concepts("the") == {"the"}
