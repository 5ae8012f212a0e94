"""Writes small ONNX files without the onnx package: a few fields of its protobuf messages are all they take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_FLOAT, _INT64, _INT32 = 1, 7, 6
_OPSET = 17


@dataclass(frozen=True, slots=True)
class OnnxNode:
    """An operation; its output has its own name."""

    kind: str
    name: str
    inputs: tuple[str, ...]
    integers: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OnnxGraph:
    """A model: inputs and outputs by name, with shapes (a string is a dimension of any length)."""

    inputs: Mapping[str, tuple[int, Sequence[int | str]]]  # element type, shape
    outputs: Mapping[str, Sequence[int | str]]
    nodes: Sequence[OnnxNode]
    constants: Mapping[str, NDArray[np.float32] | NDArray[np.int64]]


def pictures(n: int | str, size: int | str) -> tuple[int, Sequence[int | str]]:
    return _FLOAT, (n, 3, size, size)


def ids(n: int | str, length: int | str, is_short: bool = False) -> tuple[int, Sequence[int | str]]:
    return _INT32 if is_short else _INT64, (n, length)


def write_onnx(path: Path, graph: OnnxGraph) -> None:
    """Write the file; field numbers are those of onnx.proto."""
    body = b"".join(_part(1, _node(node)) for node in graph.nodes) + _part(2, b"tower")
    body += b"".join(_part(5, _tensor(name, value)) for name, value in graph.constants.items())
    body += b"".join(_part(11, _value(name, *port)) for name, port in graph.inputs.items())
    body += b"".join(_part(12, _value(name, _FLOAT, shape)) for name, shape in graph.outputs.items())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_number(1, 8) + _part(7, body) + _part(8, _part(1, b"") + _number(2, _OPSET)))


def _node(node: OnnxNode) -> bytes:
    attributes = (
        _part(1, name.encode()) + _number(3, value) + _number(20, 2) for name, value in node.integers.items()
    )
    return b"".join(
        [
            *(_part(1, name.encode()) for name in node.inputs),
            _part(2, node.name.encode()),
            _part(3, node.name.encode()),
            _part(4, node.kind.encode()),
            *(_part(5, attribute) for attribute in attributes),
        ]
    )


def _tensor(name: str, value: NDArray[np.float32] | NDArray[np.int64]) -> bytes:
    kind = _INT64 if value.dtype == np.int64 else _FLOAT
    dims = b"".join(_number(1, length) for length in value.shape)
    return dims + _number(2, kind) + _part(8, name.encode()) + _part(9, value.tobytes())


def _value(name: str, kind: int, shape: Sequence[int | str]) -> bytes:
    dims = b"".join(
        _part(1, _number(1, side) if isinstance(side, int) else _part(2, side.encode())) for side in shape
    )
    return _part(1, name.encode()) + _part(2, _part(1, _number(1, kind) + _part(2, dims)))


def _number(field_number: int, value: int) -> bytes:
    return _varint(field_number << 3) + _varint(value & (2**64 - 1))


def _part(field_number: int, value: bytes) -> bytes:
    return _varint(field_number << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])
