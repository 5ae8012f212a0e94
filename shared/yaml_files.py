"""Reads YAML files that people write: bounded in size and depth, with faults that say where and what is wanted."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from shared.errors import ConfigError, redact

MAX_FILE_BYTES = 4 * 1024 * 1024
MAX_VALUES = 300_000  # 10,000 cameras with 30 each; a few aliases of aliases make a short file endless
MAX_DEPTH = 40


class FileModel(BaseModel):
    """A part of a file: frozen, and without fields that are not known."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)


def read_yaml(path: Path) -> dict[str, Any]:  # Any: what a YAML file can hold
    """Return the mapping in a YAML file; raise ConfigError when it cannot be read or is not a mapping."""
    return parse_yaml(read_bytes(path), path.name)


def read_bytes(path: Path) -> bytes:
    """Return the bytes of a YAML file, at most MAX_FILE_BYTES; raise ConfigError when it cannot be read."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError as exc:
        raise ConfigError(f"{path}: no such file") from exc
    except PermissionError as exc:
        raise ConfigError(f"{path}: cannot be read: {_permission_fault(path)}") from exc
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be read: {exc.strerror}") from exc
    if len(raw) > MAX_FILE_BYTES:
        raise ConfigError(f"{path}: is longer than {MAX_FILE_BYTES} bytes, this cannot be a camera file")
    return raw


def _permission_fault(path: Path) -> str:
    """Say who may read a file, who wanted to, and what to do: in a container its owner is often another user."""
    try:
        status = path.stat()
    except OSError:  # its folder is closed as well
        found = "a folder on the way that others may not enter"
    else:
        found = f"mode {stat.S_IMODE(status.st_mode):03o} of user {status.st_uid}"
    user = os.geteuid()
    return f"found {found}, wanted what user {user} may read: chown {user} it, or chmod a+r it and a+rx its folder"


def parse_yaml(raw: bytes | str, filename: str) -> dict[str, Any]:  # Any: what a YAML file can hold
    """Return the mapping in YAML text; raise ConfigError when it is none."""
    try:
        text = raw if isinstance(raw, str) else raw.decode("utf-8-sig")
        document = YAML(typ="safe", pure=True).load(text)
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{filename}: is not UTF-8 text (byte {exc.start})") from exc
    except (YAMLError, ValueError) as exc:  # ValueError: a date such as 2026-99-99
        raise ConfigError(f"{filename}: not YAML: {_yaml_fault(exc)}") from exc
    except RecursionError as exc:
        raise ConfigError(f"{filename}: is nested too deeply") from exc
    if not isinstance(document, dict):
        raise ConfigError(f"{filename}: holds {kind_name(document)}, wanted a mapping with 'cameras:'")
    if fault := _size_fault(document):
        raise ConfigError(f"{filename}: {fault}")
    return document


def _yaml_fault(exc: Exception) -> str:
    mark = exc.problem_mark if isinstance(exc, MarkedYAMLError) else None
    problem = (exc.problem if isinstance(exc, MarkedYAMLError) else None) or str(exc)
    if "'\\t'" in problem:
        problem = "a tab, indent with spaces"
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    return f"{where}{redact(' '.join(problem.split()))[:300]}"


def _size_fault(document: object) -> str | None:
    """Count values as often as aliases repeat them, without recursion: they may repeat themselves."""
    stack: list[tuple[object, int]] = [(document, 0)]
    n_values = 0
    while stack:
        value, depth = stack.pop()
        n_values += 1
        if depth > MAX_DEPTH:
            return "is nested too deeply, or repeats itself"
        if n_values + len(stack) > MAX_VALUES:
            return f"has more than {MAX_VALUES} values, aliases included"
        if isinstance(value, dict):
            stack.extend((item, depth + 1) for item in value.values())
        elif isinstance(value, list):
            stack.extend((item, depth + 1) for item in value)
    return None


def kind_name(value: object) -> str:
    """Return what a YAML value is, in words."""
    names = {
        "NoneType": "nothing",
        "list": "a list",
        "dict": "a mapping",
        "str": "a text",
        "bool": "true or false",
        "int": "a number",
        "float": "a number",
    }
    return names.get(type(value).__name__, f"a {type(value).__name__}")
