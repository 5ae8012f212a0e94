"""The embedded Redis: private, on a socket alone, found where it is; a leftover is ended."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import RedisError

from services.local.launcher.redis_server import (
    SOCKET_BYTES_MAX,
    EmbeddedRedis,
    find_redis_server,
    prepare_redis,
)
from shared.errors import ConfigError
from shared.redis_client import redis_faults
from shared.redis_reach import old_version
from tests.servers import RedisServer, wait_until


@pytest.fixture
def held() -> Iterator[contextlib.ExitStack]:
    """What a launcher gives back at its end."""
    with contextlib.ExitStack() as held:
        yield held


def started(embedded: EmbeddedRedis, held: contextlib.ExitStack) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(embedded.argv, stdout=subprocess.DEVNULL)
    held.callback(_end, process)
    with contextlib.closing(Redis.from_url(embedded.url)) as client:
        wait_until(lambda: _answers(client), 60, "redis answers")
    return process


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(10)


def _answers(client: Redis) -> bool:
    try:
        return bool(client.ping())
    except (RedisError, OSError):
        return False


def listening_inodes() -> set[str]:
    """Return the inodes of all TCP sockets that listen on this machine."""
    lines = [
        line.split()
        for name in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{name}").read_text().splitlines()
    ]
    return {line[9] for line in lines if line[3] == "0A"}


def inodes_of(pid: int) -> set[str]:
    """Return the inodes of a process' sockets."""
    links = []
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed since it was listed
            links.append(str(path.readlink()))
    return {link[8:-1] for link in links if link.startswith("socket:[")}


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="needs Linux' /proc")
@pytest.mark.parametrize("name", ["plain", "[*]?"])
def test_no_port_is_opened(tmp_path: Path, held: contextlib.ExitStack, name: str) -> None:
    embedded = prepare_redis(tmp_path / name / "redis", held)
    process = started(embedded, held)
    assert not inodes_of(process.pid) & listening_inodes()
    with contextlib.closing(Redis.from_url(embedded.url, decode_responses=True)) as client:
        assert client.config_get("port") == {"port": "0"}


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="needs Linux' /proc")
def test_a_server_that_could_not_read_its_file_opens_no_port_either(
    tmp_path: Path, held: contextlib.ExitStack
) -> None:
    embedded = prepare_redis(tmp_path / "redis", held)
    empty = tmp_path / "redis" / "redis.conf"
    empty.write_text(f"pidfile {tmp_path}/started\n")
    process = subprocess.Popen(embedded.argv, stdout=subprocess.DEVNULL, cwd=tmp_path)
    held.callback(_end, process)
    wait_until((tmp_path / "started").exists, 60, "its start")
    assert not inodes_of(process.pid) & listening_inodes()


def test_files_and_socket_are_private_and_the_password_is_needed(
    tmp_path: Path, held: contextlib.ExitStack
) -> None:
    embedded = prepare_redis(tmp_path / "redis", held)
    started(embedded, held)
    assert redis_faults(embedded.url) == []
    assert stat.S_IMODE((tmp_path / "redis").stat().st_mode) == 0o700
    for name in ("password", "redis.conf", "socket"):
        assert stat.S_IMODE((tmp_path / "redis" / name).stat().st_mode) == 0o600
    assert stat.S_IMODE(embedded.socket.stat().st_mode) == 0o600
    with pytest.raises(Exception, match=r"[Aa]uthenticat"):
        Redis(unix_socket_path=str(embedded.socket)).ping()


@pytest.mark.parametrize("name", ["n" * 120, "é" * 60, os.fsdecode(b"\xff")], ids=ascii)
def test_where_the_path_is_none_for_a_socket_it_lies_in_a_private_folder_of_its_own(
    tmp_path: Path, name: str
) -> None:
    folder = tmp_path / name / "redis"
    with contextlib.ExitStack() as held:
        embedded = prepare_redis(folder, held)
        own = embedded.socket.parent
        assert len(os.fsencode(embedded.socket)) <= SOCKET_BYTES_MAX
        assert own != folder
        assert stat.S_IMODE(own.stat().st_mode) == 0o700
        started(embedded, held)
    assert not own.exists()


