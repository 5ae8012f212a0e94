"""The embedded Redis: private, found where it is, a leftover is ended."""

from __future__ import annotations

import socket
import stat
import subprocess
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import RedisError

from services.local.launcher.ports import free_port
from services.local.launcher.redis_server import EmbeddedRedis, find_redis_server, prepare_redis
from shared.errors import ConfigError
from tests.servers import wait_until


def started(embedded: EmbeddedRedis) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(embedded.argv, stdout=subprocess.DEVNULL)
    client = Redis.from_url(embedded.url)
    wait_until(lambda: _answers(client), 10, "redis answers")
    client.close()
    return process


def _answers(client: Redis) -> bool:
    try:
        return bool(client.ping())
    except (RedisError, OSError):
        return False


def test_a_taken_port_is_passed_over() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert free_port(port) != port


def test_the_password_is_private_and_needed(tmp_path: Path) -> None:
    embedded = prepare_redis(tmp_path / "redis")
    process = started(embedded)
    try:
        for name in ("password", "redis.conf"):
            assert stat.S_IMODE((tmp_path / "redis" / name).stat().st_mode) == 0o600
        with pytest.raises(Exception, match=r"[Aa]uthenticat"):
            Redis(port=embedded.port).ping()
    finally:
        process.terminate()
        process.wait(10)


def test_a_server_left_behind_is_ended_and_its_entries_are_still_there(tmp_path: Path) -> None:
    first = prepare_redis(tmp_path / "redis")
    leftover = started(first)
    client = Redis.from_url(first.url)
    client.xadd("snippets.v1", {"h": "kept"})
    client.close()
    second = prepare_redis(tmp_path / "redis")
    assert leftover.wait(10) is not None
    process = started(second)
    try:
        assert Redis.from_url(second.url).xlen("snippets.v1") == 1
        assert Redis.from_url(second.url).config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    finally:
        process.terminate()
        process.wait(10)


def test_somebody_elses_server_on_the_old_port_is_left_alone(tmp_path: Path) -> None:
    other = prepare_redis(tmp_path / "other")
    process = started(other)
    try:
        folder = tmp_path / "mine"
        folder.mkdir()
        (folder / "port").write_text(str(other.port))
        (folder / "password").write_text((tmp_path / "other" / "password").read_text())
        mine = prepare_redis(folder)
        assert mine.port != other.port
        assert process.poll() is None
    finally:
        process.terminate()
        process.wait(10)


def test_without_any_server_the_message_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="make install"):
        find_redis_server()
