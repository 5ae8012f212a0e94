"""`clipwatch calibrate`: watches a camera, proposes its motion settings, and draws why. Needs no running service."""

from __future__ import annotations

import asyncio
import os
import shlex
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from services.local.config import folder_faults
from services.local.tasks.calibration_picture import draw
from services.local.tasks.camera_labels import Unset
from services.motion.detection import calibration
from services.motion.detection.calibration import Proposal, Survey, propose
from services.motion.detection.scaling import luma_plane
from services.motion.media.frame import Frame
from services.motion.sources.ffmpeg import quiet_ffmpeg
from services.motion.sources.file import FileOptions, open_file
from services.motion.sources.live_source import ConnectionOptions, WhipIngest, open_live
from services.motion.sources.probe import probe_source, videos_in
from services.motion.sources.stream import SourceAway, SourceStream
from shared.cameras import Camera, kind_of, parse_cameras
from shared.cameras.editor import UnknownCamera
from shared.cameras.store import CameraFileStore, NotWritable
from shared.errors import ClipwatchError, ConfigError, redact
from shared.urls import scheme_of, shown_url

OPEN_S, READ_S = 10.0, 10.0
DEFAULT_CONFIG = Path("clipwatch.yml")
SHORTEST_S, LONGEST_S = 5.0, 3600.0
Progress = Callable[[str, float], None]


class CalibrationFailed(ClipwatchError):
    """The camera could not be watched."""


@dataclass(frozen=True, slots=True)
class CalibrateOptions:
    """`camera`: an id of the configuration, or a URL or file. `picture`: where the picture goes."""

    camera: str
    seconds: float
    picture: Path
    config: Path
    is_written: bool = False


@dataclass(frozen=True, slots=True)
class CameraCalibration:
    """The result. `watched_s` is in the camera's own time."""

    proposal: Proposal
    watched_s: float
    n_looks: int
    picture: Path
    is_written: bool


def calibrate_camera(options: CalibrateOptions, stop: asyncio.Event, progress: Progress) -> CameraCalibration:
    """Watch, propose, draw, and with --write save the proposal. Raises ConfigError, CalibrationFailed."""
    quiet_ffmpeg()
    camera, store = _checked(options)
    survey, last = _watch(camera, options.seconds, stop, progress)
    proposal = propose(survey)
    watched_s = survey.reaches[-1].t_s - survey.began_s if survey.reaches else 0.0
    if watched_s < min(SHORTEST_S, options.seconds):
        raise CalibrationFailed(
            f"camera '{options.camera}': only {watched_s:.1f} s could be watched, wanted more"
        )
    try:
        options.picture.parent.mkdir(parents=True, exist_ok=True)
        draw(options.picture, camera.id, last, survey, proposal)
    except OSError as exc:
        raise ConfigError(f"--out {options.picture}: cannot be written: {exc.strerror}") from exc
    if options.is_written and store is not None:
        values = {
            "threshold": proposal.threshold,
            "min_contour_area": proposal.min_contour_area,
            **({"masks": _plain((*camera.motion.masks, *proposal.masks))} if proposal.masks else {}),
        }
        try:
            store.change(camera.id, {"motion": values})
        except NotWritable as exc:
            raise ConfigError(str(exc)) from exc
    return CameraCalibration(proposal, watched_s, len(survey.reaches), options.picture, options.is_written)


def default_picture(camera: str) -> Path:
    """Return a name for the picture in the current folder, with nothing of a URL, which may hold a password."""
    name = Path(camera).stem if "://" not in camera else "camera"
    return Path(f"calibration-{name}.png")


def lines_of(found: CameraCalibration, camera: str, config: Path) -> list[str]:
    """Return what is printed: the settings as they stand in a camera file, and why."""
    proposal = found.proposal
    motion = f"motion: {{threshold: {proposal.threshold}, min_contour_area: {proposal.min_contour_area}"
    if proposal.masks:
        masks = ", ".join(
            "[" + ", ".join(f"[{x:g}, {y:g}]" for x, y in mask) + "]" for mask in proposal.masks
        )
        motion += f", masks: [{masks}]"
    return [
        f"watched {found.watched_s:.0f} s, {found.n_looks} looks",
        motion + "}",
        *(f"  {reason}" for reason in proposal.reasons),
        f"picture: {found.picture}",
        _keeping(found, camera, config),
    ]


def _keeping(found: CameraCalibration, camera: str, config: Path) -> str:
    """Say how to save the proposal: by a command where one can do it; never repeat a URL."""
    if found.is_written:
        return f"written to {config}; what runs takes it at once"
    if is_source(camera):
        return "to keep it: copy the line with motion: into this camera's entry of the configuration"
    file = "" if config == DEFAULT_CONFIG else f" --config {shlex.quote(str(config))}"
    return f"to keep it: clipwatch calibrate {shlex.quote(camera)}{file} --write, or copy the line above"


