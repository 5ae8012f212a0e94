"""What a click teaches: simulated days of rendered cameras, `mini`, and a user who clicks on what is wrong.

    python -m bench.feedback [--side tuning|judged] [--cameras N] [--cache DIR] [--parts bars,curve,errs,speed,video]

Debian only: pictures come from its packages (500 MB, apt-get download). The judged side is measured once, for a rule
that was made on the tuning side. One JSON object a line on stdout. The parts:

    bars    after three clicks on each kind: share of its later false alarms that are gone, over all and by kind; recall
            of real labels without and with clicks; the share of later visitors that are named right, with clicks and
            with the new label alone
    curve   N clicks in all in the first half of the days, measured in the second, for each method
    errs    30 clicks in the first half, of which one in ten says the opposite of the truth, over seeds: errors (false
            alarms and real labels missed) in the second half without clicks, with them, and with slips among them
    speed   milliseconds of with_examples for 24 pictures and 1,000 examples of 512 numbers, over half of them within
            reach, and of their cosines alone; with OPENBLAS_NUM_THREADS=1 where the cores are shared
    video   the curve on samples/ and vtest.avi through the real motion code, by halves
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.feedback_cameras import CAMERAS, EmbeddingModel, records
from bench.feedback_methods import (
    GaussianDiscriminant,
    Method,
    NoClicks,
    OwnExamples,
    TipAdapter,
    Words,
    unrelated_of,
)
from bench.feedback_record import REAL, VISITOR, CameraRecord
from bench.feedback_things import fetch
from bench.feedback_user import Count, Decided, Policy, after_clicks, count, named_right, run
from bench.feedback_video import videos
from bench.measuring import median_s
from services.classifier.model.runtimes import load_on_cpu
from services.classifier.settings import ClassifierSettings
from services.classifier.weights.names import resolve_model
from services.classifier.words.prompts import LabelBank
from shared.contract import LabelSet
from shared.decisions.examples import Example, for_labels, with_examples
from shared.decisions.probabilities import Shares
from shared.logs import configure_logs

CLICKS = (1, 3, 10, 30)
THRESHOLDS = (0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
BY_HAND = 0.7
GDA_ALPHA = 0.001  # of 1e-5 to 1 what leaves the fewest errors on the tuning cameras
TIP_ALPHA = 3.0  # beside the published 1
N_SEEDS = 5
PARTS = ("bars", "curve", "errs", "speed", "video")
Make = Callable[[CameraRecord], Method]


def own(record: CameraRecord) -> Method:
    """Make clipwatch's method for a camera."""
    return OwnExamples(unrelated_of(record.events))


METHODS: dict[str, Make] = {
    "clipwatch": own,
    "tip-adapter": lambda _: TipAdapter(),
    f"tip-adapter, alpha {TIP_ALPHA:g}": lambda _: TipAdapter(alpha=TIP_ALPHA),
    f"gda, alpha {GDA_ALPHA:g}": lambda _: GaussianDiscriminant(alpha=GDA_ALPHA),
}


