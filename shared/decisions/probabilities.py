"""From cosines to probabilities and scores, per picture and per moment. Pure: numpy in, numpy out.

Two numbers for a label t and a picture, from logits z = temperature * cosine (why: docs/design/decisions.md):

    probability   the softmax share among targets, backgrounds and others; all of a picture sum to 1: what is shown
    score         t against what is not asked for, damped when a rival label fits clearly better: what is decided on

        score_t = e^z_t / (e^z_t + sum_b e^z_b + sum_(o in O_t) e^z_o)
              * min(1, RIVAL_RATIO * e^(z_t - max_(u in R_t) z_u)) ^ RIVAL_POWER

The score contains the other labels only through the strongest rival, so naming one more label, absent or a synonym,
takes nothing away, where a softmax share would be split.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
# A label keeps its full score while it is at least 0.8 times as likely as the best rival, so that a synonym that the
# taxonomy does not know takes nothing; below that the score falls with the square: at half as likely it keeps 0.39.
RIVAL_RATIO = 1.25
RIVAL_POWER = 2.0


@dataclass(frozen=True, slots=True)
class Groups:
    """Which logits mean what: T targets, B backgrounds, O others, in this order; see label_texts.LabelTexts."""

    n_targets: int
    n_background: int
    rivals: NDArray[np.bool_]  # [T,T]
    against: NDArray[np.bool_]  # [T,O]
    shown: NDArray[np.bool_]  # [O]


@dataclass(frozen=True, slots=True)
class Shares:
    """Of N pictures or moments. `background` is the backgrounds' part beside each target, in the score's own sum."""

    probabilities: Floats  # [N,T+B+1], rows sum to 1; the last column pools the others
    scores: Floats  # [N,T]
    background: Floats  # [N,T]


def shares(logits: NDArray[np.floating], groups: Groups) -> Shares:
    """Return probabilities and scores of float[N,T+B+O] logits."""
    z = np.asarray(logits, dtype=np.float64)
    t, b = groups.n_targets, groups.n_background
    e = _powers(z)
    targets, backgrounds, others = e[:, :t], e[:, t : t + b], e[:, t + b :]
    other = others[:, groups.shown].sum(axis=1, keepdims=True)
    rows = np.concatenate([targets, backgrounds, other], axis=1)
    rows = rows / np.maximum(rows.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    behind = backgrounds.sum(axis=1, keepdims=True)
    total = _totals(e, groups)
    scores = targets / total * _damping(z[:, :t], groups.rivals)
    return Shares(_f32(rows), _f32(scores), _f32(behind / total))


@dataclass(frozen=True, slots=True)
class Competition:
    """What the score of each target in N pictures is made of: without a rival it would be `alone`.

    The score is `alone` less what the strongest rival takes; `alone`, `behind` and what is left to 1 are the parts of
    the target, of all backgrounds, and of the others that compete with it.
    """

    scores: Floats  # [N,T]
    alone: Floats  # [N,T]
    behind: Floats  # [N,T]
    rivals: NDArray[np.intp]  # [N,T], the target that speaks most against it; -1: none does
    ahead: Floats  # [N,T], the rival's logit less the target's; -inf where there is none


def competition(logits: NDArray[np.floating], groups: Groups) -> Competition:
    """Return what stood beside the targets in the scores that `shares` gives for the same logits."""
    z = np.asarray(logits, dtype=np.float64)
    found, e = shares(z, groups), _powers(z)
    alone = e[:, : groups.n_targets] / _totals(e, groups)
    against = np.where(groups.rivals[np.newaxis], z[:, np.newaxis, : groups.n_targets], -np.inf)
    rivals = np.where(groups.rivals.any(axis=1), against.argmax(axis=2), -1)
    ahead = against.max(axis=2) - z[:, : groups.n_targets]
    return Competition(found.scores, _f32(alone), found.background, rivals, _f32(ahead))


def _powers(z: NDArray[np.float64]) -> NDArray[np.float64]:
    powers: NDArray[np.float64] = np.exp(z - z.max(axis=1, keepdims=True, initial=-np.inf))
    return powers


def _totals(e: NDArray[np.float64], groups: Groups) -> NDArray[np.float64]:
    """Return [N,T]: a target together with the backgrounds and the others that compete with it."""
    t, b = groups.n_targets, groups.n_background
    behind = e[:, t : t + b].sum(axis=1, keepdims=True)
    totals: NDArray[np.float64] = e[:, :t] + behind + e[:, t + b :] @ groups.against.T.astype(np.float64)
    return np.maximum(totals, np.finfo(np.float64).tiny)


def _damping(z: NDArray[np.float64], rivals: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return [N,T] in 0..1: how much of its score a label keeps beside its strongest rival."""
    others = np.where(rivals[np.newaxis], z[:, np.newaxis, :], -np.inf).max(axis=2, initial=-np.inf)
    lead = z - others
    damping: NDArray[np.float64] = np.exp(np.minimum(0.0, RIVAL_POWER * (np.log(RIVAL_RATIO) + lead)))
    return damping


def combine(pictures: Shares) -> Shares:
    """Return the shares of one moment (N=1) from those of its pictures that have a say.

    A label's evidence is its best picture's; the rest of the probability goes to backgrounds and the others as they
    average. Two things in two crops of a moment share its probability, while each keeps its own score.
    """
    if len(pictures.scores) == 1:
        return pictures
    n_targets = pictures.scores.shape[1]
    rows = pictures.probabilities.astype(np.float64)
    targets = rows[:, :n_targets].max(axis=0)
    rest = rows[:, n_targets:].mean(axis=0)
    left = max(0.0, 1.0 - float(targets.sum()))
    rest = rest / rest.sum() * left if rest.sum() > 0 else rest
    row = np.concatenate([targets, rest])
    best = pictures.scores.argmax(axis=0)
    columns = np.arange(n_targets)
    return Shares(
        _f32(row / row.sum())[np.newaxis],
        pictures.scores[best, columns][np.newaxis],
        pictures.background[best, columns][np.newaxis],
    )


def _f32(values: NDArray[np.float64]) -> Floats:
    return values.astype(np.float32)
