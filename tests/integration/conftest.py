"""What tests of the record share: databases with the newest tables, migrated once a worker and copied for each test."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from pathlib import Path

import pytest

from services.recorder.record.bootstrap import open_database
from tests.servers import MariaDBServer


def _migrate(url: str) -> None:
    async def migrate() -> None:
        await (await open_database(url, asyncio.Event(), connect_s=30, transaction_s=60)).close()

    asyncio.run(migrate())


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with the newest tables; copy it."""
    path = tmp_path_factory.mktemp("migrated") / "clipwatch.db"
    _migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def table_statements(mariadb_server: MariaDBServer) -> list[str]:
    """What makes the newest tables, with no rows but the revision, in an empty MariaDB database."""
    name = mariadb_server.new_database()
    _migrate(mariadb_server.url(name))
    with contextlib.closing(mariadb_server.connect(name)) as connection, connection.cursor() as cursor:
        cursor.execute("SHOW TABLES")
        tables = [row[0] for row in cursor.fetchall()]
        statements = ["SET foreign_key_checks = 0"]
        for table in tables:
            cursor.execute(f"SHOW CREATE TABLE {table}")
            statements += [row[1] for row in cursor.fetchall()]
        cursor.execute("SELECT version_num FROM alembic_version")
        statements += [f"INSERT INTO alembic_version VALUES ('{row[0]}')" for row in cursor.fetchall()]
    mariadb_server.drop_database(name)
    return statements


@pytest.fixture
def sqlite_record(migrated_file: Path, tmp_path: Path) -> str:
    """The URL of the file `clipwatch.db` in the test's folder, with the newest tables."""
    path = tmp_path / "clipwatch.db"
    shutil.copy(migrated_file, path)
    return f"sqlite:///{path}"


@pytest.fixture
def mariadb_record(mariadb_server: MariaDBServer, mariadb_url: str, table_statements: list[str]) -> str:
    """The URL of a MariaDB database with the newest tables."""
    database = mariadb_url.rpartition("/")[2]
    with contextlib.closing(mariadb_server.connect(database)) as connection, connection.cursor() as cursor:
        for statement in table_statements:
            cursor.execute(statement)
    return mariadb_url.replace("mysql+aiomysql", "mysql")


@pytest.fixture(params=["sqlite", "mariadb"])
def record_url(request: pytest.FixtureRequest) -> str:
    """The URL of a database with the newest tables, of each kind."""
    return str(request.getfixturevalue(f"{request.param}_record"))
