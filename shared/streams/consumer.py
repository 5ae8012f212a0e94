"""The one consumer loop on Redis Streams: groups, claims, outcomes, dead letters, settling. Knows no message.

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
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, cast

from redis.asyncio import Redis
from redis.exceptions import BusyLoadingError, OutOfMemoryError, ReadOnlyError, RedisError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from shared.clock import now_utc
from shared.errors import Permanent, Transient, reason, redact
from shared.logs import get_logger
from shared.metrics import StreamMetrics
from shared.streams.scripts import FORGET, SETTLE, TOUCH
from shared.waits import pause

log = get_logger(__name__)

# Redis cannot serve us now and may later: gone, slow, loading, full, or a replica during a failover.
AWAY = (
    RedisConnectionError,
    RedisTimeoutError,
    BusyLoadingError,
    OutOfMemoryError,
    ReadOnlyError,
    OSError,
)
# The same by the word of an error without a class of its own (its disk is full, a script runs …), or inside the
# error of a script, which loses its class on Redis 6.2.
_AWAY_WORDS = ("MISCONF ", "BUSY ", "NOREPLICAS ", "MASTERDOWN ", "OOM ", "READONLY ", "LOADING ")
# Our group is gone; UNBLOCKED is what Redis 7.0 says to who was waiting at that moment.
_NO_GROUP_WORDS = ("NOGROUP", "UNBLOCKED")
_PAGE = 100  # pending entries looked at together
_FORGET_AT_ONCE = 100
_SETTLE_TRIES = 8  # about 25 s: Redis may be restarting; the work in hand is worth the wait
_LONGEST_PAUSE_S = 5.0
_GIVE_BACK_S = 0.5  # after `finish_s`: for Redis to take back what is in hand
_ENTRY_ID = re.compile(r"[0-9]{1,19}-[0-9]{1,19}")


def is_away(exc: BaseException) -> bool:
    """Whether an error of a Redis call means that the same call may succeed later."""
    if isinstance(exc, AWAY):
        return True
    return isinstance(exc, ResponseError) and any(word in str(exc) for word in _AWAY_WORDS)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One entry handed to this consumer; `attempts` counts deliveries, this one included."""

    stream: str
    id: str
    fields: Mapping[bytes, bytes]
    attempts: int


@dataclass(frozen=True, slots=True)
class Output:
    """An entry to append when the delivery is settled; `longest`: of the stream, the oldest go first (0: unbounded)."""

    stream: str
    fields: Mapping[bytes, bytes]
    longest: int = 0

    def __post_init__(self) -> None:
        if not self.stream or not self.fields:
            raise ValueError("an output needs a stream and at least one field")


@dataclass(frozen=True, slots=True)
class Done:
    """Handled: write `outputs`, acknowledge and delete the entry, and delete `deletions` (stream, id)."""

    outputs: tuple[Output, ...] = ()
    deletions: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        # here, where it counts as the handler's fault, and not in the script, which cannot be undone half-way
        for stream, entry_id in self.deletions:
            if not stream or not _ENTRY_ID.fullmatch(entry_id):
                raise ValueError(f"not an entry of a stream: {stream!r}, {entry_id!r}")


@dataclass(frozen=True, slots=True)
class Retry:
    """Not now: leave it pending; it comes back after `min_idle_s`, to whichever replica is free.

    With `is_charged` the attempt counts towards `max_attempts`: the fault may be the item's. Without, it waits for
    as long as it takes: the fault is surely elsewhere (what raising Transient means). `is_alone`: the next entry may
    fare better, so the loop does not slow down.
    """

    reason: str
    is_charged: bool = True
    is_alone: bool = False


@dataclass(frozen=True, slots=True)
class Dead:
    """Never: move it to the dead letters with `reason`."""

    reason: str


Outcome = Done | Retry | Dead
Handler = Callable[[Sequence[Delivery]], Awaitable[Sequence[Outcome]]]


