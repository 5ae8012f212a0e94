"""What a simulated camera recorded: its events with the embeddings of their pictures, kept in one file a camera."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.clock import uuid7
from shared.contract import DecisionSettings, LabelSet, PictureInfo, SnippetHeader, SnippetMessage
from shared.decisions.labeller import EmbeddedSnippet

FIRST_DAY = datetime(2026, 3, 2, tzinfo=UTC)
REAL, VISITOR = "real", "visitor"  # kinds of events; every other kind is a nuisance's


@dataclass(frozen=True, slots=True)
class SeenEvent:
    """An event and the truth about it. `embeddings`: float32[P,D] of its crops, `offsets_s` after its begin.

    Crops of one time are of one moment.

    `shown`: those of the camera's labels that are true of it; `name`: what a visitor is called, else "".
    """

    kind: str
    at_s: float  # since FIRST_DAY
    shown: frozenset[str]
    name: str
    offsets_s: tuple[float, ...]
    embeddings: NDArray[np.float32] = field(compare=False, repr=False)

    @property
    def day(self) -> int:
        return int(self.at_s // 86400)


@dataclass(frozen=True, slots=True)
class CameraRecord:
    """A camera: its words and, in time order, its events. `movers`: what each kind is, in words."""

    name: str
    labels: tuple[str, ...]
    background: tuple[str, ...]
    movers: dict[str, str]
    events: tuple[SeenEvent, ...]

    @property
    def n_days(self) -> int:
        return max(event.day for event in self.events) + 1


def snippet_of(event: SeenEvent, label_set: LabelSet, threshold: float = 0.5) -> EmbeddedSnippet:
    """Return an event as the classifier decides it: one snippet, embeddings as they are kept (half precision)."""
    at = FIRST_DAY + timedelta(seconds=event.at_s)
    header = SnippetHeader(
        event_id=uuid7(at, seed=f"{event.kind} {event.at_s}"),
        snippet=0,
        is_last=True,
        camera="bench",
        event_started_at=at,
        started_at=at,
        ended_at=at + timedelta(seconds=event.offsets_s[-1] + 1),
        label_set=label_set,
        decision=DecisionSettings(threshold=threshold),
        pictures=_infos(at, event.offsets_s),
    )
    message = SnippetMessage(header, (b"",) * len(event.offsets_s))
    return EmbeddedSnippet(message, event.embeddings, np.ones(len(event.offsets_s), np.bool_))


@lru_cache(maxsize=100_000)
def _infos(at: datetime, offsets_s: tuple[float, ...]) -> tuple[PictureInfo, ...]:
    numbers = {t_s: number for number, t_s in enumerate(sorted(set(offsets_s)))}
    return tuple(
        PictureInfo(
            moment=numbers[t_s], kind="crop", captured_at=at + timedelta(seconds=t_s), width=224, height=224
        )
        for t_s in offsets_s
    )


def save(record: CameraRecord, path: Path) -> None:
    """Write a camera's record in one file."""
    facts = {
        "name": record.name,
        "labels": record.labels,
        "background": record.background,
        "movers": record.movers,
        "events": [
            {
                "kind": e.kind,
                "at_s": e.at_s,
                "shown": sorted(e.shown),
                "name": e.name,
                "offsets_s": e.offsets_s,
            }
            for e in record.events
        ],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part.npz")
    np.savez(
        part,
        facts=np.frombuffer(json.dumps(facts).encode(), np.uint8),
        embeddings=np.concatenate([e.embeddings for e in record.events]).astype(np.float16),
    )
    part.replace(path)


def load(path: Path) -> CameraRecord:
    """Read a camera's record."""
    with np.load(path) as data:
        facts = json.loads(data["facts"].tobytes())
        embeddings = data["embeddings"].astype(np.float32)
    events, at = [], 0
    for fields in facts["events"]:
        n = len(fields["offsets_s"])
        events.append(
            SeenEvent(
                fields["kind"],
                fields["at_s"],
                frozenset(fields["shown"]),
                fields["name"],
                tuple(fields["offsets_s"]),
                embeddings[at : at + n],
            )
        )
        at += n
    return CameraRecord(
        facts["name"], tuple(facts["labels"]), tuple(facts["background"]), facts["movers"], tuple(events)
    )


def in_order(events: Iterable[SeenEvent]) -> tuple[SeenEvent, ...]:
    return tuple(sorted(events, key=lambda event: event.at_s))