def _plain(polygons: tuple[tuple[tuple[float, float], ...], ...]) -> list[list[list[float]]]:
    return [[[x, y] for x, y in polygon] for polygon in polygons]


def _checked(options: CalibrateOptions) -> tuple[Camera, CameraFileStore | None]:
    """Return what `_camera` does; raise ConfigError with every fault of the options at once."""
    faults = folder_faults("--out", options.picture.parent)
    if options.picture.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        faults.append(f"--out {options.picture}: wanted a name that ends in .png or .jpg")
    if not SHORTEST_S <= options.seconds <= LONGEST_S:
        faults.append(f"--seconds {options.seconds:g}: wanted {SHORTEST_S:g}..{LONGEST_S:g}")
    try:
        found = _camera(options)
    except ConfigError as exc:
        raise ConfigError([*exc.faults, *faults]) from exc
    if faults:
        raise ConfigError(faults)
    return found


def _camera(options: CalibrateOptions) -> tuple[Camera, CameraFileStore | None]:
    """Return the camera, and the file that it stands in (None: a URL or a file of its own)."""
    if is_source(options.camera):
        if options.is_written:
            raise ConfigError(
                f"--write: {shown_url(options.camera)} is no camera of a configuration, wanted its id"
            )
        return _usable(_source(options.camera)), None
    store = CameraFileStore(options.config, Unset(os.environ))  # other cameras' passwords are not needed
    version = store.read()
    known = {camera.id: camera for camera in version.cameras.cameras}
    if options.camera not in known:
        raise UnknownCamera(
            f"{options.config}: camera {options.camera!r}: is not there, wanted one of {', '.join(known)}"
        )
    return _usable(known[options.camera]), store


def is_source(camera: str) -> bool:
    """Whether a URL or a file is named, and not a camera of the configuration."""
    return "://" in camera or camera.startswith("/") or os.path.exists(camera)  # noqa: PTH110 - raises nothing


def _source(name: str) -> Camera:
    document = {"id": "camera", "url": name, "labels": ["anything"]}
    if scheme_of(name) == "" and not name.startswith("/dev/"):
        document["url"] = Path(name).resolve().as_uri()  # whatever its name
    try:
        [camera] = parse_cameras({"cameras": [document]}, "command line", Path.cwd(), {}).cameras
    except ConfigError as exc:
        said = [fault.removeprefix("command line: camera 'camera': ") for fault in exc.faults]
        wanted = f"{shown_url(name)}: is no camera, wanted a URL, a file or an id of the configuration"
        raise ConfigError([wanted, *said]) from exc
    return camera


def _usable(camera: Camera) -> Camera:
    if kind_of(camera.url) == "whip":
        raise ConfigError(
            f"camera '{camera.id}': a publisher comes to the running service only; use its page, /cameras/{camera.id}"
        )
    if camera.is_file:
        probe_source(Path(camera.url))
    return camera


def _watch(camera: Camera, seconds: float, stop: asyncio.Event, progress: Progress) -> tuple[Survey, Frame]:
    survey: Survey | None = None
    last: Frame | None = None
    due_s = float("-inf")
    began_s = time.monotonic()
    try:
        for frame in _frames(camera, stop):
            if frame.t_s < due_s - 0.004:
                continue
            due_s = max(due_s, frame.t_s) + 1 / camera.motion.detect_fps
            survey = survey or Survey(camera.motion, frame.t_s, seconds)
            last = frame
            survey = calibration.observe(survey, luma_plane(frame), frame.t_s, frame.format.size)
            progress("watching", min(1.0, (frame.t_s - survey.began_s) / seconds))
            if frame.t_s - survey.began_s >= seconds or stop.is_set():
                break
    except SourceAway as exc:
        raise CalibrationFailed(f"camera '{camera.id}': {redact(str(exc))}") from exc
    if stop.is_set():
        raise CalibrationFailed("interrupted")
    if survey is None or last is None:
        raise CalibrationFailed(
            f"camera '{camera.id}': gave no frame within {time.monotonic() - began_s:.0f} s"
        )
    return survey, last


def _frames(camera: Camera, stop: asyncio.Event) -> Iterator[Frame]:
    """Yield the frames of a file as fast as they can be read, or of a camera as they come."""
    stream: SourceStream
    if camera.is_file:
        path = Path(camera.url)
        video = videos_in(path)[0] if path.is_dir() else path
        stream = open_file(str(video), time.time(), _ignore, FileOptions(is_hurried=True))
    else:
        stream = open_live(
            camera.detect_url or camera.url,
            ConnectionOptions(OPEN_S, READ_S, camera.transport),
            _ignore,
            WhipIngest(None, lambda: not stop.is_set()),
        )
    try:
        for read in stream.read():
            yield from read.frames
    finally:
        closing = threading.Thread(target=stream.close, daemon=True)  # may hang in the network
        closing.start()
        closing.join(3.0)


def _ignore(_reason: str) -> None:
    """Ignore losses on the way: no clip is made here."""