@dataclass(frozen=True, slots=True)
class ConsumerSettings:
    """`consumer` is unique among the replicas of `group`; a stable name takes up its own unfinished work at once."""

    stream: str
    group: str
    consumer: str
    batch_max: int = 8
    block_ms: int = 1000
    min_idle_s: float = 15.0
    claim_every_s: float = 5.0
    max_attempts: int = 5
    dead_max: int = (
        1000  # dead letters kept (pictures included), oldest go first; each loss is counted and logged
    )
    forget_after_s: float = (
        3600.0  # a consumer with nothing in hand that asked for nothing this long is removed
    )
    finish_s: float = 10.0  # after a stop: time for the batch in hand, which is then given back

    def __post_init__(self) -> None:
        if not (self.stream and self.group and self.consumer):
            raise ValueError("stream, group and consumer must have names")
        if min(self.batch_max, self.block_ms, self.max_attempts, self.dead_max) < 1:
            raise ValueError("batch_max, block_ms, max_attempts and dead_max must be at least 1")


@dataclass(frozen=True, slots=True)
class _Pending:
    id: str
    idle_ms: int
    deliveries: int


@dataclass(slots=True)
class _State:
    is_connected: bool = True
    away_since: float = 0.0
    claim_at: float = 0.0
    forget_at: float = 0.0
    resumed: bool = False
    ageless: dict[str, float] = field(default_factory=dict)  # idle for 0 ms since; at most _PAGE
    handling: set[str] = field(default_factory=set)
    outcomes: list[Outcome] = field(default_factory=list)  # of the batch in hand
    hindered_since: float | None = None  # every outcome since then was an uncharged Retry
    hindered_at: float = 0.0  # the last of them
    hindrance: str = ""  # its reason
    pause_s: float = 0.0
    hurry: asyncio.Event = field(default_factory=asyncio.Event)  # stopped, and `finish_s` is over


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
        self._redis = redis
        self._settings = settings
        self._handler = handler
        self._metrics = metrics
        self._on_dead = on_dead
        self._beat: Callable[[], None] = lambda: None
        self._state = _State()
        self._settle = redis.register_script(SETTLE)
        self._touch = redis.register_script(TOUCH)
        self._forget = redis.register_script(FORGET)

    @property
    def is_connected(self) -> bool:
        """Whether Redis answered last time."""
        return self._state.is_connected

    @property
    def hindrance(self) -> str:
        """Why nothing could be done for any entry lately; '' when something could, or nothing was asked."""
        lately_s = 3 * self._settings.min_idle_s + _LONGEST_PAUSE_S
        is_recent = time.monotonic() - self._state.hindered_at < lately_s
        return self._state.hindrance if self._is_hindered and is_recent else ""

    @property
    def _is_hindered(self) -> bool:
        return self._state.hindered_since is not None

    @property
    def _batch_max(self) -> int:
        return 1 if self._is_hindered else self._settings.batch_max

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
                self._state.hurry.set()
                await asyncio.wait({work}, timeout=_GIVE_BACK_S)
            if work.done():
                await work
        finally:
            stopping.cancel()
            if not work.done():  # Redis does not answer: what is in hand is pending, and delivered again
                work.cancel()
                await asyncio.wait({work}, timeout=_GIVE_BACK_S)

    async def uncharge(self, delivery: Delivery) -> None:
        """Take a delivery's attempt back while its handler waits for something that is not the entry's fault.

        To be called once the entry has shown itself to be sound: a process that is killed again and again while it
        waits for a database must not make a dead letter of it. Nothing happens while Redis is away.
        """
        with contextlib.suppress(RedisError, OSError):
            await self._put_back(delivery, is_charged=False)

    async def _consume(self, stop: asyncio.Event, beat: Callable[[], None]) -> None:
        backoff_s = 0.1
        while not stop.is_set():
            try:
                if not await self._turn_or_group(stop):
                    continue
            except Exception as exc:
                if not is_away(exc):
                    raise
                self._went(exc)
                beat()
                await pause(backoff_s, stop)
                backoff_s = min(backoff_s * 2, _LONGEST_PAUSE_S)
                continue
            self._returned()
            beat()
            backoff_s = 0.1
            if self._state.pause_s:
                await pause(self._state.pause_s, stop)

    async def _turn_or_group(self, stop: asyncio.Event) -> bool:
        try:
            await self._turn(stop)
        except ResponseError as exc:
            if not any(word in str(exc) for word in _NO_GROUP_WORDS):
                raise
            await self._create_group()
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
            await self._handle_batch(await self._read())
        if time.monotonic() >= state.forget_at:
            state.forget_at = time.monotonic() + self._settings.forget_after_s / 10
            await self._forget_consumers()

    # -- taking

    async def _create_group(self) -> None:
        log.info("creating the consumer group", stream=self._settings.stream, group=self._settings.group)
        try:
            await self._redis.xgroup_create(
                self._settings.stream, self._settings.group, id="0", mkstream=True
            )
        except ResponseError as exc:
            if "BUSYGROUP" not in str(exc):
                raise

    async def _read(self) -> list[Delivery]:
        s = self._settings
        answer = await self._redis.xreadgroup(
            s.group, s.consumer, {s.stream: ">"}, count=self._batch_max, block=s.block_ms
        )
        return [
            Delivery(s.stream, _text(entry_id), fields, 1)
            for _, entries in _pairs(answer)
            for entry_id, fields in entries
        ]

    async def _resume(self, stop: asyncio.Event) -> None:
        """Take up all that this consumer had in hand when it was killed (its name is stable)."""
        await self._take_all(stop, 0, self._settings.consumer)

    async def _take_over(self, stop: asyncio.Event) -> None:
        """Take what nobody has moved for `min_idle_s`: asked to be tried again, or of a dead replica."""
        await self._take_all(stop, int(self._settings.min_idle_s * 1000))
        if not stop.is_set() and not self._is_hindered:
            await self._take_forgotten(stop)

    async def _take_forgotten(self, stop: asyncio.Event) -> None:
        """Take what was delivered by a later time than Redis' clock says now, since that was set back.

        To Redis such an entry is idle for 0 ms until its clock has caught up, a living replica's only in the
        millisecond in which it is kept fresh. So what is at 0 at each look for `min_idle_s` of our own is taken.
        """
        state, now_s = self._state, time.monotonic()
        fresh = [row for row in await self._pending("-", 0, None) if row.idle_ms == 0]
        state.ageless = {row.id: state.ageless.get(row.id, now_s) for row in fresh}
        for row in fresh:
            if now_s - state.ageless[row.id] <= self._settings.min_idle_s:
                continue
            del state.ageless[row.id]
            await self._handle_batch(await self._claim([row]))
            if stop.is_set() or self._is_hindered:
                return

    async def _take_all(self, stop: asyncio.Event, idle_ms: int, consumer: str | None = None) -> None:
        after = "-"
        while page := await self._pending(after, idle_ms, consumer):
            after = f"({page[-1].id}"
            for rows in self._portions(page):
                await self._handle_batch(await self._claim(rows))
                if stop.is_set() or self._is_hindered:
                    return

    async def _pending(self, after: str, idle_ms: int, consumer: str | None = None) -> list[_Pending]:
        s = self._settings
        rows = await self._redis.xpending_range(
            s.stream, s.group, min=after, max="+", count=_PAGE, consumername=consumer, idle=idle_ms or None
        )
        return [
            _Pending(_text(row["message_id"]), int(row["time_since_delivered"]), int(row["times_delivered"]))
            for row in rows
        ]

    def _portions(self, page: Sequence[_Pending]) -> list[Sequence[_Pending]]:
        """Cut into what is claimed and handled together: never charged in batches, the rest alone.

        Claiming charges an attempt, so the mates of an item that kills the process are not claimed with it, and come
        before it: the least often delivered first.
        """
        size = self._batch_max
        harmless = [row for row in page if row.deliveries == 0]
        suspects = sorted((row for row in page if row.deliveries), key=lambda row: row.deliveries)
        return [
            *(harmless[i : i + size] for i in range(0, len(harmless), size)),
            *([row] for row in suspects),
        ]

    async def _claim(self, rows: Sequence[_Pending]) -> list[Delivery]:
        s = self._settings
        answer = await self._redis.xclaim(
            s.stream,
            s.group,
            s.consumer,
            min_idle_time=min(row.idle_ms for row in rows),  # whoever took it meanwhile made it fresh
            message_ids=[row.id for row in rows],
        )
        # Redis 6.2 gives nothing in the place of an entry that was deleted
        entries = cast("list[tuple[bytes | None, dict[bytes, bytes] | None]]", answer)
        fields = {_text(entry_id): values for entry_id, values in entries if entry_id is not None and values}
        for row in rows:
            if row.id not in fields and not await self._redis.xrange(s.stream, row.id, row.id, count=1):
                await self._redis.xack(s.stream, s.group, row.id)
        return [
            Delivery(s.stream, row.id, fields[row.id], row.deliveries + 1) for row in rows if row.id in fields
        ]

    async def _forget_consumers(self) -> None:
        s = self._settings
        removed = await self._forget(
            keys=[s.stream], args=[s.group, s.consumer, int(s.forget_after_s * 1000), _FORGET_AT_ONCE]
        )
        if removed:
            log.info("removed consumers that are gone", stream=s.stream, group=s.group, consumers=removed)

    # -- handling

    async def _handle_batch(self, deliveries: Sequence[Delivery]) -> None:
        if not deliveries:
            return
        self._state.outcomes = []
        started = time.monotonic()
        async with self._kept_fresh(deliveries):
            given_up = [d for d in deliveries if d.attempts > self._settings.max_attempts]
            for delivery in given_up:  # it killed the process each time, or its Retry was never settled
                await self._settle_one(delivery, Dead(f"gave up after {delivery.attempts - 1} attempts"))
            todo = [d for d in deliveries if d.attempts <= self._settings.max_attempts]
            if todo:
                for delivery, outcome in await self._outcomes(todo):
                    await self._settle_one(delivery, outcome)
        self._judge()
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
            ((_, outcome),) = await self._outcomes([delivery])
            await self._settle_one(delivery, outcome)
        return await self._outcomes(deliveries[-1:])

    async def _call(self, deliveries: Sequence[Delivery]) -> Sequence[Outcome]:
        """Return the handler's outcomes; all goes back when it needs too long after a stop."""
        handling = asyncio.ensure_future(self._handler(deliveries))
        hurry = asyncio.create_task(self._state.hurry.wait())
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
        s = self._settings
        while True:
            await pause(s.min_idle_s / 3, ended)
            if ended.is_set():
                return
            ids = sorted(self._state.handling)
            if ids:
                with contextlib.suppress(RedisError, OSError):  # settling notices when Redis is away
                    await self._touch(keys=[s.stream], args=[s.group, s.consumer, "", *ids])

    def _judge(self) -> None:
        """Slow down while nothing can be done for a reason outside of the items; told once each way."""
        state, outcomes = self._state, self._state.outcomes
        if state.hurry.is_set():  # what was given back at the stop says nothing of the world
            return
        hindrances = [o.reason for o in outcomes if isinstance(o, Retry) and not (o.is_charged or o.is_alone)]
        if outcomes and len(hindrances) == len(outcomes):
            state.hindered_at, state.hindrance = time.monotonic(), hindrances[-1]
            state.pause_s = min(max(0.5, state.pause_s * 2), _LONGEST_PAUSE_S, self._settings.min_idle_s)
            if state.hindered_since is None:
                state.hindered_since = time.monotonic()
                log.warning("hindered, going slowly", stream=self._settings.stream, reason=state.hindrance)
        elif state.hindered_since is not None:
            log.info(
                "no longer hindered",
                stream=self._settings.stream,
                hindered_s=round(time.monotonic() - state.hindered_since, 1),
            )
            state.hindered_since, state.pause_s = None, 0.0
            state.claim_at = 0.0

    # -- settling

    async def _settle_one(self, delivery: Delivery, outcome: Outcome) -> None:
        s = self._settings
        if isinstance(outcome, Retry) and outcome.is_charged and delivery.attempts >= s.max_attempts:
            outcome = Dead(f"gave up after {delivery.attempts} attempts, last: {outcome.reason}")
        self._state.outcomes.append(outcome)
        name = {Done: "done", Retry: "retry", Dead: "dead"}[type(outcome)]
        if isinstance(outcome, Retry):
            log.debug("will be tried again", stream=s.stream, id=delivery.id, reason=outcome.reason)
            await self._put_back(delivery, outcome.is_charged)
        elif not await self._settle_for_good(delivery, outcome):
            name = "already"
            log.info("was settled before", stream=s.stream, id=delivery.id)
        elif isinstance(outcome, Dead):
            log.error("moved to the dead letters", stream=s.stream, id=delivery.id, reason=outcome.reason)
        self._state.handling.discard(delivery.id)
        self._beat()
        if self._metrics:
            self._metrics.settled.labels(s.stream, name).inc()

    async def _put_back(self, delivery: Delivery, is_charged: bool) -> None:
        s = self._settings
        count = delivery.attempts if is_charged else delivery.attempts - 1
        await self._touch(keys=[s.stream], args=[s.group, s.consumer, str(count), delivery.id])

    async def _settle_for_good(self, delivery: Delivery, outcome: Done | Dead) -> bool:
        """Settle in one step; return whether it was this call that did it."""
        s = self._settings
        if isinstance(outcome, Dead):
            letter = replace(dead_letter(delivery, outcome.reason), longest=s.dead_max)
            outcome = Done(outputs=(letter, *self._on_dead(delivery)))
        keys: list[str] = [s.stream]
        arguments: list[bytes | str | int] = [s.group, delivery.id, len(outcome.deletions)]
        for stream, entry_id in outcome.deletions:
            keys.append(stream)
            arguments.append(entry_id)
        for output in outcome.outputs:
            keys.append(output.stream)
            values: list[bytes] = [part for pair in output.fields.items() for part in pair]
            arguments += [output.longest, len(values), *values]
        settled, trimmed = await self._settle_patiently(keys, arguments)
        if trimmed:
            log.warning("oldest dead letters dropped", stream=s.stream, dropped=trimmed, kept=s.dead_max)
            if self._metrics:
                self._metrics.dead_dropped.labels(s.stream).inc(trimmed)
        return bool(settled)

    async def _settle_patiently(self, keys: list[str], arguments: list[bytes | str | int]) -> tuple[int, int]:
        backoff_s = 0.1
        for left in reversed(range(_SETTLE_TRIES)):
            try:
                settled, trimmed = await self._settle(keys=keys, args=arguments)
            except Exception as exc:
                if not left or not is_away(exc) or self._state.hurry.is_set():
                    raise
                self._went(exc)
                await pause(backoff_s, self._state.hurry)
                backoff_s = min(backoff_s * 2, 8.0)
            else:
                return int(settled), int(trimmed)
        raise AssertionError("unreachable")

    # -- the connection, told once each way

    def _went(self, exc: BaseException) -> None:
        if self._state.is_connected:
            self._state.is_connected = False
            self._state.away_since = time.monotonic()
            log.warning("Redis is away, waiting for it", stream=self._settings.stream, error=reason(exc))
        if self._metrics:
            self._metrics.connected.set(0)

    def _returned(self) -> None:
        if not self._state.is_connected:
            self._state.is_connected = True
            log.info(
                "Redis is back",
                stream=self._settings.stream,
                away_s=round(time.monotonic() - self._state.away_since, 1),
            )
        if self._metrics:
            self._metrics.connected.set(1)


def dead_letter(delivery: Delivery, reason: str, died_at: datetime | None = None) -> Output:
    """Return the entry of `<stream>:dead`: the original fields, and `dead`: reason and history as JSON."""
    note = {
        "reason": redact(reason)[:2000],
        "stream": delivery.stream,
        "id": delivery.id,
        "attempts": delivery.attempts,
        "died_at": (died_at or now_utc()).isoformat(),
    }
    return Output(f"{delivery.stream}:dead", {**delivery.fields, b"dead": json.dumps(note).encode()})


def _pairs(answer: Any) -> list[tuple[bytes, list[tuple[bytes, dict[bytes, bytes]]]]]:
    # Any: redis-py types the answer of XREADGROUP as a union over RESP versions
    if not answer:
        return []
    return list(answer.items()) if isinstance(answer, dict) else list(answer)


def _text(value: bytes | str | int) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
