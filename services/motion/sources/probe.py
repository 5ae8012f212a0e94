"""Checks a video file before anything is started: returns its facts, or one clear line why it cannot be used."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import av
from av.container.input import InputContainer
from av.video.stream import VideoStream

from services.motion.media.picture_bounds import size_fault
from services.motion.sources.ffmpeg import duration_of, error_text, facts_of, open_recording
from shared.cameras import parse_cameras, recordings_of
from shared.errors import ConfigError

PROBED_PACKETS = 300
TAIL_S = 3.0  # a file whose last packets lie further than this before its claimed end is cut off
VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".m2ts", ".mpg", ".mpeg", ".flv", ".wmv", ".3gp"}
)
_MP4_BRANDS = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
_AFTER_1990 = datetime(1990, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What is known of a file without reading all of it. `created_at`: the container's own word, UTC, or None."""

    path: Path
    duration_s: float | None
    width: int
    height: int
    codec: str
    fps: float
    created_at: datetime | None
    is_truncated: bool  # the index promises more than the file holds; what is there can be analysed


def probe(path: Path) -> FileFacts:
    """Return the facts of the video file at `path`.

    Raises ConfigError with one line: found, wanted, what to do.
    """
    _check_path(path)
    try:
        container = open_recording(str(path))
    except (av.FFmpegError, OSError) as exc:
        raise ConfigError(_why_not(path, exc)) from exc
    with contextlib.closing(container):
        if not container.streams.video:
            kinds = sorted({stream.type for stream in container.streams})
            found = f"only {' and '.join(kinds)}" if kinds else "no streams"
            raise ConfigError(f"{path}: has no video stream ({found} found)")
        stream = container.streams.video[0]
        if fault := size_fault(stream.codec_context.width, stream.codec_context.height):
            raise ConfigError(f"{path}: has {fault}")
        _check_decodes(path, container, stream)
        facts = facts_of(stream)
        duration_s = duration_of(container, stream)
        return FileFacts(
            path=path,
            duration_s=duration_s,
            width=facts.width,
            height=facts.height,
            codec=facts.codec,
            fps=facts.frame_rate,
            created_at=_created_at(container, stream),
            is_truncated=_is_truncated(path, container, stream, duration_s),
        )


def videos_in(folder: Path) -> list[Path]:
    """Return the video files of `folder` (not of folders in it), by their names' endings, in the names' order."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


def probe_source(path: Path, *, is_followed: bool = False) -> None:
    """Raise ConfigError unless `path` is a video file, or a folder that holds some.

    `is_followed`: a folder may be empty, since what comes into it later is read as well.
    """
    try:
        if not path.is_dir():
            probe(path)
            return
        if not videos_in(path) and not is_followed:
            wanted = " ".join(sorted(VIDEO_SUFFIXES))
            raise ConfigError(f"{path}: the folder holds no video file, wanted some that end in {wanted}")
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be read: {exc.strerror}") from exc


def camera_faults(
    document: Mapping[str, Any],  # Any: what a YAML file can hold
    file: Path,
    environment: Mapping[str, str],
    *,
    is_finite: bool = False,
) -> list[str]:
    """Say all that is wrong with a camera file: its fields, and the recordings that it names.

    `is_finite`: what is read once has to be there now.
    """
    faults: list[str] = []
    try:
        parse_cameras(document, file.name, file.parent, environment)
    except ConfigError as exc:
        faults.extend(exc.faults)
    for who, path, is_looped in recordings_of(document, file.name, file.parent, environment):
        try:
            probe_source(path, is_followed=is_looped or not is_finite)
        except ConfigError as exc:
            faults.extend(f"{who}: url: {fault}" for fault in exc.faults)
    return faults


def _check_path(path: Path) -> None:
    try:
        if path.is_dir():
            raise ConfigError(f"{path}: is a directory, wanted a video file")
        if not path.exists():
            raise ConfigError(f"{path}: no such file")
        with path.open("rb") as file:
            if not file.read(1):
                raise ConfigError(f"{path}: is empty, wanted a video file")
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be read: {exc.strerror}") from exc


def _why_not(path: Path, exc: BaseException) -> str:
    kinds = _top_boxes(path)
    if kinds and kinds[0] in _MP4_BRANDS and b"moov" not in kinds:
        return f"{path}: the file is cut off (moov atom missing), copy it again"
    if isinstance(exc, av.InvalidDataError | av.ArgumentError):  # the latter: of a format that is not let in
        return f"{path}: is not a video that FFmpeg knows, or it is damaged"
    return f"{path}: cannot be opened as a video: {error_text(exc)}"


def _check_decodes(path: Path, container: InputContainer, stream: VideoStream) -> None:
    """Raise ConfigError unless one frame of the first packets can be decoded."""
    n_packets = 0
    try:
        for packet in container.demux(stream):
            n_packets += 1
            with contextlib.suppress(av.FFmpegError):
                if packet.decode():
                    return
            if n_packets >= PROBED_PACKETS:
                break
    except av.FFmpegError:
        pass  # the reading ends where the file is damaged; what was decoded before decides
    raise ConfigError(
        f"{path}: no frame of it can be decoded ({facts_of(stream).codec or 'unknown codec'}); is it damaged?"
    )


def _created_at(container: InputContainer, stream: VideoStream) -> datetime | None:
    """Return the creation time that recorders write; zero dates (1904, 1970) mean that they did not know it."""
    for metadata in (container.metadata, stream.metadata):
        text = metadata.get("creation_time") or metadata.get("com.apple.quicktime.creationdate")
        if not text:
            continue
        try:
            created_at = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
        except ValueError:
            continue
        has_zone = created_at.tzinfo is not None
        created_at = created_at.astimezone(UTC) if has_zone else created_at.replace(tzinfo=UTC)
        if created_at > _AFTER_1990:
            return created_at
    return None


def _is_truncated(
    path: Path, container: InputContainer, stream: VideoStream, duration_s: float | None
) -> bool:
    """Tell whether the index points beyond the file, or the last packets are not there."""
    entries = stream.index_entries
    if len(entries):
        size = path.stat().st_size
        last = entries[len(entries) - 1]
        return bool(last.pos + last.size > size)
    if duration_s is None or duration_s < 2 * TAIL_S or stream.time_base is None:
        return False
    start = stream.start_time or 0
    try:
        container.seek(start + int((duration_s - TAIL_S) / stream.time_base), stream=stream)
        newest = max((p.pts or p.dts or start for p in container.demux(stream) if p.size), default=start)
    except av.FFmpegError:
        return True
    return bool(float((newest - start) * stream.time_base) < duration_s - TAIL_S)


def _top_boxes(path: Path) -> list[bytes]:
    """Return the kinds of an MP4's outermost boxes, as far as they can be walked."""
    kinds: list[bytes] = []
    size = path.stat().st_size
    with path.open("rb") as file:
        at = 0
        while at + 8 <= size and len(kinds) < 64:
            file.seek(at)
            header = file.read(16)
            length, kind = struct.unpack_from(">I4s", header)
            kinds.append(kind)
            if length == 1 and len(header) == 16:
                (length,) = struct.unpack_from(">Q", header, 8)
            if length < 8:
                break
            at += length
    return kinds
