"""What the terminal shows: the live table of events, totals, faults. Knows rows, not where they come from."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console, JustifyMethod
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from services.local.printable_console import PrintableConsole
from shared.clock import duration_s
from shared.plurals import plural
from shared.terminal_text import say

if TYPE_CHECKING:  # seconds of imports, which printing a fault must not cost
    from services.local.records import EventRow
    from services.local.tasks.analysis import RecordingFile
    from services.local.tasks.recorder_client import Json

COLUMNS = ("time", "camera", "label", "probability", "weather", "clip")


def wide_console(is_stderr: bool = False) -> Console:
    """Return a console that breaks no lines for a file or a pipe, which have no width."""
    console = PrintableConsole(stderr=is_stderr, highlight=False, emoji=False)
    if not console.is_terminal:
        console.width = 160
    return console


def events_table(rows: Sequence[EventRow], title: str, limit: int | None = None) -> Table:
    """Return the table of at most `limit` of `rows` (newest first), with the newest at the bottom, where the eye is."""
    table = Table(title=title, title_justify="left", expand=True, header_style="bold")
    for column in COLUMNS:
        table.add_column(
            column,
            justify="right" if column == "probability" else "left",
            no_wrap=column != "clip",
            overflow="fold" if column == "clip" else "ellipsis",
        )
    for row in reversed(rows[:limit]):
        table.add_row(*(escape(cell) for cell in cells(row)), style="bold" if row.is_open else "")
    return table


def cells(row: EventRow) -> tuple[str, str, str, str, str, str]:
    """Return the texts of one event, in the order of COLUMNS."""
    return (
        local_time(row.started_at) + (" …" if row.is_open else ""),
        row.camera,
        ", ".join(row.accepted) or "(nothing accepted)",
        f"{row.probability:.2f}" if row.probability is not None else "",
        row.weather or "not there yet",
        clips_text(row),
    )


def local_time(moment: datetime) -> str:
    """Return a time as a person near the camera reads it."""
    return moment.astimezone().strftime("%m-%d %H:%M:%S")


def clips_text(row: EventRow) -> str:
    """Return where the first clip is, and how many more there are."""
    clips = [snippet.clip for snippet in row.snippets if snippet.clip]
    if not clips:
        return ""
    more = f" (+{len(clips) - 1})" if len(clips) > 1 else ""
    return short_path(clips[0]) + more


def short_path(path: Path) -> str:
    """Return a path relative to the current folder where it lies inside."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def totals(rows: Sequence[EventRow], n_dead: int) -> str:
    """Return one line of totals: events, labels, clips, and what could not be handled."""
    accepted = [row for row in rows if row.accepted]
    counts: dict[str, int] = {}
    for row in accepted:
        for label in row.accepted:
            counts[label] = counts.get(label, 0) + 1
    labels = ", ".join(
        f"{label} {n}" for label, n in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    )
    n_clips = sum(1 for row in accepted for snippet in row.snippets if snippet.clip)
    text = f"{plural(len(accepted), 'event')} recorded ({labels or 'no label'}), {plural(n_clips, 'clip')}"
    n_other = len(rows) - len(accepted)
    if n_other:
        text += f"; {n_other} more moved, but no label was accepted"
    if n_dead:
        text += f"; {plural(n_dead, 'message')} could not be handled (dead letters)"
    return text


