"""Reads the camera file and says every fault at once. Knows no service; a change takes effect at the next read.

    defaults:                    # optional: any field of a camera but id, url and detect_url
      labels: [a pedestrian, a dog]
      background: [an empty path]
    cameras:
      - id: gate
        url: rtsp://user:${GATE_PASSWORD}@10.0.0.7/stream1
        latitude: 52.52
        longitude: 13.40
        threshold: 0.6
        motion: {threshold: auto, min_contour_area: 300}

`${NAME}` is replaced from the environment, so that no password has to stand in the file; in a URL it is quoted for its
place (shared/placeholders.py).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

from pydantic import ValidationError

from shared.cameras.model import Camera, CameraFile, cross_faults
from shared.cameras.sources import kind_of
from shared.errors import ConfigError, redact, shortened
from shared.faults import list_faults, near
from shared.placeholders import expand_all, expand_field, placeholder_fault
from shared.urls import VARIABLE
from shared.yaml_files import kind_name, read_yaml

_SECTIONS = ("defaults", "cameras", "settings")  # settings: for `clipwatch run`, not for a service
_NOT_FOR_ALL = ("id", "url", "detect_url")


def load_cameras(path: Path, environment: Mapping[str, str] | None = None) -> CameraFile:
    """Read the camera file; paths of video files in it are relative to it.

    Raises ConfigError with every fault at once, each as `file: camera 'id': field=value: what is wanted`.
    """
    return parse_cameras(read_yaml(path), path.name, path.parent, environment)


def parse_cameras(
    document: Mapping[str, Any],  # Any: what a YAML file can hold
    filename: str,
    folder: Path,
    environment: Mapping[str, str] | None = None,
) -> CameraFile:
    """Validate an already read camera file; see load_cameras."""
    environment = os.environ if environment is None else environment
    faults: list[str] = [
        f"{filename}: '{key}' is not known{near(str(key), _SECTIONS)}"
        for key in document
        if key not in _SECTIONS
    ]
    defaults, default_faults = _defaults(document.get("defaults"))
    faults.extend(f"{filename}: defaults: {fault}" for fault in default_faults)
    entries = document.get("cameras")
    if not isinstance(entries, list) or not entries:
        found = "is empty" if entries == [] else f"holds {kind_name(entries)}"
        raise ConfigError([*faults, f"{filename}: cameras: {found}, wanted a list with at least one camera"])
    cameras: list[Camera] = []
    seen: set[str] = set()
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict):
            faults.append(
                f"{filename}: cameras[{index}]: holds {kind_name(entry)}, wanted a mapping with id, url, labels"
            )
            continue
        identity = entry.get("id")
        who = _who(filename, entry, index)
        if isinstance(identity, str) and identity in seen:
            faults.append(f"{who}: id: is used twice, ids must be unique")
        seen.add(str(identity))
        camera, camera_faults = _camera(_merge(defaults, entry), environment)
        faults.extend(f"{who}: {fault}" for fault in camera_faults)
        if camera and camera.is_file:
            camera = camera.model_copy(update={"url": str(_file_path(camera.url, folder))})
        if camera:
            cameras.append(camera)
    if not faults:
        try:
            return CameraFile(cameras=tuple(cameras))
        except ValidationError as exc:
            faults.extend(f"{filename}: {fault}" for fault in list_faults(exc, CameraFile))
    raise ConfigError([redact(fault) for fault in faults])


def camera_with(values: Mapping[str, Any]) -> Camera:  # Any: JSON or YAML values, valid or not
    """Return a camera with these settings; raise ConfigError with what `load_cameras` would say of each of them."""
    camera, faults = _camera({"id": "camera", "url": "rtsp://127.0.0.1/", **values}, {})
    if camera is None:
        raise ConfigError([redact(fault) for fault in faults])
    return camera


def recordings_of(
    document: Mapping[str, Any], filename: str, folder: Path, environment: Mapping[str, str]
) -> Iterator[tuple[str, Path, bool]]:  # Any: what a YAML file can hold
    """Yield the files and folders that a camera file names, with whose each is and whether it is looped."""
    usual, entries = _defaults(document.get("defaults"))[0], document.get("cameras")
    for index, entry in enumerate(entries if isinstance(entries, list) else ()):
        if not isinstance(entry, dict) or not _merge(usual, entry).get("enabled", True):
            continue
        url, missing = expand_field("url", entry.get("url"), environment)
        if missing or not isinstance(url, str) or not url or "\0" in url:
            continue
        with contextlib.suppress(ValueError):
            if kind_of(url) == "file":
                is_looped = bool(_merge(usual, entry).get("loop", True))
                yield _who(filename, entry, index), _file_path(url, folder), is_looped


def _who(filename: str, entry: Mapping[str, Any], index: int) -> str:  # Any: YAML
    identity = entry.get("id")
    return (
        f"{filename}: camera {shortened(str(identity), 64)!r}"
        if identity
        else f"{filename}: camera number {index + 1}"
    )


def _defaults(section: Any) -> tuple[dict[str, Any], list[str]]:  # Any: what a YAML file can hold
    if section is None:
        return {}, []
    if not isinstance(section, dict):
        return {}, [f"holds {kind_name(section)}, wanted a mapping"]
    known = [name for name in Camera.model_fields if name not in _NOT_FOR_ALL]
    faults = []
    for key in section:
        if key in _NOT_FOR_ALL:
            faults.append(f"{key}: is each camera's own")
        elif key not in known:
            faults.append(f"{key}: is not known{near(str(key), known)}")
    return {key: value for key, value in section.items() if key in known}, faults


def _camera(
    entry: dict[str, Any], environment: Mapping[str, str]
) -> tuple[Camera | None, list[str]]:  # Any: YAML
    merged, missing = expand_all(entry, environment)
    faults = [placeholder_fault(name, environment) for name in dict.fromkeys(missing)]
    try:
        camera = Camera.model_validate(merged)
    except ValidationError as exc:
        found = [fault for fault in list_faults(exc, Camera) if fault.path]
        faults.extend(str(fault) for fault in found if not (fault.value and VARIABLE.search(fault.value)))
        return None, [*faults, *cross_faults(merged)]
    return (None if faults else camera), faults


def _merge(defaults: Mapping[str, Any], entry: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**defaults, **entry}
    if isinstance(defaults.get("motion"), dict) and isinstance(entry.get("motion"), dict):
        merged["motion"] = {**defaults["motion"], **entry["motion"]}
    return merged


def _file_path(url: str, folder: Path) -> Path:
    name = url
    if kind_of(url) == "file" and url[:5].lower() == "file:":
        rest = url[5:]
        name = os.fsdecode(unquote_to_bytes("/" + rest[2:].partition("/")[2] if rest[:2] == "//" else rest))
    path = Path(os.path.expanduser(name))  # noqa: PTH111 - Path's own raises for the file ~x.mp4
    return path if path.is_absolute() else (folder / path).resolve()
