"""The users of the database: one changes tables, one works with rows, and dashboards read what they show."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pymysql  # type: ignore[import-untyped]  # ships no types
import pytest

from services.recorder.record.bootstrap import open_database
from services.recorder.record.migration_access import DASHBOARD_TABLES, MigrationAccess
from services.recorder.record.schema import metadata
from shared.errors import ConfigError
from tests.servers import HOST, MariaDBServer

ROOT = Path(__file__).parents[2]
PASSWORDS = {"worker": "w'o\\rk", "migrator": "m;--", "grafana": "g%r@"}
DDL = (
    "CREATE TABLE own (id INT)",
    "ALTER TABLE events ADD COLUMN own INT",
    "DROP TABLE gaps",
    "CREATE INDEX own ON events (camera)",
    "TRUNCATE TABLE events",
    "CREATE VIEW own AS SELECT 1",
    "GRANT SELECT ON events TO 'grafana'@'%'",
)


@dataclass(frozen=True)
class UsersDatabase:
    """A database of its own with the users of deploy/mysql-init, of which `clipwatch` is called `worker`."""

    server: MariaDBServer
    name: str

    def url(self, user: str) -> str:
        return f"mysql://{user}:{quote(PASSWORDS[user], safe='')}@{HOST}:{self.server.port}/{self.name}"

    def run(self, user: str, statement: str) -> None:
        with (
            contextlib.closing(
                pymysql.connect(
                    host=HOST, port=self.server.port, user=user, password=PASSWORDS[user], database=self.name
                )
            ) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(statement)

    def open(self, migration: MigrationAccess | None) -> None:
        async def opened() -> None:
            found = await open_database(self.url("worker"), asyncio.Event(), 10, 30, migration=migration)
            await found.close()

        asyncio.run(opened())

    @property
    def migration(self) -> MigrationAccess:
        return MigrationAccess(self.url("migrator"), "grafana")


def make_users(server: MariaDBServer, database: str, folder: Path) -> None:
    """Run deploy/mysql-init as the image does, and give the server what it says."""
    (folder / "mysql").write_text(f'#!/bin/sh\ncat > "{folder}/said.sql"\n')
    (folder / "mysql").chmod(0o755)
    environment = {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "MYSQL_ROOT_PASSWORD": "r",
        "MYSQL_DATABASE": database,
        "CLIPWATCH_PASSWORD": PASSWORDS["worker"],
        "MIGRATOR_PASSWORD": PASSWORDS["migrator"],
        "GRAFANA_PASSWORD": PASSWORDS["grafana"],
    }
    script = ROOT / "deploy" / "mysql-init" / "10-users.sh"
    subprocess.run(["sh", script], env=environment, check=True, timeout=30)
    # the tests' own user of this server is called clipwatch
    said = (folder / "said.sql").read_text().replace("'clipwatch'@", "'worker'@")
    with contextlib.closing(server.connect()) as connection, connection.cursor() as cursor:
        for statement in re.split(r";\n", said):
            if statement.strip():
                cursor.execute(statement)


@pytest.fixture
def made(mariadb_server: MariaDBServer, tmp_path: Path) -> Iterator[UsersDatabase]:
    """An empty database, and its users."""
    mariadb_server.start()
    name = mariadb_server.new_database()
    make_users(mariadb_server, name, tmp_path)
    yield UsersDatabase(mariadb_server, name)
    with contextlib.closing(mariadb_server.connect()) as connection, connection.cursor() as cursor:
        for user in PASSWORDS:
            cursor.execute(f"DROP USER IF EXISTS '{user}'@'%'")
    mariadb_server.drop_database(name)


def test_one_user_makes_the_tables_and_another_works_with_them(made: UsersDatabase) -> None:
    made.open(made.migration)
    made.run("worker", "DELETE FROM events WHERE camera = 'x'")
    for statement in DDL:
        with pytest.raises(pymysql.err.MySQLError, match="denied"):
            made.run("worker", statement)
    made.open(None)  # the tables are new: nobody has to change them


def program(name: str, environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a module of the recorder as a container does, with this environment and no other settings."""
    return subprocess.run(
        [sys.executable, "-m", f"services.recorder.{name}", *arguments],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environment},
        input="correct horse battery\n",
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_as_compose_does_it_one_program_makes_the_tables_and_another_has_no_right_to(
    made: UsersDatabase,
) -> None:
    url = f"mysql+aiomysql://{{}}@{HOST}:{made.server.port}/{made.name}"
    recorder = {"DATABASE_URL": url.format("worker"), "DATABASE_PASSWORD": PASSWORDS["worker"]}
    early = program("users", recorder, "list")
    assert early.returncode == 2
    assert "python -m services.recorder.migrate" in early.stderr
    migration = {
        "MIGRATION_DATABASE_URL": url.format("migrator"),
        "MIGRATION_DATABASE_PASSWORD": PASSWORDS["migrator"],
        "DASHBOARD_DATABASE_USER": "grafana",
    }
    for _ in range(2):  # at each start
        done = program("migrate", migration)
        assert done.returncode == 0, done.stderr
    made.run("grafana", "SELECT COUNT(*) FROM events")
    for arguments, said in (
        (("add", "ada", "--role", "admin", "--password-stdin"), "made the user 'ada', admin"),
        (("list",), "ada"),
        (("token-add", "grafana"), "cw_"),
        (("passwd", "ada", "--password-stdin"), "changed"),
    ):
        done = program("users", recorder, *arguments)
        assert done.returncode == 0, done.stderr
        assert said in done.stdout
    wrong = program("migrate", {**migration, "MIGRATION_DATABASE_PASSWORD": "guess"})
    assert wrong.returncode == 2
    assert "MIGRATION_DATABASE_URL: refused" in wrong.stderr
    assert not [one for one in PASSWORDS.values() if one in wrong.stderr + early.stderr]


