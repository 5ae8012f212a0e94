"""labels.v1: classifier -> recorder. What the classifier says of a snippet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from shared.contract.codec import Fields, dump, halves, load, refuse_other_than_shares, single_shares
from shared.contract.fields import LabelText, MediaId, MessagePart, Moment, Ratio
from shared.contract.snippets import SnippetHeader


class Column(MessagePart):
    """One column of the probabilities. `other` pools the distractors, which are nobody's words."""

    text: str
    kind: Literal["target", "background", "other"]


class AcceptedLabel(MessagePart):
    """A label that the decision accepted: averaged peak, and the span of moments that carried it (UTC)."""

    label: LabelText
    probability: Ratio
    started_at: Moment
    ended_at: Moment


class LabelsHeader(MessagePart):
    """What the classifier says of a snippet. Everything of the snippet but its pictures' bytes is carried along."""

    version: Literal[1] = 1
    snippet: SnippetHeader
    media_id: MediaId = ""
    model: str
    columns: tuple[Column, ...]
    moments: tuple[Moment, ...]  # one per row of the probabilities, ascending
    accepted: tuple[AcceptedLabel, ...] = ()  # best first
    peaks: dict[str, Ratio] = Field(default_factory=dict)  # averaged peak of every target and background text
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
            b"h": dump(self.header),
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
        header = load(LabelsHeader, fields)
        return cls(header, *cls._blobs(header, fields))

    @staticmethod
    def _blobs(header: LabelsHeader, fields: Mapping[bytes, bytes]) -> tuple[bytes, bytes, bytes, bytes]:
        n_moments = len(header.moments)
        n_targets = sum(column.kind == "target" for column in header.columns)
        probabilities = halves(fields, b"probabilities", n_moments, len(header.columns))
        refuse_other_than_shares(b"probabilities", "<e", probabilities)
        embeddings = halves(fields, b"embeddings", len(header.snippet.pictures), header.embedding_dim)
        if not (fields.get(b"scores") or fields.get(b"backgrounds")):
            return probabilities, embeddings, b"", b""
        scores = single_shares(fields, b"scores", n_moments, n_targets)
        backgrounds = single_shares(fields, b"backgrounds", n_moments, n_targets)
        return probabilities, embeddings, scores, backgrounds