def test_the_folder_of_a_killed_launchers_socket_is_removed_at_the_next_start(tmp_path: Path) -> None:
    folder = tmp_path / ("n" * 120) / "redis"
    killed = contextlib.ExitStack()  # never closed
    leftover = prepare_redis(folder, killed)
    process = started(leftover, killed)
    with contextlib.ExitStack() as held:
        second = prepare_redis(folder, held)
        assert process.wait(10) is not None
        assert not leftover.socket.parent.exists()
        started(second, held)


def test_a_server_left_behind_is_ended_and_its_entries_are_still_there(
    tmp_path: Path, held: contextlib.ExitStack
) -> None:
    first = prepare_redis(tmp_path / "redis", held)
    leftover = started(first, held)
    with contextlib.closing(Redis.from_url(first.url)) as client:
        client.xadd("snippets.v1", {"h": "kept"})
    second = prepare_redis(tmp_path / "redis", held)
    assert leftover.wait(10) is not None
    started(second, held)
    with contextlib.closing(Redis.from_url(second.url)) as client:
        assert client.xlen("snippets.v1") == 1
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


def older(folder: Path) -> RedisServer:
    """Return the server of an older clipwatch on `folder`, which listens on a port."""
    folder.mkdir(parents=True)
    (folder / "password").write_text("0ld")
    server = RedisServer(arguments=["--dir", str(folder)])
    server.start()
    (folder / "port").write_text(str(server.port))
    with contextlib.closing(server.client()) as client:
        client.config_set("requirepass", "0ld")
    return server


def test_the_server_of_an_older_clipwatch_is_ended_though_it_has_a_port(
    tmp_path: Path, held: contextlib.ExitStack
) -> None:
    server = older(tmp_path / "redis")
    prepare_redis(tmp_path / "redis", held)
    wait_until(lambda: not server.is_running, 60, "its end")
    assert not (tmp_path / "redis" / "port").exists()
    server.close()


def test_somebody_elses_server_is_left_alone(tmp_path: Path, held: contextlib.ExitStack) -> None:
    other = older(tmp_path / "other")
    embedded = prepare_redis(tmp_path / "third", held)
    third = started(embedded, held)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "port").write_text(str(other.port))
    (mine / "password").write_text("0ld")
    (mine / "socket").write_text(str(embedded.socket))
    assert prepare_redis(mine, held).socket.parent == mine
    assert other.is_running
    assert third.poll() is None
    other.close()


def test_a_socket_that_nobody_listens_on_is_in_nobodys_way(
    tmp_path: Path, held: contextlib.ExitStack
) -> None:
    (tmp_path / "redis").mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "redis" / "redis.sock"))
    started(prepare_redis(tmp_path / "redis", held), held)


def test_the_server_of_the_package_is_newer_than_the_fixes_of_known_weaknesses(
    tmp_path: Path, held: contextlib.ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/bin")
    embedded = prepare_redis(tmp_path / "redis", held)
    assert embedded.binary.name == "valkey-server"
    started(embedded, held)
    with contextlib.closing(Redis.from_url(embedded.url)) as client:
        assert old_version(client.info("server")) is None


def test_a_server_on_the_path_comes_first_but_not_one_that_a_package_left_in_this_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("environment", "system"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "redis-server").write_text("#!/bin/sh\n")
        (tmp_path / name / "redis-server").chmod(0o755)
    monkeypatch.setattr("sys.executable", str(tmp_path / "environment" / "python"))
    monkeypatch.setenv("PATH", f"{tmp_path}/environment/:{tmp_path}/system")
    assert find_redis_server() == tmp_path / "system" / "redis-server"
    monkeypatch.setenv("PATH", f"{tmp_path}/environment")
    assert find_redis_server().name == "valkey-server"


def test_without_any_server_the_message_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="make install"):
        find_redis_server()
