"""From a labels message to the rows of its snippet, and from an event's snippets to its row and detections. Pure.

Everything about an event follows from the set of its snippets, so neither the order in which messages come nor how
often they come can change the result. Knows no database, no clock.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from services.recorder.media.values import StoredMedia
from shared.clock import to_millis
from shared.contract import LabelsHeader, LabelsMessage
from shared.errors import Permanent

LABEL_CHARS = 200
MODEL_CHARS = 200
REASON_CHARS = 2000
SNIPPET_MAX = 2**31 - 1
_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = datetime(2200, 1, 1, tzinfo=UTC)
Row = dict[str, Any]  # Any: column values of every type


@dataclass(frozen=True, slots=True)
class SnippetRows:
    """What one labels message says, as rows; media columns are not among them."""

    event_id: str
    snippet: int
    camera: str
    columns: Row  # of `snippets`, without media and recorded_at
    probabilities: tuple[Row, ...]  # of `frame_probabilities`
    embeddings: tuple[Row, ...]  # of `frame_embeddings`


@dataclass(frozen=True, slots=True)
class SnippetState:
    """A row of `snippets`, as far as the event follows from it."""

    snippet: int
    event_started_at: datetime
    event_ended_at: datetime
    is_last: bool
    motion_peak: float
    latitude: float | None
    longitude: float | None
    clip_name: str | None
    thumbnail_name: str | None
    accepted: str  # JSON


def snippet_rows(message: LabelsMessage) -> SnippetRows:
    """Return the rows of one message; raise Permanent when it holds values that no table may hold."""
    header, said = message.header.snippet, message.header
    for moment in (
        header.event_started_at,
        header.event_ended_at or header.ended_at,
        header.started_at,
        header.ended_at,
        said.labelled_at,
        *said.moments,
        *(picture.captured_at for picture in header.pictures),
        *(moment for label in said.accepted for moment in (label.started_at, label.ended_at)),
    ):
        if not _EARLIEST <= moment <= _LATEST:
            raise Permanent(f"time {moment.isoformat()} lies outside 1970..2200")
    if header.snippet > SNIPPET_MAX:
        raise Permanent(f"snippet={header.snippet} is larger than {SNIPPET_MAX}")
    if len(said.model) > MODEL_CHARS:
        raise Permanent(f"model name has {len(said.model)} characters, at most {MODEL_CHARS} are taken")
    columns: Row = {
        "event_id": header.event_id,
        "snippet": header.snippet,
        "started_at": to_millis(header.started_at),
        "ended_at": to_millis(header.ended_at),
        "event_started_at": to_millis(header.event_started_at),
        "event_ended_at": to_millis(max(header.event_ended_at or header.ended_at, header.event_started_at)),
        "is_last": header.is_last,
        "motion_peak": header.motion_peak,
        "latitude": header.latitude,
        "longitude": header.longitude,
        "model": said.model,
        "reason": said.reason[:REASON_CHARS],
        "label_set": _dump(header.label_set.model_dump(mode="json")),
        "decision": _dump(header.decision.model_dump(mode="json")),
        "accepted": accepted_column(said),
        "peaks": _dump(said.peaks),
        "labelled_at": to_millis(said.labelled_at),
    }
    return SnippetRows(
        header.event_id,
        header.snippet,
        header.camera,
        columns,
        tuple(_probabilities(message)),
        tuple(_embeddings(message)),
    )


def accepted_column(said: LabelsHeader) -> str:
    """Return the accepted labels as `snippets.accepted` keeps them."""
    return _dump(
        [
            {
                "label": label.label,
                "probability": label.probability,
                "started_at": to_millis(label.started_at).isoformat(),
                "ended_at": to_millis(label.ended_at).isoformat(),
            }
            for label in said.accepted
        ]
    )


def _probabilities(message: LabelsMessage) -> Sequence[Row]:
    said = message.header
    texts = [column.text.strip() for column in said.columns]
    for text in texts:
        if not 1 <= len(text) <= LABEL_CHARS:
            raise Permanent(f"a label has {len(text)} characters, wanted 1..{LABEL_CHARS}")
    values = struct.unpack(f"<{len(said.moments) * len(texts)}e", message.probabilities)
    decided = _decided(message)
    rows: dict[tuple[int, str, str], Row] = {}
    for index, value in enumerate(values):
        moment, column = divmod(index, len(texts))
        if not math.isfinite(value) or not -0.001 <= value <= 1.001:
            raise Permanent(f"probability {value} of moment {moment} lies outside 0..1")
        key = (moment, said.columns[column].kind, texts[column])
        value = min(max(value, 0.0), 1.0)
        if key in rows and rows[key]["probability"] >= value:
            continue  # the same words twice: the better evidence stands
        rows[key] = {
            "event_id": said.snippet.event_id,
            "snippet": said.snippet.snippet,
            "moment": moment,
            "kind": key[1],
            "label": key[2],
            "captured_at": to_millis(said.moments[moment]),
            "probability": value,
            **decided.get((moment, column), _UNDECIDED),
        }
    return list(rows.values())


_UNDECIDED: Row = {"score": None, "background": None}


def _decided(message: LabelsMessage) -> dict[tuple[int, int], Row]:
    """Return score and background by moment and column; nothing from classifiers that did not send them."""
    n_targets = sum(column.kind == "target" for column in message.header.columns)
    singles = f"<{len(message.scores) // 4}f"
    pairs = zip(
        struct.unpack(singles, message.scores), struct.unpack(singles, message.backgrounds), strict=True
    )
    return {
        divmod(index, n_targets): {"score": score, "background": background}
        for index, (score, background) in enumerate(pairs)
    }


def _embeddings(message: LabelsMessage) -> Sequence[Row]:
    said, size = message.header, 2 * message.header.embedding_dim
    if not size:
        return []
    return [
        {
            "event_id": said.snippet.event_id,
            "snippet": said.snippet.snippet,
            "picture": index,
            "moment": picture.moment,
            "captured_at": to_millis(picture.captured_at),
            "kind": picture.kind,
            "box_x": picture.box.x if picture.box else None,
            "box_y": picture.box.y if picture.box else None,
            "box_w": picture.box.w if picture.box else None,
            "box_h": picture.box.h if picture.box else None,
            "model": said.model,
            "dim": said.embedding_dim,
            "embedding": message.embeddings[index * size : (index + 1) * size],
            "track": picture.track,
        }
        for index, picture in enumerate(said.snippet.pictures)
    ]


def merged_media(recorded: StoredMedia | None, new: StoredMedia) -> StoredMedia:
    """Return the media that a snippet has: what was kept once stays, since its entry is gone from the stream."""
    return recorded if recorded is not None and recorded.clip_name is not None else new


def detections_of(event_id: str, camera: str, snippets: Sequence[SnippetState]) -> list[Row]:
    """Return the rows of `detections`: each accepted label once, with its best peak and widest span; best first."""
    started_at = min(state.event_started_at for state in snippets)
    found: dict[str, Row] = {}
    for state in sorted(snippets, key=lambda state: state.snippet):
        for said in json.loads(state.accepted):
            span = datetime.fromisoformat(said["started_at"]), datetime.fromisoformat(said["ended_at"])
            row = found.setdefault(
                said["label"],
                {
                    "event_id": event_id,
                    "label": said["label"],
                    "camera": camera,
                    "event_started_at": started_at,
                    "probability": -1.0,
                    "started_at": span[0],
                    "ended_at": span[1],
                    "snippet": state.snippet,
                },
            )
            row["started_at"] = min(row["started_at"], span[0])
            row["ended_at"] = max(row["ended_at"], span[1])
            if said["probability"] > row["probability"]:
                row["probability"], row["snippet"] = said["probability"], state.snippet
    return sorted(found.values(), key=lambda row: (-row["probability"], row["label"]))


def event_of(snippets: Sequence[SnippetState], detections: Sequence[Row]) -> Row:
    """Return the columns of `events` that follow from its snippets."""
    first = min(snippets, key=lambda state: state.snippet)
    best = detections[0] if detections else None
    shown = _shown(snippets, best["snippet"] if best else None)
    return {
        "started_at": min(state.event_started_at for state in snippets),
        "ended_at": max(state.event_ended_at for state in snippets),
        "is_open": not any(state.is_last for state in snippets),
        "is_accepted": best is not None,
        "label": best["label"] if best else None,
        "probability": best["probability"] if best else None,
        "n_snippets": len(snippets),
        "motion_peak": max(state.motion_peak for state in snippets),
        "clip_name": shown.clip_name,
        "thumbnail_name": shown.thumbnail_name,
        "latitude": first.latitude,
        "longitude": first.longitude,
    }


def _shown(snippets: Sequence[SnippetState], best: int | None) -> SnippetState:
    """Return the snippet that stands for the event: it has a picture, shows the label best, moves most."""
    return max(
        snippets,
        key=lambda state: (
            state.thumbnail_name is not None,
            state.snippet == best,
            state.motion_peak,
            -state.snippet,
        ),
    )


def _dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
