"""The database: one engine for MySQL, MariaDB and SQLite, transactions, migrations, and what its errors mean.

    DatabaseBusy     (Transient)  a deadlock or a lock that was not got in time: the same transaction, again
    DatabaseAway     (Transient)  no answer, full, read-only, refused: wait for it; no item is at fault
    RowConflict      (Transient)  a row that this one hangs on is gone, or the values contradict the tables' rules
    Permanent                     the database will never take these values

Anything else that the driver raises is a bug. Knows the schema's place, not its meaning.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiomysql
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import URL, Connection, event, make_url, text
from sqlalchemy.dialects import mysql, sqlite
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import DataError as SqlDataError
from sqlalchemy.exc import IntegrityError as SqlIntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.schema import Table
from sqlalchemy.sql.dml import Insert

from shared.errors import ConfigError, Permanent, Transient, reason, redact
from shared.logs import get_logger
from shared.urls import HOW_TO_QUOTE, NO_HOST, scheme_of, shown_url, url_fault
from shared.waits import unless_stopped

log = get_logger(__name__)

LOCK_WAIT_S = 10.0  # how long a writer waits for another, on every database
_BUSY_TIMEOUT_MS = 200  # of that, what SQLite's thread waits at once: it cannot be interrupted meanwhile
MIGRATION_LOCK_S = 120
_BUSY = {1205, 1213, 3572}  # lock wait timeout, deadlock, NOWAIT
_NEVER = {
    1153,
    1264,
    1265,
    1292,
    1366,
    1406,
    1411,
}  # packet too large; out of range, truncated, wrong or too long
_REFUSED = {
    1044,
    1045,
    1049,
    1130,
    1142,
    1251,
    2059,
    2061,
}  # rights, password, unknown database, login method
_MISSING = {1146}


class DatabaseBusy(Transient):
    """Another transaction was in the way; this one was undone and can be run again at once."""


class DatabaseAway(Transient):
    """The database cannot work now, whatever it is given."""


class RowConflict(Transient):
    """A rule of the tables is broken: mostly a row that this one hangs on was deleted meanwhile."""


class TablesMissing(DatabaseAway):
    """The database has no tables yet: no recorder has started on it."""


@dataclass(frozen=True, slots=True)
class Database:
    """An engine and its deadline; every transaction goes through `reading` or `writing`."""

    engine: AsyncEngine
    transaction_s: float = 30
    lock_wait_s: float = LOCK_WAIT_S

    @contextlib.asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """One transaction, committed at the end; on SQLite it has the write lock from its start.

        Raises DatabaseBusy, DatabaseAway or Permanent (see the module) and has then changed nothing.
        """
        async with self._transaction(is_writing=True) as connection:
            yield connection

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
            if not _is_locked_sqlite(exc.orig) or asyncio.get_running_loop().time() > ends_at:
                raise
        await asyncio.sleep(random.uniform(0.005, 0.05))  # noqa: S311 - spreads writers, hides nothing


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Turn what SQLAlchemy, the drivers and deadlines raise into this module's errors."""
    try:
        yield
    except (TimeoutError, PoolTimeout) as exc:
        raise DatabaseAway("no answer from the database within the deadline") from exc
    except (OperationalError, InterfaceError, SqlDataError, SqlIntegrityError, DBAPIError) as exc:
        raise _meaning(exc) from exc
    except OSError as exc:
        raise DatabaseAway(f"{type(exc).__name__}: {reason(exc)}") from exc


def _meaning(exc: DBAPIError) -> Exception:
    said = reason(exc.orig or exc)
    number = exc.orig.args[0] if exc.orig is not None and exc.orig.args else None
    if number in _BUSY or _is_locked_sqlite(exc.orig):
        return DatabaseBusy(said)
    if number in _MISSING or "no such table" in said:
        return TablesMissing(said)
    if number in _NEVER or isinstance(exc, SqlDataError):
        return Permanent(said)
    if isinstance(exc, SqlIntegrityError):
        return RowConflict(said)
    if exc.connection_invalidated or isinstance(exc, OperationalError | InterfaceError):
        return DatabaseAway(said)
    return exc


def _is_locked_sqlite(error: BaseException | None) -> bool:
    return isinstance(error, sqlite3.OperationalError) and (
        getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
    )


