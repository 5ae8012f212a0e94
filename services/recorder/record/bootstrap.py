"""Opens the database at the start: waits until it answers, and brings its tables to the newest revision."""

from __future__ import annotations

import asyncio
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import Connection, text

from services.recorder.record.database import Database
from services.recorder.record.database_errors import DatabaseBusy, is_refused
from services.recorder.record.database_url import parse_url
from services.recorder.record.engines import LOCK_WAIT_S, make_engine
from services.recorder.record.migration_access import MigrationAccess, let_read
from shared.errors import ConfigError, Transient, reason, redact
from shared.logs import get_logger
from shared.waits import unless_stopped

log = get_logger(__name__)

MIGRATION_LOCK_S = 120
_WHO_MAY = "a user who may change tables does it: MIGRATION_DATABASE_URL, or python -m services.recorder.migrate before"


async def open_database(  # noqa: PLR0913  # who, how long, and whose tables
    given: str,
    stop: asyncio.Event,
    connect_s: float,
    transaction_s: float,
    lock_wait_s: float = LOCK_WAIT_S,
    migration: MigrationAccess | None = None,
) -> Database:
    """Connect within `connect_s` and bring the tables up to date; raise ConfigError when that cannot be.

    With `migration` its user does that, and `given`'s needs no right to change tables.
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
        if migration is not None and url.get_backend_name() != "sqlite":
            await unless_stopped(migrate_apart(migration, transaction_s, connect_s), stop)
        await unless_stopped(_opened(database, given, connect_s), stop)
    except BaseException:
        await database.close()
        raise
    return database


async def migrate_apart(migration: MigrationAccess, transaction_s: float, connect_s: float) -> None:
    """Bring the tables up to date as the user of `migration`, and let the dashboards' read; raise ConfigError."""
    name = "MIGRATION_DATABASE_URL"
    database = Database(make_engine(migration.address, LOCK_WAIT_S), transaction_s, LOCK_WAIT_S)
    try:
        await _opened(database, migration.address, connect_s, name)
        if migration.reader:
            async with database.writing() as connection:
                await connection.run_sync(let_read, migration.reader)
    except Transient as exc:
        raise ConfigError(
            f"DASHBOARD_DATABASE_USER={migration.reader}: cannot be let read: {reason(exc)}; "
            f"make the user, and give that of {name} SELECT WITH GRANT OPTION"
        ) from exc
    finally:
        await database.close()


async def _opened(database: Database, given: str, connect_s: float, name: str = "DATABASE_URL") -> None:
    ends_at = asyncio.get_running_loop().time() + connect_s
    await _answered(database, given, connect_s, name)
    has_waited = False
    while True:
        try:
            await migrate(database)
            return
        except Transient as exc:
            if not isinstance(exc, DatabaseBusy) or asyncio.get_running_loop().time() > ends_at:
                how = f"; {_WHO_MAY}" if is_refused(exc) else ""
                raise ConfigError(f"the tables cannot be brought up to date: {reason(exc)}{how}") from exc
            if not has_waited:
                log.warning("waiting at the start", of="a lock on the tables", error=reason(exc))
                has_waited = True
        await asyncio.sleep(0.5)


async def _answered(database: Database, given: str, connect_s: float, name: str) -> None:
    ends_at = asyncio.get_running_loop().time() + connect_s
    backoff_s = 0.1
    while True:
        try:
            await database.ping()
            return
        except Transient as exc:
            refused = is_refused(exc)
            is_late = asyncio.get_running_loop().time() + backoff_s > ends_at
            if refused or is_late:
                why = "refused" if refused else f"no answer within {connect_s:g} s"
                # the URL stands last: what redaction takes for a password ends at the last @ of a line
                raise ConfigError(f"{name}: {why}: {exc}; found {redact(given)}") from exc
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
        await _migrate_mysql(patient)
    except CommandError as exc:
        raise ConfigError(
            f"the tables were made by another version of clipwatch ({exc}); start that version or a newer one"
        ) from exc
    await database.engine.dispose()  # its connections go, and their long wait for locks


async def _migrate_mysql(patient: Database) -> None:
    patience = text(f"SET SESSION lock_wait_timeout = {MIGRATION_LOCK_S}")  # a dashboard may read the table
    async with patient.writing() as holder:
        await holder.execute(patience)
        name = await holder.scalar(text("SELECT CONCAT('clipwatch.', LEFT(SHA2(DATABASE(), 256), 40))"))
        got = await holder.scalar(text(f"SELECT GET_LOCK(:name, {MIGRATION_LOCK_S})"), {"name": name})
        if got != 1:
            raise ConfigError("another recorder has been changing the tables for too long; look at its log")
        try:
            async with patient.writing() as connection:
                await connection.execute(patience)
                await connection.run_sync(_upgrade)
        finally:
            await holder.execute(text("SELECT RELEASE_LOCK(:name)"), {"name": name})


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
