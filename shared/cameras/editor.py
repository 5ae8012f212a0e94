"""Changes one camera's settings in the text of the camera file. Pure: text in, text out.

The outcome is read again and has to equal the old document with the change applied; where it does not (an anchor that
others use), the change is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from shared.cameras.yaml_text import BOM, is_block_mapping, set_value
from shared.errors import ConfigError
from shared.placeholders import expand
from shared.yaml_files import parse_yaml

# Any in this module: what a YAML file can hold
# Any in this module: what a YAML file can hold
Values = Mapping[str, Any]
MAPPINGS = ("motion",)  # merged key by key, as `defaults:` are
_PLACEHOLDER = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}")


class UnknownCamera(ConfigError):
    """The file has no such camera."""


def edit(text: str, camera: str, values: Values, environment: Mapping[str, str]) -> str:
    """Return `text` with the camera's own `values` set; None takes a value away, `defaults:` then hold again.

    Raises UnknownCamera; ConfigError where the text does not allow the change. The new values are not validated here.
    """
    bom, text = (BOM, text[1:]) if text.startswith(BOM) else ("", text)
    document = parse_yaml(text, "camera file")
    index = _index(document, camera)
    values = _as_written(document["cameras"][index], values, environment)
    wanted = changed_document(document, camera, values)
    for name, value in values.items():
        if isinstance(value, Mapping) and name in MAPPINGS:
            text = _edit_mapping(text, index, name, value)
        else:
            text = set_value(text, ("cameras", index), name, value)
    try:
        is_meant = _same(parse_yaml(text, "camera file"), wanted)
    except ConfigError:
        is_meant = False
    if not is_meant:
        raise ConfigError(
            f"camera {camera!r}: {', '.join(values)}: the file shares this with other places (an anchor &name), or "
            "writes it in a way that cannot be changed from outside; change it in the file"
        )
    return bom + text


def changed_document(document: Values, camera: str, values: Values) -> dict[str, Any]:
    """Return the document of a camera file with the camera's own `values` set; the argument stays as it is."""
    cameras = list(document["cameras"])
    index = _index(document, camera)
    cameras[index] = _merged(cameras[index], values)
    return {**document, "cameras": cameras}


def _merged(entry: Values, values: Values) -> dict[str, Any]:
    merged = dict(entry)
    for name, value in values.items():
        if value is None:
            merged.pop(name, None)
        elif name in MAPPINGS and isinstance(value, Mapping):
            own = entry.get(name)
            inner = _merged(own if isinstance(own, Mapping) else {}, value)
            merged.pop(name, None)
            if inner:
                merged[name] = inner
        else:
            merged[name] = value
    return merged


def _index(document: Values, camera: str) -> int:
    entries = document.get("cameras")
    for index, entry in enumerate(entries if isinstance(entries, list) else ()):
        if isinstance(entry, Mapping) and str(entry.get("id")) == camera:
            return index
    raise UnknownCamera(f"camera {camera!r}: is not in the camera file")


def _as_written(entry: Values, values: Values, environment: Mapping[str, str]) -> dict[str, Any]:
    """Leave out what says the same already, and write texts that came from `${NAME}` as they stand in the file."""
    written: dict[str, Any] = {}
    for name, value in values.items():
        own = entry.get(name)
        if isinstance(value, Mapping) and isinstance(own, Mapping):
            inner = _as_written(own, value, environment)
            if inner:
                written[name] = inner
            continue
        if isinstance(value, list | tuple):
            texts = [text for text in own if isinstance(text, str)] if isinstance(own, list) else []
            known = {expand(text, environment): text for text in texts}
            value = [known.get(item, item) if isinstance(item, str) else item for item in value]
        if isinstance(value, str) and isinstance(own, str) and expand(own, environment) == value:
            value = own
        if not (name in entry and _same(own, value)):
            written[name] = value
    return written


def placeholders(value: Any) -> list[str]:
    """Return every `${NAME}` in a value that comes from outside: writing one would read the environment."""
    if isinstance(value, str):
        return _PLACEHOLDER.findall(value)
    if isinstance(value, Mapping):
        return [found for item in value.values() for found in placeholders(item)]
    if isinstance(value, list | tuple):
        return [found for item in value for found in placeholders(item)]
    return []


def _edit_mapping(text: str, index: int, name: str, values: Values) -> str:
    own = parse_yaml(text, "camera file")["cameras"][index].get(name)
    inner = _merged(own if isinstance(own, Mapping) else {}, values)
    if not inner or not is_block_mapping(text, ("cameras", index), name):
        return set_value(text, ("cameras", index), name, inner or None)
    # removals come last: a mapping that is empty meanwhile could not be added to
    for key, value in sorted(values.items(), key=lambda one: one[1] is None):
        text = set_value(text, ("cameras", index, name), key, value)
    return text


def _same(one: Any, other: Any) -> bool:
    """Equal values of equal kinds: 1 is not true."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(_same(a, b) for a, b in zip(one, other, strict=True))
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)
