"""A model's tensors by name: read from safetensors without torch, checked for shape, and all of them used.

A tower that leaves a tensor out is another network than the one that was trained, and nothing would fail: so what is
never taken is an error, like what is missing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Container, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.errors import ConfigError, shortened

Array = NDArray[Any]  # Any: of whatever number format the file has
_DTYPES = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16, "F64": np.float64, "I64": np.int64}
_MOST_HEADER_BYTES = 100_000_000  # the format's own limit


def read_safetensors(path: Path) -> dict[str, Array]:
    """Return the tensors of a file, mapped into memory and not read until used; bfloat16 comes as float32.

    The safetensors package has no bfloat16 for numpy, and maps nothing. Format: github.com/huggingface/safetensors.
    """
    try:
        with path.open("rb") as file:
            n_header = int.from_bytes(file.read(8), "little")
            if n_header > _MOST_HEADER_BYTES:
                raise ValueError(f"a header of {n_header} bytes")
            header = json.loads(file.read(n_header))
        # "c": private pages; OpenVINO shares no array that may not be written, and nothing here writes
        data = np.memmap(path, np.uint8, mode="c", offset=8 + n_header)
        return {name: _tensor(data, entry) for name, entry in header.items() if name != "__metadata__"}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
        said = shortened(str(exc), 200)
        raise ConfigError(f"{path}: cannot be read as safetensors: {said}; get the file anew") from exc


def _tensor(data: Array, entry: Mapping[str, Any]) -> Array:  # Any: JSON
    start, end = entry["data_offsets"]
    dtype = _DTYPES[entry["dtype"]]
    if (
        not 0 <= start <= end <= len(data)
        or end - start != math.prod(entry["shape"]) * np.dtype(dtype).itemsize
    ):
        raise ValueError(f"data_offsets {start} to {end} of {len(data)} bytes for shape {entry['shape']}")
    found = data[start:end].view(dtype).reshape(entry["shape"])
    if entry["dtype"] == "BF16":  # the upper half of a float32
        return (found.astype(np.uint32) << 16).view(np.float32)
    return found


class Tensors:
    """Tensors below a prefix of their names; all views of one model note together what was taken."""

    def __init__(self, weights: Mapping[str, Array], prefix: str = "", taken: set[str] | None = None) -> None:
        self._weights, self._prefix = weights, prefix
        self._taken: set[str] = set() if taken is None else taken

    def within(self, name: str) -> Tensors:
        """Return the tensors whose names go on with `name` and a dot."""
        return Tensors(self._weights, f"{self._prefix}{name}.", self._taken)

    def is_empty(self) -> bool:
        return not any(name.startswith(self._prefix) for name in self._weights)

    def take(self, name: str, *shape: int | None) -> Array:
        """Return a tensor of that shape (None: any length); raise ConfigError with its name."""
        full = self._prefix + name
        found = self._weights.get(full)
        wanted = str(list(shape)).replace("None", "any")
        if found is None:
            raise ConfigError(f"the weights lack the tensor {full}, wanted {wanted}")
        if len(found.shape) != len(shape) or any(
            length not in (None, real) for length, real in zip(shape, found.shape, strict=True)
        ):
            raise ConfigError(f"the weights' tensor {full} is {list(found.shape)}, wanted {wanted}")
        self._taken.add(full)
        return found

    def number(self, name: str) -> float:
        """Return the value of a tensor that holds one, of any shape."""
        found = self._weights.get(self._prefix + name)
        shape = found.shape if found is not None and found.size == 1 else ()
        return float(self.take(name, *shape).reshape(()))

    def rest(self, meaningless: Iterable[str] = ()) -> list[str]:
        """Return the names that nothing took and that do not end like one of `meaningless`."""
        ends = tuple(meaningless)
        return sorted(name for name in self._weights if name not in self._taken and not name.endswith(ends))


def expect(where: str, config: Mapping[str, Any], **wanted: object) -> None:  # Any: JSON
    """Raise ConfigError where a configuration says, or leaves out, something else than `wanted`."""
    for name, value in wanted.items():
        if (found := config.get(name)) != value:
            raise ConfigError(f"{where}: {name}={found}, built is {value}")


def refuse_others(where: str, config: Mapping[str, Any], known: Container[str]) -> None:  # Any: JSON
    """Raise ConfigError where a configuration switches something on that is not among the `known`."""
    if others := sorted(name for name, value in config.items() if value and name not in known):
        raise ConfigError(f"{where}: {others[0]}={config[others[0]]} is not known here")
