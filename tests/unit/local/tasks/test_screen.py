"""What the terminal says of events."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from services.local.records import EventRow, SnippetRow
from services.local.tasks.screen import cells, clock_text, events_table, totals

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
CLIP = SnippetRow(0, AT, AT, Path("/kept/a.mp4"), Path("/kept/a.jpg"), "mini")
ROW = EventRow(
    id="e", camera="gate", started_at=AT, ended_at=AT, is_open=False, label="a dog", probability=0.876,
    accepted=("a dog", "a cat"), peaks={}, weather="drizzle, 7 °C", snippets=(CLIP, replace(CLIP, number=1)),
)  # fmt: skip


def test_a_row_says_when_where_what_how_sure_and_where_the_clip_is() -> None:
    time, camera, label, probability, weather, clip = cells(ROW)
    assert time == AT.astimezone().strftime("%m-%d %H:%M:%S")
    assert (camera, label, probability, weather) == ("gate", "a dog, a cat", "0.88", "drizzle, 7 °C")
    assert clip == "/kept/a.mp4 (+1)"


def test_an_event_that_goes_on_and_weather_that_is_missing_are_marked() -> None:
    row = replace(ROW, is_open=True, weather=None, accepted=(), probability=None, snippets=())
    assert cells(row)[0].endswith("…")
    assert cells(row)[2:] == ("(nothing accepted)", "", "not there yet", "")


def test_labels_that_look_like_markup_are_shown_as_they_are() -> None:
    console = Console(file=io.StringIO(), width=200)
    console.print(events_table([replace(ROW, accepted=("[red]dog",))], "events"))
    assert isinstance(console.file, io.StringIO)
    assert "[red]dog" in console.file.getvalue()


def test_the_table_keeps_the_newest_and_puts_them_last() -> None:
    rows = [replace(ROW, camera=f"camera-{n}") for n in range(5)]  # newest first
    console = Console(file=io.StringIO(), width=200)
    console.print(events_table(rows, "events", limit=2))
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert shown.index("camera-1") < shown.index("camera-0")
    assert "camera-2" not in shown


def test_totals_count_events_labels_clips_and_what_went_wrong() -> None:
    rows = [ROW, replace(ROW, accepted=("a dog",), snippets=()), replace(ROW, accepted=(), snippets=())]
    assert totals(rows, 0) == (
        "2 events recorded (a dog 2, a cat 1), 2 clips; 1 more moved, but no label was accepted"
    )
    assert "3 messages could not be handled" in totals(rows, 3)
    assert totals([], 0) == "0 events recorded (no label), 0 clips"


def test_positions_read_like_a_player() -> None:
    assert [clock_text(s) for s in (0, 65.25, 3723.4)] == ["0:00.0", "1:05.2", "1:02:03.4"]