def test_several_recorders_start_together(made: UsersDatabase) -> None:
    async def start() -> None:
        async def one() -> None:
            migration = made.migration
            await (
                await open_database(made.url("worker"), asyncio.Event(), 60, 60, migration=migration)
            ).close()

        await asyncio.gather(*(one() for _ in range(3)))

    asyncio.run(start())


def test_dashboards_read_what_they_show_and_nothing_else(made: UsersDatabase) -> None:
    made.open(made.migration)
    made.open(made.migration)  # granted again at each start
    for table in metadata.tables:
        if table in DASHBOARD_TABLES:
            made.run("grafana", f"SELECT COUNT(*) FROM {table}")
            continue
        with pytest.raises(pymysql.err.MySQLError, match="denied"):
            made.run("grafana", f"SELECT COUNT(*) FROM {table}")
    for statement in ("DELETE FROM events", "UPDATE events SET camera = 'x'", *DDL):
        with pytest.raises(pymysql.err.MySQLError, match="denied"):
            made.run("grafana", statement)


def test_the_tables_of_logins_are_none_of_the_dashboards() -> None:
    secret = {name for name in metadata.tables if re.search(r"user|session|token|link|login|notice", name)}
    assert secret
    assert not secret & set(DASHBOARD_TABLES)
    assert set(DASHBOARD_TABLES) <= set(metadata.tables)


def test_every_table_of_a_dashboard_may_be_read() -> None:
    folder = ROOT / "grafana-provisioning"
    text = "".join(path.read_text() for path in folder.rglob("*.json"))
    named = set(re.findall(r"(?:FROM|JOIN)\s+([a-z_]+)", text))
    assert named & set(metadata.tables)
    assert named & set(metadata.tables) <= set(DASHBOARD_TABLES)


def test_the_script_may_run_again_and_takes_back_what_an_older_one_gave(
    made: UsersDatabase, tmp_path: Path
) -> None:
    with contextlib.closing(made.server.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(f"GRANT ALL ON `{made.name}`.* TO 'worker'@'%'")
        cursor.execute(f"GRANT SELECT ON `{made.name}`.* TO 'grafana'@'%'")
    make_users(made.server, made.name, tmp_path)
    made.open(made.migration)
    with pytest.raises(pymysql.err.MySQLError, match="denied"):
        made.run("worker", "DROP TABLE gaps")
    with pytest.raises(pymysql.err.MySQLError, match="denied"):
        made.run("grafana", "SELECT * FROM users")


def test_without_the_right_user_it_is_a_sentence_without_a_password(made: UsersDatabase) -> None:
    with pytest.raises(ConfigError, match=r"tables cannot be brought up to date: .*denied") as caught:
        made.open(None)
    wrong = MigrationAccess(made.url("migrator").replace("migrator:", "migrator:x"), "")
    with pytest.raises(ConfigError, match="MIGRATION_DATABASE_URL: refused") as refused:
        made.open(wrong)
    with pytest.raises(ConfigError, match="DASHBOARD_DATABASE_USER=nobody: cannot be let read") as nobody:
        made.open(MigrationAccess(made.url("migrator"), "nobody"))
    said = "".join(str(one.value) for one in (caught, refused, nobody)) + repr(made.migration)
    assert not [secret for secret in PASSWORDS.values() if secret in said]
