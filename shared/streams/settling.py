"""Settles deliveries: writes outputs and acknowledges in one step, puts back, or moves to the dead letters."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

from redis.asyncio import Redis
from redis.exceptions import RedisError

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
        self._settle = redis.register_script(SETTLE)

    @property
    def _metrics(self) -> StreamMetrics | None:
        return self._connection.metrics

    async def settle(self, delivery: Delivery, outcome: Outcome) -> Outcome:
        """Do what the outcome says; return the outcome that holds: after too many attempts it is Dead."""
        s = self._settings
        if isinstance(outcome, Retry) and outcome.is_charged and delivery.attempts >= s.max_attempts:
            outcome = Dead(f"gave up after {delivery.attempts} attempts, last: {outcome.reason}")
        name = {Done: "done", Retry: "retry", Dead: "dead"}[type(outcome)]
        if isinstance(outcome, Retry):
            log.debug("will be tried again", stream=s.stream, id=delivery.id, reason=outcome.reason)
            await self.put_back(delivery, outcome.is_charged)
        elif not await self._settle_for_good(delivery, outcome):
            name = "already"
            log.info("was settled before", stream=s.stream, id=delivery.id)
        elif isinstance(outcome, Dead):
            log.error("moved to the dead letters", stream=s.stream, id=delivery.id, reason=outcome.reason)
        if self._metrics:
            self._metrics.settled.labels(s.stream, name).inc()
        return outcome

    async def put_back(self, delivery: Delivery, is_charged: bool) -> None:
        """Leave the entry pending, with or without this attempt counted."""
        attempts = delivery.attempts if is_charged else delivery.attempts - 1
        await self._entries.touch([delivery.id], attempts)

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
            except (RedisError, OSError) as exc:
                if not left or not is_away(exc) or self.hurry.is_set():
                    raise
                self._connection.failed(exc)
                await pause(backoff_s, self.hurry)
                backoff_s = min(backoff_s * 2, _LONGEST_PAUSE_S)
            else:
                return int(settled), int(trimmed)
        raise AssertionError("unreachable")
