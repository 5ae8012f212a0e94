"""texts.v1: anybody -> classifier, and back: the embeddings of a label set."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from shared.contract.codec import MAX_PICTURE_BYTES, Fields, blob, dump, load
from shared.contract.fields import MessagePart, RequestId
from shared.contract.labels import Column
from shared.contract.snippets import LabelSet
from shared.errors import ContractError


class TextsRequest(MessagePart):
    """Anybody -> classifier: embed this label set as for a decision, or (without others) for a search.

    A request that has waited longer than `deadline_s` is not answered: nobody listens any more.
    """

    version: Literal[1] = 1
    request_id: RequestId
    label_set: LabelSet
    with_others: bool = True  # embed the bank of distractors, too
    deadline_s: Annotated[float, Field(gt=0, le=60)] = 5.0

    def encode(self) -> Fields:
        """Raise ContractError rather than write what no reader would take."""
        return {b"h": dump(self)}

    @classmethod
    def decode(cls, fields: Mapping[bytes, bytes]) -> TextsRequest:
        """Raise ContractError when `fields` are not a TextsRequest of this version."""
        return load(TextsRequest, fields)


class TextsAnswerHeader(MessagePart):
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
        fields = {b"h": dump(self.header), b"embeddings": self.embeddings, b"tables": self.tables}
        self._blobs(self.header, fields)
        return fields

    @classmethod
    def decode(cls, fields: Mapping[bytes, bytes]) -> TextsAnswer:
        """Raise ContractError when `fields` are not a TextsAnswer of this version."""
        header = load(TextsAnswerHeader, fields)
        return cls(header, *cls._blobs(header, fields))

    @staticmethod
    def _blobs(header: TextsAnswerHeader, fields: Mapping[bytes, bytes]) -> tuple[bytes, bytes]:
        t, o = header.n_targets, header.n_others
        named = t + header.n_background
        if header.columns and len(header.columns) != named + 1:
            raise ContractError(f"{len(header.columns)} columns, wanted {named + 1}: one a text, and 'other'")
        embeddings = blob(fields, b"embeddings", MAX_PICTURE_BYTES)
        wanted = 4 * (named + o) * header.embedding_dim
        if len(embeddings) != wanted:
            raise ContractError(f"field 'embeddings' has {len(embeddings)} bytes, wanted {wanted}")
        if not all(math.isfinite(value) for (value,) in struct.iter_unpack("<f", embeddings)):
            raise ContractError("field 'embeddings' holds NaN or infinity")
        tables = blob(fields, b"tables", MAX_PICTURE_BYTES)
        if len(tables) != t * t + t * o + o or tables.strip(b"\x00\x01"):
            raise ContractError(
                f"field 'tables' has {len(tables)} bytes, wanted {t * t + t * o + o} of 0 or 1"
            )
        return embeddings, tables
