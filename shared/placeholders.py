"""`${NAME}` in the values of a file: replaced from the environment, and quoted for its place in a URL.

Or from the file that NAME_FILE names (shared/secret_files.py). What a URL takes from there is known as a secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.secret_files import SecretFileFault, secret_from_file
from shared.secrets import is_url, know
from shared.urls import VARIABLE, fill_in, secret_names

URL_FIELDS = frozenset({"url", "detect_url"})


def expand(text: str, environment: Mapping[str, str]) -> str:
    """Return a text of the file with every known `${NAME}` replaced."""
    return str(_expand(text, environment)[0])


def expand_all(value: Any, environment: Mapping[str, str]) -> tuple[Any, list[str]]:  # Any: YAML values
    """Return a value of the file with every known `${NAME}` replaced, quoted in URLs; and the unknown names."""
    return _expand(value, environment)


def placeholder_fault(name: str, environment: Mapping[str, str]) -> str:
    """Say why `${NAME}` has no value."""
    try:
        secret_from_file(name, environment)
    except SecretFileFault as exc:
        return f"${{{name}}}: {exc}"
    return f"${{{name}}} is not set in the environment"


def _values(text: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the values of the names in `text`; of one that has none, or two, nothing."""
    values: dict[str, str] = {}
    for name in VARIABLE.findall(text):
        try:
            value = secret_from_file(name, environment)
        except SecretFileFault:
            continue
        if value is None and name in environment:
            value = environment[name]
        if value is not None:
            values[name] = value
    return values


def _expand(value: Any, environment: Mapping[str, str]) -> tuple[Any, list[str]]:  # Any: YAML values
    if isinstance(value, str):
        values = _values(value, environment)
        missing = [name for name in VARIABLE.findall(value) if name not in values]
        return VARIABLE.sub(lambda match: values.get(match.group(1), match.group(0)), value), missing
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
    if key not in URL_FIELDS or not isinstance(value, str):
        return filled, missing
    values = _values(value, environment)
    url = fill_in(value, values)
    if is_url(url):  # no name of a file
        know(url)
        for name in secret_names(value):
            know(values.get(name, "").replace(f"${{{name}}}", ""))
    return url, missing
