"""A recorder as a process: whom it lets in from its start on, and when it refuses to start."""

from __future__ import annotations

import asyncio
import itertools
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from services.recorder import users
from services.recorder.access.authenticator import COOKIE
from services.recorder.app import check
from services.recorder.settings import RecorderSettings
from tests.servers import free_port, spawn, wait_until

PASSWORD = "correct horse"
LIMIT_S = 60.0


@dataclass
class SiteProcess:
    """The service as a child process, on an SQLite file of its own."""

    folder: Path
    redis_url: str
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def database(self) -> str:
        return f"sqlite:///{self.folder}/clipwatch.db"

    @property
    def log(self) -> str:
        return (self.folder / "log.txt").read_text()

    def start(self, **environment: str) -> None:
        own = {
            "REDIS_URL": self.redis_url,
            "DATABASE_URL": self.database,
            "MEDIA_DIR": str(self.folder / "media"),
            "HTTP_PORT": str(self.port),
            "WEATHER_PROVIDER": "none",
            "NO_PROXY": "*",
            "LOG_FORMAT": "json",
        }
        command = [sys.executable, "-m", "services.recorder"]
        self.process = spawn(command, self.folder / "log.txt", {**os.environ, **own, **environment})

    def get(self, path: str, **headers: str) -> int:
        """Return the status of an answer; 0: nobody answers yet."""
        try:
            address = f"http://127.0.0.1:{self.port}{path}"
            return httpx.get(address, headers=headers, timeout=LIMIT_S).status_code
        except httpx.TransportError:
            return 0

    def until_ready(self) -> None:
        wait_until(lambda: self.get("/readyz") == 200, LIMIT_S, "the recorder is ready")

    def exit_code(self) -> int:
        assert self.process is not None
        return self.process.wait(LIMIT_S)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(LIMIT_S)


@pytest.fixture
def site(tmp_path: Path, redis_url: str) -> Iterator[SiteProcess]:
    made = SiteProcess(tmp_path, redis_url)
    yield made
    made.stop()


def test_a_site_that_others_could_reach_does_not_start_without_a_login(site: SiteProcess) -> None:
    site.start(HTTP_HOST="0.0.0.0")
    assert site.exit_code() == 2
    assert "clipwatch user add" in site.log
    site.start(HTTP_HOST="0.0.0.0", ADMIN_PASSWORD="short")
    assert site.exit_code() == 2
    assert "ADMIN_PASSWORD: a password of 5 characters" in site.log
    users.add_user(site.database, users.UserOptions("ada", "admin"), PASSWORD)
    site.start(HTTP_HOST="0.0.0.0")
    site.until_ready()
    assert site.get("/api/events") == 401
    assert site.get("/web/app.css") == 200


def test_users_of_the_command_line_count_while_it_runs(site: SiteProcess) -> None:
    token_file = site.folder / "local-token"
    site.start(LOCAL_TOKEN_FILE=str(token_file))
    site.until_ready()
    assert site.get("/api/events") == 200
    assert site.get("/api/events", host="evil.example") == 421
    assert site.get("/api/events", **{"x-forwarded-for": "192.0.2.7"}) == 401
    users.add_user(site.database, users.UserOptions("ada", "admin"), PASSWORD)
    wait_until(lambda: site.get("/api/events") == 401, 10, "a user closes the site to this machine")
    assert stat.S_IMODE(token_file.stat().st_mode) == 0o600
    local = f"Bearer {token_file.read_text().strip()}"
    assert site.get("/api/events", authorization=local) == 200
    assert site.get("/api/events", authorization="Bearer of-elsewhere") == 401
    with httpx.Client(base_url=f"http://127.0.0.1:{site.port}") as browser:
        login = {"name": "ADA", "password": PASSWORD}
        assert browser.post("/api/login", json=login).status_code == 200
        assert browser.get("/api/events").status_code == 200
        users.set_password(site.database, "ada", "another horse")
        wait_until(
            lambda: browser.get("/api/events").status_code == 401, 10, "a new password ends the session"
        )
        kept = browser.cookies[COOKIE]
    for secret in (PASSWORD, kept, local.removeprefix("Bearer ")):
        assert secret not in site.log
    site.stop()
    site.start(LOCAL_TOKEN_FILE=str(token_file))
    site.until_ready()
    assert site.get("/api/events", authorization=local) == 401, "each start makes a fresh one"


def test_a_stream_ends_with_its_session(site: SiteProcess) -> None:
    users.add_user(site.database, users.UserOptions("ada", "admin"), PASSWORD)
    site.start()
    site.until_ready()
    with httpx.Client(base_url=f"http://127.0.0.1:{site.port}", timeout=30) as browser:
        assert browser.post("/api/login", json={"name": "ada", "password": PASSWORD}).status_code == 200
        with browser.stream("GET", "/api/stream") as stream:
            lines = stream.iter_lines()
            assert "event: hello" in (next(lines), next(lines))
            assert "event: beat" in list(itertools.islice(lines, 4)), "a login that lasts keeps its stream"
            users.set_password(site.database, "ada", "another horse")
            left = list(lines)  # ends, or the client's timeout fails the test
        assert "event: event" not in left


def test_the_first_start_makes_the_admin_once(site: SiteProcess) -> None:
    site.start(ADMIN_PASSWORD=PASSWORD)
    site.until_ready()
    assert [(user.name, user.role) for user in users.list_users(site.database)] == [("admin", "admin")]
    assert site.get("/api/events") == 401
    users.set_password(site.database, "admin", "another horse")
    site.stop()
    site.start(ADMIN_PASSWORD=PASSWORD)
    site.until_ready()
    with httpx.Client(base_url=f"http://127.0.0.1:{site.port}") as browser:
        assert browser.post("/api/login", json={"name": "admin", "password": PASSWORD}).status_code == 401
        login = {"name": "admin", "password": "another horse"}
        assert browser.post("/api/login", json=login).status_code == 200
    assert PASSWORD not in site.log


async def test_a_check_says_that_others_could_reach_the_site_without_a_login(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path}/record.db"

    async def faults(host: str = "0.0.0.0", **given: str) -> str:
        settings = RecorderSettings.model_validate(
            {"http_host": host, "database_url": database, "media_dir": tmp_path, **given}
        )
        return "".join(await check(settings))

    assert "HTTP_HOST=0.0.0.0 is reached by others, with no user" in await faults()
    assert "clipwatch user add" in await faults("::")
    assert not (tmp_path / "record.db").exists()
    assert not await faults("127.0.0.1")
    assert not await faults(api_token="a" * 16)
    assert not await faults(admin_password=PASSWORD)
    await asyncio.to_thread(users.add_user, database, users.UserOptions("ada", "admin"), PASSWORD)
    assert not await faults()
