"""Settles deliveries: writes outputs and acknowledges in one step, puts back, or moves to the dead letters."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError

from shared.logs import get_logger
from shared.metrics import StreamMetrics
from shared.streams.connection import Connection, is_away
from shared.streams.dead_letters import dead_letter
from shared.streams.entries import GroupEntries
from shared.streams.outcomes import Dead, Delivery, Done, Outcome, Output, Retry
from shared.streams.scripts import SETTLE
from shared.streams.settings import ConsumerSettings
from shared.waits import pause

log = get_logger(__name__)

_SETTLE_TRIES = 18  # about 25 s: Redis may be restarting; the work in hand is worth the wait
_LONGEST_PAUSE_S = 2.0  # a replica that took over is found within this


@dataclass(slots=True)
class _Call:
    """A call of SETTLE, and what it answered."""

    keys: list[str]
    arguments: list[bytes | str | int]
    answer: tuple[int, int] | None = None


class Settler:
    """Settles the deliveries of one consumer. `hurry`: a stop waits, so Redis is not waited for."""

    def __init__(
        self,
        redis: Redis,
        settings: ConsumerSettings,
        entries: GroupEntries,
        connection: Connection,
        on_dead: Callable[[Delivery], Sequence[Output]],
    ) -> None:
        self.hurry = asyncio.Event()
        self._settings = settings
        self._entries = entries
        self._connection = connection
        self._on_dead = on_dead
        self._redis = redis
        self._sha = redis.register_script(SETTLE).sha

    @property
    def _metrics(self) -> StreamMetrics | None:
        return self._connection.metrics

    async def settle(self, settlements: Sequence[tuple[Delivery, Outcome]]) -> list[Outcome]:
        """Do what the outcomes say; return those that hold. What ends is settled in one exchange with Redis.

        After too many attempts an outcome is Dead. What Redis refuses for good is raised once the others are settled.
        """
        holding = [self._holding(delivery, outcome) for delivery, outcome in settlements]
        deliveries = [delivery for delivery, _ in settlements]
        final = [
            (d, outcome)
            for d, outcome in zip(deliveries, holding, strict=True)
            if not isinstance(outcome, Retry)
        ]
        answers = await self._settle_patiently([self._call(delivery, outcome) for delivery, outcome in final])
        for (delivery, done), (settled, trimmed) in zip(final, answers, strict=True):
            self._note(delivery, done, bool(settled), trimmed)
        for delivery, outcome in zip(deliveries, holding, strict=True):
            if isinstance(outcome, Retry):
                log.debug(
                    "will be tried again", stream=delivery.stream, id=delivery.id, reason=outcome.reason
                )
                await self.put_back(delivery, outcome.is_charged)
                self._count("retry")
        return holding

    def _holding(self, delivery: Delivery, outcome: Outcome) -> Outcome:
        if not isinstance(outcome, Retry) or not outcome.is_charged:
            return outcome
        if delivery.attempts < self._settings.max_attempts:
            return outcome
        return Dead(f"gave up after {delivery.attempts} attempts, last: {outcome.reason}")

    def _note(self, delivery: Delivery, outcome: Outcome, is_settled: bool, n_trimmed: int) -> None:
        s = self._settings
        if n_trimmed:
            log.warning("oldest dead letters dropped", stream=s.stream, dropped=n_trimmed, kept=s.dead_max)
            if self._metrics:
                self._metrics.dead_dropped.labels(s.stream).inc(n_trimmed)
        if not is_settled:
            log.info("was settled before", stream=s.stream, id=delivery.id)
        elif isinstance(outcome, Dead):
            log.error("moved to the dead letters", stream=s.stream, id=delivery.id, reason=outcome.reason)
        name = "dead" if isinstance(outcome, Dead) else "done"
        self._count(name if is_settled else "already")

    def _count(self, outcome: str) -> None:
        if self._metrics:
            self._metrics.settled.labels(self._settings.stream, outcome).inc()

    async def put_back(self, delivery: Delivery, is_charged: bool) -> None:
        """Leave the entry pending, with or without this attempt counted."""
        attempts = delivery.attempts if is_charged else delivery.attempts - 1
        await self._entries.touch([delivery.id], attempts)

    def _call(self, delivery: Delivery, outcome: Done | Dead) -> _Call:
        """Return the call of SETTLE that settles a delivery in one step."""
        s = self._settings
        if isinstance(outcome, Dead):
            letter = replace(dead_letter(delivery, outcome.reason), longest=s.dead_max)
            outcome = Done(outputs=(letter, *self._on_dead(delivery)))
        call = _Call([s.stream], [s.group, delivery.id, len(outcome.deletions)])
        for stream, entry_id in outcome.deletions:
            call.keys.append(stream)
            call.arguments.append(entry_id)
        for output in outcome.outputs:
            call.keys.append(output.stream)
            values: list[bytes] = [part for pair in output.fields.items() for part in pair]
            call.arguments += [output.longest, len(values), *values]
        return call

    async def _settle_patiently(self, calls: Sequence[_Call]) -> list[tuple[int, int]]:
        """Return what SETTLE answered to each call. A call whose answer is lost is made again: it is settled once."""
        backoff_s = 0.1
        for left in reversed(range(_SETTLE_TRIES)):
            waiting = [call for call in calls if call.answer is None]
            if not waiting:
                break
            faults = await self._try(waiting)
            lasting = [fault for fault in faults if not is_away(fault)]
            if lasting or (faults and (not left or self.hurry.is_set())):
                raise (lasting or faults)[0]
            if faults:
                self._connection.failed(faults[0])
                await pause(backoff_s, self.hurry)
                backoff_s = min(backoff_s * 2, _LONGEST_PAUSE_S)
        return [call.answer for call in calls if call.answer is not None]

    async def _try(self, calls: Sequence[_Call]) -> list[Exception]:
        """Make calls in one exchange; return what went wrong. A call that has no answer then is to be made again."""
        faults, is_script_missing = list[Exception](), False
        try:
            async with self._redis.pipeline(transaction=False) as together:
                for call in calls:
                    together.evalsha(self._sha, len(call.keys), *call.keys, *call.arguments)
                answers = await together.execute(raise_on_error=False)
            for call, answer in zip(calls, answers, strict=True):
                if isinstance(answer, NoScriptError):  # a Redis that was restarted, or another one
                    is_script_missing = True
                elif isinstance(answer, Exception):
                    faults.append(answer)
                else:
                    call.answer = int(answer[0]), int(answer[1])
            if is_script_missing:
                await self._redis.script_load(SETTLE)
        except (RedisError, OSError) as exc:
            faults.append(exc)
        return faults
