"""The recorded events, as the command line shows them. Reads the recorder's database; writes nothing."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncEngine

from services.recorder import report
from shared.errors import Transient


@dataclass(frozen=True, slots=True)
class SnippetRow:
    """One clip of an event; times UTC; paths absolute, None when there is no such file."""

    number: int
    started_at: datetime
    ended_at: datetime
    clip: Path | None
    thumbnail: Path | None
    model: str


@dataclass(frozen=True, slots=True)
class EventRow:
    """One event. `accepted` best first; `peaks`: averaged peak of every target and background text."""

    id: str
    camera: str
    started_at: datetime
    ended_at: datetime
    is_open: bool
    label: str | None
    probability: float | None
    accepted: tuple[str, ...]
    peaks: Mapping[str, float]
    weather: str | None  # None: not there yet
    snippets: tuple[SnippetRow, ...]


@dataclass(frozen=True, slots=True)
class Records:
    """The events of one database. While the database does not answer, it reads as empty."""

    engine: AsyncEngine
    media_dir: Path

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, database_url: str, media_dir: Path) -> AsyncIterator[Records]:
        """Open the record; raise ConfigError when the URL cannot be one."""
        engine = report.open_record(database_url)
        try:
            yield cls(engine, media_dir)
        finally:
            await engine.dispose()

    async def recent(self, limit: int) -> list[EventRow]:
        """Return the newest events with an accepted label, newest first."""
        try:
            events = await report.recent_events(self.engine, limit)
        except Transient:
            return []
        return [self._row(event) for event in events]

    async def count(self) -> int:
        """Return how many events with an accepted label there are."""
        try:
            return (await report.totals(self.engine)).accepted_events
        except Transient:
            return 0

    async def all_events(self, since: datetime | None = None) -> list[EventRow]:
        """Return all events from `since` on, accepted or not, oldest first; raise Transient when it cannot be read."""
        return [
            self._row(event)
            for event in await report.event_records(
                self.engine, report.EventFilter(since=since, accepted_only=False)
            )
        ]

    def _row(self, event: report.Event) -> EventRow:
        weather = event.weather
        return EventRow(
            id=event.id,
            camera=event.camera,
            started_at=event.started_at,
            ended_at=event.ended_at,
            is_open=event.is_open,
            label=event.label,
            probability=event.probability,
            accepted=tuple(detection.label for detection in event.detections),
            peaks=event.peaks,
            weather=_weather_words(weather) if weather else None,
            snippets=tuple(
                SnippetRow(
                    number=snippet.snippet,
                    started_at=snippet.started_at,
                    ended_at=snippet.ended_at,
                    clip=self.media_dir / snippet.clip_name if snippet.clip_name else None,
                    thumbnail=self.media_dir / snippet.thumbnail_name if snippet.thumbnail_name else None,
                    model=snippet.model,
                )
                for snippet in event.snippets
            ),
        )


def _weather_words(weather: report.Weather) -> str:
    degrees = f", {weather.temperature_c:.0f} °C" if weather.temperature_c is not None else ""
    return f"{weather.words}{degrees}"
