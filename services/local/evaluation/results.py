"""The result of an evaluation: numbers for programs (`--json`), tables for the terminal. Starts no service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.markup import escape
from rich.table import Table

from services.local.evaluation.classification import ClassifiedClips
from services.local.evaluation.decisions import decide_clips, threshold_curve
from services.local.evaluation.metrics import (
    NOTHING,
    Bin,
    ClipAnswer,
    Counts,
    Suggestion,
    ThresholdCounts,
    confusion,
    counts_of,
    exact_share,
    interval,
    reliability,
    suggest,
)
from services.local.evaluation.plan import EvaluationPlan
from services.local.evaluation.temperature_fit import TemperatureFit, calibrate_temperature
from services.local.printable_console import PrintableConsole
from shared.plurals import plural

FEW = 20  # fewer clips of a label than this say little: 19 of 20 is 0.76 to 0.99


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All figures of an evaluation, and what they were made with."""

    model: str
    temperature: float
    threshold: float
    labels: tuple[str, ...]
    background: tuple[str, ...]
    wanted_precision: float
    clips: tuple[ClipAnswer, ...]
    curves: Mapping[str, Sequence[ThresholdCounts]]  # by label; '': all labels together
    calibration: TemperatureFit | None
    ece_before: float | None  # of the peaks, before the calibration
    notes: tuple[str, ...]

    @property
    def total(self) -> Counts:
        """Counts of all labels together."""
        total = Counts()
        for label in self.labels:
            total += counts_of(label, self.clips)
        return total

    @property
    def reliability(self) -> tuple[tuple[Bin, ...], float]:
        """Bins and expected calibration error of the peaks."""
        return reliability(self.clips, self.labels)

    def suggestion(self, label: str) -> Suggestion:
        """The threshold that the clips suggest for a label; '': for all labels together."""
        return suggest(self.curves[label], self.wanted_precision)

    def n_true(self, label: str) -> int:
        """How many clips show the label."""
        return sum(label in clip.truth for clip in self.clips)


def evaluation_of(
    plan: EvaluationPlan, classified: ClassifiedClips, wanted_precision: float, is_calibrating: bool
) -> Evaluation:
    """Return the figures; with `is_calibrating`, first fit the temperature and write it to the model's settings."""
    labels, decision = plan.label_set.labels, plan.options.decision
    calibration = (
        calibrate_temperature(classified, plan.options.model, plan.options.folder) if is_calibrating else None
    )
    temperature = calibration.after if calibration else classified.facts.temperature
    before = reliability(decide_clips(classified, decision), labels)[1] if calibration else None
    notes = []
    if plan.ignored:
        notes.append(f"true but not asked for, counted as nothing: {', '.join(plan.ignored)}")
    return Evaluation(
        model=classified.facts.name,
        temperature=temperature,
        threshold=decision.threshold,
        labels=labels,
        background=plan.label_set.background,
        wanted_precision=wanted_precision,
        clips=decide_clips(classified, decision, temperature),
        curves=threshold_curve(classified, decision, labels, temperature),
        calibration=calibration,
        ece_before=before,
        notes=tuple(notes),
    )


def warnings_of(evaluation: Evaluation) -> tuple[str, ...]:
    """Say where there are too few clips to trust a figure."""
    few = [f"'{label}' {n}" for label in evaluation.labels if (n := evaluation.n_true(label)) < FEW]
    n_nothing = sum(not clip.truth for clip in evaluation.clips)
    found = list(evaluation.notes)
    if few:
        found.append(f"few clips: {', '.join(few)}; with {FEW} or more of each, the figures begin to hold")
    before, after = evaluation.ece_before, evaluation.reliability[1]
    if before is not None and after > before:
        found.append(
            f"the new temperature raises the calibration error of the peaks ({before:.3f} -> {after:.3f}): averaging "
            "over a clip changes them more than it does; have more clips, or delete the settings file to go back"
        )
    if n_nothing == 0:
        found.append("no clip shows nothing wanted: false alarms on empty scenes are not measured")
    return tuple(found)


def as_document(evaluation: Evaluation) -> dict[str, Any]:  # Any: JSON values
    """Return the object of `--json`; see docs/guide/evaluate.md for its fields."""
    bins, error = evaluation.reliability
    calibration = evaluation.calibration
    return {
        "model": evaluation.model,
        "temperature": round(evaluation.temperature, 3),
        "threshold": evaluation.threshold,
        "background": list(evaluation.background),
        "clips": len(evaluation.clips),
        "clips_without_motion": sum(not clip.has_motion for clip in evaluation.clips),
        "exactly_right": _rounded(exact_share(evaluation.clips)),
        "all": _figures(evaluation, "", evaluation.total),
        "labels": {
            label: _figures(evaluation, label, counts_of(label, evaluation.clips))
            for label in evaluation.labels
        },
        "confusion": confusion(evaluation.labels, evaluation.clips),
        "reliability": [
            {
                "from": one.low,
                "to": one.high,
                "answers": one.n,
                "mean_peak": round(one.mean_peak, 4),
                "share_true": round(one.share_true, 4),
            }
            for one in bins
        ],
        "calibration_error": round(error, 4),
        "calibration": None
        if calibration is None
        else {
            "temperature_before": round(calibration.before, 3),
            "temperature": round(calibration.after, 3),
            "loss_before": round(calibration.loss_before, 4),
            "loss": round(calibration.loss_after, 4),
            "calibration_error_before": _rounded(evaluation.ece_before),
            "clips": calibration.n_clips,
            "file": str(calibration.file),
        },
        "warnings": list(warnings_of(evaluation)),
        "answers": [
            {
                "clip": clip.name,
                "true": sorted(clip.truth),
                "said": list(clip.accepted),
                "motion": clip.has_motion,
                "peaks": {text: round(peak, 4) for text, peak in clip.peaks.items()},
            }
            for clip in evaluation.clips
        ],
    }


