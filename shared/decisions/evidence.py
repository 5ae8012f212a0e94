"""What the pictures of a snippet say by themselves, computed again from their embeddings. Pure: no clock, no model."""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import Literal

from shared.decisions.examples import NO_EXAMPLES, LabelExamples, with_examples
from shared.decisions.label_texts import EmbeddedLabelSet
from shared.decisions.labeller import EmbeddedSnippet, SnippetDecision, decision_of, picture_shares
from shared.decisions.probabilities import (
    RIVAL_RATIO,
    Competition,
    Floats,
    Groups,
    Shares,
    competition,
)

_TINY = 1e-30
Competitor = Literal["target", "background", "other"]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a snippet's pictures say by themselves, and what follows from it.

    `without`: the labels that are accepted when the examples are left out.
    """

    labels: tuple[str, ...]
    backgrounds: tuple[str, ...]
    shares: Shares  # of each picture, examples included
    competition: Competition  # of each picture, without examples
    decided: SnippetDecision
    without: frozenset[str]
    embeddings: Floats
    examples: LabelExamples = NO_EXAMPLES

    @property
    def accepted(self) -> frozenset[str]:
        return frozenset(self.labels[run.target] for run in self.decided.decision.accepted)


@dataclass(frozen=True, slots=True)
class Rival:
    """What stood most against a label in its deciding pictures, and the part of the whole that it took, 0..1.

    `name`: a label's or the only background's words; else ''. `took` None: it had larger shares of the moments; what
    it took of the score is not known. `is_better`: it fitted better than the label, in all of the moments or in some.
    """

    name: str
    kind: Competitor
    took: float | None
    is_better: bool = True
    is_better_in_all: bool = True


def evidence_of(
    snippet: EmbeddedSnippet, embedded: EmbeddedLabelSet, examples: LabelExamples = NO_EXAMPLES
) -> Evidence:
    """Return what a snippet's pictures say under a label set, decided as the classifier decides."""
    texts, temperature = embedded.texts, embedded.temperature
    groups = Groups(texts.n_targets, texts.n_background, texts.rivals, texts.against, texts.shown)
    labels = snippet.message.header.label_set.labels
    decided = decision_of(snippet, texts, temperature, examples)
    plain = decision_of(snippet, texts, temperature) if len(examples) else decided
    said_by_texts = picture_shares(snippet.embeddings, texts, temperature)
    names = [column.text for column in texts.columns[texts.n_targets : texts.n_targets + texts.n_background]]
    return Evidence(
        labels,
        tuple(names),
        with_examples(said_by_texts, snippet.embeddings, examples),
        competition(temperature * (snippet.embeddings @ texts.embeddings.T), groups),
        decided,
        frozenset(labels[run.target] for run in plain.decision.accepted),
        snippet.embeddings,
        examples,
    )


def rival_of(evidence: Evidence, picture: int, column: int) -> Rival | None:
    """Return what fits a picture best beside a label: its strongest rival, or what fits even better than that."""
    beside, backgrounds = evidence.competition, evidence.backgrounds
    alone, behind = float(beside.alone[picture, column]), float(beside.behind[picture, column])
    others = 1.0 - alone - behind
    found: list[tuple[float, Rival]] = []  # by how many times as likely as the label, as a logarithm
    if (rival := int(beside.rivals[picture, column])) >= 0:
        ahead = float(beside.ahead[picture, column])
        took = max(0.0, alone - float(beside.scores[picture, column]))
        found.append((ahead, Rival(evidence.labels[rival], "target", took, ahead > log(RIVAL_RATIO))))
    if behind > alone:
        name = backgrounds[0] if len(backgrounds) == 1 else ""
        found.append((log(behind / max(alone, _TINY)), Rival(name, "background", behind)))
    if others > alone:
        found.append((log(others / max(alone, _TINY)), Rival("", "other", others)))
    return max(found, key=lambda item: item[0], default=(0.0, None))[1]
