"""The camera file: its model, its reader, its faults. Knows no service; changes take effect when it is read again.

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
place (shared/urls.py).
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import unquote_to_bytes

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from shared.contract import CameraId, DecisionSettings, LabelSet, LabelText, Ratio
from shared.errors import ConfigError, redact
from shared.faults import FieldFault, list_faults, near
from shared.urls import VARIABLE, fill_in, scheme_of, url_fault

Point = tuple[Ratio, Ratio]
MAX_FILE_BYTES = 4 * 1024 * 1024
MAX_VALUES = 300_000  # 10,000 cameras with 30 each; a few aliases of aliases make a short file endless
MAX_DEPTH = 40
LEAST_LOOKS_HZ = 0.5  # motion cannot be told from fewer pictures a second
_SECTIONS = ("defaults", "cameras", "settings")  # settings: for `clipwatch run`, not for a service
_NOT_FOR_ALL = ("id", "url", "detect_url")


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class MotionSettings(_Strict):
    """How movement is found and cut. Lengths in seconds; areas in px of a picture 640 px wide."""

    gaussian_ksize: Annotated[
        int, Field(ge=1, le=99, description="side of the Gaussian blur in px of the detection plane, odd")
    ] = 5
    threshold: Annotated[
        Literal["auto"] | Annotated[int, Field(ge=1, le=255)],
        Field(description="grey levels that count as change; 'auto' follows the measured noise"),
    ] = "auto"
    dilate_iterations: Annotated[
        int, Field(ge=0, le=20, description="how often the changed area is dilated")
    ] = 2
    min_contour_area: Annotated[
        float, Field(ge=1, le=307200, description="smallest moving area, px of a picture 640 px wide")
    ] = 200
    min_frames: Annotated[
        int, Field(ge=1, le=50, description="consecutive frames with motion before an event starts")
    ] = 3
    detect_fps: Annotated[
        float,
        Field(ge=LEAST_LOOKS_HZ, le=60, description="frames a second that the detector looks at, at most"),
    ] = 10
    pre_roll_s: Annotated[float, Field(ge=0, le=30, description="what a clip shows before the motion")] = 3
    post_roll_s: Annotated[float, Field(ge=0, le=30, description="what a clip shows after the motion")] = 2
    quiet_s: Annotated[
        float, Field(gt=0, le=120, description="the event ends after this long without motion")
    ] = 4
    first_snippet_s: Annotated[float, Field(gt=0, le=60, description="motion in the early first snippet")] = 3
    longest_snippet_s: Annotated[
        float, Field(gt=0, le=120, description="a longer event is cut into further snippets")
    ] = 10
    longest_event_s: Annotated[
        float,
        Field(ge=10, le=86400, description="motion that never stops is cut into events of this length"),
    ] = 300
    pictures: Annotated[
        int, Field(ge=1, le=32, description="moments of a snippet that the classifier sees, at most")
    ] = 12
    idle: Annotated[
        Literal["auto", "off"],
        Field(
            description="'auto' decodes key frames only while nothing moves, where packet sizes tell when that ends, "
            "and at other times no picture between two looks that no other needs, nor what is left of a group of "
            "pictures after its last look; 'off' decodes everything"
        ),
    ] = "auto"
    masks: Annotated[
        tuple[tuple[Point, ...], ...],
        Field(description="polygons (shares of width and height) where motion is ignored"),
    ] = ()
    zones: Annotated[
        tuple[tuple[Point, ...], ...],
        Field(description="polygons; if there are any, only what touches one of them makes an event"),
    ] = ()

    @field_validator("idle", mode="before")
    @classmethod
    def _off(cls, value: object) -> object:
        return "off" if value is False else value  # what YAML 1.1 makes of a bare off

    @field_validator("gaussian_ksize")
    @classmethod
    def _odd(cls, value: int) -> int:
        if value % 2 == 0:
            raise ValueError("must be odd")
        return value

    @field_validator("masks", "zones")
    @classmethod
    def _polygons(cls, value: tuple[tuple[Point, ...], ...]) -> tuple[tuple[Point, ...], ...]:
        if any(len(polygon) < 3 for polygon in value):
            raise ValueError("a polygon needs at least 3 points")
        return value


SourceKind = Literal["file", "device", "rtsp", "http", "whip", "whep"]
_KINDS: dict[str, SourceKind] = {
    "rtsp": "rtsp",
    "rtsps": "rtsp",
    "http": "http",
    "https": "http",
    "whep": "whep",
    "wheps": "whep",
    "whip": "whip",
    "file": "file",
}
_SCHEMES = "rtsp://, rtsps://, http://, https://, whip:, whep://, wheps:// or a file"
MOST_LOGIN_BYTES = (
    127  # FFmpeg's RTSP client keeps that much of user:password (libavformat/rtsp.h: auth[128])
)


def kind_of(url: str) -> SourceKind:
    """Return what `url` leads to; raise ValueError when it is of no known kind.

    A name with a colon is a file, unless `://` follows or what stands before it is a scheme of ours.
    """
    scheme = scheme_of(url)
    if scheme:
        kind = _KINDS.get(scheme)
        if kind is None:
            raise ValueError(f"scheme '{scheme}' is not known, wanted {_SCHEMES}")
        return kind
    start = url.partition(":")[0].lower() if ":" in url else ""
    if start in ("whip", "file"):
        return _KINDS[start]
    if start in _KINDS:
        raise ValueError(f"wanted {start}://host/…; a file of this name is written ./{start}:…")
    return "device" if url.startswith("/dev/") else "file"


def _stream_fault(url: str) -> str | None:
    """Say why the address of a stream would be read wrongly."""
    if (fault := url_fault(url)) is not None:
        return fault
    login = url.partition("://")[2].partition("/")[0].rpartition("@")[0]
    if kind_of(url) == "rtsp" and len(login.encode()) > MOST_LOGIN_BYTES:
        return (
            f"user name and password take more than {MOST_LOGIN_BYTES} bytes in the URL, choose shorter ones"
        )
    return None


def whip_token(url: str) -> str:
    """Return the token that a publisher must show, of `whip:?token=…`."""
    return url.partition("?token=")[2]


def _whip_fault(url: str) -> str | None:
    """Say what is wrong with a `whip:` url. The characters are those of a bearer token (RFC 6750 §2.1)."""
    if kind_of(url) != "whip" or _WHIP.fullmatch(url) or VARIABLE.search(url):
        return None
    return "wanted whip:?token= and at least 16 of A-Z a-z 0-9 - . _ ~ + / ="


_WHIP = re.compile(r"whip:(//)?/?\?token=[A-Za-z0-9._~+/=-]{16,}")


class Camera(_Strict):
    """One configured source."""

    id: CameraId
    url: Annotated[
        str,
        Field(
            min_length=1,
            description="rtsp://…, rtsps://…, http://… (MJPEG), whep://… or whip:?token=… (WebRTC), /dev/video0 (USB), "
            "or the path of a video file or folder",
        ),
    ]
    detect_url: Annotated[
        str | None,
        Field(
            description="a smaller stream of the same camera to look for motion in; clips and pictures are of `url`"
        ),
    ] = None
    transport: Annotated[
        Literal["tcp", "udp"],
        Field(description="rtsp: tcp loses nothing; udp delivers sooner on a good network"),
    ] = "tcp"
    name: Annotated[str, Field(max_length=200)] = ""
    enabled: bool = True
    latitude: Annotated[float, Field(ge=-90, le=90)] | None = None
    longitude: Annotated[float, Field(ge=-180, le=180)] | None = None
    labels: Annotated[
        tuple[LabelText, ...], Field(min_length=1, max_length=200, description="what is looked for")
    ]
    background: Annotated[
        tuple[LabelText, ...], Field(max_length=50, description="what is always in view")
    ] = ()
    threshold: Annotated[Ratio, Field(description="probability from which a label is accepted")] = 0.5
    leave_threshold: Annotated[
        Ratio | None, Field(description="probability below which its span ends; default 0.8 x threshold")
    ] = None
    margin: Annotated[Ratio, Field(description="by how much a label must beat the background")] = 0.05
    window_s: Annotated[
        float, Field(ge=0, le=60, description="length of the moving average over moments")
    ] = 2.0
    min_moments: Annotated[
        int, Field(ge=1, le=64, description="contiguous moments that a label must carry")
    ] = 2
    motion: MotionSettings = MotionSettings()
    # files only
    pace: Annotated[
        Literal["realtime", "fast"], Field(description="file: play at its own speed, or as fast as possible")
    ] = "realtime"
    loop: Annotated[bool, Field(description="file: begin again at its end")] = True
    starts_at: Annotated[
        AwareDatetime | None,
        Field(description="file, not looped: the time of its first frame; event ids then follow from it"),
    ] = None

    @property
    def is_file(self) -> bool:
        """Whether it is a recording, or a folder of them."""
        return kind_of(self.url) == "file"

    @property
    def label_set(self) -> LabelSet:
        return LabelSet(labels=self.labels, background=self.background)

    @property
    def decision(self) -> DecisionSettings:
        return DecisionSettings(
            threshold=self.threshold,
            leave_threshold=self.leave_threshold,
            margin=self.margin,
            window_s=self.window_s,
            min_moments=self.min_moments,
        )

    @field_validator("url")
    @classmethod
    def _known_scheme(cls, value: str) -> str:
        kind = kind_of(value)
        fault = _whip_fault(value) if kind in ("whip", "file", "device") else _stream_fault(value)
        if "\0" in value:
            fault = "holds a NUL character, which no file name has"
        if fault is not None:
            raise ValueError(fault)
        return value

    @field_validator("detect_url")
    @classmethod
    def _live_scheme(cls, value: str | None) -> str | None:
        if value is not None and kind_of(value) not in ("rtsp", "http", "whep"):
            raise ValueError("must be a stream: rtsp://, rtsps://, http://, https://, whep:// or wheps://")
        if value is not None and (fault := _stream_fault(value)) is not None:
            raise ValueError(fault)
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Camera:
        faults = _cross_faults(self.model_dump())
        if faults:
            raise ValueError("; ".join(faults))
        return self


class CameraFile(_Strict):
    """All cameras of one file, in its order, ids unique."""

    cameras: Annotated[tuple[Camera, ...], Field(min_length=1, max_length=10_000)]

    @model_validator(mode="after")
    def _unique(self) -> CameraFile:
        ids = [camera.id for camera in self.cameras]
        doubled = sorted({camera for camera in ids if ids.count(camera) > 1})
        if doubled:
            raise ValueError(f"camera ids must be unique, found twice: {', '.join(doubled)}")
        return self


def load_cameras(path: Path, environment: Mapping[str, str] | None = None) -> CameraFile:
    """Read the camera file; paths of video files in it are relative to it.

    Raises ConfigError with every fault at once, each as `file: camera 'id': field=value: what is wanted`.
    """
    return parse_cameras(read_yaml(path), path.name, path.parent, environment)


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
        raise ConfigError(f"{path}: cannot be read: {_forbidden(path)}") from exc
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be read: {exc.strerror}") from exc
    if len(raw) > MAX_FILE_BYTES:
        raise ConfigError(f"{path}: is longer than {MAX_FILE_BYTES} bytes, this cannot be a camera file")
    return raw


def _forbidden(path: Path) -> str:
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
        raise ConfigError(f"{filename}: holds {_kind(document)}, wanted a mapping with 'cameras:'")
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
        found = "is empty" if entries == [] else f"holds {_kind(entries)}"
        raise ConfigError([*faults, f"{filename}: cameras: {found}, wanted a list with at least one camera"])
    cameras: list[Camera] = []
    seen: set[str] = set()
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict):
            faults.append(
                f"{filename}: cameras[{index}]: holds {_kind(entry)}, wanted a mapping with id, url, labels"
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


def recordings_of(
    document: Mapping[str, Any], filename: str, folder: Path, environment: Mapping[str, str]
) -> Iterator[tuple[str, Path, bool]]:  # Any: what a YAML file can hold
    """Yield the files and folders that a camera file names, with whose each is and whether it is looped."""
    usual, entries = _defaults(document.get("defaults"))[0], document.get("cameras")
    for index, entry in enumerate(entries if isinstance(entries, list) else ()):
        if not isinstance(entry, dict) or not _merge(usual, entry).get("enabled", True):
            continue
        url, missing = _expand_field("url", entry.get("url"), environment)
        if missing or not isinstance(url, str) or not url or "\0" in url:
            continue
        with contextlib.suppress(ValueError):
            if kind_of(url) == "file":
                is_looped = bool(_merge(usual, entry).get("loop", True))
                yield _who(filename, entry, index), _file_path(url, folder), is_looped


def _who(filename: str, entry: Mapping[str, Any], index: int) -> str:  # Any: YAML
    identity = entry.get("id")
    return (
        f"{filename}: camera {redact(str(identity))[:64]!r}"
        if identity
        else f"{filename}: camera number {index + 1}"
    )


def _defaults(section: Any) -> tuple[dict[str, Any], list[str]]:  # Any: what a YAML file can hold
    if section is None:
        return {}, []
    if not isinstance(section, dict):
        return {}, [f"holds {_kind(section)}, wanted a mapping"]
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
    merged, missing = _expand(entry, environment)
    faults = [f"${{{name}}} is not set in the environment" for name in dict.fromkeys(missing)]
    try:
        camera = Camera.model_validate(merged)
    except ValidationError as exc:
        found = [fault for fault in list_faults(exc, Camera) if fault.path]
        faults.extend(str(fault) for fault in found if not (fault.value and VARIABLE.search(fault.value)))
        return None, [*faults, *_cross_faults(merged)]
    return (None if faults else camera), faults


def _cross_faults(entry: Mapping[str, Any]) -> list[str]:  # Any: YAML values, valid or not
    """Say what is wrong between fields; of values that are wrong themselves nothing is said."""
    faults = []
    words = [
        text.strip().casefold()
        for name in ("labels", "background")
        if isinstance(texts := entry.get(name), list | tuple)
        for text in texts
        if isinstance(text, str)
    ]
    doubled = sorted({word for word in words if words.count(word) > 1})
    if doubled:
        faults.append(f"named twice among labels and background: {', '.join(doubled)}")
    if (entry.get("latitude") is None) != (entry.get("longitude") is None):
        faults.append("latitude and longitude go together: give both or neither")
    enter, leave = entry.get("threshold"), entry.get("leave_threshold")
    if isinstance(enter, int | float) and isinstance(leave, int | float) and leave > enter:
        faults.append(f"leave_threshold={leave}: must not lie above threshold={enter}")
    return faults


def describe_fault(error: Mapping[str, Any]) -> str:  # Any: pydantic's own error mapping
    """Say one pydantic fault as `field=value: what is wanted`; prefer shared.faults.list_faults, which knows bounds."""
    path = tuple(str(part) for part in error["loc"] if not str(part).startswith(_UNION_PARTS))
    message = str(error["msg"]).removeprefix("Value error, ")
    value = error.get("input")
    if error["type"] == "missing":
        return str(FieldFault(path, None, "is missing"))
    if error["type"] == "extra_forbidden":
        return str(
            FieldFault(path, None, "is not known; see the list of settings in docs/guide/configuration.md")
        )
    shown = repr(value) if isinstance(value, str | int | float) else None
    return str(FieldFault(path, shown, message[:1].lower() + message[1:]))


_UNION_PARTS = ("literal[", "constrained-", "function-")
URL_FIELDS = frozenset({"url", "detect_url"})


def _expand(value: Any, environment: Mapping[str, str]) -> tuple[Any, list[str]]:  # Any: YAML values
    if isinstance(value, str):
        missing = [name for name in VARIABLE.findall(value) if name not in environment]
        return VARIABLE.sub(lambda match: environment.get(match.group(1), match.group(0)), value), missing
    if isinstance(value, dict):
        pairs = {key: _expand_field(key, item, environment) for key, item in value.items()}
        return {key: item for key, (item, _) in pairs.items()}, [
            name for _, names in pairs.values() for name in names
        ]
    if isinstance(value, list):
        items = [_expand(item, environment) for item in value]
        return [item for item, _ in items], [name for _, names in items for name in names]
    return value, []


def _expand_field(
    key: Any, value: Any, environment: Mapping[str, str]
) -> tuple[Any, list[str]]:  # Any: YAML values
    filled, missing = _expand(value, environment)
    return (fill_in(value, environment) if key in URL_FIELDS and isinstance(value, str) else filled), missing


def expand_all(value: Any, environment: Mapping[str, str]) -> tuple[Any, list[str]]:  # Any: YAML values
    """Return a value of the file with every known `${NAME}` replaced, quoted in URLs; and the unknown names."""
    return _expand(value, environment)


def expand(text: str, environment: Mapping[str, str]) -> str:
    """Return a text of the file with every known `${NAME}` replaced."""
    return str(_expand(text, environment)[0])


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


def _kind(value: object) -> str:
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
