"""snippets.v1: motion -> classifier. A snippet's pictures, and all that is known of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, model_validator

from shared.contract.codec import MAX_PICTURE_BYTES, MAX_PICTURES, Fields, blob, dump, load, media_id
from shared.contract.fields import CameraId, EventId, LabelText, MessagePart, Moment, Number, Ratio
from shared.errors import ContractError


class Box(MessagePart):
    """A rectangle in shares of the frame's width and height: left, top, width, height, each 0..1."""

    x: Ratio
    y: Ratio
    w: Ratio
    h: Ratio


class DecisionSettings(MessagePart):
    """When a label is accepted; meanings and defaults in shared/decisions/decision.py and the camera file."""

    threshold: Ratio = 0.5
    leave_threshold: Ratio | None = None
    margin: Ratio = 0.05
    window_s: Annotated[float, Field(ge=0, le=60)] = 2.0
    min_moments: Annotated[int, Field(ge=1, le=64)] = 2


class LabelSet(MessagePart):
    """What is looked for (`labels`) and what is always in view (`background`), in the user's words."""

    labels: Annotated[tuple[LabelText, ...], Field(min_length=1, max_length=200)]
    background: Annotated[tuple[LabelText, ...], Field(max_length=50)] = ()


class PictureInfo(MessagePart):
    """One JPEG of a snippet. `moment` numbers the instants, 0..; the pictures of one instant share it."""

    moment: Annotated[int, Field(ge=0, lt=MAX_PICTURES)]
    kind: Literal["frame", "crop"]
    captured_at: Moment
    width: Annotated[int, Field(gt=0, le=65535)]
    height: Annotated[int, Field(gt=0, le=65535)]
    box: Box | None = None  # where it lies in the frame; None: the whole frame
    # of a crop: number of the object that motion followed, within the event; None: not followed, or an older writer.
    # Left out where there is none, so that such a message is what it always was.
    track: Annotated[Number | None, Field(exclude_if=lambda track: track is None)] = None

    @model_validator(mode="after")
    def _only_a_crop_shows_one_object(self) -> PictureInfo:
        if self.track is not None and self.kind != "crop":
            raise ValueError(f"kind={self.kind} with track={self.track}: only a crop shows a single object")
        return self


class SnippetHeader(MessagePart):
    """What motion says of a snippet. Times are UTC capture times; (event_id, snippet) is its key everywhere."""

    version: Literal[1] = 1
    event_id: EventId
    snippet: Number
    is_last: bool  # the event ended with this snippet
    camera: CameraId
    event_started_at: Moment  # first frame with motion
    event_ended_at: Moment | None = None  # last frame with motion so far; final when is_last
    started_at: Moment  # of the clip, pre-roll included
    ended_at: Moment  # of the clip, post-roll included
    motion_peak: Ratio = 0.0
    latitude: Annotated[float, Field(ge=-90, le=90)] | None = None
    longitude: Annotated[float, Field(ge=-180, le=180)] | None = None
    label_set: LabelSet
    decision: DecisionSettings = DecisionSettings()
    pictures: Annotated[tuple[PictureInfo, ...], Field(max_length=MAX_PICTURES)] = ()

    @model_validator(mode="after")
    def _times_in_order(self) -> SnippetHeader:
        if self.ended_at < self.started_at:
            raise ValueError("ended_at lies before started_at")
        return self


@dataclass(frozen=True, slots=True)
class SnippetMessage:
    """motion -> classifier. `pictures[i]` is the JPEG that `header.pictures[i]` describes."""

    header: SnippetHeader
    pictures: tuple[bytes, ...]
    media_id: str = ""  # entry id of the clip in MEDIA; set when both are published

    def encode(self) -> Fields:
        """Raise ContractError rather than write what no reader would take."""
        if len(self.pictures) != len(self.header.pictures):
            raise ContractError(f"{len(self.pictures)} pictures, the header has {len(self.header.pictures)}")
        fields: Fields = {b"h": dump(self.header), b"media_id": self.media_id.encode()}
        media_id(fields)
        for index, jpeg in enumerate(self.pictures):
            fields[b"p%d" % index] = jpeg
            blob(fields, b"p%d" % index, MAX_PICTURE_BYTES)
        return fields

    @classmethod
    def decode(cls, fields: Mapping[bytes, bytes]) -> SnippetMessage:
        """Raise ContractError, which names the fault, when `fields` are not a SnippetMessage of this version."""
        header = load(SnippetHeader, fields)
        pictures = tuple(blob(fields, b"p%d" % i, MAX_PICTURE_BYTES) for i in range(len(header.pictures)))
        return cls(header, pictures, media_id(fields))
