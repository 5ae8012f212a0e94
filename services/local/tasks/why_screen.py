"""What `clipwatch why` shows: the sentence, the labels with their numbers, and the moments that decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.console import JustifyMethod
from rich.markup import escape
from rich.table import Table

from services.local.printable_console import PrintableConsole
from shared.plurals import plural
from shared.terminal_text import printable

if TYPE_CHECKING:
    from services.local.tasks.recorder_client import Json

LABELS_MAX = 20
_LEFT = ("label", "run", "against it", "box")


def print_why(answer: Json) -> None:
    """Print an answer of /api/events/ID/why."""
    console = PrintableConsole(highlight=False, emoji=False)
    labels: list[Json] = answer["labels"]
    accepted = [one for one in labels if one["is_accepted"]]
    for text in [one["sentence"] for one in accepted] or [answer["sentence"]]:
        console.print(escape(printable(text)))
    at = datetime.fromisoformat(answer["started_at"]).astimezone()
    console.print()
    console.print(escape(printable(f"Event {answer['event_id']}")))
    console.print(escape(printable(f"camera {answer['camera']}, {at:%Y-%m-%d %H:%M:%S}")))
    if labels:
        console.print(_labels_table(labels[:LABELS_MAX]))
    if len(labels) > LABELS_MAX:
        console.print(f"and {len(labels) - LABELS_MAX} more; --json lists them")
    for one in accepted or labels[:1]:
        if one["moments"]:
            console.print(_moments_table(one))
    for text in answer["missing"]:
        console.print(escape(printable(text)))


def _labels_table(labels: Sequence[Json]) -> Table:
    table = _table(("label", "score", "wanted", "background", "run", "against it"))
    for one in labels:
        run = one["run"]
        table.add_row(
            escape(one["label"]),
            f"{one['peak']:.2f}",
            f"{one['threshold']:.2f}",
            _number(one["background"]),
            "" if run is None else f"{run['duration_s']:.1f} s, {plural(run['n_moments'], 'moment')}",
            _against(one["rival"]),
            style="bold" if one["is_accepted"] else "",
        )
    return table


def _moments_table(one: Json) -> Table:
    table = _table(("in the clip", "averaged", "alone", "background", "against it", "box"))
    table.title = escape(f"What '{one['label']}' hangs on, clip {one['snippet'] + 1}")
    table.title_justify = "left"
    for moment in one["moments"]:
        behind = moment["own_background"] if moment["own_background"] is not None else moment["background"]
        table.add_row(
            f"{moment['offset_s']:.1f} s",
            _number(moment["score"]),
            _number(moment["own_score"]),
            _number(behind),
            _against(moment["rival"]),
            _box(moment["box"]),
        )
    return table


def _table(columns: Sequence[str]) -> Table:
    table = Table(header_style="bold")
    for column in columns:
        justify: JustifyMethod = "left" if column in _LEFT else "right"
        table.add_column(column, justify=justify, overflow="fold")
    return table


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _box(box: Sequence[float] | None) -> str:
    """Return left, top, width and height in percent of the frame."""
    if box is None:
        return "whole frame"
    x, y, w, h = (f"{100 * part:.0f}" for part in box)
    return f"{w}x{h} % at {x},{y}"


def _against(rival: Mapping[str, Any] | None) -> str:  # Any: JSON values
    """Say what stood most against a label."""
    if rival is None:
        return ""
    name = rival["name"] or {"background": "the background"}.get(rival["kind"], "something else")
    if rival["took"] is None:
        return escape(f"{name} had more")
    return escape(f"{name} {rival['took']:.2f}")
