"""Removes objects from a bucket that no row names: of a recorder that was killed between upload and row, for good.

A message that comes again finds its object and names it, so what is young stays for KEPT_S. Ages are by the store's own
clock. Kills leave few. Where more than MOST are named by no row, the database is not the one of these clips (another
record's prefix, an older backup), and all stay. A folder needs none of this: there a file gets its name last, just
before the commit.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from sqlalchemy import select

from services.recorder.media.s3_store import PROBES, StoredObject
from services.recorder.media.store import MediaAway
from services.recorder.record.database import Database
from services.recorder.record.schema import snippets
from shared.clock import EPOCH, CautiousClock
from shared.errors import Transient
from shared.logs import get_logger
from shared.waits import pause

log = get_logger(__name__)

KEPT_S = 24 * 3600.0
MARGIN_S = 3600.0
EVERY_S = 24 * 3600.0  # all names are listed: a request for each thousand
MOST = 100  # objects that kills may have left
AGAIN_S = 60.0  # after a pass that was cut short


class ListedStore(Protocol):
    """What a pass needs of the bucket; all but `place` raise MediaAway."""

    @property
    def place(self) -> str: ...

    async def now(self) -> datetime: ...

    def objects(self) -> AsyncIterator[list[StoredObject]]: ...

    async def head(self, name: str) -> StoredObject | None: ...

    async def remove(self, names: Sequence[str]) -> None: ...


@dataclass(slots=True)
class OrphanMedia:
    """Looks through the bucket at the start and every EVERY_S."""

    store: ListedStore
    database: Database
    kept_s: float = KEPT_S
    seconds: Callable[[], float] = time.monotonic
    _store_now: datetime = field(default=EPOCH, init=False)
    _aging: CautiousClock = field(init=False)

    def __post_init__(self) -> None:
        self._aging = CautiousClock(self.kept_s, MARGIN_S, lambda: self._store_now, self.seconds)

    async def run(self, stop: asyncio.Event, beat: Callable[[], None]) -> None:
        """Make passes until `stop`; a store or a database that is away is waited for."""
        while not stop.is_set():
            wait_s = EVERY_S
            try:
                await self.make_pass(stop, beat)
            except (MediaAway, Transient) as exc:
                log.debug("orphans wait for the store or the database", error=exc)
                wait_s = AGAIN_S
            ends_at = self.seconds() + wait_s
            while not stop.is_set() and self.seconds() < ends_at:
                beat()
                await pause(min(AGAIN_S, ends_at - self.seconds()), stop)

    async def make_pass(self, stop: asyncio.Event, beat: Callable[[], None]) -> int:
        """Look at all objects once; return how many went. Raises MediaAway and Transient."""
        self._store_now = await self.store.now()
        self._aging()
        before = self._store_now - timedelta(seconds=self.kept_s + self._aging.ahead_s)
        orphans: list[str] = []
        async for page in self.store.objects():
            old = [one.name for one in page if one.modified_at < before]
            named = await self._named(old)
            orphans += [name for name in old if name not in named]
            beat()
            if stop.is_set():
                return 0
            if sum(not name.startswith(PROBES) for name in orphans) > MOST:
                log.error(
                    f"found more than {MOST} objects that no row names, wanted a prefix of this record's own; none was "
                    "removed: give each record a prefix, or restore the database of these clips",
                    place=self.store.place,
                )
                return 0
        n_removed = await self._remove(orphans, before, beat)
        if n_removed:
            log.warning("removed objects that no row names", place=self.store.place, objects=n_removed)
        return n_removed

    async def _named(self, names: Sequence[str]) -> set[str]:
        """Return those that rows name; a thumbnail stands beside its clip."""
        clips = sorted({name.rpartition(".")[0] + ".mp4" for name in names})
        if not clips:
            return set()
        query = select(snippets.c.clip_name, snippets.c.thumbnail_name).where(snippets.c.clip_name.in_(clips))
        async with self.database.reading() as connection:
            found = (await connection.execute(query)).all()
        return {name for row in found for name in row if name}

    async def _remove(self, names: Sequence[str], before: datetime, beat: Callable[[], None]) -> int:
        """Remove what is as old as it was: it is put again before a row comes to name it."""
        n_removed = 0
        for name in names:
            beat()
            now = await self.store.head(name)
            if now is not None and now.modified_at < before:
                await self.store.remove([name])
                n_removed += 1
        return n_removed
