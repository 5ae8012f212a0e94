"""Frees outbox entries that were recorded, and sends again what Redis lost.

Whoever settles a snippet for good leaves a receipt in receipts.v1, in the same step. The outbox keeps an entry until
its receipt comes. Every few seconds the marks of the kept entries are checked:

- no mark: Redis was emptied or replaced, or lost its last writes. The entry is sent again.
- a mark, but the snippet and every answer are gone, and no receipt came: it was recorded without its clip, or somebody
  removed the stream. The entry is sent again, RESENDS times at most.

A snippet that is sent again may be classified twice; the tables' keys keep it from being recorded twice.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.motion.metrics import MotionMetrics
from services.motion.spool.outbox import Outbox
from services.motion.spool.publisher import MARK_S, RECORDED, mark_of
from shared.contract import LABELS, RECEIPTS, SNIPPETS, Receipt
from shared.errors import ContractError, redact
from shared.logs import get_logger
from shared.streams.connection import is_away
from shared.waits import pause

log = get_logger(__name__)

READ_EVERY_S = 1.0
CHECK_EVERY_S = 5.0
PAGE = 500  # receipts read, and marks checked, in one step
RESENDS = 3  # of a snippet that went without a receipt
RENEW_S = MARK_S / 7  # the marks of entries that are kept longer are renewed

# What became of kept snippets. KEYS: snippets, marks …   ARGV: labels, receipts, which motion may only read, and Redis
# takes all KEYS for what a script writes.   Answers one word for each mark.
_FATES = """
local has_answers = redis.call('EXISTS', ARGV[1]) == 1 and redis.call('XLEN', ARGV[1]) > 0
local has_receipts = redis.call('EXISTS', ARGV[2]) == 1
local fates = {}
for i = 2, #KEYS do
  local mark = redis.call('GET', KEYS[i])
  local id = mark and string.match(mark, '^snippet (.+)$')
  if not mark then fates[#fates + 1] = 'lost'
  elseif mark == 'recorded' then fates[#fates + 1] = 'recorded'
  elseif not id or has_answers or #redis.call('XRANGE', KEYS[1], id, id) > 0 then fates[#fates + 1] = 'waits'
  elseif has_receipts then fates[#fates + 1] = 'gone'
  else fates[#fates + 1] = 'settled' end
end
return fates
"""


class ReceiptReader:
    """Follows receipts.v1 for one outbox."""

    def __init__(self, outbox: Outbox, redis: Redis, owner: str, metrics: MotionMetrics) -> None:
        self._outbox = outbox
        self._redis = redis
        self._owner = owner
        self._metrics = metrics
        self._fates = redis.register_script(_FATES)
        self._after = "0-0"  # the last receipt that was read; a start reads all of them
        self._resends: Counter[str] = Counter()
        self._renewed: dict[str, float] = {}  # keys: when their marks were last renewed, monotonic
        self._has_renewed = False
        self._is_refused = False

    async def run(self, stop: asyncio.Event, beat: Callable[[], None] = lambda: None) -> None:
        """Follow until `stop`. The publisher is the one that logs when Redis is away."""
        check_at = 0.0
        while not stop.is_set():
            try:
                await self.read()
                if time.monotonic() >= check_at:
                    await self.check()
                    check_at = time.monotonic() + CHECK_EVERY_S
                self._is_refused = False
            except (RedisError, OSError) as exc:
                self._refused(exc)
            beat()
            await pause(READ_EVERY_S, stop)

    async def read(self) -> None:
        """Free the entries that have a receipt; raises what the client raises."""
        while self._outbox.n_kept:
            answer: Any = await self._redis.xread(
                {RECEIPTS: self._after}, count=PAGE
            )  # Any: redis-py's union
            entries = answer[0][1] if answer else []
            kept = set(self._outbox.kept_keys())
            found = {key: outcome for key, outcome in map(_read, entries) if key in kept}
            await self._free(found)
            if entries:
                self._after = entries[-1][0].decode()
            if len(entries) < PAGE:
                return

    async def check(self) -> None:
        """Check what became of the kept entries; raises what the client raises."""
        keys = self._outbox.kept_keys()
        for name in self._renewed.keys() - set(keys):
            del self._renewed[name]
        gone: list[str] = []
        n_lost = 0
        for first in range(0, len(keys), PAGE):
            page = keys[first : first + PAGE]
            fates = await self._ask(page)
            await self._free({key: RECORDED for key in page if fates[key] in ("recorded", "settled")})
            lost = [key for key in page if fates[key] == "lost"]
            await asyncio.to_thread(self._send_again, lost)
            n_lost += len(lost)
            gone += [key for key in page if fates[key] == "gone"]
            await self._renew([key for key in page if fates[key] == "waits"])
        if n_lost:
            self._after = "0-0"  # the clock of another Redis may be behind
            log.warning("Redis lost snippets that were not recorded, they are sent again", snippets=n_lost)
        if gone:
            await self._send_gone(gone)

    async def _ask(self, keys: Sequence[str]) -> dict[str, str]:
        marks = [mark_of(self._owner, key) for key in keys]
        answer = cast("list[bytes]", await self._fates(keys=[SNIPPETS, *marks], args=[LABELS, RECEIPTS]))
        return {key: fate.decode() for key, fate in zip(keys, answer, strict=True)}

    async def _send_gone(self, keys: Sequence[str]) -> None:
        """Send again what is nowhere, unless its receipt has come: that was written before the answer went."""
        await self.read()
        kept = set(self._outbox.kept_keys())
        left = [key for key in keys if key in kept]
        again = [key for key in left if self._resends[key] < RESENDS]
        await self._free({key: "unanswered" for key in left if key not in again})
        if not again:
            return
        self._resends.update(again)
        await self._redis.delete(*(mark_of(self._owner, key) for key in again))
        await asyncio.to_thread(self._send_again, again)
        log.warning("snippets went without being recorded whole, they are sent again", snippets=len(again))

    def _send_again(self, keys: Sequence[str]) -> None:
        for key in keys:
            self._outbox.send_again(key)
            self._metrics.sent_again.inc()

    async def _free(self, outcomes: dict[str, str]) -> None:
        """Free entries. Their marks change first, in case a kill follows and a recording is read again."""
        if not outcomes:
            return
        async with self._redis.pipeline(transaction=False) as pipeline:
            for key in outcomes:
                pipeline.set(mark_of(self._owner, key), RECORDED, ex=MARK_S)
            await pipeline.execute()
        for key, outcome in outcomes.items():
            await asyncio.to_thread(self._outbox.free, key)
            self._resends.pop(key, None)
            self._metrics.receipts.labels(outcome).inc()

    async def _renew(self, keys: Sequence[str]) -> None:
        """Keep the marks of a long backlog from expiring, which would look like a loss."""
        now = time.monotonic()
        first_s = (
            now if self._has_renewed else -RENEW_S
        )  # nobody knows how old the marks of an earlier process are
        self._has_renewed = True
        due = [key for key in keys if now - self._renewed.setdefault(key, first_s) > RENEW_S]
        for key in due:
            await self._redis.expire(mark_of(self._owner, key), MARK_S)
            self._renewed[key] = now

    def _refused(self, exc: Exception) -> None:
        if is_away(exc) or self._is_refused:
            log.debug("receipts cannot be read", error=redact(str(exc)))
            return
        self._is_refused = True
        log.warning("receipts cannot be read, the outbox keeps what it has", error=redact(str(exc)))


def _read(entry: tuple[bytes, dict[bytes, bytes]]) -> tuple[str, str]:
    try:
        receipt = Receipt.decode(entry[1])
    except ContractError as exc:
        log.warning("a receipt cannot be read", error=exc)
        return "", ""
    return f"{receipt.event_id}.{receipt.snippet}", receipt.outcome
