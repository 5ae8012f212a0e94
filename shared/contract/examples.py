"""examples.v1: recorder -> classifier: what people said of pictures of a camera. A key of Redis, not a stream.

    examples.v1:<camera>:<model>   hash of `revision`, `h` and `embeddings`: the whole state, written at each change

A reader compares `revision` and fetches the rest when it has another one; no key means no examples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from shared.contract.codec import Fields, blob, dump, halves, load
from shared.contract.fields import CameraId, EventId, LabelText, MessagePart
from shared.errors import ContractError

EXAMPLES = "examples.v1"
MAX_EXAMPLES = 2000  # of a camera and its group: 2 MB at 512 numbers each


def examples_key(camera: str, model: str) -> str:
    """Return the key under which a camera's examples of a model stand."""
    return f"{EXAMPLES}:{camera}:{model}"


class ExampleSaid(MessagePart):
    """What is said of one picture; `label` None: it shows nothing that is asked for."""

    event: EventId
    label: LabelText | None = None
    is_right: bool


class ExamplesHeader(MessagePart):
    """The examples of a camera, in the order of the embeddings."""

    version: Literal[1] = 1
    camera: CameraId
    model: Annotated[str, Field(min_length=1, max_length=200)]
    embedding_dim: Annotated[int, Field(gt=0, le=65535)]
    unrelated: Annotated[float, Field(ge=0, lt=1)]  # cosine of two pictures of different things at the camera
    said: Annotated[tuple[ExampleSaid, ...], Field(max_length=MAX_EXAMPLES)] = ()


@dataclass(frozen=True, slots=True)
class ExamplesMessage:
    """recorder -> classifier. `embeddings`: float16, little-endian, [examples, embedding_dim], C order; unit length."""

    header: ExamplesHeader
    revision: int
    embeddings: bytes = field(default=b"")

    def encode(self) -> Fields:
        """Raise ContractError rather than write what no reader would take."""
        fields = {
            b"revision": str(self.revision).encode(),
            b"h": dump(self.header),
            b"embeddings": self.embeddings,
        }
        self.decode(fields)
        return fields

    @classmethod
    def decode(cls, fields: Mapping[bytes, bytes]) -> ExamplesMessage:
        """Raise ContractError when `fields` are not an ExamplesMessage of this version."""
        header = load(ExamplesHeader, fields)
        embeddings = halves(fields, b"embeddings", len(header.said), header.embedding_dim)
        revision = revision_of(blob(fields, b"revision", 20))
        if revision < 0:
            raise ContractError("field 'revision' is no number")
        return cls(header, revision, embeddings)


def revision_of(value: bytes | None) -> int:
    """Return the number in field `revision`; -1 for none."""
    return int(value) if value is not None and value.isdigit() and len(value) < 20 else -1
