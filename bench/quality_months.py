"""How often the stated precision holds the truth in simulated months: `python -m bench.quality_months`, JSON.

A month of a camera is made of units with a score and a truth. A simulated user answers ten questions on most days and,
in some scenarios, clicks unasked on what is wrong. At the month's end the estimate is compared with the share of right
ones among all units of the month.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from shared.quality.draw import ACCEPTED_RATES, MISSED_RATES, Askable, draw_check
from shared.quality.estimate import Estimate, estimate
from shared.quality.units import ACCEPTED_BANDS, NOT_ACCEPTED_BANDS, Bools, Floats, Ints, Units, bands_of

DAYS = 30
DAY_S = 86_400.0
CHECK_S = 0.85 * DAY_S  # time of day at which the user checks
WITHIN_POINTS = 0.05


@dataclass(frozen=True, slots=True)
class Pair:
    """A camera and label: units a day, precision on the first and the last day, and whether right ones score higher."""

    per_day: float
    precision: float
    precision_at_end: float | None = None
    is_score_informative: bool = True


@dataclass(frozen=True, slots=True)
class User:
    """`checks`: share of days with a check. The others: share of units that are clicked on unasked, of each kind."""

    checks: float = 0.9
    clicks_wrong: float = 0.0
    clicks_right: float = 0.0
    answers: float = 1.0  # share of the questions that are answered
    questions: int = 10
    again_s: float | None = None  # so long after each check the user asks for another
    pause_s: float = 0.0  # in the middle of each check


@dataclass(frozen=True, slots=True)
class Scenario:
    """Pairs on one site, motion that was not accepted, and who answers."""

    pairs: tuple[Pair, ...]
    user: User = field(default_factory=User)
    missed: float = 0.03  # share of what was not accepted that should have been
    not_accepted_per_day: float = 60.0
    kept_days: float = float(DAYS)  # after which retention removes what nobody clicked on unasked


@dataclass(slots=True)
class Group:
    """Units of a month; judged as it goes on."""

    at: Floats
    scores: Floats
    truth: Floats
    own_at: Floats
    is_accepted: bool
    judged_at: Floats
    drawn_with: Floats
    asked_at: Floats

    def units(self, until: Bools | Ints) -> Units:
        """Return some of the units, as they are known."""
        judged_at, truth = self.judged_at[until], self.truth[until]
        ends = ACCEPTED_BANDS if self.is_accepted else NOT_ACCEPTED_BANDS
        return Units(
            self.at[until],
            bands_of(self.scores[until], ends),
            judged_at,
            self.drawn_with[until],
            np.where(np.isnan(judged_at), np.nan, truth),
            self.asked_at[until],
        )

    def kept(self, now: float, days: float) -> Bools:
        """Return what an estimate looks at, as the recorder does: not what is older, though clicks keep some of it."""
        return (self.at <= now) & (self.at > now - days * DAY_S)

    def click(self, now: float) -> None:
        """Answer what the user clicked on unasked until now."""
        clicked = (self.own_at <= now) & np.isnan(self.judged_at)
        self.judged_at[clicked] = self.own_at[clicked]


def _group(pair: Pair, user: User, chance: np.random.Generator) -> Group:
    n = max(1, int(chance.poisson(pair.per_day * DAYS)))
    at = np.sort(chance.random(n)) * DAYS * DAY_S
    end = pair.precision if pair.precision_at_end is None else pair.precision_at_end
    rate = pair.precision + (end - pair.precision) * at / (DAYS * DAY_S)
    truth = (chance.random(n) < rate).astype(np.float64)
    high, low = chance.beta(3, 1.5, n), chance.beta(1, 2, n)
    scores = 0.5 + 0.5 * (np.where(truth == 1, high, low) if pair.is_score_informative else high)
    clicks = chance.random(n) < np.where(truth == 1, user.clicks_right, user.clicks_wrong)
    own_at = np.where(clicks, at + chance.exponential(0.5 * DAY_S, n), np.inf)
    return Group(at, scores, truth, own_at, True, *(np.full(n, np.nan) for _ in range(3)))


def _not_accepted(scenario: Scenario, chance: np.random.Generator) -> Group:
    n = max(1, int(chance.poisson(scenario.not_accepted_per_day * DAYS)))
    at = np.sort(chance.random(n)) * DAYS * DAY_S
    truth = (chance.random(n) < scenario.missed).astype(np.float64)
    scores = 0.5 * np.where(truth == 1, chance.beta(2, 1.5, n), chance.beta(0.7, 3, n))
    return Group(at, scores, truth, np.full(n, np.inf), False, *(np.full(n, np.nan) for _ in range(3)))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was stated of some units, and what is true of them."""

    stated: Estimate | None
    truth: float

    @property
    def holds(self) -> bool:
        """Whether the interval holds the truth."""
        return self.stated is not None and self.stated.low - 1e-9 <= self.truth <= self.stated.high + 1e-9


