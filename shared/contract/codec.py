"""Headers and binary fields to and from the bytes of a stream entry. Every fault is a ContractError that names it."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from shared.contract.fields import MediaId, MessagePart
from shared.errors import ContractError, shortened

VERSION = 1

MAX_HEADER_BYTES = 512 * 1024
MAX_PICTURES = 64
MAX_PICTURE_BYTES = 4 * 1024 * 1024
MAX_CLIP_BYTES = 256 * 1024 * 1024

Fields = dict[bytes, bytes]
_Header = TypeVar("_Header", bound=MessagePart)
_IS_NOT_FINITE = bytes((high & 0x7C) == 0x7C for high in range(256))
_MEDIA_ID: TypeAdapter[str] = TypeAdapter(MediaId)


def dump(header: BaseModel) -> bytes:
    """Return a header as JSON."""
    raw = header.model_dump_json().encode()
    blob({b"h": raw}, b"h", MAX_HEADER_BYTES)
    return raw


def load(kind: type[_Header], fields: Mapping[bytes, bytes]) -> _Header:
    """Return the header in field `h`."""
    raw = blob(fields, b"h", MAX_HEADER_BYTES)
    try:
        return kind.model_validate_json(raw)
    except ValidationError as exc:
        faults = "; ".join(_fault(error) for error in exc.errors(include_url=False)[:5])
        raise ContractError(f"{kind.__name__}: {faults}") from exc


def _fault(error: Mapping[str, Any]) -> str:  # Any: pydantic's own error mapping
    where = ".".join(shortened(str(part), 80) for part in error["loc"]) or "header"
    if where == "version":
        found = shortened(str(error.get("input")), 40)
        return f"version {found!r}, this service reads {VERSION}: upgrade the older service"
    return f"{where}: {shortened(str(error['msg']), 300)}"


def blob(fields: Mapping[bytes, bytes], name: bytes, limit: int) -> bytes:
    """Return a field of at most `limit` bytes."""
    value = fields.get(name)
    if value is None:
        raise ContractError(f"field '{name.decode()}' is missing")
    if len(value) > limit:
        raise ContractError(f"field '{name.decode()}' has {len(value)} bytes, at most {limit} are taken")
    return value


def halves(fields: Mapping[bytes, bytes], name: bytes, rows: int, columns: int) -> bytes:
    """Return a field that holds float16[rows, columns], all finite."""
    value = _sized(fields, name, 2, rows, columns)
    # an exponent of ones: NaN or infinity (IEEE 754 binary16); translate is 100 times faster than a loop
    if b"\x01" in value[1::2].translate(_IS_NOT_FINITE):
        raise ContractError(f"field '{name.decode()}' holds NaN or infinity")
    return value


def single_shares(fields: Mapping[bytes, bytes], name: bytes, rows: int, columns: int) -> bytes:
    """Return a field that holds float32[rows, columns], each 0..1."""
    value = _sized(fields, name, 4, rows, columns)
    refuse_other_than_shares(name, "<f", value)
    return value


def _sized(fields: Mapping[bytes, bytes], name: bytes, item_bytes: int, rows: int, columns: int) -> bytes:
    value = blob(fields, name, MAX_PICTURE_BYTES)
    wanted = item_bytes * rows * columns
    if len(value) != wanted:
        raise ContractError(
            f"field '{name.decode()}' has {len(value)} bytes, wanted {wanted} for {rows} x {columns}"
        )
    return value


def refuse_other_than_shares(name: bytes, number: str, value: bytes) -> None:
    """Raise unless every number in a field is one of 0..1."""
    if not all(0 <= share <= 1 for (share,) in struct.iter_unpack(number, value)):  # nor is NaN
        raise ContractError(f"field '{name.decode()}' holds a number outside of 0..1")


def media_id(fields: Mapping[bytes, bytes]) -> str:
    """Return the id of the clip's entry in MEDIA; '': there is none."""
    value = blob(fields, b"media_id", 64)
    try:
        return _MEDIA_ID.validate_python(value.decode("ascii"))
    except (UnicodeDecodeError, ValidationError) as exc:
        raise ContractError("field 'media_id' is not the id of a stream entry") from exc
