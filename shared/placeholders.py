"""`${NAME}` in the values of a file: replaced from the environment, and quoted for its place in a URL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.urls import VARIABLE, fill_in

URL_FIELDS = frozenset({"url", "detect_url"})


def expand(text: str, environment: Mapping[str, str]) -> str:
    """Return a text of the file with every known `${NAME}` replaced."""
    return str(_expand(text, environment)[0])


def expand_all(value: Any, environment: Mapping[str, str]) -> tuple[Any, list[str]]:  # Any: YAML values
    """Return a value of the file with every known `${NAME}` replaced, quoted in URLs; and the unknown names."""
    return _expand(value, environment)


def _expand(value: Any, environment: Mapping[str, str]) -> tuple[Any, list[str]]:  # Any: YAML values
    if isinstance(value, str):
        missing = [name for name in VARIABLE.findall(value) if name not in environment]
        return VARIABLE.sub(lambda match: environment.get(match.group(1), match.group(0)), value), missing
    if isinstance(value, dict):
        pairs = {key: expand_field(key, item, environment) for key, item in value.items()}
        return {key: item for key, (item, _) in pairs.items()}, [
            name for _, names in pairs.values() for name in names
        ]
    if isinstance(value, list):
        items = [_expand(item, environment) for item in value]
        return [item for item, _ in items], [name for _, names in items for name in names]
    return value, []


def expand_field(
    key: Any, value: Any, environment: Mapping[str, str]
) -> tuple[Any, list[str]]:  # Any: YAML values
    """Return the value of one field as `expand_all` does."""
    filled, missing = _expand(value, environment)
    return (fill_in(value, environment) if key in URL_FIELDS and isinstance(value, str) else filled), missing
