"""What somebody said of single pictures changes the scores of pictures that look alike, and of no others. Pure.

A score is the average of what the text says, with weight 1, and of what each example says (1: it shows the label, 0: it
does not), with a weight that falls with its distance d from the picture:

    w(d) = ((R - d) / d)^2 for d < R, else 0            score' = (score + sum_for w) / (1 + sum_for w + sum_against w)

That is Shepard's interpolation with the bounded weights of Franke and Nielson (Int. J. Numer. Methods Eng. 15, 1980):
at an example itself the score is what was said, at half the reach R one example weighs as much as the text, and from R
on nothing changes, to the last bit. d is the distance of embeddings as a part of that of two unrelated pictures of the
camera, since cosines between pictures do not share a scale with those between a picture and a text
(arXiv 2603.02618), nor one model's with another's. Why not a cache of examples in the logits: docs/design/examples.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.contract import ExamplesMessage
from shared.decisions.probabilities import Floats, Shares

USUAL_REACH = 0.5
REACHES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)  # that are tried on the examples themselves
USUAL_UNRELATED = 0.6  # cosine, where a camera has too few pictures to know
_NEAREST = 1e-3  # a distance below which a picture is the example: embeddings are kept in half precision
_USUAL_WEIGHT = 4.0  # examples' worth of belief in USUAL_REACH
_SURE = 0.02  # a guess is never surer than that: one wrong click does not decide the reach


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
    `unrelated`: cosine of two pictures of different things at this camera; `reach`: see the module.
    """

    embeddings: Floats  # [N,D]
    says: NDArray[np.int8]
    events: tuple[str, ...]
    unrelated: float = USUAL_UNRELATED
    reach: float = USUAL_REACH

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
    weights = _weights(_distances(embeddings, examples), examples.reach)
    shown, not_shown = _sums(weights, examples.says)
    total = 1.0 + shown + not_shown
    is_near = total > 1.0
    scores = np.where(is_near, (pictures.scores + shown) / total, pictures.scores)
    background = np.where(is_near, pictures.background / total, pictures.background)
    return Shares(pictures.probabilities, scores.astype(np.float32), background.astype(np.float32))


def influence(embeddings: Floats, examples: LabelExamples, label: int) -> NDArray[np.float64]:
    """Return the part that each of E examples has in a label's score of each of N pictures, 0..1: [N,E]."""
    weights = np.minimum(_weights(_distances(embeddings, examples), examples.reach), _CERTAIN)
    weights = np.where(examples.says[:, label] != 0, weights, 0.0)
    parts: NDArray[np.float64] = weights / (1.0 + weights.sum(axis=1, keepdims=True))
    return parts


def fitted_reach(examples: LabelExamples, scores: Floats) -> float:
    """Return the reach at which examples of other events best say what each example says, USUAL_REACH without proof.

    `scores`: float32[N,T], what the texts say of the examples themselves. Leaves out one event at a time.
    """
    if len(set(examples.events)) < 2:
        return USUAL_REACH
    events = np.array(examples.events)
    distances = _distances(examples.embeddings, examples)
    distances[events[:, np.newaxis] == events[np.newaxis, :]] = np.inf
    is_said = examples.says != 0
    wanted = examples.says[is_said] > 0

    def loss(reach: float) -> float:
        shown, not_shown = _sums(_weights(distances, reach), examples.says)
        guess = ((scores + shown) / (1.0 + shown + not_shown))[is_said]
        right = np.clip(np.where(wanted, guess, 1.0 - guess), _SURE, 1.0)
        doubt = _USUAL_WEIGHT * float(np.log(reach / USUAL_REACH)) ** 2
        return float(-np.log(right).sum()) + doubt

    return min(REACHES, key=lambda reach: (loss(reach), abs(reach - USUAL_REACH)))


def unrelated_cosine(embeddings: Floats, events: Sequence[str]) -> float:
    """Return the mean cosine between pictures of different events, float32[N,D]; USUAL_UNRELATED for too few."""
    named = np.array(events)
    other = named[:, np.newaxis] != named[np.newaxis, :]
    if int(other.sum()) < 20:
        return USUAL_UNRELATED
    cosines = embeddings @ embeddings.T
    return float(min(0.95, max(0.0, float(cosines[other].mean()))))


def _distances(embeddings: Floats, examples: LabelExamples) -> NDArray[np.float64]:
    cosines = (embeddings @ examples.embeddings.T).astype(np.float64)
    distances: NDArray[np.float64] = (1.0 - cosines) / (1.0 - examples.unrelated)
    return distances


def _weights(distances: NDArray[np.float64], reach: float) -> NDArray[np.float64]:
    left = np.maximum(reach - distances, 0.0)
    weights: NDArray[np.float64] = np.square(left / np.maximum(distances, _NEAREST))
    weights[distances <= _NEAREST] = np.inf
    return weights


def _sums(
    weights: NDArray[np.float64], says: NDArray[np.int8]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return [N,T] twice: what the examples weigh for and against each label; an example itself beats all others."""
    is_it = np.isinf(weights)
    finite = np.where(is_it, 0.0, weights)
    shown, not_shown = finite @ (says > 0), finite @ (says < 0)
    it_shows, it_does_not = is_it @ (says > 0) > 0, is_it @ (says < 0) > 0
    shown = np.where(it_shows & ~it_does_not, _CERTAIN, np.where(it_does_not, 0.0, shown))
    not_shown = np.where(it_does_not, _CERTAIN, np.where(it_shows, 0.0, not_shown))
    return shown, not_shown


_CERTAIN = 1e12  # a weight beside which the text's is none in single precision
