"""THE messages between the services, and nothing else: stream names, encode, decode, version rule.

On the wire a message is one Redis stream entry: field `h` holds the header as JSON, further fields hold bytes as
they are (JPEG, MP4, float16): no pickle, no base64.

Version rule: the name of a stream carries the version. Within a version fields are only added, with a default; a
reader ignores what it does not know. A change that a reader of the version would misread makes a new stream.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from shared.errors import ContractError

SNIPPETS = "snippets.v1"
MEDIA = "media.v1"
LABELS = "labels.v1"
TEXTS = "texts.v1"  # questions; an answer is the one entry of the stream `answer_key(request_id)`
RECEIPTS = "receipts.v1"  # read by every motion service, without a group
CLASSIFIERS = "classifiers"  # consumer group on SNIPPETS
RECORDERS = "recorders"  # consumer group on LABELS
VERSION = 1

TEXTS_WAITING = 64  # questions that may wait; the oldest go first, whose askers have given up by then
RECEIPTS_KEPT = 10_000  # about 1 MB; who missed one sends its snippet again
ANSWER_KEPT_S = 60  # an answer that nobody fetches is gone after this long

MAX_HEADER_BYTES = 512 * 1024
MAX_PICTURES = 64
MAX_PICTURE_BYTES = 4 * 1024 * 1024
MAX_CLIP_BYTES = 256 * 1024 * 1024

Fields = dict[bytes, bytes]
EventId = Annotated[
    str, StringConstraints(pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$")
]
CameraId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
LabelText = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
# of an entry in MEDIA, or none; 19 digits always fit into the 64 bits that Redis takes
MediaId = Annotated[str, StringConstraints(pattern=r"^([0-9]{1,19}-[0-9]{1,19})?$")]
Ratio = Annotated[float, Field(ge=0, le=1)]
Number = Annotated[int, Field(ge=0, le=2**31 - 1)]  # what the tables hold


def _to_utc(moment: datetime) -> datetime:
    if not 1970 <= moment.year < 2200:  # near the ends of datetime a change of zone overflows
        raise ValueError("must lie between the years 1970 and 2200")
    return moment.astimezone(UTC)


Moment = Annotated[AwareDatetime, AfterValidator(_to_utc)]  # UTC, whatever zone it came in


class _MessagePart(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class Box(_MessagePart):
    """A rectangle in shares of the frame's width and height: left, top, width, height, each 0..1."""

    x: Ratio
    y: Ratio
    w: Ratio
    h: Ratio


class DecisionSettings(_MessagePart):
    """When a label is accepted; meanings and defaults in shared/decisions/decision.py and the camera file."""

    threshold: Ratio = 0.5
    leave_threshold: Ratio | None = None
    margin: Ratio = 0.05
    window_s: Annotated[float, Field(ge=0, le=60)] = 2.0
    min_moments: Annotated[int, Field(ge=1, le=64)] = 2


class LabelSet(_MessagePart):
    """What is looked for (`labels`) and what is always in view (`background`), in the user's words."""

    labels: Annotated[tuple[LabelText, ...], Field(min_length=1, max_length=200)]
    background: Annotated[tuple[LabelText, ...], Field(max_length=50)] = ()


class PictureInfo(_MessagePart):
    """One JPEG of a snippet. `moment` numbers the instants, 0..; the pictures of one instant share it."""

    moment: Annotated[int, Field(ge=0, lt=MAX_PICTURES)]
    kind: Literal["frame", "crop"]
    captured_at: Moment
    width: Annotated[int, Field(gt=0, le=65535)]
    height: Annotated[int, Field(gt=0, le=65535)]
    box: Box | None = None  # where it lies in the frame; None: the whole frame


class SnippetHeader(_MessagePart):
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
        fields: Fields = {b"h": _dump(self.header), b"media_id": self.media_id.encode()}
        _media_id(fields)
        for index, jpeg in enumerate(self.pictures):
            fields[b"p%d" % index] = jpeg
            _blob(fields, b"p%d" % index, MAX_PICTURE_BYTES)
        return fields

    @classmethod
    def decode(cls, fields: Mapping[bytes, bytes]) -> SnippetMessage:
        """Raise ContractError, which names the fault, when `fields` are not a SnippetMessage of this version."""
        header = _load(SnippetHeader, fields)
        pictures = tuple(_blob(fields, b"p%d" % i, MAX_PICTURE_BYTES) for i in range(len(header.pictures)))
        return cls(header, pictures, _media_id(fields))