def _figures(evaluation: Evaluation, label: str, counts: Counts) -> dict[str, Any]:  # Any: JSON values
    suggestion = evaluation.suggestion(label)
    return {
        "true": counts.hits + counts.misses,
        "said": counts.hits + counts.false_alarms,
        "hits": counts.hits,
        "false_alarms": counts.false_alarms,
        "misses": counts.misses,
        "accuracy": _rounded(counts.accuracy),
        "precision": _rounded(counts.precision),
        "precision_interval": _pair(interval(counts.hits, counts.hits + counts.false_alarms)),
        "recall": _rounded(counts.recall),
        "recall_interval": _pair(interval(counts.hits, counts.hits + counts.misses)),
        "f1": _rounded(counts.f1),
        "best_threshold": suggestion.best.threshold if suggestion.best.counts.f1 else None,
        "best_f1": _rounded(suggestion.best.counts.f1),
        "precise_threshold": suggestion.precise.threshold if suggestion.precise else None,
        "precise_recall": _rounded(suggestion.precise.counts.recall) if suggestion.precise else None,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _pair(found: tuple[float, float] | None) -> list[float] | None:
    return None if found is None else [round(found[0], 4), round(found[1], 4)]


def share_text(part: int, whole: int) -> str:
    """Return '0.82 (0.59 to 0.94)', or a dash when there is nothing to divide by."""
    found = interval(part, whole)
    return f"{part / whole:.2f} ({found[0]:.2f} to {found[1]:.2f})" if found else "–"


def best_text(suggestion: Suggestion) -> str:
    """Return the best threshold with its F1, or a dash when no threshold finds anything."""
    f1 = suggestion.best.counts.f1
    return f"{suggestion.best.threshold:.2f} (F1 {f1:.2f})" if f1 else "–"


def print_evaluation(evaluation: Evaluation, page: str) -> None:
    """Print the tables on stdout."""
    console = PrintableConsole(highlight=False)
    if not console.is_terminal:
        console.width = 160
    table = Table(
        title=f"{plural(len(evaluation.clips), 'clip')}, model {escape(evaluation.model)}",
        title_justify="left",
    )
    for column in ("label", "true", "found", "false", "precision (95 %)", "recall (95 %)", "accuracy"):
        table.add_column(column, justify="left" if column == "label" else "right")
    table.add_column("best threshold", justify="right")
    table.add_column(f"for precision {evaluation.wanted_precision:g}", justify="right")
    rows = [(label, counts_of(label, evaluation.clips)) for label in evaluation.labels]
    for label, counts in [*rows, ("", evaluation.total)]:
        suggestion = evaluation.suggestion(label)
        precise = suggestion.precise
        table.add_row(
            escape(label) or "all",
            str(counts.hits + counts.misses),
            str(counts.hits),
            str(counts.false_alarms),
            share_text(counts.hits, counts.hits + counts.false_alarms),
            share_text(counts.hits, counts.hits + counts.misses),
            f"{counts.accuracy:.2f}" if counts.accuracy is not None else "–",
            best_text(suggestion),
            f"{precise.threshold:.2f} (recall {precise.counts.recall or 0:.2f})" if precise else "none",
            style="bold" if not label else "",
        )
    console.print(table)
    console.print(_confusion_table(evaluation))
    exact = exact_share(evaluation.clips)
    if exact is not None:
        console.print(f"exactly right: {exact:.2f} of clips at threshold {evaluation.threshold:g}", end="; ")
    console.print(f"calibration error of the peaks: {evaluation.reliability[1]:.3f}")
    if found := evaluation.calibration:
        console.print(
            f"temperature {found.before:.2f} -> {found.after:.2f} (mean loss {found.loss_before:.3f} -> "
            f"{found.loss_after:.3f} over {found.n_clips} clips), written to {escape(str(found.file))}"
        )
    for warning in warnings_of(evaluation):
        console.print(f"[yellow]note:[/yellow] {escape(warning)}")
    console.print(f"pictures and curves: {escape(page)}")


def _confusion_table(evaluation: Evaluation) -> Table:
    table = Table(title="clips by truth (rows) and answer (columns)", title_justify="left")
    found = confusion(evaluation.labels, evaluation.clips)
    table.add_column("true")
    for column in found[NOTHING]:
        table.add_column(escape(column), justify="right")
    for row, cells in found.items():
        table.add_row(
            escape(row),
            *(f"[bold]{n}[/bold]" if n and row == column else str(n or "·") for column, n in cells.items()),
        )
    return table
