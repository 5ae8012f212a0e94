"""Why a label was accepted or not, in one sentence. Pure; every number comes from explaining.py."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor

from shared.decisions.evidence import Rival
from shared.decisions.explaining import LabelExplanation, SnippetExplanation
from shared.plurals import plural

NOTHING_SEEN = "No label could be accepted: no picture of this event could be looked at."


def sentence(one: LabelExplanation, limits: SnippetExplanation) -> str:
    """Return the reason for one label of a snippet."""
    verdict = "was accepted" if one.is_accepted else "was not accepted"
    return f"'{one.label}' {verdict}: {_reason(one, limits)}{_of_examples(one)}."


def event_sentence(labels: Sequence[tuple[LabelExplanation, SnippetExplanation]]) -> str:
    """Return the reason for an event, whose labels stand best first."""
    first, limits = labels[0]
    if first.is_accepted or len(labels) == 1:
        return sentence(first, limits)
    return (
        f"No label was accepted; '{first.label}' came nearest: {_reason(first, limits)}{_of_examples(first)}."
    )


def threshold_reason(limits: SnippetExplanation) -> str:
    """Say why the threshold was raised; '' where it was not."""
    if not limits.is_short:
        return ""
    usual, n, wanted = limits.settings.threshold, limits.n_moments, limits.settings.min_moments
    return f"raised from {usual:.2f}, since the clip has {plural(n, 'moment')} and {wanted} are wanted"


def _reason(one: LabelExplanation, limits: SnippetExplanation) -> str:
    return _of_accepted(one, limits) if one.is_accepted else _of_not_accepted(one, limits)


def _of_accepted(one: LabelExplanation, limits: SnippetExplanation) -> str:
    reached = f"reached {one.peak:.2f}, wanted {_threshold(limits)}"
    if one.started_at is None or one.ended_at is None:
        return f"its score {reached}"
    if one.started_at == one.ended_at:
        return f"in one moment its score {reached}"
    lasted_s = (one.ended_at - one.started_at).total_seconds()
    above = floor(100 * limits.leave + 1e-6) / 100  # rounded down: the score did not fall below it
    return f"for {lasted_s:.1f} s its score stayed above {above:.2f} and {reached}"


def _of_not_accepted(one: LabelExplanation, limits: SnippetExplanation) -> str:
    if not limits.n_moments:
        return "no picture could be looked at"
    if one.lacks == "threshold":
        best = _below(one.peak, limits.threshold)
        return f"its best score was {best}, wanted {_threshold(limits)}{_of_rival(one)}"
    if one.lacks == "background" and one.background is not None:
        margin = limits.settings.margin
        label, behind = _apart(one.peak, one.background, margin)
        return (
            f"its score reached {label}, but the background had {behind} at the same time; "
            f"a label must exceed it by {margin:.2f}"
        )
    lacking = _too_few(one, limits) if one.lacks == "moments" else "what else it lacked was not kept"
    return f"its score reached {one.peak:.2f}, wanted {_threshold(limits)}, but {lacking}"


def _threshold(limits: SnippetExplanation) -> str:
    if not limits.is_short:
        return f"{limits.threshold:.2f}"
    n = plural(limits.n_moments, "moment")
    return f"{limits.threshold:.2f} (more than {limits.settings.threshold:.2f}, since the clip has only {n})"


def _too_few(one: LabelExplanation, limits: SnippetExplanation) -> str:
    wanted = f", wanted {limits.needed}"
    if one.n_own is None:
        return f"too few moments reached {limits.leave:.2f} by themselves{wanted}"
    n = "no moment" if not one.n_own else f"only {plural(one.n_own, 'moment')}"
    own = "itself" if one.n_own < 2 else "themselves"
    return f"{n} reached {limits.leave:.2f} by {own}{wanted}"


def _of_rival(one: LabelExplanation) -> str:
    """Say what fitted better, where something did."""
    rival = one.rival
    if rival is None or not rival.is_better:
        return ""
    if rival.took is None:
        return f"; {_named(rival)} had a larger share of the same moments"
    pictures = "crop" if one.is_of_crops else "picture"
    if len(one.deciding) != 1:
        pictures += "s"
    same = f"the same {pictures}" if rival.is_better_in_all else f"some of the same {pictures}"
    return f"; {_named(rival)} fitted {same} better"


def _named(rival: Rival) -> str:
    if rival.kind == "target":
        return f"'{rival.name}'"
    if rival.kind == "background":
        return f"the background '{rival.name}'" if rival.name else "the background"
    return "something that no label names"


def _of_examples(one: LabelExplanation) -> str:
    """Say whether examples turned the decision around."""
    if one.is_accepted_without is None or one.is_accepted_without == one.is_accepted:
        return ""
    would = "would" if one.is_accepted_without else "would not"
    return f"; without the verdicts on similar pictures it {would} have been"


def _below(value: float, bound: float) -> str:
    """Return a value that lies below a bound so that it does not read like it."""
    text = f"{value:.2f}"
    return text if float(text) < float(f"{bound:.2f}") else f"just under {bound:.2f}"


def _apart(value: float, behind: float, margin: float) -> tuple[str, str]:
    """Return two values with as many digits as show that they are less than `margin` apart."""
    for digits in (2, 3, 4):
        shown = f"{value:.{digits}f}", f"{behind:.{digits}f}"
        if float(shown[0]) - float(shown[1]) < margin - 1e-9:
            return shown
    return f"{value:.5f}", f"{behind:.5f}"
