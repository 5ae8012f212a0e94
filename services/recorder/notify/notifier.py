"""Sends one target its notices: reads what is due, decides, sends, notes what was sent. One task a target.

A killed recorder repeats at most the one notice that was sent and not noted yet. Only the recorder that holds the
target's lease sends; of several on one database, another takes over when it is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from services.recorder.access.links import TargetLinks
from services.recorder.gaps import rows as gap_rows
from services.recorder.gaps.rows import DueGapNotice
from services.recorder.metrics import RecorderMetrics
from services.recorder.notify import outbox
from services.recorder.notify.filters import Filter
from services.recorder.notify.outbox import BEFORE, DueNotice, SentNotice
from services.recorder.notify.port import Channel, ChannelAway, Notice, NoticeRefused
from services.recorder.record import queries
from services.recorder.record.database import Database
from services.recorder.record.values import Event
from shared.clock import CautiousClock, now_utc
from shared.errors import Stopped, Transient
from shared.logs import get_logger
from shared.waits import pause, unless_stopped

log = get_logger(__name__)

BATCH = 50
POLL_S = 2.0  # other recorders note changes too
BACKOFF_S, BACKOFF_MAX_S = 2.0, 300.0
LEASE_S = 30.0  # at least; see Notifier.lease_s
PRUNE_EVERY_S = 3600.0
FINISH_S, GOOD_BYE_S = 0.5, 1.0  # after a stop: for the notice in hand, and for closing the channel


@dataclass(slots=True)
class Recipient:
    """One target: its name, what it wants, the way to it."""

    name: str
    kind: str  # mqtt or webhook, for metrics
    filter: Filter
    channel: Channel
    timeout_s: float
    links: TargetLinks
    wants_gaps: bool = True


@dataclass(slots=True)
class Notifier:
    """Sends one target what happened."""

    recipient: Recipient
    database: Database
    metrics: RecorderMetrics
    holder: str
    give_up_h: float
    clock: Callable[[], datetime] = now_utc
    seconds: Callable[[], float] = time.monotonic
    # why nothing can be sent; empty: it can; None: not tried
    fault: str | None = field(default=None, init=False)
    _aging: CautiousClock = field(init=False)
    # another recorder's lease, and since when it is as it is
    _other: tuple[str, datetime, float] | None = field(default=None, init=False)
    _kick: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _renew_at: float = field(default=0, init=False)
    _is_holder: bool = field(default=False, init=False)
    _away_since: float | None = field(default=None, init=False)
    _n_failures: int = field(default=0, init=False)
    _prune_at: float = field(default=0, init=False)

    def __post_init__(self) -> None:
        hold_s = 3600 * self.give_up_h
        self._aging = CautiousClock(hold_s, 60.0, lambda: self.clock(), lambda: self.seconds())

    @property
    def lease_s(self) -> float:
        return max(LEASE_S, 4 * self.recipient.timeout_s)

    @property
    def is_holder(self) -> bool:
        """Whether this recorder sends to the target, so that `fault` means something."""
        return self._is_holder

    def kick(self) -> None:
        """Say that something changed."""
        self._kick.set()

    async def run(self, stop: asyncio.Event, beat: Callable[[], None]) -> None:
        """Send until `stop`; then close the channel and let another recorder take over."""
        with contextlib.suppress(Stopped):
            await unless_stopped(self._send_on(stop, beat), stop, grace_s=FINISH_S)
        with contextlib.suppress(TimeoutError, Transient):
            async with asyncio.timeout(GOOD_BYE_S):
                await self.recipient.channel.close()
                async with self.database.writing() as connection:
                    await outbox.give_lease_back(connection, self.recipient.name, self.holder)

    async def _send_on(self, stop: asyncio.Event, beat: Callable[[], None]) -> None:
        while not stop.is_set():
            wait_s = POLL_S
            try:
                if await self.round(stop, beat):
                    self._kick.set()  # there is more
            except ChannelAway as exc:
                wait_s = self._went(exc)
            except Transient as exc:
                log.debug("notices wait for the database", target=self.recipient.name, error=exc)
                self._kick.clear()
            beat()
            # while the target does not answer, the next change is no reason to try again
            await pause(wait_s, stop, *([self._kick] if self._away_since is None else []))

    async def round(self, stop: asyncio.Event, beat: Callable[[], None]) -> bool:
        """Send what is due now; return whether more may be. Raises ChannelAway, or Transient of the database."""
        self._kick.clear()
        if not await self._hold():
            return False
        await self.recipient.channel.prepare()
        self._returned()
        if self.recipient.channel.is_proven_by_prepare:
            self.fault = ""
        await self.recipient.channel.refresh()
        await self._send_gaps(stop, beat)
        async with self.database.reading() as connection:
            found = await outbox.find_due(connection, self.recipient.name, self.clock(), BATCH)
            events = await queries.find_events_by_id(connection, [due.event_id for due in found])
        for due in found:
            if stop.is_set() or not await self._hold():
                return False
            await self.recipient.channel.refresh()
            await self._send_event(due, events.get(due.event_id))
            beat()
        return len(found) == BATCH

    # -- events

    async def _send_event(self, due: DueNotice, event: Event | None) -> None:
        """Send what is new of an event, and settle its row."""
        recipient = self.recipient
        if event is None or not recipient.filter.takes_camera(event.camera):
            await self._settle(due)
            return
        notice = await self._notice(due, event)
        digest = recipient.channel.digest(notice)
        if digest is None or digest == due.last_sent:
            await self._settle(due)
            return
        now = self.clock()
        if notice.match is not None:
            notice = replace(notice, link=await recipient.links.of(event.id))

        def postponed(connection: AsyncConnection, until: datetime) -> Awaitable[None]:
            return outbox.postpone(connection, recipient.name, due, until)

        if await self._is_sent(
            recipient.channel.send(notice, now), due.attempts, postponed, event_id=event.id
        ):
            label = notice.match.label if notice.match is not None else None
            await self._settle(due, SentNotice(digest, now, event.camera, label))

    async def _notice(self, due: DueNotice, event: Event) -> Notice:
        if due.last_sent == BEFORE:  # it changes what MQTT's retained topics say, and is no news
            return Notice(event, None, due.version, None)
        match, cooldown_s = self.recipient.filter.match(event), self.recipient.channel.cooldown_s
        is_cooling = False
        if match is not None and cooldown_s and due.last_sent is None:
            now = self.clock()
            async with self.database.reading() as connection:
                is_cooling = await outbox.is_cooling(
                    connection,
                    self.recipient.name,
                    (event.camera, match.label),
                    (now - timedelta(seconds=cooldown_s), now),
                )
        passing = self.recipient.filter.passing(event)
        return Notice(event, match, due.version, due.last_sent, passing, due.noted_at, is_cooling)

    async def _settle(self, due: DueNotice, sent: SentNotice | None = None) -> None:
        async with self.database.writing() as connection:
            await outbox.settle(connection, self.recipient.name, due, sent)

    # -- gaps

    async def _send_gaps(self, stop: asyncio.Event, beat: Callable[[], None]) -> None:
        async with self.database.reading() as connection:
            found = await gap_rows.find_due(connection, self.recipient.name, self.clock(), BATCH)
        for due in found:
            if stop.is_set() or not await self._hold():
                return
            await self._send_gap(due)
            beat()
        if len(found) == BATCH:
            self._kick.set()

    async def _send_gap(self, due: DueGapNotice) -> None:
        """Send a gap's begin or end, and settle its row."""
        recipient, gap = self.recipient, due.gap
        state = gap_rows.BEGAN if gap.ended_at is None else gap_rows.ENDED
        camera = gap.key.camera
        is_wanted = recipient.wants_gaps and (camera is None or recipient.filter.takes_camera(camera))
        if not is_wanted or state == due.last_sent:
            await self._settle_gap(due, None)
            return

        def postponed(connection: AsyncConnection, until: datetime) -> Awaitable[None]:
            return gap_rows.postpone(connection, recipient.name, due, until)

        sending = recipient.channel.send_gap(gap, self.clock())
        if await self._is_sent(sending, due.attempts, postponed, gap_id=gap.id):
            await self._settle_gap(due, state)

    async def _settle_gap(self, due: DueGapNotice, state: str | None) -> None:
        async with self.database.writing() as connection:
            await gap_rows.settle(connection, self.recipient.name, due, state)

    # -- one notice

    async def _is_sent(
        self,
        sending: Awaitable[None],
        attempts: int,
        postponed: Callable[[AsyncConnection, datetime], Awaitable[None]],
        **facts: str,
    ) -> bool:
        """Send a notice; return False when it was refused, and is postponed."""
        try:
            await sending
        except NoticeRefused as exc:
            self.metrics.notice_failures.labels(self.recipient.kind, "refused").inc()
            self.fault = f"it refused a notice: {exc}"
            log.warning("a notice was refused", target=self.recipient.name, error=exc, **facts)
            async with self.database.writing() as connection:
                await postponed(connection, self.clock() + timedelta(seconds=_backoff_s(attempts)))
            return False
        self._n_failures, self.fault = 0, ""
        self.metrics.notices_sent.labels(self.recipient.kind).inc()
        return True

    # -- the lease

    async def _hold(self) -> bool:
        """Keep the lease, and give up what is too old now and then; return whether this recorder has the lease."""
        now_s = self.seconds()
        if now_s < self._renew_at:
            return self._is_holder
        name, aged = self.recipient.name, self._aging()
        async with self.database.writing() as connection:
            until = self.clock() + timedelta(seconds=self.lease_s)
            is_holder = await outbox.take_lease(connection, name, self.holder, until, self._is_over)
            dropped = 0
            if is_holder:
                before = aged - timedelta(hours=self.give_up_h)
                dropped = await outbox.give_up(connection, name, before)
                dropped += await gap_rows.give_up(connection, name, before)
            if is_holder and now_s >= self._prune_at:
                await outbox.prune(connection, aged)
                self._prune_at = now_s + PRUNE_EVERY_S
        if self._is_holder and not is_holder:
            await self.recipient.channel.close(is_replaced=True)
            self.fault = None  # the other one knows
        self._is_holder = is_holder
        self._renew_at = now_s + self.lease_s / (3 if is_holder else 15)
        if dropped:
            self.metrics.notices_dropped.labels(self.recipient.kind).inc(dropped)
            log.error("notices were given up", target=name, notices=dropped)
        return is_holder

    def _is_over(self, holder: str, until: datetime) -> bool:
        """Return whether another's lease was given back, or not renewed for `lease_s` of our own seconds."""
        if not holder or until <= outbox.GIVEN_BACK:
            return True
        now_s = self.seconds()
        if self._other is None or self._other[:2] != (holder, until):
            self._other = (holder, until, now_s)
        return now_s - self._other[2] > self.lease_s

    # -- a target that does not answer: logged once each way

    def _went(self, exc: ChannelAway) -> float:
        """Return how long to wait."""
        self.metrics.notice_failures.labels(self.recipient.kind, "away").inc()
        self.fault = str(exc)
        if self._away_since is None:
            self._away_since = asyncio.get_running_loop().time()
            log.warning("a target does not answer, notices wait", target=self.recipient.name, error=exc)
        self._n_failures += 1
        return _backoff_s(self._n_failures - 1)

    def _returned(self) -> None:
        if self._away_since is not None:
            away_s = asyncio.get_running_loop().time() - self._away_since
            log.info("a target is asked again", target=self.recipient.name, away_s=round(away_s, 1))
            self._away_since = None


def _backoff_s(n_failures: int) -> float:
    return min(BACKOFF_S * 2.0 ** min(n_failures, 16), BACKOFF_MAX_S)
