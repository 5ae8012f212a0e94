"""Every revision is a start: its tables with rows in them are brought to the newest, on SQLite, MariaDB and MySQL.

Rows are made for whatever tables a revision has, so that a new revision is tested without a line here.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import (
    Boolean,
    Connection,
    Date,
    DateTime,
    Engine,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    create_engine,
    inspect,
    make_url,
    select,
    text,
)
from sqlalchemy.types import TypeEngine

from services.recorder.media.values import StoredMedia
from services.recorder.record import database as database_module
from services.recorder.record import queries
from services.recorder.record.bootstrap import open_database
from services.recorder.record.queries import EventFilter
from services.recorder.record.rows import snippet_rows
from services.recorder.record.schema import metadata
from services.recorder.record.transactions import record_snippet
from shared.clock import now_utc
from tests.servers import SqlServer
from tests.unit.recorder.messages import Said, labels_message

MOMENT = datetime(2026, 3, 1, 12, 0, 0, 123000)
ROWS = 2

Rows = dict[str, list[dict[str, Any]]]  # Any: database values


def alembic_config(connection: Connection | None = None) -> Config:
    config = Config()
    folder = Path(database_module.__file__).parent / "migrations"
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


REVISIONS = [
    revision.revision for revision in ScriptDirectory.from_config(alembic_config()).walk_revisions()
][::-1]
HEAD = REVISIONS[-1]


@pytest.fixture(params=["sqlite", "mariadb", "mysql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of an empty database, as DATABASE_URL takes it."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/clipwatch.db"
        return
    server: SqlServer = request.getfixturevalue(f"{request.param}_server")
    name = server.new_database()
    yield server.url(name).replace("mysql+aiomysql", "mysql")
    server.drop_database(name)


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    """A blocking engine on it, for the test's own look."""
    parsed = make_url(url)
    made = create_engine(parsed.set(drivername="mysql+pymysql") if "mysql" in url else parsed)
    yield made
    made.dispose()


def upgrade(engine: Engine, revision: str) -> None:
    with engine.connect() as connection:
        command.upgrade(alembic_config(connection), revision)
        connection.commit()


def start_recorder(url: str) -> None:
    """Bring the tables to the newest revision as a recorder does at its start."""

    async def run() -> None:
        await (await open_database(url, asyncio.Event(), 10, 30)).close()

    asyncio.run(run())


def value(kind: TypeEngine[Any], number: int) -> object:
    """Return a value of a column's type; rows with one number fit together by their foreign keys."""
    if isinstance(kind, Boolean) or "TINYINT" in str(kind):
        return number % 2
    if isinstance(kind, DateTime):
        return MOMENT + timedelta(seconds=number)
    if isinstance(kind, Date):
        return MOMENT.date() + timedelta(days=number)
    if isinstance(kind, LargeBinary) or "BLOB" in str(kind):
        return bytes([0, number, 39, 92, 255])
    if isinstance(kind, Integer):
        return number
    if isinstance(kind, Float):
        return number + 0.25
    is_id = getattr(kind, "length", None) == 36  # ASCII on MySQL
    return f"{'id' if is_id else 'ü'}'{number}"


def fill(engine: Engine) -> Rows:
    """Put rows into every table that is there, and return them as they are read back."""
    tables = MetaData()
    tables.reflect(engine)
    with engine.begin() as connection:
        for table in tables.sorted_tables:
            if table.name != "alembic_version":
                rows = [
                    {column.name: value(column.type, number) for column in table.columns}
                    for number in range(1, ROWS + 1)
                ]
                connection.execute(table.insert(), rows)
    return read(engine, tables)


def read(engine: Engine, tables: MetaData) -> Rows:
    """Return all rows of these tables, in the columns that they had."""
    with engine.connect() as connection:
        return {
            table.name: [
                dict(row)
                for row in connection.execute(
                    select(*table.columns).order_by(*table.primary_key.columns)
                ).mappings()
            ]
            for table in tables.sorted_tables
            if table.name != "alembic_version"
        }


