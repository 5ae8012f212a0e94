"""Reads weights in the first file format of torch (the default before 1.6) as numpy arrays, without torch.

The layout is that of `_legacy_save` in torch/serialization.py: five pickles (magic number, version, the machine, the
object, the keys of its storages), then for each storage an int64 with its length, and its elements. In the object a
tensor only names its storage. The pickles may ask for nothing but what a flat state dict is made of.
"""

import collections
import io
import math
import pickle
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001
Array = NDArray[Any]  # Any: of whichever of these dtypes
STORAGES = {
    "DoubleStorage": np.dtype("<f8"),
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
}


class PthError(Exception):
    """These are no weights in that format; says what was found."""


@dataclass(frozen=True, slots=True)
class _Storage:
    key: str
    dtype: np.dtype[Any]
    n: int


@dataclass(frozen=True, slots=True)
class _Tensor:
    """A tensor as the pickle has it; offset and strides count elements of its storage."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_pth(data: bytes) -> dict[str, Array]:
    """Return the tensors of a state dict by name, contiguous; raise PthError when it is none, or asks for code."""
    file = io.BytesIO(data)
    try:
        magic, version, machine, found, keys = (_Unpickler(file).load() for _ in range(5))
        if (magic, version, machine["little_endian"]) != (MAGIC, VERSION, True):
            raise PthError("another version of the format")
        if not all(isinstance(name, str) and isinstance(one, _Tensor) for name, one in found.items()):
            raise PthError("not a dict of names and tensors")
        dtypes = {one.storage.key: one.storage.dtype for one in found.values()}
        storages: dict[str, Array] = {}
        for key in keys:
            (n,) = np.frombuffer(file.read(8), np.dtype("<i8"))
            storages[key] = np.frombuffer(data, dtypes[key], int(n), file.tell())
            file.seek(storages[key].nbytes, io.SEEK_CUR)
        return {name: _view(one, storages[one.storage.key]) for name, one in found.items()}
    except PthError:
        raise
    except Exception as exc:  # noqa: BLE001 - a broken pickle leads to anything
        raise PthError(type(exc).__name__) from exc


def _view(tensor: _Tensor, storage: Array) -> Array:
    """Return a tensor's elements as an array of its own; raise PthError when they are not all in its storage."""
    shape, strides = tensor.shape, tensor.strides
    last = tensor.offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    is_within = min(0, *shape, *strides, tensor.offset) == 0 and last < len(storage)
    if math.prod(shape) and not is_within:
        raise PthError("a tensor that is larger than its storage")
    if not math.prod(shape):
        return np.empty(shape, storage.dtype)
    steps = [step * storage.itemsize for step in strides]
    view = np.lib.stride_tricks.as_strided(storage[tensor.offset :], shape, steps)
    return np.array(view, order="C")


def _rebuild_tensor(
    storage: _Storage,
    offset: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    *_gradient_and_hooks: object,
) -> _Tensor:
    return _Tensor(storage, offset, shape, strides)


class _Unpickler(pickle.Unpickler):
    """Gives these few names a meaning of our own, so that nothing is imported and nothing of theirs is called."""

    def find_class(self, module: str, name: str) -> Any:  # Any: what the pickle then calls or passes on
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild_tensor
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        raise PthError(f"it asks for {module}.{name}")

    def persistent_load(self, pid: Any) -> _Storage:  # Any: the tuple that torch writes for a storage
        kind, dtype, key, _location, n, view = pid
        if kind != "storage" or view is not None:
            raise PthError(f"a persistent id of the kind {kind!r}")
        return _Storage(key, dtype, n)