def parse_url(given: str) -> URL:
    """Return the URL with the driver that clipwatch uses; raise ConfigError when it names something else."""
    shown = f"DATABASE_URL={shown_url(given)}"
    kind = scheme_of(given).partition("+")[0]
    if kind not in ("mysql", "mariadb", "sqlite"):
        found = f"'{kind}' is not known" if kind else "not a database URL"
        raise ConfigError(
            f"{shown}: {found}; wanted mysql://user:password@host/database, mariadb://… or sqlite:///path/of/file.db"
        )
    if kind == "sqlite":
        return _sqlite_url(given)
    fault = url_fault(given)
    if fault is not None and fault != NO_HOST:
        raise ConfigError(f"{shown}: {fault}; or give the password as DATABASE_PASSWORD")
    try:
        url = make_url(given)
    except (ArgumentError, ValueError):  # without its text, which may quote a piece of the password
        raise ConfigError(
            f"{shown}: cannot be read; {HOW_TO_QUOTE}, or give it as DATABASE_PASSWORD"
        ) from None
    if "@" in (url.host or ""):
        raise ConfigError(f"{shown}: has more than one @; {HOW_TO_QUOTE}, or give it as DATABASE_PASSWORD")
    if not url.database:
        raise ConfigError(f"{shown}: names no database; add /clipwatch at its end")
    return url.set(drivername="mysql+aiomysql")


def sqlite_address(path: Path) -> str:
    """Return the DATABASE_URL of a file, whatever its name holds."""
    return f"sqlite+aiosqlite:///{str(path).replace('%3', '%253').replace('?', '%3F')}"


def _sqlite_url(given: str) -> URL:
    """In the path of a file only ? is written otherwise: as %3F."""
    path = given.partition("://")[2].partition("?")[0]
    if not path.startswith("/") or path in ("/", "/:memory:"):
        raise ConfigError(
            f"DATABASE_URL={redact(given)}: SQLite in memory is not kept; wanted sqlite:///path/of/file.db"
        )
    name = path[1:].replace("%3F", "?").replace("%3f", "?").replace("%253", "%3")
    return make_url(given).set(drivername="sqlite+aiosqlite", database=name)


def make_engine(given: str, lock_wait_s: float = LOCK_WAIT_S) -> AsyncEngine:
    """Return an engine for DATABASE_URL; nothing is connected yet. Close it with `await engine.dispose()`."""
    url = parse_url(given)
    if url.get_backend_name() == "sqlite":
        return _sqlite_engine(url)
    return create_async_engine(
        url,
        pool_size=5,
        max_overflow=5,
        pool_timeout=10,
        pool_pre_ping=True,
        pool_recycle=1800,  # well below wait_timeout (28800 s by default)
        # READ COMMITTED: no gap locks, so that recorders which write different events do not deadlock
        isolation_level="READ COMMITTED",
        connect_args={
            "async_creator_fn": _connect_mysql,
            "charset": "utf8mb4",
            "connect_timeout": 5,
            # strict: a value that does not fit is an error, never cut in silence
            # the server's own limits on waiting for a lock are 50 s for rows and a day or more for tables
            "init_command": f"SET time_zone = '+00:00', innodb_lock_wait_timeout = {lock_wait_s:.0f}, "
            f"lock_wait_timeout = {lock_wait_s:.0f}, "
            "sql_mode = CONCAT_WS(',', NULLIF(@@sql_mode, ''), 'STRICT_ALL_TABLES')",
        },
    )


async def _connect_mysql(**arguments: Any) -> Any:  # Any: aiomysql has no types
    """Connect, and let bytes be written as hexadecimal literals.

    aiomysql 0.3.2 escapes bytes with a function that PyMySQL took away in 1.2: every BLOB ended in a TypeError. A
    literal x'…' needs no escaping, in no SQL mode.
    """
    connection = await aiomysql.connect(**arguments)
    escape = connection.escape
    connection.escape = lambda value: f"x'{value.hex()}'" if isinstance(value, bytes) else escape(value)
    return connection


