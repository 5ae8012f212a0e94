"""Finds the configured cameras and what is wrong now, from what services say of themselves. Pure.

A subject has a fault, has none (None), or is left out: then nothing is known of it, and no gap of it begins or ends.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from services.recorder.gaps.values import (
    ConfiguredCamera,
    GapFault,
    GapKey,
    Kind,
    LiveCamera,
    UnreadTime,
)
from services.recorder.health.pipeline import NO_BYTES, Disk
from shared.clock import from_epoch_ms
from shared.presence import ELSEWHERE, CameraReport, Presence, ProcessPresence

CAMERA_CHARS = 64  # longer ids are no camera file's: the record cannot hold them
LATEST_MS = 4_102_444_800_000  # 2100: what a clock says beyond it is no time
START_GRACE_S = 120.0  # services start one after another, and a model takes time to load
_SERVICES: dict[str, tuple[Kind, str]] = {
    "motion": ("motion.gone", "no motion service is there: no camera is watched"),
    "classifier": ("classifier.gone", "no classifier is ready: snippets wait, and nothing is recorded"),
}


@dataclass(frozen=True, slots=True)
class PipelineSnapshot:
    """What is known at one moment; None: it could not be read."""

    up_s: float  # since this recorder began to look
    heard: Sequence[ProcessPresence] | None = None
    were_there: frozenset[str] = frozenset()  # services that have been there since then
    cameras: Mapping[str, ConfiguredCamera] = field(default_factory=dict)
    disk: Disk | None = None
    recorder_fault: str | None = None
    targets: Mapping[str, str | None] = field(default_factory=dict)  # name: fault, or None; known ones only
    is_classifier_due: bool = True  # false: it is started when snippets wait, and none has waited for long


def owner_of(presence: Presence) -> str:
    """Return what a motion service's cameras belong to, whatever its process is called."""
    return presence.owner or presence.name


def there(heard: Iterable[ProcessPresence], service: str) -> list[Presence]:
    """Return the processes of a service that are not silent."""
    return [
        one.presence
        for one in heard
        if one.presence.service == service and not one.is_silent and not one.is_loading
    ]


def configured(
    known: Mapping[str, ConfiguredCamera], heard: Sequence[ProcessPresence]
) -> tuple[dict[str, ConfiguredCamera], list[ConfiguredCamera], list[str]]:
    """Return the configured cameras, those of them that are new or changed since `known`, and the ids of removed ones.

    A camera is removed when the motion service that had it names all its cameras and not this one. A service that is
    gone removes none. A camera that several processes share belongs to the one that reads it.
    """
    listed: dict[str, ConfiguredCamera] = {}
    complete: set[str] = set()
    for presence in there(heard, "motion"):
        owner = owner_of(presence)
        if presence.is_complete:
            complete.add(owner)
        for one in presence.cameras:
            if len(one.id) <= CAMERA_CHARS:
                had = listed.get(one.id) or known.get(one.id)
                whose = had.owner if one.state == ELSEWHERE and had is not None else owner
                listed[one.id] = ConfiguredCamera(one.id, one.name, whose, one.example_group)
    changed = [camera for camera in listed.values() if known.get(camera.id) != camera]
    removed = [one.id for one in known.values() if one.owner in complete and one.id not in listed]
    kept = {id_: camera for id_, camera in known.items() if id_ not in removed}
    return kept | listed, changed, removed


def faults(seen: PipelineSnapshot, open_keys: Collection[GapKey]) -> dict[GapKey, GapFault | None]:
    """Return what is known to be wrong (a fault) and known to be right (None)."""
    found: dict[GapKey, GapFault | None] = {}
    if seen.heard is not None:
        for service in _SERVICES:
            _add_service(found, seen, seen.heard, service)
        _add_cameras(found, seen, seen.heard)
    if seen.disk is not None:
        is_full = seen.disk.free_bytes < NO_BYTES
        full = GapFault("the disk is full: events are recorded without their clips")
        found[GapKey("disk.full", "media")] = full if is_full else None
    if seen.recorder_fault is not None:
        found[GapKey("recorder.unready", "recorder")] = (
            GapFault(seen.recorder_fault) if seen.recorder_fault else None
        )
    for name, fault in seen.targets.items():
        found[GapKey("target.away", name)] = GapFault(fault) if fault else None
    for key in open_keys:  # nobody misses a camera that is no longer configured
        if key.kind == "camera.away" and seen.heard is not None and key.subject not in seen.cameras:
            found[key] = None
    return found