def definitions(engine: Engine) -> dict[str, set[str]]:
    """Return what the server says of every table: on MySQL its CREATE TABLE, with comments, keys and collations."""
    found: dict[str, set[str]] = {}
    inspector = inspect(engine)
    for name in set(inspector.get_table_names()) - {"alembic_version"}:
        if engine.dialect.name == "sqlite":
            parts = (
                *inspector.get_columns(name),
                *inspector.get_indexes(name),
                *inspector.get_foreign_keys(name),
                inspector.get_pk_constraint(name),
            )
            found[name] = {str(part) for part in parts}
        else:
            with engine.connect() as connection:
                created = connection.execute(text(f"SHOW CREATE TABLE {name}")).one()[1]
            created = re.sub(r" AUTO_INCREMENT=\d+", "", created)
            found[name] = {line.strip().rstrip(",") for line in created.splitlines()}
    return found


def differences(engine: Engine) -> list[Any]:  # Any: alembic's
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, metadata))


@contextlib.contextmanager
def made_of_the_models(engine: Engine) -> Iterator[Engine]:
    """Yield an empty database beside the given one, with the tables as schema.py says."""
    if engine.dialect.name == "sqlite":
        beside = create_engine("sqlite://")
        metadata.create_all(beside)
        yield beside
        beside.dispose()
        return
    name = f"{engine.url.database}_models"
    with engine.begin() as connection:
        connection.execute(text(f"CREATE DATABASE {name} CHARACTER SET utf8mb4"))
    beside = create_engine(engine.url.set(database=name))
    try:
        metadata.create_all(beside)
        yield beside
    finally:
        beside.dispose()
        with engine.begin() as connection:
            connection.execute(text(f"DROP DATABASE {name}"))


@pytest.mark.mariadb
@pytest.mark.parametrize("start", REVISIONS)
def test_every_revision_is_brought_to_the_newest_with_its_rows(url: str, engine: Engine, start: str) -> None:
    upgrade(engine, start)
    before = fill(engine)
    tables = MetaData()
    tables.reflect(engine)
    assert len(before) >= 6
    assert all(len(rows) == ROWS for rows in before.values())

    start_recorder(url)

    assert read(engine, tables) == before
    with engine.connect() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one() == HEAD
    assert differences(engine) == []
    with made_of_the_models(engine) as models:
        assert definitions(engine) == definitions(models)


@pytest.mark.mariadb
@pytest.mark.parametrize("start", REVISIONS)
def test_the_recorder_works_on_what_was_brought_up(url: str, engine: Engine, start: str) -> None:
    upgrade(engine, start)
    start_recorder(url)

    async def run() -> int:
        database = await open_database(url, asyncio.Event(), 10, 30)
        said = Said()
        async with database.writing() as connection:
            kept = StoredMedia("2026/05/04/a.mp4", "2026/05/04/a.jpg", 10)
            await record_snippet(connection, snippet_rows(labels_message(said)), kept, now_utc())
        async with database.reading() as connection:
            page = await queries.find_events(connection, EventFilter(accepted_only=False), 10)
        await database.close()
        return len(page)

    assert asyncio.run(run()) == 1


def test_old_revisions_are_what_they_were() -> None:
    """A released revision is never edited: these are their names, in their order."""
    assert REVISIONS[:3] == ["0001", "0002_told", "0003_past_answers"]


def test_a_table_that_lost_an_index_or_a_comment_is_found(url: str, engine: Engine) -> None:
    start_recorder(url)
    is_sqlite = engine.dialect.name == "sqlite"
    with engine.begin() as connection:
        if is_sqlite:
            connection.execute(text("DROP INDEX ix_events_updated"))
        else:
            connection.execute(
                text("ALTER TABLE events MODIFY camera VARCHAR(64) NOT NULL COMMENT 'another'")
            )
    with made_of_the_models(engine) as models:
        assert definitions(engine) != definitions(models)