@contextlib.contextmanager
def progress_bar() -> Iterator[Callable[[str, float], None]]:
    """Show a progress bar on stderr; yields the function that moves it (stage, share 0..1)."""
    columns = (TextColumn("{task.description:<12}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=PrintableConsole(stderr=True)) as progress:
        task = progress.add_task("starting", total=1.0)
        yield lambda stage, share: progress.update(task, description=stage, completed=share)


def print_analysis(events: Sequence[EventRow], recordings: Mapping[str, RecordingFile], out: Path) -> None:
    """Print the events of `clipwatch analyze` as a table, with their place in the recording."""
    console = wide_console()
    table = Table(header_style="bold", expand=False)
    for column in ("recording", "from", "to", "label", "probability", "all peaks", "clip"):
        justify: JustifyMethod = "right" if column in ("from", "to", "probability") else "left"
        table.add_column(column, justify=justify, overflow="fold" if column == "clip" else "ellipsis")
    for event in events:
        recording = recordings[event.camera]
        table.add_row(
            escape(recording.name),
            clock_text(duration_s(recording.starts_at, event.started_at)),
            clock_text(duration_s(recording.starts_at, event.ended_at)),
            escape(", ".join(event.accepted) or "(nothing accepted)"),
            f"{event.probability:.2f}" if event.probability is not None else "",
            escape(", ".join(f"{text} {peak:.2f}" for text, peak in event.peaks.items())),
            escape(clips_text(event)),
        )
    if events:
        console.print(table)
    console.print(f"{totals(events, 0)} in {short_path(out.resolve())}", markup=False)


def clock_text(seconds: float) -> str:
    """Return seconds as 1:02:03.4 or 2:03.4."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02d}:{rest:04.1f}" if hours else f"{minutes}:{rest:04.1f}"


def print_faults(faults: Sequence[str]) -> None:
    """Print one line a fault on stderr, without colour codes when it is no terminal."""
    say(*(f"clipwatch: {fault}" for fault in faults), is_error=True)  # names of files hold what they like


def print_search(answer: Json) -> None:
    """Print matches, apart from them what is merely nearest, and what was searched."""
    console = PrintableConsole(width=max(Console().width, 120))
    nearest = [hit for hit in answer["results"] if hit.get("is_good") is False]
    good = [hit for hit in answer["results"] if hit.get("is_good") is not False]
    if good:
        console.print(_hits_table(good))
    if nearest:
        console.print("Nearest all the same:" if good else "No good match. Nearest all the same:")
        console.print(_hits_table(nearest))
    n_events, n_searched = plural(len(answer["results"]), "event"), plural(answer["searched"], "picture")
    text = f"{n_events} from {n_searched} in {answer['took_s']:.2f} s"
    if answer["left_out"]:
        left_out = plural(answer["left_out"], "picture of another model was", "pictures of other models were")
        text += f"; {left_out} left out"
    if not answer["is_complete"]:
        text += "; the index is still being built"
    console.print(text, soft_wrap=True, highlight=False)


def _hits_table(hits: Sequence[Json]) -> Table:
    table = Table(header_style="bold")
    for column in ("similarity", "seen", "camera", "recorded as", "in the clip", "event"):
        table.add_column(column, justify="right" if column in ("similarity", "in the clip") else "left")
    for hit in hits:
        event = hit["event"]
        at = datetime.fromisoformat(hit["captured_at"]).astimezone()
        table.add_row(
            f"{hit['similarity']:.3f}",
            f"{at:%Y-%m-%d %H:%M:%S}",
            escape(event["camera"]),
            escape(event["label"] or ""),
            f"{hit['offset_s']:.1f} s",
            event["id"],
        )
    return table


def print_verdicts(verdicts: Sequence[Json]) -> None:
    """Print what was said of events as a table."""
    console = PrintableConsole(width=max(Console().width, 120))
    table = Table(header_style="bold")
    for column in ("said", "by", "camera", "event of", "recorded", "verdict", "examples", "event"):
        table.add_column(column, justify="right" if column == "examples" else "left")
    for one in verdicts:
        made_at, started_at = (
            datetime.fromisoformat(one[name]).astimezone() for name in ("made_at", "event_started_at")
        )
        text = f"{one['kind']} '{one['label']}'" if one["label"] else one["kind"]
        if one["undone_at"]:
            text += f", taken back by {one['undone_by']}"
        table.add_row(
            f"{made_at:%Y-%m-%d %H:%M}",
            escape(one["made_by"]),
            escape(one["camera"]),
            f"{started_at:%Y-%m-%d %H:%M:%S}",
            escape(", ".join(one["recorded"])),
            escape(text),
            str(one["n_examples"]),
            one["event_id"],
        )
    console.print(table)


def print_relabel(result: Json) -> None:
    """Print what changes, by camera and label, and the events that change."""
    console = PrintableConsole(width=max(Console().width, 120))
    counts = Table(header_style="bold", title="events by camera and label", title_justify="left")
    for column in ("camera", "label", "recorded", "in hindsight", "gained", "lost"):
        counts.add_column(column, justify="left" if column in ("camera", "label") else "right")
    for of_camera in result["cameras"]:
        for row in of_camera["labels"]:
            numbers = (row[name] for name in ("recorded", "hindsight", "gained", "lost"))
            cells = (f"{n:,}" if n else "-" for n in numbers)
            counts.add_row(escape(of_camera["camera"]), escape(row["label"]), *cells)
    if counts.rows:
        console.print(counts)
    if result["shown"]:
        console.print(_compared(result["shown"]))
    console.print(_outcome_text(result), soft_wrap=True, highlight=False)


def _compared(shown: Sequence[Json]) -> Table:
    table = Table(header_style="bold")
    for column in ("event", "started", "camera", "recorded", "in hindsight"):
        table.add_column(column)
    for event in shown:
        at = datetime.fromisoformat(event["started_at"]).astimezone()
        table.add_row(
            event["event_id"],
            f"{at:%Y-%m-%d %H:%M:%S}",
            escape(event["camera"]),
            _labels(event["recorded"]),
            _labels(event["hindsight"]),
        )
    return table


def _outcome_text(result: Json) -> str:
    text = f"{result['changed']} of {plural(result['events'], 'event')} would differ"
    if result["applied"]:
        text = f"{result['changed']} of {plural(result['events'], 'event')} differed"
        text += f"; {plural(result['written'], 'answer')} replaced"
    if result["changed"] > len(result["shown"]):
        text += f" (the newest {len(result['shown'])} are listed)"
    if result["left_out"]:
        one, many = "snippet of another model keeps its", "snippets of another model keep their"
        text += f"; {plural(result['left_out'], one, many)} answer"
    return text


def print_relabels(changes: Sequence[Json]) -> None:
    """Print the changes of the past as a table."""
    if not changes:
        say("no labels of the past were changed")
        return
    console = PrintableConsole(width=max(Console().width, 120))
    table = Table(header_style="bold")
    for column in ("change", "made", "by", "asked", "events", "answers", "undone"):
        table.add_column(column, justify="right" if column in ("events", "answers") else "left")
    for change in changes:
        undone = f"{_minute(change['undone_at'])} by {change['undone_by']}" if change["undone_at"] else ""
        if change["unfinished"]:
            undone += f", {plural(change['unfinished'], 'answer')} to go: undo again"
        table.add_row(
            change["id"],
            _minute(change["made_at"]),
            escape(change["made_by"]),
            escape(_asked(change)),
            f"{change['events']:,}",
            f"{change['snippets']:,}",
            escape(undone),
        )
    console.print(table)


def undone_text(result: Json) -> str:
    """Return what an undo did, in words."""
    text = f"{plural(result['restored'], 'answer')} put back; the labels of {plural(result['events'], 'event')} changed"
    if result["left"]:
        one, many = "answer was replaced again since and stays", "answers were replaced again since and stay"
        text += f"; {plural(result['left'], one, many)}"
    return text


def _asked(change: Json) -> str:
    asked = change["asked"]
    named = ", ".join(f"'{label}'" for label in asked["labels"])
    what = "verdicts" if change["kind"] == "verdicts" else f"instead: {named}"
    if change["kind"] != "verdicts" and asked["mode"] == "add":
        what = f"added: {named}" if named else "the same labels"
    if asked["threshold"] is not None:
        what += f", threshold {asked['threshold']:g}"
    cameras = asked["cameras"]
    return what + (f"; cameras {', '.join(cameras)}" if cameras is not None else "; all cameras")


def _minute(moment: str) -> str:
    return f"{datetime.fromisoformat(moment).astimezone():%Y-%m-%d %H:%M}"


def _labels(detections: list[Json]) -> str:
    return escape(", ".join(f"{one['label']} {one['probability']:.2f}" for one in detections) or "-")
