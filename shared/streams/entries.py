"""The entries of one consumer group: reading, claiming, keeping fresh. Every method is one call of Redis or two.

Raises what the client raises.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from shared.logs import get_logger
from shared.streams.outcomes import Delivery
from shared.streams.scripts import FORGET, TOUCH
from shared.streams.settings import ConsumerSettings

log = get_logger(__name__)

_PAGE = 100  # pending entries looked at together
_FORGET_AT_ONCE = 100
# Our group is gone; UNBLOCKED is what Redis 7.0 says to who was waiting at that moment.
_NO_GROUP_WORDS = ("NOGROUP", "UNBLOCKED")


@dataclass(frozen=True, slots=True)
class PendingEntry:
    """An entry that was delivered and not settled."""

    id: str
    idle_ms: int
    deliveries: int


def is_group_missing(exc: ResponseError) -> bool:
    """Return whether the consumer group is gone: Redis was replaced."""
    return any(word in str(exc) for word in _NO_GROUP_WORDS)


class GroupEntries:
    """One consumer's view of its group's entries."""

    def __init__(self, redis: Redis, settings: ConsumerSettings) -> None:
        self._redis = redis
        self._settings = settings
        self._touch = redis.register_script(TOUCH)
        self._forget = redis.register_script(FORGET)

    async def create_group(self) -> None:
        """Create the group, from the first entry on; leave one that is there."""
        log.info("creating the consumer group", stream=self._settings.stream, group=self._settings.group)
        try:
            await self._redis.xgroup_create(
                self._settings.stream, self._settings.group, id="0", mkstream=True
            )
        except ResponseError as exc:
            if "BUSYGROUP" not in str(exc):
                raise

    async def read(self, n_max: int) -> list[Delivery]:
        """Return up to `n_max` new entries; wait for the first one for `block_ms`."""
        s = self._settings
        answer = await self._redis.xreadgroup(
            s.group, s.consumer, {s.stream: ">"}, count=n_max, block=s.block_ms
        )
        return [
            Delivery(s.stream, _text(entry_id), fields, 1)
            for _, entries in _pairs(answer)
            for entry_id, fields in entries
        ]

    async def pending(self, after: str, idle_ms: int, consumer: str | None = None) -> list[PendingEntry]:
        """Return the next pending entries after an id that nobody has touched for `idle_ms`."""
        s = self._settings
        rows = await self._redis.xpending_range(
            s.stream, s.group, min=after, max="+", count=_PAGE, consumername=consumer, idle=idle_ms or None
        )
        return [
            PendingEntry(
                _text(row["message_id"]), int(row["time_since_delivered"]), int(row["times_delivered"])
            )
            for row in rows
        ]

    async def claim(self, rows: Sequence[PendingEntry]) -> list[Delivery]:
        """Take over pending entries, which charges each an attempt; acknowledge those that are gone from the stream."""
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

    async def touch(self, ids: Sequence[str], attempts: int | None = None) -> None:
        """Make entries fresh; with `attempts` also set how often they count as delivered."""
        s = self._settings
        count = "" if attempts is None else str(attempts)
        await self._touch(keys=[s.stream], args=[s.group, s.consumer, count, *ids])

    async def forget_consumers(self) -> None:
        """Remove consumers that are gone."""
        s = self._settings
        removed = await self._forget(
            keys=[s.stream], args=[s.group, s.consumer, int(s.forget_after_s * 1000), _FORGET_AT_ONCE]
        )
        if removed:
            log.info("removed consumers that are gone", stream=s.stream, group=s.group, consumers=removed)


def portions(page: Sequence[PendingEntry], size: int) -> list[Sequence[PendingEntry]]:
    """Cut entries into what is claimed and handled together: those never delivered in batches, the rest alone.

    Claiming charges an attempt, so the mates of an entry that kills the process are not claimed with it, and come
    before it: the least often delivered first.
    """
    harmless = [row for row in page if row.deliveries == 0]
    suspects = sorted((row for row in page if row.deliveries), key=lambda row: row.deliveries)
    return [
        *(harmless[i : i + size] for i in range(0, len(harmless), size)),
        *([row] for row in suspects),
    ]


def _pairs(answer: Any) -> list[tuple[bytes, list[tuple[bytes, dict[bytes, bytes]]]]]:
    # Any: redis-py types the answer of XREADGROUP as a union over RESP versions
    if not answer:
        return []
    return list(answer.items()) if isinstance(answer, dict) else list(answer)


def _text(value: bytes | str | int) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