class MediaHeader(_MessagePart):
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
        fields = {b"h": _dump(self.header), b"mp4": self.clip, b"jpg": self.thumbnail}
        self._blobs(fields)
        return fields

    @classmethod
    def decode(cls, fields: Mapping[bytes, bytes]) -> MediaMessage:
        """Raise ContractError when `fields` are not a MediaMessage of this version."""
        header = _load(MediaHeader, fields)
        return cls(header, *cls._blobs(fields))

    @staticmethod
    def _blobs(fields: Mapping[bytes, bytes]) -> tuple[bytes, bytes]:
        return _blob(fields, b"mp4", MAX_CLIP_BYTES), _blob(fields, b"jpg", MAX_PICTURE_BYTES)


class Column(_MessagePart):
    """One column of the probabilities. `other` pools the distractors, which are nobody's words."""

    text: str
    kind: Literal["target", "background", "other"]


class AcceptedLabel(_MessagePart):
    """A label that the decision accepted: averaged peak, and the span of moments that carried it (UTC)."""

    label: LabelText
    probability: Ratio
    started_at: Moment
    ended_at: Moment


class LabelsHeader(_MessagePart):
    """What the classifier says of a snippet. Everything of the snippet but its pictures' bytes is carried along."""

    version: Literal[1] = 1
    snippet: SnippetHeader
    media_id: MediaId = ""
    model: str
    columns: tuple[Column, ...]
    moments: tuple[Moment, ...]  # one per row of the probabilities, ascending
    accepted: tuple[AcceptedLabel, ...] = ()  # best first
    peaks: dict[str, Ratio] = {}  # averaged peak of every target and background text
    reason: str = ""  # why nothing was accepted, in words; empty when something was
    embedding_dim: Annotated[int, Field(ge=0, le=65535)] = 0
    labelled_at: Moment


@dataclass(frozen=True, slots=True)
class LabelsMessage:
    """classifier -> recorder.

    All little-endian, C order. T: the number of targets, which are the first T columns.
    probabilities: float16[len(moments), len(columns)]; rows sum to 1.
    embeddings:    float16[len(snippet.pictures), embedding_dim]; unit length.
    scores:        float32[len(moments), T], averaged over the window: what was compared with the threshold.
    backgrounds:   float32[len(moments), T], averaged likewise: what each score had to exceed by the margin.
    The last two are empty where the classifier does not send them yet.
    """

    header: LabelsHeader
    probabilities: bytes
    embeddings: bytes = field(default=b"")
    scores: bytes = field(default=b"")
    backgrounds: bytes = field(default=b"")

    def encode(self) -> Fields:
        """Raise ContractError rather than write what no reader would take."""
        fields = {
            b"h": _dump(self.header),
            b"probabilities": self.probabilities,
            b"embeddings": self.embeddings,
        }
        if self.scores or self.backgrounds:
            fields |= {b"scores": self.scores, b"backgrounds": self.backgrounds}
        self._blobs(self.header, fields)
        return fields

    @classmethod
    def decode(cls, fields: Mapping[bytes, bytes]) -> LabelsMessage:
        """Raise ContractError when `fields` are not a LabelsMessage of this version."""
        header = _load(LabelsHeader, fields)
        return cls(header, *cls._blobs(header, fields))

    @staticmethod
    def _blobs(header: LabelsHeader, fields: Mapping[bytes, bytes]) -> tuple[bytes, bytes, bytes, bytes]:
        n_moments = len(header.moments)
        n_targets = sum(column.kind == "target" for column in header.columns)
        probabilities = _halves(fields, b"probabilities", n_moments, len(header.columns))
        _refuse_other_than_shares(b"probabilities", "<e", probabilities)
        embeddings = _halves(fields, b"embeddings", len(header.snippet.pictures), header.embedding_dim)
        if not (fields.get(b"scores") or fields.get(b"backgrounds")):
            return probabilities, embeddings, b"", b""
        scores = _single_shares(fields, b"scores", n_moments, n_targets)
        backgrounds = _single_shares(fields, b"backgrounds", n_moments, n_targets)
        return probabilities, embeddings, scores, backgrounds


