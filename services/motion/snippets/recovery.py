"""Turns the journals that a killed process left behind into the final snippets of their events."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from services.motion.events.watcher import EventOpened, EventWatcher, SnippetRequest
from services.motion.media.decoding import decode, frame_of
from services.motion.media.packets import Packet
from services.motion.metrics import MotionMetrics
from services.motion.snippets.messages import make_messages
from services.motion.spool.journal import JournalContents, find_journals, read_journal
from services.motion.spool.outbox import Outbox, OutboxFull
from shared.errors import Permanent
from shared.logs import get_logger
from shared.runtime import contain

log = get_logger(__name__)


@dataclass(slots=True)
class JournalRecovery:
    """The journals that were there before any camera began.

    One that cannot be recovered because of the disk or a full outbox is logged and counted once, kept, and tried again.
    None of them keeps a camera from starting.
    """

    folder: Path
    outbox: Outbox
    secret: bytes
    metrics: MotionMetrics
    _left: dict[Path, bool] = field(default_factory=dict)  # path: whether it is the last of its event
    _logged: set[Path] = field(default_factory=set)
    is_begun: bool = False  # each was tried once

    def find(self) -> int:
        """Note which journals there are and return how many. Call it before cameras start and begin new ones."""
        headers = find_journals(self.folder)
        last = {header.event_id: header.snippet for _, header in headers}
        self._left = {path: last[header.event_id] == header.snippet for path, header in headers}
        return len(self._left)

    def recover(self) -> bool:
        """Put the snippet of every journal into the outbox; return whether none is left."""
        for path, is_last in list(self._left.items()):
            if self.outbox.is_refusing:  # rebuilding it would be in vain
                self._keep(path, "the outbox takes nothing")
                continue
            work = partial(self._recover, path, is_last)
            if not contain("an interrupted event cannot be made a snippet", work, journal=path.name):
                self._give_up(path)
        self.is_begun = True
        return not self._left

    def _recover(self, path: Path, is_last: bool) -> None:
        try:
            journal = read_journal(path)
            request, packets = rebuild(journal, is_last=is_last)
            self.outbox.put(*make_messages(request, packets, self.secret))
        except (OutboxFull, OSError) as exc:
            self._keep(path, str(exc) or "the outbox is full, OUTBOX_MAX_MIB is reached")
            return
        except Permanent as exc:
            log.error("an interrupted event cannot be made a snippet", journal=path.name, error=str(exc))
            self._give_up(path)
            return
        del self._left[path]
        _remove(path)
        self.metrics.journals.labels("recovered").inc()
        header = journal.header
        log.info(
            "an interrupted event was taken up",
            camera=header.camera.id,
            event_id=header.event_id,
            snippet=header.snippet,
        )

    def _keep(self, path: Path, error: str) -> None:
        if path in self._logged:
            return
        self._logged.add(path)
        self.metrics.journals.labels("kept").inc()
        log.error("an interrupted event stays in its journal for now", journal=path.name, error=error)

    def _give_up(self, path: Path) -> None:
        del self._left[path]
        self.metrics.journals.labels("lost").inc()
        try:
            path.rename(path.with_suffix(".broken"))
        except OSError as exc:
            log.warning("a broken journal cannot be set aside", journal=path.name, error=exc)


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as exc:  # the next start takes it up again: outbox and record know its snippet
        log.warning("a journal cannot be removed", journal=path.name, error=exc)


def rebuild(journal: JournalContents, *, is_last: bool) -> tuple[SnippetRequest, tuple[Packet, ...]]:
    """Run a camera's watcher over a journal; return the snippet, and the packets that it is made of.

    The camera is as it was when the journal was begun: its labels, masks and zones.
    """
    header, camera = journal.header, journal.header.camera
    opened = EventOpened(header.event_id, header.event_started_s, header.starts_s, header.wall_offset_s)
    watcher = EventWatcher(header.facts, lambda _started_s: header.event_id)
    watcher.resume(opened, header.snippet, header.starts_s)
    begins_s = max(header.starts_s, header.event_started_s)
    for t_s, image in decode(header.facts, journal.packets):
        if watcher.is_due(t_s):
            watcher.observe(frame_of(header.facts, t_s, image), camera, is_of_event=t_s >= begins_s)
    (request,) = watcher.finish(max(packet.t_s for packet in journal.packets), camera)
    assert isinstance(request, SnippetRequest)
    return replace(request, span=replace(request.span, is_last=is_last)), journal.packets
