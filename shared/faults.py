"""Says what is wrong with a value that a pydantic model refused: found, wanted. Knows no model and no file."""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic import BaseModel, SecretStr, ValidationError

from shared.errors import redact
from shared.urls import shown_url

_SHOWN_CHARACTERS = 80
# Any in this module: types, metadata and inputs are whatever a model declares and a user writes
_Type = Any
ERRORS_MAX = 500  # that are described: a value of each point of a mask may be wrong


@dataclass(frozen=True, slots=True)
class FieldFault:
    """One field's fault; `value` is what was found, None when showing it would not help or would show a secret."""

    path: tuple[str, ...]
    value: str | None
    message: str

    def __str__(self) -> str:
        where = ".".join(self.path)
        if not where:
            return self.message
        return f"{where}{'' if self.value is None else '=' + self.value}: {self.message}"


@dataclass(frozen=True, slots=True)
class _FieldLocation:
    """Where an error lies: the fields on the way, the declared type there, and whether it is a union's."""

    path: tuple[str, ...]
    type: _Type
    metadata: tuple[Any, ...]
    model: type[BaseModel] | None  # that holds the last field


def list_faults(exc: ValidationError, model: type[BaseModel]) -> list[FieldFault]:
    """Return one fault a field, in the model's order, however many members a union has; of the first ERRORS_MAX."""
    faults: dict[tuple[str, ...], FieldFault] = {}
    for error in exc.errors(include_url=False)[:ERRORS_MAX]:
        location = _locate(error["loc"], model)
        key = location.path or (str(error["msg"]),)
        if key not in faults:
            faults[key] = FieldFault(location.path, _shown(error, location), _message(error, location))
    return list(faults.values())


def near(word: str, known: Sequence[str]) -> str:
    """Return a question about the known word that is meant, or nothing."""
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean '{close[0]}'?" if close else ""


def _locate(loc: Sequence[int | str], model: type[BaseModel]) -> _FieldLocation:
    path: list[str] = []
    found: _Type = model
    metadata: tuple[Any, ...] = ()
    holder: type[BaseModel] | None = None
    for part in loc:
        found, inner = _bare(found)
        metadata = (*metadata, *inner)
        members = [_bare(member)[0] for member in _members(found)]
        if isinstance(part, int):
            path.append(str(part))
            lists = [member for member in members if _origin(member) in (tuple, list)]
            found, metadata = (get_args(lists[0])[0] if lists else Any), ()
            continue
        models = [m for m in members if isinstance(m, type) and issubclass(m, BaseModel)]
        if not models:
            if _origin(found) is dict:
                path.append(part)
                found, metadata = get_args(found)[1], ()
            continue  # the name that pydantic gives to a member of a union
        holder = models[0]
        path.append(part)
        field = holder.model_fields.get(part)
        found, metadata = (field.annotation, tuple(field.metadata)) if field else (Any, ())
    found, inner = _bare(found)
    return _FieldLocation(tuple(path), found, (*metadata, *inner), holder)


def _bare(declared: _Type) -> tuple[_Type, tuple[Any, ...]]:
    """Take Annotated and `| None` away; return the type and its constraints."""
    metadata: tuple[Any, ...] = ()
    while True:
        if _origin(declared) is Annotated:
            declared, *inner = get_args(declared)
            metadata = (*metadata, *inner)
            continue
        members = _members(declared)
        rest = [member for member in members if member is not type(None)]
        if len(members) == 2 and len(rest) == 1:
            declared = rest[0]
            continue
        return declared, metadata


def _origin(declared: _Type) -> Any:
    return get_origin(declared)


def _members(declared: _Type) -> tuple[_Type, ...]:
    if _origin(declared) in (Union, types.UnionType):
        return get_args(declared)
    return (declared,)


def _shown(error: Mapping[str, Any], location: _FieldLocation) -> str | None:
    value = error.get("input")
    is_secret = any(isinstance(m, type) and issubclass(m, SecretStr) for m in _members(location.type))
    if is_secret or error["type"] in ("missing", "extra_forbidden"):
        return None
    if not (isinstance(value, str | int | float) or value is None):
        return None
    if location.path and location.path[-1].endswith("url") and isinstance(value, str):
        value = shown_url(value)
    shown = "nothing" if value is None else redact(repr(value))  # first: a cut URL is no longer known as one
    return shown if len(shown) <= _SHOWN_CHARACTERS else f"{shown[: _SHOWN_CHARACTERS - 1]}…"