class Receipt(_MessagePart):
    """Whoever settles a snippet for good -> motion, which need not keep it any longer.

    outcome: recorded, a row with its clip is committed; dead, it is a dead letter, which Redis keeps.
    """

    version: Literal[1] = 1
    event_id: EventId
    snippet: Number
    outcome: Literal["recorded", "dead"] = "recorded"

    def encode(self) -> Fields:
        """Raise ContractError rather than write what no reader would take."""
        return {b"h": _dump(self)}

    @classmethod
    def decode(cls, fields: Mapping[bytes, bytes]) -> Receipt:
        """Raise ContractError when `fields` are not a Receipt of this version."""
        return _load(Receipt, fields)

    @classmethod
    def of_dead(cls, fields: Mapping[bytes, bytes]) -> Receipt | None:
        """Return the receipt for a snippets or labels message that goes to the dead letters, as little as can be read
        of it; None when it does not even say whose it is.
        """
        try:
            header = json.loads(fields.get(b"h", b""))
            snippet = header.get("snippet")
            named = snippet if isinstance(snippet, dict) else header
            return cls(event_id=named["event_id"], snippet=named["snippet"], outcome="dead")
        except (ValueError, AttributeError, KeyError, TypeError, RecursionError):
            return None


RequestId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]


class TextsQuestion(_MessagePart):
    """Anybody -> classifier: embed this label set as for a decision, or (without others) for a search.

    A question that waited for longer than `deadline_s` is not answered: nobody listens any more.
    """

    version: Literal[1] = 1
    request_id: RequestId
    label_set: LabelSet
    with_others: bool = True  # embed the bank of distractors, too
    deadline_s: Annotated[float, Field(gt=0, le=60)] = 5.0

    def encode(self) -> Fields:
        """Raise ContractError rather than write what no reader would take."""
        return {b"h": _dump(self)}

    @classmethod
    def decode(cls, fields: Mapping[bytes, bytes]) -> TextsQuestion:
        """Raise ContractError when `fields` are not a TextsQuestion of this version."""
        return _load(TextsQuestion, fields)


class TextsAnswerHeader(_MessagePart):
    """What the classifier made of a label set. `fault`: why it made nothing of it; then all counts are 0."""

    version: Literal[1] = 1
    request_id: RequestId
    fault: str = ""
    model: str = ""
    temperature: Annotated[float, Field(gt=0, le=100_000)] = 1.0
    embedding_dim: Annotated[int, Field(ge=0, le=65535)] = 0
    columns: Annotated[tuple[Column, ...], Field(max_length=300)] = ()
    n_targets: Annotated[int, Field(ge=0, le=200)] = 0
    n_background: Annotated[int, Field(ge=0, le=50)] = 0
    n_others: Annotated[int, Field(ge=0, le=1000)] = 0


@dataclass(frozen=True, slots=True)
class TextsAnswer:
    """classifier -> whoever asked. T targets, B backgrounds, O others, in this order.

    embeddings: float32, little-endian, shape [T + B + O, embedding_dim], C order; unit length.
    tables:     bytes of 0 or 1: rivals [T,T], against [T,O], shown [O]; meanings in shared/decisions/label_texts.py.
    """

    header: TextsAnswerHeader
    embeddings: bytes = field(default=b"")
    tables: bytes = field(default=b"")

    def encode(self) -> Fields:
        """Raise ContractError rather than write what no reader would take."""
        fields = {b"h": _dump(self.header), b"embeddings": self.embeddings, b"tables": self.tables}
        self._blobs(self.header, fields)
        return fields

    @classmethod
    def decode(cls, fields: Mapping[bytes, bytes]) -> TextsAnswer:
        """Raise ContractError when `fields` are not a TextsAnswer of this version."""
        header = _load(TextsAnswerHeader, fields)
        return cls(header, *cls._blobs(header, fields))

    @staticmethod
    def _blobs(header: TextsAnswerHeader, fields: Mapping[bytes, bytes]) -> tuple[bytes, bytes]:
        t, o = header.n_targets, header.n_others
        named = t + header.n_background
        if header.columns and len(header.columns) != named + 1:
            raise ContractError(f"{len(header.columns)} columns, wanted {named + 1}: one a text, and 'other'")
        embeddings = _blob(fields, b"embeddings", MAX_PICTURE_BYTES)
        wanted = 4 * (named + o) * header.embedding_dim
        if len(embeddings) != wanted:
            raise ContractError(f"field 'embeddings' has {len(embeddings)} bytes, wanted {wanted}")
        if not all(math.isfinite(value) for (value,) in struct.iter_unpack("<f", embeddings)):
            raise ContractError("field 'embeddings' holds NaN or infinity")
        tables = _blob(fields, b"tables", MAX_PICTURE_BYTES)
        if len(tables) != t * t + t * o + o or tables.strip(b"\x00\x01"):
            raise ContractError(
                f"field 'tables' has {len(tables)} bytes, wanted {t * t + t * o + o} of 0 or 1"
            )
        return embeddings, tables


