"""The captions that the bridge learns from, each with its concept, and which of them exclude one another."""

from dataclasses import dataclass

import torch
import words
from tower import Towers, class_concept, class_names

NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Bank:
    """Captions, their embeddings float32[M,384], the group of each, and which groups contradict which."""

    texts: list[str]
    embeddings: torch.Tensor
    group: torch.Tensor  # int64[M], index into groups
    groups: list[str]  # a concept, 'place:<kind>', 'nothing', 'class:<index>' or 'name:<concept>'
    of_group: dict[str, list[int]]  # captions by group
    opposite: (
        torch.Tensor
    )  # bool[G,G]: a picture of the row's group must score lower on the column's captions
    classes: torch.Tensor  # float32[1000,384]: ImageNet's class names


def build(towers: Towers, names: list[tuple[str, str]]) -> Bank:
    """Write all captions; `names` are exact names of things with their concepts."""
    entries: list[tuple[str, str]] = []
    for concept, (wordings, _) in words.CONCEPTS.items():
        for wording in wordings:
            phrases = (
                words.THING_PHRASES
                if not wording.startswith(("a ", "some"))
                else ("{}", "a photo of {}", "{} outdoors")
            )
            entries += [(words.with_article(p.format(wording)), concept) for p in dict.fromkeys(phrases)]
    for kind, nouns in words.PLACES.items():
        entries += [
            (words.with_article(p.format(n)), f"place:{kind}")
            for n in nouns
            for p in dict.fromkeys(words.PLACE_PHRASES)
        ]
    entries += [(text, NOTHING) for text in words.NOTHING]
    entries += [(text, f"name:{concept}") for text, concept in sorted(set(names))]
    concept_of_class = class_concept()
    for index, synonyms in enumerate(class_names()):
        group = f"name:{concept_of_class[index]}" if index in concept_of_class else f"class:{index}"
        entries += [
            (words.with_article(p.format(n)), group)
            for n in synonyms[:2]
            for p in ("a {}", "a photo of a {}")
        ]
    entries = list(dict.fromkeys(entries))
    texts = [text for text, _ in entries]
    embeddings = towers.texts(texts)
    groups = list(dict.fromkeys(group for _, group in entries))
    number = {group: k for k, group in enumerate(groups)}
    of_group: dict[str, list[int]] = {group: [] for group in groups}
    for k, (_, group) in enumerate(entries):
        of_group[group].append(k)
    group_of = torch.tensor([number[group] for _, group in entries])
    classes = torch.nn.functional.normalize(
        torch.stack(
            [
                towers.texts([words.with_article(f"a {n}") for n in synonyms[:3]]).mean(0)
                for synonyms in class_names()
            ]
        ),
        dim=-1,
    )
    return Bank(
        texts, embeddings, group_of, groups, of_group, opposites(groups, embeddings, of_group), classes
    )


def opposites(groups: list[str], embeddings: torch.Tensor, of_group: dict[str, list[int]]) -> torch.Tensor:
    """Decide which groups exclude which."""
    centre = torch.nn.functional.normalize(
        torch.stack([embeddings[of_group[g]].mean(0) for g in groups]), dim=-1
    )
    close = (centre @ centre.T) > 0.7
    out = torch.zeros(len(groups), len(groups), dtype=torch.bool)
    for row, mine in enumerate(groups):
        kin = family(mine)
        for column, other in enumerate(groups):
            if mine.startswith(("place:", NOTHING)):
                # an empty place is no thing; which place it is, is left open
                out[row, column] = not other.startswith(("place:", NOTHING))
            elif other.startswith(("place:", NOTHING)):
                out[row, column] = True
            elif other.startswith("class:"):
                out[row, column] = (
                    mine != other and not bool(close[row, column]) and not mine.endswith("object")
                )
            elif mine.startswith("class:"):
                out[row, column] = not bool(close[row, column])
            else:
                out[row, column] = other.removeprefix("name:") not in kin
    return out


def family(group: str) -> set[str]:
    """Name the concepts that a picture of this group may be called."""
    concept = group.removeprefix("name:")
    if concept not in words.CONCEPTS:
        return set()
    return words.ancestors(concept) | words.undecided(concept)