def _add_service(
    found: dict[GapKey, GapFault | None],
    seen: PipelineSnapshot,
    heard: Sequence[ProcessPresence],
    service: str,
) -> None:
    kind, reason = _SERVICES[service]
    if there(heard, service) or (service == "classifier" and not seen.is_classifier_due):
        found[GapKey(kind, service)] = None
        return
    silent = [one.age_s for one in heard if one.is_silent and one.presence.service == service]
    if silent or service in seen.were_there or seen.up_s >= START_GRACE_S:
        found[GapKey(kind, service)] = GapFault(reason, min(silent, default=0.0))


def _add_cameras(
    found: dict[GapKey, GapFault | None], seen: PipelineSnapshot, heard: Sequence[ProcessPresence]
) -> None:
    said = camera_reports(heard)
    is_watched = bool(there(heard, "motion"))  # else one gap says it for all cameras
    silent = {owner_of(one.presence): one.age_s for one in heard if one.is_silent}
    for camera in seen.cameras.values():
        key = GapKey("camera.away", camera.id)
        one = said.get(camera.id)
        if one is not None and one.state in ("running", "ended", "disabled"):
            found[key] = None
        elif one is not None and one.state in ("away", "failed"):
            found[key] = GapFault(one.message or f"the camera is {one.state}")
        elif one is None and is_watched and (camera.owner in silent or seen.up_s >= START_GRACE_S):
            found[key] = GapFault("the motion service that watches it is gone", silent.get(camera.owner, 0.0))


def camera_reports(heard: Iterable[ProcessPresence]) -> dict[str, CameraReport]:
    """Return the report of each camera by a process that reads it; of two, the one that sees it running."""
    said: dict[str, CameraReport] = {}
    for presence in there(heard, "motion"):
        for camera in presence.cameras:
            if camera.state != ELSEWHERE and (camera.id not in said or camera.state == "running"):
                said[camera.id] = camera
    return said


def unread_times(heard: Iterable[ProcessPresence]) -> list[UnreadTime]:
    """Return when cameras were read by nobody, until a process took them or they were paused; the earliest first."""
    found = []
    for presence in there(heard, "motion"):
        for camera in presence.cameras:
            if camera.unread_ms is not None and len(camera.id) <= CAMERA_CHARS:
                begins_ms, ends_ms = camera.unread_ms
                if 0 <= begins_ms < ends_ms <= LATEST_MS:
                    found.append(UnreadTime(camera.id, from_epoch_ms(begins_ms), from_epoch_ms(ends_ms)))
    return sorted(found, key=lambda one: one.started_at)


def cameras_now(
    seen: PipelineSnapshot, open_keys: Collection[GapKey], before: Mapping[str, LiveCamera]
) -> dict[str, LiveCamera]:
    """Return each configured camera as others are shown it.

    A camera is available when it was last seen running and no open gap hides it: only the gaps say what counts as away.
    """
    said = camera_reports(seen.heard or ())
    is_blind = GapKey("motion.gone", "motion") in open_keys
    if seen.heard is None:  # Redis: nobody says anything
        is_blind |= GapKey("recorder.unready", "recorder") in open_keys
    now: dict[str, LiveCamera] = {}
    for camera in seen.cameras.values():
        one, was = said.get(camera.id), before.get(camera.id)
        is_hidden = is_blind or GapKey("camera.away", camera.id) in open_keys
        was_available = was is not None and was.is_available
        is_seen = was_available if one is None or one.state in ("away", "failed") else _is_usable(one, was)
        is_moving = one.is_moving if one is not None else (was.is_moving if was else None)
        is_heard = one is not None or (was is not None and was.is_heard)
        now[camera.id] = LiveCamera(camera.id, camera.name, is_seen and not is_hidden, is_moving, is_heard)
    return now


def _is_usable(one: CameraReport, was: LiveCamera | None) -> bool:
    if one.state == "connecting":
        return was is not None and was.is_available
    return one.state in ("running", "ended")
