"""pictures.v1: anybody -> classifier, and back: the embeddings of a few pictures."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from shared.contract.codec import MAX_PICTURE_BYTES, Fields, blob, dump, load
from shared.contract.fields import MessagePart, RequestId
from shared.errors import ContractError

MAX_REQUEST_PICTURES = 16
MAX_REQUEST_BYTES = 8 * 1024 * 1024  # of its pictures together; PICTURES_WAITING of them are 64 MiB in Redis


class PicturesRequestHeader(MessagePart):
    """How many pictures are sent. Who has waited longer than `deadline_s` is not answered: nobody listens any more."""

    version: Literal[1] = 1
    request_id: RequestId
    n_pictures: Annotated[int, Field(ge=1, le=MAX_REQUEST_PICTURES)]
    deadline_s: Annotated[float, Field(gt=0, le=60)] = 10.0


@dataclass(frozen=True, slots=True)
class PicturesRequest:
    """Anybody -> classifier: embed these pictures, each a JPEG, PNG or WebP, as the pictures of snippets are."""

    header: PicturesRequestHeader
    pictures: tuple[bytes, ...]

    @property
    def request_id(self) -> str:
        return self.header.request_id

    @property
    def deadline_s(self) -> float:
        return self.header.deadline_s

    def encode(self) -> Fields:
        """Raise ContractError rather than write what no reader would take."""
        if len(self.pictures) != self.header.n_pictures:
            raise ContractError(f"{len(self.pictures)} pictures, the header says {self.header.n_pictures}")
        fields: Fields = {b"h": dump(self.header)}
        fields.update((b"p%d" % index, picture) for index, picture in enumerate(self.pictures))
        _pictures(self.header, fields)
        return fields

    @classmethod
    def decode(cls, fields: Mapping[bytes, bytes]) -> PicturesRequest:
        """Raise ContractError when `fields` are not a PicturesRequest of this version."""
        header = load(PicturesRequestHeader, fields)
        return cls(header, _pictures(header, fields))


def _pictures(header: PicturesRequestHeader, fields: Mapping[bytes, bytes]) -> tuple[bytes, ...]:
    pictures = tuple(blob(fields, b"p%d" % index, MAX_PICTURE_BYTES) for index in range(header.n_pictures))
    n_bytes = sum(map(len, pictures))
    if n_bytes > MAX_REQUEST_BYTES:
        raise ContractError(f"{n_bytes} bytes of pictures, at most {MAX_REQUEST_BYTES} are taken at once")
    return pictures


class PicturesAnswerHeader(MessagePart):
    """What the classifier made of the pictures. `fault`: why it made nothing of them; then all counts are 0.

    `is_passing`: the fault lies with the classifier now and not with the pictures, so that asking again makes sense.
    """

    version: Literal[1] = 1
    request_id: RequestId
    fault: str = ""
    is_passing: bool = False
    model: str = ""
    embedding_dim: Annotated[int, Field(ge=0, le=65535)] = 0
    n_pictures: Annotated[int, Field(ge=0, le=MAX_REQUEST_PICTURES)] = 0


@dataclass(frozen=True, slots=True)
class PicturesAnswer:
    """classifier -> whoever asked. `embeddings`: float32, little-endian, [n_pictures, embedding_dim]; unit length."""

    header: PicturesAnswerHeader
    embeddings: bytes = field(default=b"")

    def encode(self) -> Fields:
        """Raise ContractError rather than write what no reader would take."""
        fields = {b"h": dump(self.header), b"embeddings": self.embeddings}
        self.decode(fields)
        return fields

    @classmethod
    def decode(cls, fields: Mapping[bytes, bytes]) -> PicturesAnswer:
        """Raise ContractError when `fields` are not a PicturesAnswer of this version."""
        header = load(PicturesAnswerHeader, fields)
        embeddings = blob(fields, b"embeddings", MAX_PICTURE_BYTES)
        wanted = 4 * header.n_pictures * header.embedding_dim
        if len(embeddings) != wanted:
            raise ContractError(f"field 'embeddings' has {len(embeddings)} bytes, wanted {wanted}")
        if not all(math.isfinite(value) for (value,) in struct.iter_unpack("<f", embeddings)):
            raise ContractError("field 'embeddings' holds NaN or infinity")
        return cls(header, embeddings)
