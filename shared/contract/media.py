"""media.v1: motion -> recorder. A snippet's clip and thumbnail."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from shared.contract.codec import MAX_CLIP_BYTES, MAX_PICTURE_BYTES, Fields, blob, dump, load
from shared.contract.fields import CameraId, EventId, MessagePart, Moment, Number


class MediaHeader(MessagePart):
    """What motion says of a clip. `media_key` is 128 random bits in hex, made with the snippet: the file's name."""

    version: Literal[1] = 1
    event_id: EventId
    snippet: Number
    camera: CameraId
    started_at: Moment
    ended_at: Moment
    media_key: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
    width: Annotated[int, Field(gt=0, le=65535)]
    height: Annotated[int, Field(gt=0, le=65535)]
    codec: str = "h264"


@dataclass(frozen=True, slots=True)
class MediaMessage:
    """motion -> recorder: the MP4 (H.264, index in front, playable) and a JPEG thumbnail of its best moment."""

    header: MediaHeader
    clip: bytes
    thumbnail: bytes

    def encode(self) -> Fields:
        """Raise ContractError rather than write what no reader would take."""
        fields = {b"h": dump(self.header), b"mp4": self.clip, b"jpg": self.thumbnail}
        self._blobs(fields)
        return fields

    @classmethod
    def decode(cls, fields: Mapping[bytes, bytes]) -> MediaMessage:
        """Raise ContractError when `fields` are not a MediaMessage of this version."""
        header = load(MediaHeader, fields)
        return cls(header, *cls._blobs(fields))

    @staticmethod
    def _blobs(fields: Mapping[bytes, bytes]) -> tuple[bytes, bytes]:
        return blob(fields, b"mp4", MAX_CLIP_BYTES), blob(fields, b"jpg", MAX_PICTURE_BYTES)
