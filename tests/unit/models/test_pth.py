"""models/pth.py against torch's own reader, and against files that are none of its kind."""

import io
import os
import pickle
import sys
from collections import OrderedDict
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

MODELS = Path(__file__).resolve().parents[3] / "models"
sys.path.insert(0, str(MODELS))  # scripts that import each other by their bare names
pth = import_module("pth")
sys.path.remove(str(MODELS))

State = dict[str, torch.Tensor]
DTYPES = (torch.float32, torch.float64, torch.float16, torch.int64, torch.int32)


def saved(value: object) -> bytes:
    """Write in torch's first format."""
    data = io.BytesIO()
    torch.save(value, data, _use_new_zipfile_serialization=False)
    return data.getvalue()


@st.composite
def states(draw: st.DrawFn) -> State:
    """Make tensors of all dtypes and shapes, some of them views into the one before, as a module's state or a dict."""
    state: State = OrderedDict() if draw(st.booleans()) else {}
    if isinstance(state, OrderedDict):
        state._metadata = OrderedDict({"": {"version": 1}})  # type: ignore[attr-defined]  # as torch's modules do
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1000)))
    last: torch.Tensor | None = None
    for name in draw(st.lists(st.text(min_size=1, max_size=9), max_size=6, unique=True)):
        shape = draw(st.lists(st.integers(0, 4), max_size=4))
        made = torch.randint(-1000, 1000, shape, generator=generator).to(draw(st.sampled_from(DTYPES)))
        if last is not None and last.dim() and draw(st.booleans()):
            made = draw(st.sampled_from((last.T if last.dim() == 2 else last, last[1:], last[..., ::2])))
        last = state[name] = made
    return state


@settings(deadline=None, max_examples=60)
@given(states())
def test_it_reads_what_torch_reads(state: State) -> None:
    data = saved(state)
    wanted = torch.load(io.BytesIO(data), weights_only=True)
    found = pth.read_pth(data)
    assert list(found) == list(wanted) == list(state)
    for name, tensor in wanted.items():
        expected = tensor.contiguous().numpy()
        assert (found[name].dtype, found[name].shape) == (expected.dtype, expected.shape), name
        assert found[name].tobytes() == expected.tobytes(), name
        assert found[name].flags.c_contiguous


class Calls:
    """Pickles to a call."""

    def __init__(self, function: Callable[..., object]) -> None:
        self.function = function

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return self.function, ("trap",)


@pytest.mark.parametrize(
    ("function", "named"),
    [(os.mkdir, "posix.mkdir"), (eval, "__builtin__.eval"), (torch.load, "torch.serialization.load")],
    ids=["mkdir", "eval", "torch.load"],
)
@pytest.mark.parametrize("place", range(5))
def test_code_is_refused_by_name_in_each_of_the_pickles(
    function: Callable[..., object],
    named: str,
    place: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    values: list[object] = [pth.MAGIC, pth.VERSION, {"little_endian": True}, {}, []]
    assert pth.read_pth(b"".join(pickle.dumps(value, 2) for value in values)) == {}
    values[place] = Calls(function)
    with pytest.raises(pth.PthError, match=named):
        pth.read_pth(b"".join(pickle.dumps(value, 2) for value in values))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"a": 1.0}, "not a dict of names and tensors"),
        ({"a": {"b": torch.ones(1)}}, "not a dict of names and tensors"),
        ([torch.ones(1)], "AttributeError"),
        ({"a": torch.ones(2, dtype=torch.bfloat16)}, "torch.BFloat16Storage"),
        ({"a": torch.nn.Linear(1, 1)}, "torch.nn.modules.linear.Linear"),
    ],
)
def test_other_contents_are_refused(value: object, says: str) -> None:
    with pytest.raises(pth.PthError, match=says):
        pth.read_pth(saved(value))


def test_a_tensor_that_is_larger_than_its_storage_is_refused() -> None:
    storage = pth._Storage("0", np.dtype("<f4"), 4)
    for tensor in [
        pth._Tensor(storage, 0, (5,), (1,)),
        pth._Tensor(storage, 1, (2, 2), (2, 1)),
        pth._Tensor(storage, -1, (2,), (1,)),
        pth._Tensor(storage, 3, (2,), (-1,)),
    ]:
        with pytest.raises(pth.PthError, match="larger than its storage"):
            pth._view(tensor, np.arange(4, dtype="<f4"))


def test_torchs_later_format_is_refused() -> None:
    data = io.BytesIO()
    torch.save({"a": torch.ones(1)}, data)
    with pytest.raises(pth.PthError):
        pth.read_pth(data.getvalue())


@cache
def two_tensors() -> bytes:
    """Return one file for all examples: torch names storages by their addresses, so two need not be of one length."""
    return saved({"a": torch.ones(3, 2), "b": torch.arange(4)})


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_broken_bytes_give_tensors_or_one_kind_of_error(data: st.DataObject) -> None:
    whole = two_tensors()
    cut = whole[: data.draw(st.integers(0, len(whole)))]
    at = data.draw(st.integers(0, len(whole) - 1))
    changed = whole[:at] + bytes([data.draw(st.integers(0, 255))]) + whole[at + 1 :]
    for broken in (cut, changed):
        try:
            found: Any = pth.read_pth(broken)
        except pth.PthError:
            continue
        assert all(isinstance(array, np.ndarray) for array in found.values())
