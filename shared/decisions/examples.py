"""What somebody said of single pictures changes the scores of pictures that look alike, and of no others. Pure.

A score is the average of what the text says, with weight 1, and of what each example says (1: it shows the label, 0: it
does not), with a weight that falls with its distance d from the picture:

    w(d) = ((R - d) / d)^2 for d < R, else 0            score' = (score + sum_for w) / (1 + sum_for w + sum_against w)

That is Shepard's interpolation with the bounded weights of Franke and Nielson (Int. J. Numer. Methods Eng. 15, 1980):
at an example itself the score is what was said, at half the reach R one example weighs as much as the text, and from R
on nothing changes, to the last bit. d is the distance of embeddings as a part of that of two unrelated pictures of the
camera, since cosines between pictures do not share a scale with those between a picture and a text
(arXiv 2603.02618), nor one model's with another's. How it was chosen: docs/research/feedback.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.contract import ExamplesMessage
from shared.decisions.probabilities import Floats, Shares

REACH = np.float32(0.45)  # measured: docs/research/feedback.md
USUAL_UNRELATED = 0.6  # cosine, where a camera has too few pictures to know
_NEAREST = np.float32(
    1e-3
)  # a distance below which a picture is the example: embeddings are kept in half precision
_CERTAIN = np.float32(1e18)  # an example's own weight: beside it all others are none in single precision


@dataclass(frozen=True, slots=True)
class Example:
    """A picture that somebody judged: float32[D], unit length. `label` None: it shows nothing that is asked for.

    `event`: where it comes from; pictures of one event are nearly one picture.
    """

    event: str
    label: str | None
    is_right: bool
    embedding: Floats


@dataclass(frozen=True, slots=True)
class LabelExamples:
    """Examples for one label set of T labels, in an order that does not depend on that of the verdicts.

    `says`[n,t]: 1 picture n shows label t, -1 it does not, 0 nobody said. int8[N,T]
    `unrelated`: cosine of two pictures of different things at this camera.
    """

    embeddings: Floats  # [N,D]
    says: NDArray[np.int8]
    events: tuple[str, ...]
    unrelated: float = USUAL_UNRELATED

    def __len__(self) -> int:
        return len(self.events)


NO_EXAMPLES = LabelExamples(np.zeros((0, 0), np.float32), np.zeros((0, 0), np.int8), ())


def examples_of(message: ExamplesMessage) -> tuple[Example, ...]:
    """Return the examples of a message, in its order."""
    rows = np.frombuffer(message.embeddings, dtype="<f2").reshape(-1, message.header.embedding_dim)
    return tuple(
        Example(said.event, said.label, said.is_right, vector)
        for said, vector in zip(message.header.said, rows.astype(np.float32), strict=True)
    )


def for_labels(
    examples: Sequence[Example], labels: Sequence[str], unrelated: float = USUAL_UNRELATED
) -> LabelExamples:
    """Return those of `examples` that say something of `labels`; what is said twice of a picture counts once."""
    columns = {label: index for index, label in enumerate(labels)}
    said: dict[tuple[bytes, str], tuple[Example, NDArray[np.int8]]] = {}
    for example in sorted(examples, key=_order):
        if example.label is not None and example.label not in columns:
            continue
        key = example.embedding.tobytes(), example.event
        _, row = said.setdefault(key, (example, np.zeros(len(labels), np.int8)))
        where = slice(None) if example.label is None else columns[example.label]
        row[where] = 1 if example.is_right else -1
    kept = [said[key] for key in sorted(said)]
    if not kept:
        return NO_EXAMPLES
    return LabelExamples(
        np.stack([example.embedding for example, _ in kept]),
        np.stack([row for _, row in kept]),
        tuple(example.event for example, _ in kept),
        unrelated,
    )


def _order(example: Example) -> tuple[bool, bool, str]:
    """Sort what is said of one picture so that the narrower stands, and of two that contradict 'wrong'."""
    return example.label is not None, not example.is_right, example.label or ""


def with_examples(pictures: Shares, embeddings: Floats, examples: LabelExamples) -> Shares:
    """Return the shares of N pictures, float32[N,D], after what the examples say; without any, `pictures` itself."""
    if not len(examples) or not len(embeddings):
        return pictures
    distances = _distances(embeddings, examples)
    is_near = distances.min(axis=0) < REACH  # few are: what follows is for them alone
    if not is_near.any():
        return pictures
    weights, says = _weights(distances[:, is_near]), examples.says[is_near]
    not_shown = weights @ (says < 0).astype(np.float32)
    shown = np.where(not_shown >= _CERTAIN, 0, weights @ (says > 0).astype(np.float32))  # 'wrong' stands
    total = 1.0 + shown + not_shown
    scores = np.where(total > 1.0, (pictures.scores + shown) / total, pictures.scores)
    background = np.where(total > 1.0, pictures.background / total, pictures.background)
    return Shares(pictures.probabilities, scores, background)


def influence(embeddings: Floats, examples: LabelExamples, label: int) -> Floats:
    """Return the part that each of E examples has in a label's score of each of N pictures, 0..1: float32[N,E]."""
    weights = _weights(_distances(embeddings, examples)) * (examples.says[:, label] != 0)
    parts: Floats = weights / (1.0 + weights.sum(axis=1, keepdims=True))
    return parts


def unrelated_cosine(embeddings: Floats, events: Sequence[str]) -> float:
    """Return the mean cosine between pictures of different events, float32[N,D]; USUAL_UNRELATED for too few."""
    named = np.array(events)
    other = named[:, np.newaxis] != named[np.newaxis, :]
    if int(other.sum()) < 20:
        return USUAL_UNRELATED
    cosines = embeddings @ embeddings.T
    return float(min(0.95, max(0.0, float(cosines[other].mean()))))


def _distances(embeddings: Floats, examples: LabelExamples) -> Floats:
    distances: Floats = (1.0 - embeddings @ examples.embeddings.T) * np.float32(
        1.0 / (1.0 - examples.unrelated)
    )
    return distances


def _weights(distances: Floats) -> Floats:
    weights = np.square(np.maximum(REACH - distances, 0) / np.maximum(distances, _NEAREST))
    return np.where(distances <= _NEAREST, _CERTAIN, weights)
