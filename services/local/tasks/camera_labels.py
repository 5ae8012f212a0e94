"""`clipwatch labels`: shows a camera's labels, or changes them in the configuration. Needs no running service."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.cameras import Camera
from shared.cameras.editor import UnknownCamera
from shared.cameras.store import CameraFileStore, NotWritable
from shared.errors import ConfigError


@dataclass(frozen=True, slots=True)
class LabelOptions:
    """What to change; if nothing is given, show the labels."""

    camera: str
    labels: tuple[str, ...] = ()
    background: tuple[str, ...] = ()
    threshold: float | None = None


class Unset(Mapping[str, str]):
    """An environment in which every unset variable stands for itself: passwords are not needed here."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def __getitem__(self, name: str) -> str:
        return self._environment.get(name, f"${{{name}}}")

    def __contains__(self, _name: object) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(self._environment)

    def __len__(self) -> int:
        return len(self._environment)


def set_or_show(
    options: LabelOptions, config: Path, environment: Mapping[str, str] | None = None
) -> list[str]:
    """Return the lines to print; raises ConfigError with every fault."""
    store = CameraFileStore(config, Unset(os.environ if environment is None else environment))
    values: dict[str, Any] = {}  # Any: settings
    if options.labels:
        values["labels"] = list(options.labels)
    if options.background:
        values["background"] = list(options.background)
    if options.threshold is not None:
        values["threshold"] = options.threshold
    try:
        version = store.change(options.camera, values) if values else store.read()
    except NotWritable as exc:
        raise ConfigError(str(exc)) from exc
    known = {camera.id: camera for camera in version.cameras.cameras}
    if options.camera not in known:
        raise UnknownCamera(
            f"{config}: camera {options.camera!r}: is not there, wanted one of {', '.join(known)}"
        )
    return _lines(known[options.camera])


def _lines(camera: Camera) -> list[str]:
    return [
        *(f"label       {text}" for text in camera.labels),
        *(f"background  {text}" for text in camera.background),
        f"threshold   {camera.threshold:g}",
    ]
