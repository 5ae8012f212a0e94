"""The one consumer loop on Redis Streams: groups, claims, outcomes, dead letters, settling. Knows no message.

Rules, each seen to matter (docs/design/delivery.md says why and how it was tried):
- Groups are created at id 0, never $. NOGROUP (Redis was replaced) recreates them and goes on.
- A handler answers Done | Retry | Dead for each delivery. A batch that raises is run again one by one, so that a
  poison item fails alone; an item that was delivered before is handled alone from the start, since it may have
  killed the process.
- Retry leaves the entry pending: claiming it again after `min_idle_s` is the backoff, and takes over the work of a
  dead replica. While a batch is handled its entries are kept fresh, so `min_idle_s` need not exceed the batch time.
- Attempts come from the server's delivery counter. Past `max_attempts` an entry moves to `<stream>:dead`.
- Settling is one script: outputs are written if and only if this consumer's acknowledgement counted, so an entry
  that another replica took over meanwhile leaves no second output. Acknowledging first also lets a full Redis
  (noeviction) take the small output in place of the large input, where MULTI would be refused for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from redis.asyncio import Redis
from redis.exceptions import BusyLoadingError, RedisError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from shared.clock import now_utc
from shared.errors import Permanent, Transient, redact
from shared.logs import get_logger
from shared.metrics import StreamMetrics

log = get_logger(__name__)

# KEYS: stream, then one per deletion, then one per output.
# ARGV: group, id, number of deletions, their ids …, then per output: number of values, values …
_SETTLE = """
if redis.call('XACK', KEYS[1], ARGV[1], ARGV[2]) == 0 then return 0 end
redis.call('XDEL', KEYS[1], ARGV[2])
local deletions = tonumber(ARGV[3])
local at = 4
for i = 1, deletions do
  redis.call('XDEL', KEYS[1 + i], ARGV[at])
  at = at + 1
end
for i = 2 + deletions, #KEYS do
  local count = tonumber(ARGV[at])
  redis.call('XADD', KEYS[i], '*', unpack(ARGV, at + 1, at + count))
  at = at + 1 + count
end
return 1
"""
AWAY = (RedisConnectionError, RedisTimeoutError, BusyLoadingError, OSError)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One entry handed to this consumer; `attempts` counts deliveries, this one included."""

    stream: str
    id: str
    fields: Mapping[bytes, bytes]
    attempts: int


