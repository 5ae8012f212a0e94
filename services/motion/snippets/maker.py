"""Makes the snippets of a camera and puts them into the outbox: at once for a file, in a thread for a live camera."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from services.motion.events.watcher import SnippetRequest
from services.motion.media.packets import Packet, StreamFacts
from services.motion.snippets.messages import make_messages, with_pictures_of
from services.motion.spool.journal import Journal
from services.motion.spool.outbox import Outbox, OutboxFull
from services.motion.status import CameraStatus
from shared.errors import Permanent
from shared.logs import get_logger
from shared.runtime import contain

log = get_logger(__name__)

WAITING_JOBS = 4  # snippets of a camera that wait to be made; the detector waits when there are more
STOPPING_S = 2.0  # a camera that stops waits this long for a place among them
FAST_ENTRIES = 64  # a file that is read as fast as possible waits while this many snippets are on disk


@dataclass(frozen=True, slots=True)
class SnippetJob:
    """A snippet to make; its journal is deleted once it is in the outbox.

    `clip_facts` describes `packets` when the detector's frames came from a smaller stream.
    """

    request: SnippetRequest
    packets: tuple[Packet, ...]
    journal: Journal | None = None
    clip_facts: StreamFacts | None = None


@dataclass(slots=True)
class SnippetMaker:
    """Where the snippets of one camera are made."""

    outbox: Outbox
    secret: bytes
    status: CameraStatus
    is_lossless: bool
    is_stopping: Callable[[], bool]
    stopping_s: float = STOPPING_S
    _refused_since_s: float | None = None  # since when the outbox takes nothing, monotonic
    _jobs: queue.Queue[SnippetJob | None] = field(default_factory=lambda: queue.Queue(WAITING_JOBS))
    _thread: threading.Thread | None = None

    def take(self, job: SnippetJob) -> None:
        """Make the snippet now (lossless), or hand it to the thread; waits while too many wait there.

        The wait does not beat: the thread does, with each snippet that it makes. While the camera stops, the wait
        ends after `stopping_s`; a snippet that was not made by then stays in its journal.
        """
        if self.is_lossless:
            self._make_safely(job)
            return
        stopping_since_s: float | None = None
        while not self._hand_over(job):
            if not self.is_stopping():
                continue
            stopping_since_s = stopping_since_s or time.monotonic()
            if time.monotonic() - stopping_since_s > self.stopping_s:
                self.status.drop("not_made")
                self._log_loss(job, "the camera stopped before its turn came")
                if job.journal is not None:
                    job.journal.close()
                return

    def _hand_over(self, job: SnippetJob) -> bool:
        """Put `job` into the queue; return False when there was no room for half a second."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._work, name=f"make {self.status.id}", daemon=True)
            self._thread.start()
        try:
            self._jobs.put(job, timeout=0.5)
        except queue.Full:
            return False
        return True

    def close(self, within_s: float) -> None:
        """Finish what waits, for at most `within_s`."""
        if self._thread is None:
            return
        try:
            self._jobs.put(None, timeout=within_s)
        except queue.Full:
            return
        self._thread.join(within_s)
        self._thread = None

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            self._make_safely(job)
            self.status.beat()

    def _make_safely(self, job: SnippetJob) -> None:
        """Make a snippet; a bug costs this one only, is logged and counted, and does not end the thread."""
        facts = {
            "camera": self.status.id,
            "event_id": job.request.event_id,
            "snippet": job.request.span.number,
        }
        if not contain("a snippet could not be made", lambda: self._make(job), **facts):
            self.status.drop("bug")
            self._forget(job)

    def _make(self, job: SnippetJob) -> None:
        request = job.request
        began = time.monotonic()
        try:
            if job.clip_facts is not None:
                request = with_pictures_of(request, job.clip_facts, job.packets)
            media, snippet = make_messages(request, job.packets, self.secret)
        except Permanent as exc:
            self.status.drop("no_clip")
            self._log_loss(job, str(exc))
            self._forget(job)
            return
        if not self._put(lambda: self.outbox.put(media, snippet)):
            self._forget(job)
            return
        self._forget(job)
        self.status.n_snippets += 1
        self.status.metrics.snippets.labels(self.status.id).inc()
        log.debug(
            "snippet made",
            camera=self.status.id,
            event_id=request.event_id,
            snippet=request.span.number,
            pictures=len(snippet.pictures),
            clip_bytes=len(media.clip),
            took_ms=round((time.monotonic() - began) * 1000),
        )

    def _log_loss(self, job: SnippetJob, error: str) -> None:
        log.error(
            "a snippet could not be made",
            camera=self.status.id,
            event_id=job.request.event_id,
            snippet=job.request.span.number,
            error=error,
        )

    @staticmethod
    def _forget(job: SnippetJob) -> None:
        """Delete the job's journal: the snippet is in the outbox, or was counted as lost."""
        if job.journal is not None:
            job.journal.delete()

    def _put(self, put: Callable[[], bool]) -> bool:
        """Put an entry; a file waits while there is no room, a camera counts the loss."""
        while True:
            self.status.beat()
            try:
                put()
            except (OutboxFull, OSError) as exc:
                reason = "outbox_full" if isinstance(exc, OutboxFull) else "disk"
                if self._refused_since_s is None:
                    self._refused_since_s = time.monotonic()
                    log.error(
                        "the outbox takes no more: "
                        + ("the file waits" if self.is_lossless else "snippets are lost"),
                        camera=self.status.id,
                        reason=reason,
                        error=str(exc) or "OUTBOX_MAX_MIB is reached",
                    )
                if not self.is_lossless or self.is_stopping():
                    self.status.drop(reason)
                    return False
                self.outbox.wait_for_change(0.5)
            else:
                if self._refused_since_s is not None:
                    refused_s = round(time.monotonic() - self._refused_since_s, 1)
                    log.info("the outbox takes snippets again", camera=self.status.id, refused_s=refused_s)
                    self._refused_since_s = None
                return True

    def wait_for_room(self) -> None:
        """Hold a fast file back while much waits on disk.

        It beats meanwhile, since Redis may be away; the publisher has a beat of its own, and ends the service when it
        fails.
        """
        while not self.is_stopping() and not self.outbox.wait_until_fewer(FAST_ENTRIES, 0.5):
            self.status.beat()