def _message(error: Mapping[str, Any], location: _FieldLocation) -> str:  # noqa: C901  # one clause a kind
    kind, context = str(error["type"]), error.get("ctx") or {}
    name = location.path[-1] if location.path else ""
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden":
        known = list(location.model.model_fields) if location.model else []
        return f"is not known{near(name, known)}"
    if kind == "value_error":
        return str(error["msg"]).removeprefix("Value error, ")
    if kind == "too_short" and any(
        isinstance(m, type) and issubclass(m, SecretStr) for m in _members(location.type)
    ):
        return f"must have at least {context.get('min_length')} characters"
    if kind == "finite_number":
        return "must be a finite number"
    if kind == "too_short" and not context.get("actual_length"):
        return f"is empty, wanted at least one {name.removesuffix('s') or 'item'}"
    if kind == "string_too_short":
        return (
            "is empty"
            if not error.get("input")
            else f"must have at least {context.get('min_length')} characters"
        )
    if kind == "string_type" and isinstance(error.get("input"), int | float):
        return f"must be text: write '{error['input']}' in quotes"
    if kind.startswith(("timezone", "datetime", "date_")):
        return "must be a time with its zone, such as 2026-03-29T12:00:00Z"
    if kind in ("tuple_type", "list_type") and isinstance(error.get("input"), str):
        return f"wanted a list: [{redact(str(error['input']))[:_SHOWN_CHARACTERS]}]"
    if kind == "int_from_float":
        return f"must be a whole number{f', {limits}' if (limits := _range(location.metadata)) else ''}"
    wanted = " or ".join(dict.fromkeys(_wanted(location.type, location.metadata)))
    if wanted:
        return f"must be {wanted}"
    message = str(error["msg"])
    return message[:1].lower() + message[1:]


def _wanted(declared: _Type, metadata: Sequence[Any]) -> Iterator[str]:
    """Say what a type takes; nothing for types that need another wording."""
    declared, inner = _bare(declared)
    metadata = (*metadata, *inner)
    members = _members(declared)
    if len(members) > 1:
        for member in members:
            yield from _wanted(member, ())
    elif _origin(declared) is Literal:
        *first, last = (repr(choice) for choice in get_args(declared))
        yield f"{', '.join(first)} or {last}" if first else last
    elif declared is bool:
        yield "true or false"
    elif declared in (int, float):
        yield _range(metadata) or ("a whole number" if declared is int else "a number")
    elif _origin(declared) in (tuple, list):
        longest = next((m.max_length for m in _flat(metadata) if isinstance(m, MaxLen)), None)
        shortest = next((m.min_length for m in _flat(metadata) if isinstance(m, MinLen)), 0)
        limits = f" of {shortest} to {longest}" if longest is not None and shortest else ""
        yield f"a list{limits}" if limits or longest is None else f"a list of at most {longest}"
    elif isinstance(declared, type) and issubclass(declared, BaseModel):
        yield f"a mapping with {', '.join(list(declared.model_fields)[:4])} …"
    elif declared is str:
        pattern = next((p for m in metadata if (p := getattr(m, "pattern", None))), None)
        longest = next((n for m in _flat(metadata) if (n := getattr(m, "max_length", None))), None)
        if pattern:
            yield f"text that matches {getattr(pattern, 'pattern', pattern)}"
        else:
            yield f"text of at most {longest} characters" if longest else "text"


def _flat(metadata: Sequence[Any]) -> Iterator[Any]:
    """Return the constraints one by one: pydantic groups some of them (FieldInfo, StringConstraints)."""
    for item in metadata:
        yield item
        yield from getattr(item, "metadata", ())


def _range(metadata: Sequence[Any]) -> str:
    low: Any = None
    high: Any = None
    is_low_open = is_high_open = False
    for item in _flat(metadata):
        if isinstance(item, Ge):
            low = item.ge
        elif isinstance(item, Gt):
            low, is_low_open = item.gt, True
        elif isinstance(item, Le):
            high = item.le
        elif isinstance(item, Lt):
            high, is_high_open = item.lt, True
    if low is not None and high is not None and not (is_low_open or is_high_open):
        return f"{low}..{high}"
    parts = []
    if low is not None:
        parts.append(f"{'more than' if is_low_open else 'at least'} {low}")
    if high is not None:
        parts.append(f"{'less than' if is_high_open else 'at most'} {high}")
    return " and ".join(parts)