@dataclass(frozen=True, slots=True)
class Output:
    """An entry to append when the delivery is settled."""

    stream: str
    fields: Mapping[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Done:
    """Handled: write `outputs`, acknowledge and delete the entry, and delete `deletions` (stream, id)."""

    outputs: tuple[Output, ...] = ()
    deletions: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Retry:
    """Not now: leave it pending; it comes back after `min_idle_s`, to whichever replica is free."""

    reason: str


@dataclass(frozen=True, slots=True)
class Dead:
    """Never: move it to the dead letters with `reason`."""

    reason: str


Outcome = Done | Retry | Dead
_Entry = tuple[bytes, dict[bytes, bytes] | None]
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
    dead_max: int = 10_000  # dead letters kept, oldest go first; each loss is counted and logged


@dataclass(slots=True)
class _State:
    is_connected: bool = True
    away_since: float = 0.0
    claim_at: float = 0.0
    resumed: bool = False
    handling: set[str] = field(default_factory=set)


class Consumer:
    """Runs one handler on one stream until `stop` is set; see the module's rules."""

    def __init__(
        self, redis: Redis, settings: ConsumerSettings, handler: Handler, metrics: StreamMetrics | None = None
    ) -> None:
        self._redis = redis
        self._settings = settings
        self._handler = handler
        self._metrics = metrics
        self._state = _State()
        self._settle = redis.register_script(_SETTLE)

    @property
    def is_connected(self) -> bool:
        """Whether Redis answered last time."""
        return self._state.is_connected

    async def run(self, stop: asyncio.Event, beat: Callable[[], None] = lambda: None) -> None:
        """Consume until `stop`; `beat` is called at every turn of the loop. The batch in hand is finished."""
        backoff_s = 0.1
        while not stop.is_set():
            try:
                await self._turn(stop)
            except AWAY as exc:
                self._went(exc)
                beat()
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(stop.wait(), backoff_s)
                backoff_s = min(backoff_s * 2, 5.0)
            except ResponseError as exc:
                if "NOGROUP" not in str(exc):
                    raise
                await self._create_group()
            else:
                self._returned()
                beat()
                backoff_s = 0.1

    async def _turn(self, stop: asyncio.Event) -> None:
        if not self._state.resumed:
            await self._create_group()
            await self._handle(await self._own_pending())
            self._state.resumed = True
        if time.monotonic() >= self._state.claim_at:
            self._state.claim_at = time.monotonic() + self._settings.claim_every_s
            await self._handle(await self._claim())
        if not stop.is_set():
            await self._handle(await self._read())

    # -- taking

    async def _create_group(self) -> None:
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
            s.group, s.consumer, {s.stream: ">"}, count=s.batch_max, block=s.block_ms
        )
        return [
            Delivery(s.stream, _text(entry_id), fields, 1)
            for _, entries in _pairs(answer)
            for entry_id, fields in entries
            if fields is not None
        ]

    async def _own_pending(self) -> list[Delivery]:
        """Take up what this consumer had in hand when it was killed (its name is stable)."""
        s = self._settings
        pending = await self._redis.xpending_range(
            s.stream, s.group, min="-", max="+", count=s.batch_max, consumername=s.consumer
        )
        ids = [row["message_id"] for row in pending]
        if not ids:
            return []
        entries = await self._redis.xclaim(
            s.stream, s.group, s.consumer, min_idle_time=0, message_ids=list(ids)
        )
        return await self._with_attempts(cast("list[_Entry]", entries))

    async def _claim(self) -> list[Delivery]:
        s = self._settings
        answer = await self._redis.xautoclaim(
            s.stream,
            s.group,
            s.consumer,
            min_idle_time=int(s.min_idle_s * 1000),
            start_id="0-0",
            count=s.batch_max,
        )
        return await self._with_attempts(cast("list[_Entry]", answer[1]))

    async def _with_attempts(self, entries: Sequence[_Entry]) -> list[Delivery]:
        s = self._settings
        deliveries = []
        for entry_id, fields in entries:
            if not fields:  # Redis 6.2 hands out deleted entries as empty: nothing is left to do for them
                await self._redis.xack(s.stream, s.group, entry_id)
                continue
            rows = await self._redis.xpending_range(s.stream, s.group, min=entry_id, max=entry_id, count=1)
            attempts = int(rows[0]["times_delivered"]) if rows else 1
            deliveries.append(Delivery(s.stream, _text(entry_id), fields, attempts))
        return deliveries

    # -- handling

    async def _handle(self, deliveries: Sequence[Delivery]) -> None:
        if not deliveries:
            return
        started = time.monotonic()
        async with self._kept_fresh(deliveries):
            fresh = [d for d in deliveries if d.attempts == 1]
            if fresh:
                await self._handle_batch(fresh)
            for delivery in deliveries:
                if delivery.attempts > 1:
                    await self._handle_alone(delivery)
        if self._metrics:
            self._metrics.batch.labels(self._settings.stream).observe(len(deliveries))
            self._metrics.handling.labels(self._settings.stream).observe(time.monotonic() - started)

    async def _handle_batch(self, deliveries: Sequence[Delivery]) -> None:
        try:
            outcomes = await self._handler(deliveries)
            if len(outcomes) != len(deliveries):
                raise ValueError(
                    f"handler answered {len(outcomes)} outcomes for {len(deliveries)} deliveries"
                )
        except AWAY:
            raise
        except Exception as exc:
            if len(deliveries) == 1:
                await self._settle_one(deliveries[0], self._outcome_of(exc))
                return
            log.warning("batch failed, running it one by one", entries=len(deliveries), error=exc)
            for delivery in deliveries:
                await self._handle_alone(delivery)
            return
        for delivery, outcome in zip(deliveries, outcomes, strict=True):
            await self._settle_one(delivery, outcome)

    async def _handle_alone(self, delivery: Delivery) -> None:
        if delivery.attempts > self._settings.max_attempts:
            await self._settle_one(delivery, Dead(f"gave up after {delivery.attempts - 1} attempts"))
            return
        await self._handle_batch([delivery])

    def _outcome_of(self, exc: Exception) -> Outcome:
        if isinstance(exc, Transient):
            return Retry(str(exc))
        if isinstance(exc, Permanent):
            return Dead(str(exc))
        log.exception("handler failed: this is a bug")
        return Retry(f"{type(exc).__name__}: {exc}")

    @contextlib.asynccontextmanager
    async def _kept_fresh(self, deliveries: Sequence[Delivery]) -> AsyncIterator[None]:
        """Keep the idle time of entries in hand low, so that no other replica takes a slow batch for a dead one."""
        self._state.handling = {d.id for d in deliveries}
        task = asyncio.create_task(self._freshen())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            self._state.handling = set()

    async def _freshen(self) -> None:
        s = self._settings
        while True:
            await asyncio.sleep(s.min_idle_s / 3)
            ids = sorted(self._state.handling)
            with contextlib.suppress(RedisError, OSError):  # the batch itself notices when Redis is away
                rows = await self._redis.xpending_range(
                    s.stream, s.group, min="-", max="+", count=1000, consumername=s.consumer
                )
                mine = {_text(row["message_id"]) for row in rows}
                ids = [entry for entry in ids if entry in mine]
                if ids:
                    await self._redis.xclaim(
                        s.stream,
                        s.group,
                        s.consumer,
                        min_idle_time=0,
                        message_ids=list(ids),
                        idle=0,
                        justid=True,
                    )

    # -- settling

    async def _settle_one(self, delivery: Delivery, outcome: Outcome) -> None:
        s = self._settings
        name = {Done: "done", Retry: "retry", Dead: "dead"}[type(outcome)]
        if isinstance(outcome, Retry):
            if delivery.attempts >= s.max_attempts:
                outcome = Dead(f"gave up after {delivery.attempts} attempts, last: {outcome.reason}")
                name = "dead"
            else:
                log.warning(
                    "will be tried again",
                    stream=s.stream,
                    id=delivery.id,
                    attempts=delivery.attempts,
                    reason=outcome.reason,
                )
        if isinstance(outcome, Dead):
            log.error("moved to the dead letters", stream=s.stream, id=delivery.id, reason=outcome.reason)
            outcome = Done(outputs=(dead_letter(delivery, outcome.reason),))
        if isinstance(outcome, Done) and not await self._settle_script(delivery, outcome):
            name = "lost"
            log.info("another replica settled this entry first", stream=s.stream, id=delivery.id)
        self._state.handling.discard(delivery.id)
        if self._metrics:
            self._metrics.settled.labels(s.stream, name).inc()

    async def _settle_script(self, delivery: Delivery, outcome: Done) -> bool:
        s = self._settings
        keys: list[str] = [s.stream]
        arguments: list[bytes | str | int] = [s.group, delivery.id, len(outcome.deletions)]
        for stream, entry_id in outcome.deletions:
            keys.append(stream)
            arguments.append(entry_id)
        for output in outcome.outputs:
            keys.append(output.stream)
            values: list[bytes] = [part for pair in output.fields.items() for part in pair]
            arguments += [len(values), *values]
        backoff_s = 0.1
        for attempt in range(8):  # about 25 s: Redis may be restarting; the work in hand is worth the wait
            try:
                return bool(await self._settle(keys=keys, args=arguments))
            except AWAY as exc:
                if attempt == 7:
                    raise
                self._went(exc)
                await asyncio.sleep(backoff_s)
                backoff_s = min(backoff_s * 2, 8.0)
        raise AssertionError("unreachable")

    # -- the connection, told once each way

    def _went(self, exc: BaseException) -> None:
        if self._state.is_connected:
            self._state.is_connected = False
            self._state.away_since = time.monotonic()
            log.warning("Redis is away, waiting for it", stream=self._settings.stream, error=redact(str(exc)))
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


def dead_letter(delivery: Delivery, reason: str) -> Output:
    """Return the entry of `<stream>:dead`: the original fields, and `dead`: reason and history as JSON."""
    note = {
        "reason": redact(reason)[:2000],
        "stream": delivery.stream,
        "id": delivery.id,
        "attempts": delivery.attempts,
        "died_at": now_utc().isoformat(),
    }
    return Output(f"{delivery.stream}:dead", {**delivery.fields, b"dead": json.dumps(note).encode()})


def _pairs(answer: Any) -> list[tuple[bytes, list[tuple[bytes, dict[bytes, bytes] | None]]]]:
    # Any: redis-py types the answer of XREADGROUP as a union over RESP versions
    if not answer:
        return []
    return list(answer.items()) if isinstance(answer, dict) else list(answer)


def _text(value: bytes | str | int) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
