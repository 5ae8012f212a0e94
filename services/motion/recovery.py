"""Turns the journals that a killed process left behind into the final snippets of their events."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from services.motion import detector
from services.motion.detector import DetectorSettings
from services.motion.journal import Found, find_journals
from services.motion.metrics import MotionMetrics
from services.motion.outbox import Outbox, OutboxFull
from services.motion.packets import Packet, decode
from services.motion.pictures import Choice, Moment, Tracks, choose, follow, moments_that_fit, quality_of
from services.motion.segmenter import Piece
from services.motion.snippets import make_messages
from services.motion.sources.video import Frame
from services.motion.watch import FIRST_STRETCH_S, Wanted, luma_plane
from shared.cameras import Camera
from shared.errors import Permanent
from shared.logs import get_logger

log = get_logger(__name__)


def recover(
    folder: Path,
    outbox: Outbox,
    secret: bytes,
    cameras: Callable[[str], Camera | None],
    metrics: MotionMetrics,
) -> int:
    """Put the snippet of every journal into the outbox; return how many there were. Before cameras start."""
    journals = find_journals(folder)
    last = {journal.header.event_id: journal.header.snippet for journal in journals}
    for journal in journals:
        header = journal.header
        known = cameras(header.camera.id)
        camera = header.camera if known is None else known
        try:
            wanted, packets = rebuild(journal, camera, is_last=last[header.event_id] == header.snippet)
            outbox.put(*make_messages(wanted, packets, secret))
        except OutboxFull:
            log.error(
                "the outbox is full, an interrupted event stays in its journal", journal=journal.path.name
            )
            metrics.journals.labels("kept").inc()
            continue
        except Permanent as exc:
            log.error(
                "an interrupted event cannot be made a snippet", journal=journal.path.name, error=str(exc)
            )
            metrics.journals.labels("lost").inc()
            journal.path.rename(journal.path.with_suffix(".broken"))
            continue
        journal.path.unlink()
        metrics.journals.labels("recovered").inc()
        log.info(
            "an interrupted event was taken up",
            camera=header.camera.id,
            event_id=header.event_id,
            snippet=header.snippet,
        )
    return len(journals)


def rebuild(journal: Found, camera: Camera, *, is_last: bool) -> tuple[Wanted, tuple[Packet, ...]]:
    """Run the detector over a journal; return its snippet and the packets that it is made of."""
    header = journal.header
    settings = camera.motion
    state: detector.DetectorState | None = None
    tracks = Tracks()
    choice: Choice[Frame] | None = None
    spare: Frame | None = None
    last_motion_s = header.event_started_s
    peak = 0.0
    due_s = float("-inf")
    for t_s, image in decode(header.facts, journal.packets):
        if t_s < due_s - 0.004:
            continue
        due_s = max(due_s, t_s - 1 / settings.detect_fps) + 1 / settings.detect_fps
        frame = Frame(t_s, image)
        plane = luma_plane(frame)
        state, motion = detector.step(
            state, plane, t_s, DetectorSettings.of(settings, plane.shape[1], image.width, image.height)
        )
        if choice is None:
            choice = Choice(moments_that_fit(settings.pictures, image), FIRST_STRETCH_S)
        if spare is None or t_s <= header.event_started_s:
            spare = frame
        if not motion.boxes or t_s < header.starts_s:
            continue
        tracks, objects = follow(tracks, motion.boxes, t_s)
        choice = choose(
            choice, Moment(t_s, quality_of(motion.boxes, image.width, image.height), objects, frame)
        )
        last_motion_s = max(last_motion_s, t_s)
        peak = max(peak, motion.score)
    moments = tuple(moment for _, moment in choice.moments) if choice else ()
    if not moments and spare is not None:
        moments = (Moment(spare.t_s, 0.0, (), spare),)
    newest_s = max(packet.t_s for packet in journal.packets)
    piece = Piece(
        number=header.snippet,
        starts_s=header.starts_s,
        ends_s=newest_s,
        event_started_s=header.event_started_s,
        last_motion_s=min(last_motion_s, newest_s),
        motion_peak=peak,
        is_last=is_last,
    )
    wanted = Wanted(header.event_id, piece, moments, replace_url(camera), header.facts, header.wall_offset_s)
    return wanted, journal.packets


def replace_url(camera: Camera) -> Camera:
    """Return `camera` without its address, which a snippet does not need."""
    return camera.model_copy(update={"url": "journal"})
