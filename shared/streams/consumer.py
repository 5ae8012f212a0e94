"""The one consumer loop on Redis Streams: reads entries, runs the handler, settles its outcomes. Knows no message.

Rules, each seen to matter (docs/design/delivery.md says why and how it was tried):
- Groups are created at id 0, never $. NOGROUP (Redis was replaced) recreates them and goes on.
- A handler answers Done | Retry | Dead for each delivery. A batch that raises is run again one by one, so that a
  poison item fails alone; an item that was delivered before is claimed and handled alone from the start, since it
  may have killed the process: only what is about to be handled is charged an attempt.
- Retry leaves the entry pending: claiming it again after `min_idle_s` is the backoff, and takes over the work of a
  dead replica. While a batch is handled its entries are kept fresh, so `min_idle_s` need not exceed the batch time.
- Attempts come from the server's delivery counter. Past `max_attempts` an entry moves to `<stream>:dead`. A handler
  that raises Transient (its database is away) is not charged: the entry waits as long as it takes, one try each
  `min_idle_s`, and meanwhile the loop asks for one entry at a time, with growing pauses.
- Settling is one script (shared/streams/scripts.py): outputs are written if and only if this consumer's
  acknowledgement counted, so an entry that another replica took over meanwhile leaves no second output.
- What a handler raises is the handler's, whatever its type; only our own calls tell whether Redis is there.
- A stop charges nothing: what is in hand has `finish_s`, then it is given back as it was taken.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from shared.errors import Permanent, Transient, reason
from shared.logs import get_logger
from shared.metrics import StreamMetrics
from shared.streams.connection import Connection, is_away
from shared.streams.entries import GroupEntries, is_group_missing, portions
from shared.streams.outcomes import Dead, Delivery, Handler, Outcome, Output, Retry
from shared.streams.settings import ConsumerSettings
from shared.streams.settling import Settler
from shared.streams.slowdown import Slowdown
from shared.waits import pause

log = get_logger(__name__)

_LONGEST_PAUSE_S = 5.0
_LONGEST_AWAY_S = 2.0  # between two tries to reach Redis: a replica that took over is found within this
_GIVE_BACK_S = 0.5  # after `finish_s`: for Redis to take back what is in hand


@dataclass(slots=True)
class _State:
    claim_at: float = 0.0
    forget_at: float = 0.0
    resumed: bool = False
    is_over: bool = False  # by a cancellation, too, which whatever the loop waits for may swallow
    ageless: dict[str, float] = field(default_factory=dict)  # idle for 0 ms since; at most a page of entries
    handling: set[str] = field(default_factory=set)
    outcomes: list[Outcome] = field(default_factory=list)  # of the batch in hand


class Consumer:
    """Runs one handler on one stream until `stop` is set; see the module's rules."""

    def __init__(
        self,
        redis: Redis,
        settings: ConsumerSettings,
        handler: Handler,
        metrics: StreamMetrics | None = None,
        on_dead: Callable[[Delivery], Sequence[Output]] = lambda _: (),
    ) -> None:
        """`on_dead` returns what is written beside a dead letter."""
        kwargs: dict[str, Any] = redis.get_connection_kwargs()  # type: ignore[no-untyped-call]  # redis-py's gap
        deadline_s = kwargs.get("socket_timeout")
        if deadline_s is not None and deadline_s * 1000 <= settings.block_ms:
            raise ValueError(f"socket_timeout={deadline_s:g} s ends every BLOCK of {settings.block_ms} ms")
        self._settings = settings
        self._handler = handler
        self._metrics = metrics
        self._beat: Callable[[], None] = lambda: None
        self._state = _State()
        self._connection = Connection(settings.stream, metrics)
        self._slowdown = Slowdown(settings.stream, min(_LONGEST_PAUSE_S, settings.min_idle_s))
        self._entries = GroupEntries(redis, settings)
        self._settler = Settler(redis, settings, self._entries, self._connection, on_dead)

    @property
    def is_connected(self) -> bool:
        """Whether Redis answered last time."""
        return self._connection.is_connected

    @property
    def hindrance(self) -> str:
        """Why nothing could be done for any entry lately; '' when something could, or nothing was tried."""
        return self._slowdown.reason(3 * self._settings.min_idle_s + _LONGEST_PAUSE_S)

    @property
    def _batch_max(self) -> int:
        return 1 if self._slowdown.is_active else self._settings.batch_max

    async def run(self, stop: asyncio.Event, beat: Callable[[], None] = lambda: None) -> None:
        """Consume until `stop`; then finish the batch in hand, or give it back after `finish_s`, and return.

        `beat` is called at every turn of the loop and for every entry that was settled.
        Raises only what a wait cannot cure: a key of another type, a command that Redis does not allow us.
        """
        self._beat = beat
        work = asyncio.create_task(self._consume(stop, beat), name=f"consume {self._settings.stream}")
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({work, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                await asyncio.wait({work}, timeout=self._settings.finish_s)
                self._settler.hurry.set()
                await asyncio.wait({work}, timeout=_GIVE_BACK_S)
            if work.done():
                await work
        finally:
            stopping.cancel()
            self._state.is_over = True
            if not work.done():  # Redis does not answer: what is in hand is pending, and delivered again
                work.cancel()
                await asyncio.wait({work}, timeout=_GIVE_BACK_S)

    async def uncharge(self, delivery: Delivery) -> None:
        """Take a delivery's attempt back while its handler waits for something that is not the entry's fault.

        To be called once the entry has shown itself to be sound: a process that is killed again and again while it
        waits for a database must not make a dead letter of it. Nothing happens while Redis is away.
        """
        with contextlib.suppress(RedisError, OSError):
            await self._settler.put_back(delivery, is_charged=False)

    async def _consume(self, stop: asyncio.Event, beat: Callable[[], None]) -> None:
        backoff_s = 0.1
        while not (stop.is_set() or self._state.is_over):
            try:
                if not await self._turn_or_group(stop):
                    continue
            except (RedisError, OSError) as exc:
                if not is_away(exc):
                    raise
                self._connection.failed(exc)
                beat()
                await pause(backoff_s, stop)
                backoff_s = min(backoff_s * 2, _LONGEST_AWAY_S)
                continue
            self._connection.answered()
            beat()
            backoff_s = 0.1
            if self._slowdown.pause_s:
                await pause(self._slowdown.pause_s, stop)

    async def _turn_or_group(self, stop: asyncio.Event) -> bool:
        try:
            await self._turn(stop)
        except ResponseError as exc:
            if not is_group_missing(exc):
                raise
            await self._entries.create_group()
            return False
        return True

    async def _turn(self, stop: asyncio.Event) -> None:
        state = self._state
        if not state.resumed:
            await self._resume(stop)
            state.resumed = True
        if time.monotonic() >= state.claim_at:
            state.claim_at = time.monotonic() + self._settings.claim_every_s
            await self._take_over(stop)
        if not stop.is_set():
            await self._handle_batch(await self._entries.read(self._batch_max))
        if time.monotonic() >= state.forget_at:
            state.forget_at = time.monotonic() + self._settings.forget_after_s / 10
            await self._entries.forget_consumers()

    # -- what was delivered before

    async def _resume(self, stop: asyncio.Event) -> None:
        """Take up all that this consumer had in hand when it was killed (its name is stable)."""
        await self._take_all(stop, 0, self._settings.consumer)

    async def _take_over(self, stop: asyncio.Event) -> None:
        """Take what nobody has touched for `min_idle_s`: to be tried again, or of a dead replica."""
        await self._take_all(stop, int(self._settings.min_idle_s * 1000))
        if not stop.is_set() and not self._slowdown.is_active:
            await self._take_forgotten(stop)

    async def _take_forgotten(self, stop: asyncio.Event) -> None:
        """Take what was delivered by a later time than Redis' clock says now, since that was set back.

        To Redis such an entry is idle for 0 ms until its clock has caught up, a living replica's only in the
        millisecond in which it is kept fresh. So what is at 0 at each look for `min_idle_s` of our own is taken.
        """
        state, now_s = self._state, time.monotonic()
        fresh = [row for row in await self._entries.pending("-", 0, None) if row.idle_ms == 0]
        state.ageless = {row.id: state.ageless.get(row.id, now_s) for row in fresh}
        for row in fresh:
            if now_s - state.ageless[row.id] <= self._settings.min_idle_s:
                continue
            del state.ageless[row.id]
            await self._handle_batch(await self._entries.claim([row]))
            if stop.is_set() or self._slowdown.is_active:
                return

    async def _take_all(self, stop: asyncio.Event, idle_ms: int, consumer: str | None = None) -> None:
        after = "-"
        while page := await self._entries.pending(after, idle_ms, consumer):
            after = f"({page[-1].id}"
            for rows in portions(page, self._batch_max):
                await self._handle_batch(await self._entries.claim(rows))
                if stop.is_set() or self._slowdown.is_active:
                    return

    # -- handling

    async def _handle_batch(self, deliveries: Sequence[Delivery]) -> None:
        if not deliveries:
            return
        self._state.outcomes = []
        started = time.monotonic()
        async with self._kept_fresh(deliveries):
            given_up = [d for d in deliveries if d.attempts > self._settings.max_attempts]
            await self._settle(  # each killed the process every time, or its Retry was never settled
                [(d, Dead(f"gave up after {d.attempts - 1} attempts")) for d in given_up]
            )
            todo = [d for d in deliveries if d.attempts <= self._settings.max_attempts]
            if todo:
                await self._settle(await self._outcomes(todo))
        # what was given back at a stop says nothing of the world
        if not self._settler.hurry.is_set() and self._slowdown.judge(self._state.outcomes):
            self._state.claim_at = 0.0
        if self._metrics:
            self._metrics.batch.labels(self._settings.stream).observe(len(deliveries))
            self._metrics.handling.labels(self._settings.stream).observe(time.monotonic() - started)

    async def _outcomes(self, deliveries: Sequence[Delivery]) -> list[tuple[Delivery, Outcome]]:
        try:
            outcomes = await self._call(deliveries)
        except Exception as exc:
            if len(deliveries) == 1:
                return [(deliveries[0], self._outcome_of(exc))]
            log.warning("batch failed, running it one by one", entries=len(deliveries), error=exc)
        else:
            return list(zip(deliveries, outcomes, strict=True))
        # settled as they come: what is done stays done when a later one kills the process
        for delivery in deliveries[:-1]:
            await self._settle(await self._outcomes([delivery]))
        return await self._outcomes(deliveries[-1:])

    async def _settle(self, settlements: Sequence[tuple[Delivery, Outcome]]) -> None:
        if settlements:
            self._state.outcomes += await self._settler.settle(settlements)
            self._state.handling -= {delivery.id for delivery, _ in settlements}
            self._beat()

    async def _call(self, deliveries: Sequence[Delivery]) -> Sequence[Outcome]:
        """Return the handler's outcomes; all goes back when it needs too long after a stop."""
        handling = asyncio.ensure_future(self._handler(deliveries))
        hurry = asyncio.create_task(self._settler.hurry.wait())
        try:
            await asyncio.wait({handling, hurry}, return_when=asyncio.FIRST_COMPLETED)
            if not handling.done():
                log.info("gave back at the stop", stream=self._settings.stream, entries=len(deliveries))
                return [Retry("stopping", is_charged=False)] * len(deliveries)
        finally:
            hurry.cancel()
            if not handling.done():
                handling.cancel()
                await asyncio.wait({handling}, timeout=_GIVE_BACK_S / 2)
        if handling.cancelled():
            raise RuntimeError("the handler let a cancellation out that was not ours")
        outcomes = handling.result()
        if len(outcomes) != len(deliveries):
            raise ValueError(f"handler answered {len(outcomes)} outcomes for {len(deliveries)} deliveries")
        return outcomes

    def _outcome_of(self, exc: Exception) -> Outcome:
        if isinstance(exc, Transient):
            return Retry(reason(exc), is_charged=False)
        if isinstance(exc, Permanent):
            return Dead(reason(exc))
        log.error("handler failed: this is a bug", stream=self._settings.stream, exc_info=exc)
        return Retry(f"{type(exc).__name__}: {exc}")

    @contextlib.asynccontextmanager
    async def _kept_fresh(self, deliveries: Sequence[Delivery]) -> AsyncIterator[None]:
        """Keep the idle time of entries in hand low, so that no other replica takes a slow batch for a dead one."""
        self._state.handling = {d.id for d in deliveries}
        ended = asyncio.Event()
        task = asyncio.create_task(self._freshen(ended), name=f"freshen {self._settings.stream}")
        try:
            yield
        finally:
            # Both: on Python 3.11 asyncio.wait_for, and so redis-py, can swallow a cancellation (seen: a consumer
            # that hung for ever after a slow batch).
            ended.set()
            task.cancel()
            self._state.handling = set()
            await asyncio.wait({task})  # unlike `await task` it cannot swallow a cancellation of our own
            if not task.cancelled() and task.exception():
                log.error("freshening failed: this is a bug", exc_info=task.exception())

    async def _freshen(self, ended: asyncio.Event) -> None:
        while True:
            await pause(self._settings.min_idle_s / 3, ended)
            if ended.is_set():
                return
            ids = sorted(self._state.handling)
            if ids:
                with contextlib.suppress(RedisError, OSError):  # settling notices when Redis is away
                    await self._entries.touch(ids)