def _sqlite_engine(url: URL) -> AsyncEngine:
    engine = create_async_engine(url, pool_size=5, max_overflow=5, pool_timeout=10)

    @event.listens_for(engine.sync_engine, "connect")
    def connected(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        connection.isolation_level = None  # BEGIN is ours, see below
        cursor = connection.cursor()
        for pragma in (
            f"busy_timeout = {_BUSY_TIMEOUT_MS}",
            "journal_mode = WAL",
            "synchronous = FULL",  # the message is deleted from Redis after the commit: it has to be on the disk
            "foreign_keys = ON",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begun(connection: Connection) -> None:
        if not connection.get_execution_options().get(
            "is_writing", False
        ):  # writers take their lock themselves
            connection.exec_driver_sql("BEGIN")

    return engine


def insert_or_keep(dialect: str, table: Table, key: str) -> Insert:
    """Return an INSERT that leaves a row which is there already as it is (and locks it, on MySQL and MariaDB)."""
    if dialect == "sqlite":
        return sqlite.insert(table).on_conflict_do_nothing()
    return mysql.insert(table).on_duplicate_key_update({key: table.c[key]})


async def open_database(
    given: str,
    stop: asyncio.Event,
    connect_s: float,
    transaction_s: float,
    lock_wait_s: float = LOCK_WAIT_S,
) -> Database:
    """Connect within `connect_s` and bring the tables up to date; raise ConfigError when that cannot be.

    Raises Stopped as soon as `stop` is set: a migration is undone, or goes on where it was.
    """
    url = parse_url(given)
    if url.get_backend_name() == "sqlite" and url.database:
        try:
            Path(url.database).parent.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise ConfigError(f"DATABASE_URL={redact(given)}: folder cannot be made: {exc.strerror}") from exc
    database = Database(make_engine(given, lock_wait_s), transaction_s, lock_wait_s)
    try:
        await unless_stopped(_opened(database, given, connect_s), stop)
    except BaseException:
        await database.close()
        raise
    return database


async def _opened(database: Database, given: str, connect_s: float) -> None:
    ends_at = asyncio.get_running_loop().time() + connect_s
    await _answered(database, given, connect_s)
    has_waited = False
    while True:
        try:
            await migrate(database)
            return
        except Transient as exc:
            if not isinstance(exc, DatabaseBusy) or asyncio.get_running_loop().time() > ends_at:
                raise ConfigError(f"the tables cannot be brought up to date: {reason(exc)}") from exc
            if not has_waited:
                log.warning("waiting at the start", of="a lock on the tables", error=reason(exc))
                has_waited = True
        await asyncio.sleep(0.5)


async def _answered(database: Database, given: str, connect_s: float) -> None:
    ends_at = asyncio.get_running_loop().time() + connect_s
    backoff_s = 0.1
    while True:
        try:
            await database.ping()
            return
        except Transient as exc:
            cause = getattr(exc.__cause__, "orig", None)
            refused = bool(cause is not None and cause.args and cause.args[0] in _REFUSED)
            is_late = asyncio.get_running_loop().time() + backoff_s > ends_at
            if refused or is_late:
                why = "refused" if refused else f"no answer within {connect_s:g} s"
                # the URL stands last: what redaction takes for a password ends at the last @ of a line
                raise ConfigError(f"DATABASE_URL: {why}: {exc}; found {redact(given)}") from exc
        await asyncio.sleep(backoff_s)
        backoff_s = min(backoff_s * 2, 2.0)


async def migrate(database: Database) -> None:
    """Bring the tables to the newest revision; recorders that start together wait for each other.

    On SQLite the whole upgrade is one transaction that holds the write lock. MySQL and MariaDB commit at every DDL
    statement; there a named lock of the server is held meanwhile, and a revision can be run again.
    """
    if await _is_newest(database):
        return  # nothing to lock: another program that writes for long does not hold up the start
    patient = Database(database.engine, MIGRATION_LOCK_S + 60)
    try:
        if database.engine.dialect.name == "sqlite":
            async with patient.writing() as connection:
                await connection.run_sync(_upgrade)
            return
        async with patient.writing() as holder:
            # changing a table waits for whoever reads it, such as a dashboard
            await holder.execute(text(f"SET SESSION lock_wait_timeout = {MIGRATION_LOCK_S}"))
            lock = {
                "name": await holder.scalar(
                    text("SELECT CONCAT('clipwatch.', LEFT(SHA2(DATABASE(), 256), 40))")
                )
            }
            got = await holder.scalar(text(f"SELECT GET_LOCK(:name, {MIGRATION_LOCK_S})"), lock)
            if got != 1:
                raise ConfigError(
                    "another recorder has been changing the tables for too long; look at its log"
                )
            try:
                async with patient.writing() as connection:
                    await connection.execute(text(f"SET SESSION lock_wait_timeout = {MIGRATION_LOCK_S}"))
                    await connection.run_sync(_upgrade)
            finally:
                await holder.execute(text("SELECT RELEASE_LOCK(:name)"), lock)
    except CommandError as exc:
        raise ConfigError(
            f"the tables were made by another version of clipwatch ({exc}); start that version or a newer one"
        ) from exc
    await database.engine.dispose()  # its connections go, and their long wait for locks


async def _is_newest(database: Database) -> bool:
    async with database.reading() as connection:
        found = await connection.run_sync(lambda sync: MigrationContext.configure(sync).get_current_heads())
    return found == tuple(ScriptDirectory.from_config(_alembic()).get_heads())


def _alembic() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    return config


def _upgrade(connection: Connection) -> None:
    config = _alembic()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