def month(scenario: Scenario, chance: np.random.Generator) -> list[Outcome]:
    """Live through a month; return the outcome of each pair, of all pairs together, and of what was missed."""
    groups = [_group(pair, scenario.user, chance) for pair in scenario.pairs]
    groups.append(_not_accepted(scenario, chance))
    for day in range(DAYS):
        now = day * DAY_S + CHECK_S
        for group in groups:
            group.click(now)
        if chance.random() < scenario.user.checks:
            _check(groups, scenario, now, chance)
            if scenario.user.again_s is not None:
                _check(groups, scenario, now + scenario.user.again_s, chance)
    for group in groups:
        group.click(DAYS * DAY_S)
    kept = [group.kept(DAYS * DAY_S, scenario.kept_days) for group in groups]
    known = [group.units(within) for group, within in zip(groups, kept, strict=True)]
    of_kept = [group.truth[within] for group, within in zip(groups, kept, strict=True)]
    truths = [float(truth.mean()) for truth in of_kept]
    asked = [truth for truth, units in zip(of_kept[:-1], known, strict=False) if units.is_drawn.any()]
    together = np.concatenate(asked) if asked else np.zeros(1)
    return [
        *(Outcome(estimate([units]), truth) for units, truth in zip(known[:-1], truths, strict=False)),
        Outcome(estimate(known[:-1]), float(together.mean())),
        Outcome(estimate([known[-1]]), truths[-1]),
    ]


def _check(groups: Sequence[Group], scenario: Scenario, now: float, chance: np.random.Generator) -> None:
    user = scenario.user
    askable: list[Askable] = []
    kept = [np.flatnonzero(group.kept(now, scenario.kept_days)) for group in groups]
    for group, within in zip(groups, kept, strict=True):
        units = group.units(within)
        rates = ACCEPTED_RATES if group.is_accepted else MISSED_RATES
        askable.append(Askable(units, rates, np.flatnonzero(~units.is_judged)))
    for number, drawn in enumerate(draw_check(askable[:-1], askable[-1:], user.questions, chance)):
        if chance.random() < user.answers:
            group, unit = groups[drawn.group], kept[drawn.group][drawn.unit]
            group.judged_at[unit] = now + (user.pause_s if 2 * number >= user.questions else 0.0)
            group.drawn_with[unit], group.asked_at[unit] = drawn.probability, now


