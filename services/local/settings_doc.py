"""Writes docs/reference/settings.md from the settings' own models: `python -m services.local.settings_doc`.

A test compares the page with what this prints, so that the page cannot lie.
"""

from __future__ import annotations

import sys
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Union

import annotated_types
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from services.classifier.settings import ClassifierSettings
from services.local.run_settings import RunSettings
from services.motion.settings import MotionServiceSettings
from services.recorder.settings import RecorderSettings
from shared.cameras import Camera, MotionSettings
from shared.settings import CameraSettings, ServiceSettings

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "settings.md"


def page() -> str:
    """Return the whole page as Markdown."""
    shared = set(CameraSettings.model_fields)
    parts = [
        "# Settings",
        "Made from the code by `python -m services.local.settings_doc`; a test keeps them in step.",
        "## The camera file: one camera",
        *_table(Camera, "", set()),
        "## The camera file: `motion:` of a camera",
        *_table(MotionSettings, "", set()),
        "## `settings:` of a one-machine run (`clipwatch run`)",
        *_table(RunSettings, "", set()),
        "## Environment of every service",
        "A secret may also stand in a file of its own that `NAME_FILE` names: `API_TOKEN_FILE=/run/secrets/token`.",
        *_table(ServiceSettings, "env", set()),
        "## Environment of motion",
        *_table(MotionServiceSettings, "env", set(ServiceSettings.model_fields)),
        "## Environment of the classifier",
        *_table(ClassifierSettings, "env", shared),
        "## Environment of the recorder",
        *_table(RecorderSettings, "env", set(ServiceSettings.model_fields)),
    ]
    return "\n\n".join(parts) + "\n"


def _table(model: type[BaseModel], style: Literal["", "env"], without: set[str]) -> Iterator[str]:
    rows = ["| setting | values | default | what it is |", "|---|---|---|---|"]
    for name, info in model.model_fields.items():
        if name not in without:
            shown = name.upper() if style == "env" else name
            rows.append(f"| `{shown}` | {_values(info)} | {_default(info)} | {info.description or ''} |")
    yield "\n".join(rows)


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    value = (
        info.default if info.default is not PydanticUndefined else info.get_default(call_default_factory=True)
    )
    if isinstance(value, BaseModel):
        return "see below"
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, Path):
        text = str(value)
        return f"`{text.replace(sys.prefix, '<environment>')}`"
    return "" if value is None or value in ("", ()) else f"`{value}`"


def _values(info: FieldInfo) -> str:
    text = _type_text(info.annotation)
    bounds = " ".join(filter(None, (_bound(item) for item in info.metadata)))
    return f"{text} {bounds}".strip()


def _bound(item: Any) -> str:  # Any: pydantic keeps metadata of any kind
    signs = {annotated_types.Ge: ("ge", "≥"), annotated_types.Gt: ("gt", ">"), annotated_types.Le: ("le", "≤"),
             annotated_types.Lt: ("lt", "<")}  # fmt: skip
    for kind, (attribute, sign) in signs.items():
        if isinstance(item, kind):
            return f"{sign} {getattr(item, attribute)}"
    return ""


def _type_text(annotation: Any) -> str:  # Any: a type annotation
    origin = typing.get_origin(annotation)
    arguments = typing.get_args(annotation)
    if origin is typing.Annotated:
        bounds = [_bound(piece) for item in arguments[1:] for piece in getattr(item, "metadata", [item])]
        return " ".join([_type_text(arguments[0]), *filter(None, bounds)])
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(_type_text(part) for part in arguments if part is not types.NoneType)
    if origin is tuple:
        return f"list of {_type_text(arguments[0])}"
    names = {"str": "text", "SecretStr": "text (secret)", "SecretUrl": "URL (secret)",
             "float": "number", "int": "whole number",
             "bool": "true or false",
             "Path": "path", "AwareDatetime": "time with zone", "datetime": "time with zone",
             "MotionSettings": "mapping"}  # fmt: skip
    name = getattr(annotation, "__name__", str(annotation))
    return names.get(name, name)


if __name__ == "__main__":
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE}")
