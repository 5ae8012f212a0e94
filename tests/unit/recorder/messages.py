"""Builds the messages that the recorder reads; for tests only."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from redis.asyncio import Redis

from services.recorder.media.files import MediaFolder
from services.recorder.media.values import StoredMedia
from shared.clock import uuid7
from shared.contract import (
    LABELS,
    MEDIA,
    AcceptedLabel,
    Box,
    Column,
    LabelSet,
    LabelsHeader,
    LabelsMessage,
    MediaHeader,
    MediaMessage,
    PictureInfo,
    SnippetHeader,
)

START = datetime(2026, 5, 4, 3, 2, 1, 500_000, tzinfo=UTC)
CLIP = bytes(range(256)) * 40
THUMBNAIL = b"\xff\xd8\xff\xe0" + b"thumbnail" * 20 + b"\xff\xd9"


@dataclass(frozen=True, slots=True)
class Said:
    """What the classifier says of one snippet, in short."""

    event: int = 0
    snippet: int = 0
    is_last: bool = False
    camera: str = "gate"
    accepted: Sequence[tuple[str, float]] = ()
    labels: Sequence[str] = ("a dog", "a pedestrian")
    background: Sequence[str] = ("an empty path",)
    start: datetime = START
    place: tuple[float, float] | None = None
    motion_peak: float = 0.5
    labelled_after_s: float = 12.0
    n_moments: int = 4
    dim: int = 8
    model: str = "mini"
    peaks: dict[str, float] = field(default_factory=dict)

    @property
    def event_id(self) -> str:
        return uuid7(self.start + timedelta(minutes=self.event), seed=f"{self.camera}/{self.event}")

    @property
    def media_key(self) -> str:
        return f"{self.event:016x}{self.snippet:016x}"


def labels_message(said: Said, media_id: str = "") -> LabelsMessage:
    """Return the message of labels.v1."""
    event_start = said.start + timedelta(minutes=said.event)
    start = event_start + timedelta(seconds=10 * said.snippet - 3)
    moments = tuple(start + timedelta(seconds=1.5 * i) for i in range(said.n_moments))
    columns = (
        *(Column(text=text, kind="target") for text in said.labels),
        *(Column(text=text, kind="background") for text in said.background),
        Column(text="other", kind="other"),
    )
    share = 1 / len(columns)
    pictures = tuple(
        PictureInfo(
            moment=i,
            kind=kind,
            captured_at=moment,
            width=64,
            height=48,
            box=Box(x=0.25, y=0.5, w=0.25, h=0.25) if kind == "crop" else None,
        )
        for i, moment in enumerate(moments)
        for kind in ("frame", "crop")
    )
    header = SnippetHeader(
        event_id=said.event_id,
        snippet=said.snippet,
        is_last=said.is_last,
        camera=said.camera,
        event_started_at=event_start,
        event_ended_at=start + timedelta(seconds=10),
        started_at=start,
        ended_at=start + timedelta(seconds=12),
        motion_peak=said.motion_peak,
        latitude=said.place[0] if said.place else None,
        longitude=said.place[1] if said.place else None,
        label_set=LabelSet(labels=tuple(said.labels), background=tuple(said.background)),
        pictures=pictures,
    )
    accepted = tuple(
        AcceptedLabel(label=text, probability=p, started_at=moments[0], ended_at=moments[-1])
        for text, p in said.accepted
    )
    return LabelsMessage(
        LabelsHeader(
            snippet=header,
            media_id=media_id,
            model=said.model,
            columns=columns,
            moments=moments,
            accepted=accepted,
            peaks=said.peaks or dict.fromkeys((*said.labels, *said.background), share),
            reason="" if accepted else "nothing beat the background",
            embedding_dim=said.dim,
            labelled_at=start + timedelta(seconds=said.labelled_after_s),
        ),
        struct.pack(f"<{len(moments) * len(columns)}e", *[share] * (len(moments) * len(columns))),
        struct.pack(f"<{len(pictures) * said.dim}e", *[0.25] * (len(pictures) * said.dim)),
        _singles([dict(said.accepted).get(text, share) for text in said.labels] * len(moments)),
        _singles([0.0625] * (len(said.labels) * len(moments))),
    )


def _singles(values: Sequence[float]) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


def media_message(said: Said, clip: bytes = CLIP, thumbnail: bytes = THUMBNAIL) -> MediaMessage:
    """Return the message of media.v1."""
    header = labels_message(said).header.snippet
    return MediaMessage(
        MediaHeader(
            event_id=header.event_id,
            snippet=header.snippet,
            camera=header.camera,
            started_at=header.started_at,
            ended_at=header.ended_at,
            media_key=said.media_key,
            width=640,
            height=360,
        ),
        clip,
        thumbnail,
    )


def keep(folder: MediaFolder, said: Said, clip: bytes = CLIP, thumbnail: bytes = THUMBNAIL) -> StoredMedia:
    """Keep the files of a snippet, as the recorder does within its transaction."""
    staged = folder.stage(media_message(said, clip, thumbnail))
    try:
        staged.publish()
    finally:
        staged.discard()
    return staged.kept


async def append(redis: Redis, stream: str, fields: Mapping[bytes, bytes]) -> str:
    """Append one entry; return its id."""
    entry: Any = await redis.xadd(stream, dict[Any, Any](fields))  # Any: redis-py's wide unions
    return str(entry.decode())


async def send(redis: Redis, said: Said, clip: bytes = CLIP, thumbnail: bytes = THUMBNAIL) -> str:
    """Append clip and labels as motion and classifier do; return the id of the labels entry."""
    media_id = await append(redis, MEDIA, media_message(said, clip, thumbnail).encode())
    return await append(redis, LABELS, labels_message(said, media_id).encode())
