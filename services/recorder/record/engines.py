"""Engines for MySQL, MariaDB and SQLite, and what their dialects say differently. Knows no table."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from typing import Any

import aiomysql
from pymysql.constants import CLIENT, CR  # type: ignore[import-untyped]  # ships no types
from pymysql.err import OperationalError  # type: ignore[import-untyped]  # ships no types
from sqlalchemy import URL, ColumnElement, Connection, event
from sqlalchemy.dialects import mysql, sqlite
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.schema import Table
from sqlalchemy.sql.base import ReadOnlyColumnCollection
from sqlalchemy.sql.dml import Insert
from sqlalchemy.sql.elements import KeyedColumnElement

from services.recorder.record.database_url import parse_url

GivenColumns = ReadOnlyColumnCollection[str, KeyedColumnElement[Any]]
LOCK_WAIT_S = 10.0  # how long a writer waits for another, on every database
NO_TLS = "the server offers no TLS, which DATABASE_URL wants (ssl_ca); set the server up for it, or leave ssl_ca out"
_BUSY_TIMEOUT_MS = 200  # of that, what SQLite's thread waits at once: it cannot be interrupted meanwhile


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
    """Connect, by TLS where DATABASE_URL names authorities, and let bytes be written as hexadecimal literals.

    aiomysql 0.3.2 escapes bytes with a function that PyMySQL took away in 1.2: every BLOB ended in a TypeError. A
    literal x'…' needs no escaping, in no SQL mode.
    """
    if "ssl" in arguments:  # as SQLAlchemy makes it of ?ssl_ca=FILE; read each time, so that a new file acts
        arguments["ssl"] = ssl.create_default_context(cafile=arguments["ssl"]["ca"])
    connection = _MysqlConnection(**arguments)
    await connection._connect()
    escape = connection.escape
    connection.escape = lambda value: f"x'{value.hex()}'" if isinstance(value, bytes) else escape(value)
    return connection


class _MysqlConnection(aiomysql.Connection):  # type: ignore[misc]  # aiomysql has no types
    """A connection that never falls back from TLS: aiomysql 0.3.2 goes on without it where the server offers none."""

    async def _request_authentication(self) -> None:
        if self._ssl_context and not self.server_capabilities & CLIENT.SSL:
            raise OperationalError(CR.CR_SSL_CONNECTION_ERROR, NO_TLS)
        await super()._request_authentication()


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


def insert_or_change(
    dialect: str,
    table: Table,
    changes: Callable[[GivenColumns], Mapping[str, ColumnElement[Any]]],
) -> Insert:
    """Return an INSERT of rows; one that is there already, by its primary key, gets `changes(the given row)`."""
    if dialect == "sqlite":
        made = sqlite.insert(table)
        return made.on_conflict_do_update(
            index_elements=list(table.primary_key.columns), set_=changes(made.excluded)
        )
    given = mysql.insert(table)
    return given.on_duplicate_key_update(dict(changes(given.inserted)))