def answer_key(request_id: str) -> str:
    """Return the key under which the answer to a question is written."""
    return f"{TEXTS}:{request_id}"


_Header = TypeVar("_Header", bound=_MessagePart)


def _dump(header: BaseModel) -> bytes:
    raw = header.model_dump_json().encode()
    _blob({b"h": raw}, b"h", MAX_HEADER_BYTES)
    return raw


def _load(kind: type[_Header], fields: Mapping[bytes, bytes]) -> _Header:
    raw = _blob(fields, b"h", MAX_HEADER_BYTES)
    try:
        return kind.model_validate_json(raw)
    except ValidationError as exc:
        faults = "; ".join(_fault(error) for error in exc.errors(include_url=False)[:5])
        raise ContractError(f"{kind.__name__}: {faults}") from exc


def _fault(error: Mapping[str, Any]) -> str:  # Any: pydantic's own error mapping
    where = ".".join(str(part)[:80] for part in error["loc"]) or "header"
    if where == "version":
        return f"version {str(error.get('input'))[:40]!r}, this service reads {VERSION}: upgrade the older service"
    return f"{where}: {str(error['msg'])[:300]}"


def _blob(fields: Mapping[bytes, bytes], name: bytes, limit: int) -> bytes:
    value = fields.get(name)
    if value is None:
        raise ContractError(f"field '{name.decode()}' is missing")
    if len(value) > limit:
        raise ContractError(f"field '{name.decode()}' has {len(value)} bytes, at most {limit} are taken")
    return value


def _halves(fields: Mapping[bytes, bytes], name: bytes, rows: int, columns: int) -> bytes:
    """Return a field that holds float16[rows, columns], all finite."""
    value = _sized(fields, name, 2, rows, columns)
    # an exponent of ones: NaN or infinity (IEEE 754 binary16); translate is 100 times faster than a loop
    if b"\x01" in value[1::2].translate(_IS_NOT_FINITE):
        raise ContractError(f"field '{name.decode()}' holds NaN or infinity")
    return value


def _single_shares(fields: Mapping[bytes, bytes], name: bytes, rows: int, columns: int) -> bytes:
    """Return a field that holds float32[rows, columns], each 0..1."""
    value = _sized(fields, name, 4, rows, columns)
    _refuse_other_than_shares(name, "<f", value)
    return value


def _sized(fields: Mapping[bytes, bytes], name: bytes, item_bytes: int, rows: int, columns: int) -> bytes:
    value = _blob(fields, name, MAX_PICTURE_BYTES)
    wanted = item_bytes * rows * columns
    if len(value) != wanted:
        raise ContractError(
            f"field '{name.decode()}' has {len(value)} bytes, wanted {wanted} for {rows} x {columns}"
        )
    return value


def _refuse_other_than_shares(name: bytes, number: str, value: bytes) -> None:
    if not all(0 <= share <= 1 for (share,) in struct.iter_unpack(number, value)):  # nor is NaN
        raise ContractError(f"field '{name.decode()}' holds a number outside of 0..1")


_IS_NOT_FINITE = bytes((high & 0x7C) == 0x7C for high in range(256))
_MEDIA_ID: TypeAdapter[str] = TypeAdapter(MediaId)


def _media_id(fields: Mapping[bytes, bytes]) -> str:
    value = _blob(fields, b"media_id", 64)
    try:
        return _MEDIA_ID.validate_python(value.decode("ascii"))
    except (UnicodeDecodeError, ValidationError) as exc:
        raise ContractError("field 'media_id' is not the id of a stream entry") from exc


def duration_s(started_at: datetime, ended_at: datetime) -> float:
    """Return the seconds between two times, never negative, never NaN."""
    seconds = (ended_at - started_at).total_seconds()
    return seconds if math.isfinite(seconds) and seconds > 0 else 0.0