class Measurement:
    """Runs users over cameras, with the words of each."""

    def __init__(self, embedding: EmbeddingModel) -> None:
        self._embedding = embedding

    def words(self, record: CameraRecord, more: tuple[str, ...] = ()) -> Words:
        label_set = LabelSet(labels=(*record.labels, *more), background=record.background)
        return Words(label_set, self._embedding.bank.get(label_set), self._embedding.model.facts)

    def run(self, record: CameraRecord, make: Make, policy: Policy, seed: int = 0) -> list[Decided]:
        names = {event.name for event in record.events if event.kind == VISITOR}
        more = tuple(sorted(names)) if policy.names_visitor else ()
        rng = np.random.default_rng(seed)
        return run(record.events, make(record), self.words(record, more), policy, rng)

    def bars(self, cameras: Sequence[CameraRecord], make: Make = own, n: int = 3) -> dict[str, Any]:
        """Measure what the issue's table asks after `n` clicks a kind."""
        policy = Policy(of_a_kind=n)
        gone: Counter[str] = Counter()
        before, after, recalls = Count(), Count(), {}
        false: Counter[str] = Counter()
        for record in cameras:
            plain, taught = self.run(record, _plain, policy), self.run(record, make, policy)
            for kind, later in after_clicks(taught, n).items():
                false[kind] += sum(plain[index].is_false for index in later)
                gone[kind] += sum(plain[index].is_false for index in later)
                gone[kind] -= sum(taught[index].is_false for index in later)
            one, other = (count(decided, _is_real) for decided in (plain, taught))
            before, after = before + one, after + other
            recalls[record.name] = round(100 * (other.recall - one.recall), 1)
        return {
            "gone": round(gone.total() / max(false.total(), 1), 3),
            "gone_by_kind": {kind: f"{gone[kind]}/{false[kind]}" for kind in sorted(false)},
            "recall": [round(before.recall, 3), round(after.recall, 3)],
            "recall_points": round(100 * (after.recall - before.recall), 2),
            "recall_points_by_camera": recalls,
            **self.names(cameras, make, n),
        }

    def names(self, cameras: Sequence[CameraRecord], make: Make, n: int) -> dict[str, Any]:
        """Measure a new name put right."""
        policy = Policy(of_a_kind=n, names_visitor=True)
        with_clicks, without = np.zeros(2, int), np.zeros(2, int)
        by_camera = {}
        for record in cameras:
            if all(event.kind != VISITOR for event in record.events):
                continue
            taught, plain = self.run(record, make, policy), self.run(record, _plain, policy)
            clicked = [at for at, one in enumerate(taught) if one.event.kind == VISITOR and one.is_clicked][
                :n
            ]
            begins = clicked[-1] + 1 if clicked else 0
            right = np.array(named_right(taught[begins:], 0))
            with_clicks += right
            without += np.array(named_right(plain[begins:], 0))
            by_camera[record.name] = f"{right[0]}/{right[1]}"
        return {
            "named_right": round(with_clicks[0] / max(with_clicks[1], 1), 3),
            "named_right_without": round(without[0] / max(without[1], 1), 3),
            "named_right_by_camera": by_camera,
        }

    def curve(self, cameras: Sequence[CameraRecord]) -> Iterable[dict[str, Any]]:
        """Measure methods against clicks in all; thresholds need none."""
        plain = {record.name: _second_half(record, self.run(record, _plain, Policy())) for record in cameras}
        base = sum(plain.values(), Count())
        yield _row("no clicks", 0, base, base)
        fixed = sum((_second_half(r, self.run(r, _raised(BY_HAND), Policy())) for r in cameras), Count())
        yield _row(f"threshold {BY_HAND}", 0, fixed, base)
        best = Count()
        for record in cameras:
            tried = [_second_half(record, self.run(record, _raised(at), Policy())) for at in THRESHOLDS]
            best += min([plain[record.name], *tried], key=lambda one: one.n_errors)
        yield _row("threshold, the best of each camera in hindsight", 0, best, base)
        for name, make in METHODS.items():
            for n in CLICKS:
                total = Count()
                for record in cameras:
                    clicks = Policy(in_all=n, until_day=record.n_days // 2)
                    total += _second_half(record, self.run(record, make, clicks))
                yield _row(name, n, total, base)

    def errs(self, cameras: Sequence[CameraRecord], make: Make = own, share: float = 0.1) -> dict[str, Any]:
        """Measure a user who errs."""
        worse, without, exact, with_slips = 0, Count(), Count(), Count()
        for record in cameras:
            plain = _second_half(record, self.run(record, _plain, Policy()))
            clicks = Policy(in_all=30, until_day=record.n_days // 2)
            slips = replace(clicks, errs=share)
            for seed in range(N_SEEDS):
                found = _second_half(record, self.run(record, make, slips, seed))
                exact += _second_half(record, self.run(record, make, clicks, seed))
                worse += found.n_errors >= plain.n_errors
                with_slips += found
                without += plain
        return {
            "errors_without": round(without.n_errors / N_SEEDS, 1),
            "errors_with_clicks": round(exact.n_errors / N_SEEDS, 1),
            "errors_with_slips": round(with_slips.n_errors / N_SEEDS, 1),
            "recall": [round(one.recall, 3) for one in (without, exact, with_slips)],
            "not_better_than_no_clicks": f"{worse} of {len(cameras) * N_SEEDS} cameras and seeds",
        }


def _second_half(record: CameraRecord, decided: Sequence[Decided]) -> Count:
    half = record.n_days // 2
    return count(decided, lambda one: one.event.day >= half)


def _is_real(decided: Decided) -> bool:
    return decided.event.kind == REAL


def _plain(_record: CameraRecord) -> Method:
    return NoClicks()


def _raised(threshold: float) -> Make:
    return lambda _: NoClicks(threshold)


def _row(method: str, n: int, found: Count, base: Count) -> dict[str, Any]:
    return {
        "method": method,
        "clicks": n,
        "false_alarms": found.n_false,
        "gone": round(1 - found.n_false / max(base.n_false, 1), 3),
        "recall": round(found.recall, 3),
        "recall_points": round(100 * (found.recall - base.recall), 1),
        "errors": found.n_errors,
    }


def speed(n_pictures: int = 24, n_examples: int = 1000, dim: int = 512) -> dict[str, Any]:
    """Measure the rule alone: what a snippet costs once the camera's examples are known."""
    rng = np.random.default_rng(5)
    rows = rng.normal(size=(n_pictures + n_examples, dim)).astype(np.float32) + 2
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    labels = tuple(f"label {number}" for number in range(10))
    said = [
        Example(f"e{number // 3}", labels[number % 10], number % 3 == 0, row)
        for number, row in enumerate(rows[n_pictures:])
    ]
    kept = for_labels(said, labels)
    pictures = rows[:n_pictures]
    ratios = [rng.random((n_pictures, 10)).astype(np.float32) for _ in range(3)]
    found = Shares(*ratios)
    return {
        "examples": len(kept),
        "ms_a_snippet": round(1000 * median_s(lambda: with_examples(found, pictures, kept), 200), 3),
        "ms_of_the_cosines": round(1000 * median_s(lambda: pictures @ kept.embeddings.T, 200), 3),
    }


def main() -> int:
    """Run the command line."""
    configure_logs("bench", "WARNING", "json")  # stderr: stdout is for figures
    arguments = _arguments()
    parts = set(arguments.parts)
    if "speed" in parts:
        _print("speed", speed())
    if parts == {"speed"}:
        return 0
    fetch(arguments.cache)
    settings = ClassifierSettings()
    model = load_on_cpu(resolve_model("mini", settings.models_dir), settings)
    embedding = EmbeddingModel(model, LabelBank(model, 100))
    measurement = Measurement(embedding)
    if parts & {"bars", "curve", "errs"}:
        cameras = list(records(arguments.cache, arguments.side, embedding, _log, arguments.cameras))
        _measure(measurement, cameras, parts)
    if "video" in parts:
        for row in measurement.curve(videos(arguments.cache, embedding)):
            _print("video", row)
    return 0


def _measure(measurement: Measurement, cameras: Sequence[CameraRecord], parts: set[str]) -> None:
    if "bars" in parts:
        _print("bars", measurement.bars(cameras))
    if "curve" in parts:
        for row in measurement.curve(cameras):
            _print("curve", row)
    if "errs" in parts:
        _print("errs", measurement.errs(cameras))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--side", choices=tuple(CAMERAS), default="judged")
    parser.add_argument("--cameras", type=int, default=99)
    parser.add_argument("--cache", type=Path, default=Path("data/bench"))
    parser.add_argument("--parts", type=lambda text: text.split(","), default=list(PARTS))
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(PARTS):
        parser.error(f"--parts: {', '.join(sorted(unknown))}: one or more of {','.join(PARTS)} are wanted")
    return arguments


def _print(part: str, row: dict[str, Any]) -> None:
    print(json.dumps({"part": part, **row}), flush=True)


def _log(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