def summary(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Return in how many months the interval held the truth, how wide it was, and how far off the estimate."""
    stated = [(one.stated, one.truth) for one in outcomes if one.stated is not None]
    widths = np.array([found.width for found, _ in stated])
    errors = np.array([found.share - truth for found, truth in stated])
    return {
        "stated": len(stated) / len(outcomes),
        "holds": float(np.mean([one.holds for one in outcomes if one.stated is not None])),
        "half_width": float(np.median(widths)),
        "half_width_within": float(np.mean(widths <= WITHIN_POINTS)),
        "error_within": float(np.mean(np.abs(errors) <= WITHIN_POINTS)),
        "bias": float(errors.mean()),
        "error": float(np.sqrt(np.mean(errors**2))),
        "drawn": float(np.mean([found.n_drawn for found, _ in stated])),
        "units": float(np.mean([found.n for found, _ in stated])),
    }


ONE = 30.0  # units a day of a camera that is neither quiet nor busy
SCENARIOS: dict[str, Scenario] = {
    **{f"one camera, {p:g}": Scenario((Pair(ONE, p),)) for p in (0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99)},
    "one camera, 0.5, scores say nothing": Scenario((Pair(ONE, 0.5, is_score_informative=False),)),
    "one busy camera (300 a day), 0.8": Scenario((Pair(300, 0.8),)),
    "one quiet camera (4 a day), 0.8": Scenario((Pair(4, 0.8),)),
    "it gets worse, 0.9 to 0.5": Scenario((Pair(ONE, 0.9, 0.5),)),
    "it gets better, 0.4 to 0.95": Scenario((Pair(ONE, 0.4, 0.95),)),
    "clicks on half of what is wrong": Scenario((Pair(ONE, 0.8),), User(clicks_wrong=0.5)),
    "clicks on all that is wrong": Scenario((Pair(ONE, 0.8),), User(clicks_wrong=1.0)),
    "clicks on half of what is wrong, busy": Scenario((Pair(200, 0.8),), User(clicks_wrong=0.5)),
    "clicks on wrong and right": Scenario((Pair(ONE, 0.8),), User(clicks_wrong=0.4, clicks_right=0.2)),
    "answers 7 of 10, checks on 4 of 7 days": Scenario((Pair(ONE, 0.8),), User(checks=0.57, answers=0.7)),
    "two checks a day, a minute apart": Scenario((Pair(ONE, 0.8),), User(again_s=60.0)),
    "two checks a day, a minute apart, busy": Scenario((Pair(300, 0.8),), User(again_s=60.0)),
    "half an hour's pause in each check": Scenario((Pair(ONE, 0.8),), User(pause_s=1800.0)),
    "half an hour's pause in each check, busy": Scenario((Pair(300, 0.8),), User(pause_s=1800.0)),
    "retention of 7 days, clicks on half of what is wrong": Scenario(
        (Pair(ONE, 0.8),), User(clicks_wrong=0.5), kept_days=7
    ),
    "four cameras": Scenario(tuple(Pair(r, p) for r, p in ((60, 0.6), (10, 0.9), (30, 0.8), (5, 0.97)))),
    "twelve cameras, three labels": Scenario(
        tuple(Pair(r, p) for r in (2, 5, 10, 20) for p in (0.3, 0.5, 0.7, 0.8, 0.85, 0.9, 0.95, 0.97, 0.99))
    ),
    "twelve cameras, clicks on half of what is wrong": Scenario(
        tuple(Pair(r, p) for r in (2, 5, 10, 20) for p in (0.3, 0.5, 0.7, 0.8, 0.85, 0.9, 0.95, 0.97, 0.99)),
        User(clicks_wrong=0.5),
    ),
}


def run(name: str, months: int, seed: int = 1) -> dict[str, dict[str, float]]:
    """Return the summaries of one scenario: of pairs, of all together, and of what was missed."""
    chance = np.random.default_rng([seed, *name.encode()])
    scenario = SCENARIOS[name]
    found = [month(scenario, chance) for _ in range(months)]
    pairs = [one for outcomes in found for one in outcomes[:-2]]
    return {
        "pair": summary(pairs),
        "all": summary([outcomes[-2] for outcomes in found]),
        "missed": summary([outcomes[-1] for outcomes in found]),
    }


def main() -> None:
    """Print the summaries of all scenarios, or of those that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--months", type=int, default=400)
    parser.add_argument("--only", action="append", help="part of a scenario's name")
    options = parser.parse_args()
    for name in SCENARIOS:
        if options.only and not any(part in name for part in options.only):
            continue
        rounded = {
            of: {key: round(value, 4) for key, value in found.items()}
            for of, found in run(name, options.months).items()
        }
        print(json.dumps({"scenario": name, "months": options.months} | rounded), flush=True)


if __name__ == "__main__":
    main()
