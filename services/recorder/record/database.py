"""The database: transactions with a deadline, on one engine for MySQL, MariaDB or SQLite. Knows no table.

Every transaction raises what database_errors.py says, and has then changed nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.recorder.record.database_errors import DatabaseBusy, is_locked_sqlite, translated
from services.recorder.record.engines import LOCK_WAIT_S

BUSY_ATTEMPTS = 8
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Database:
    """An engine and its deadline; every transaction goes through `reading` or `writing`."""

    engine: AsyncEngine
    transaction_s: float = 30
    lock_wait_s: float = LOCK_WAIT_S

    @contextlib.asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """One transaction, committed at the end; on SQLite it has the write lock from its start.

        Raises DatabaseBusy, DatabaseAway, RowConflict or Permanent, and has then changed nothing.
        """
        async with self._transaction(is_writing=True) as connection:
            yield connection

    async def write(self, work: Callable[[AsyncConnection], Awaitable[_T]]) -> _T:
        """Return what `work` did in one transaction, which is tried BUSY_ATTEMPTS times; raises as `writing` does."""
        attempt = 0
        while True:
            try:
                async with self.writing() as connection:
                    return await work(connection)
            except DatabaseBusy:
                attempt += 1
                if attempt >= BUSY_ATTEMPTS:
                    raise
                await asyncio.sleep(0.02 * attempt)

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """One read-only look at the tables; raises as `writing` does."""
        async with self._transaction(is_writing=False) as connection:
            yield connection

    @contextlib.asynccontextmanager
    async def _transaction(self, is_writing: bool) -> AsyncIterator[AsyncConnection]:
        with translated():
            async with asyncio.timeout(self.transaction_s), self.engine.connect() as connection:
                await connection.execution_options(is_writing=is_writing)
                async with connection.begin():
                    if is_writing and connection.dialect.name == "sqlite":
                        await _lock_sqlite(connection, self.lock_wait_s)
                    yield connection

    async def ping(self) -> None:
        """Return when the database answers; raise DatabaseAway or DatabaseBusy when it does not."""
        async with self.reading() as connection:
            await connection.execute(text("SELECT 1"))

    async def close(self) -> None:
        """Close all connections."""
        await self.engine.dispose()


async def _lock_sqlite(connection: AsyncConnection, within_s: float) -> None:
    """Take the write lock: a transaction that reads first and writes later cannot wait for it, SQLite fails it.

    The waiting is done here and not by SQLite, whose thread would hold up a stop.
    """
    ends_at = asyncio.get_running_loop().time() + within_s
    while True:
        try:
            await connection.exec_driver_sql("BEGIN IMMEDIATE")
            return
        except OperationalError as exc:
            if not is_locked_sqlite(exc.orig) or asyncio.get_running_loop().time() > ends_at:
                raise
        await asyncio.sleep(random.uniform(0.005, 0.05))  # noqa: S311 - spreads writers, hides nothing
