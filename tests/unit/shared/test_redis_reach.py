"""Redis that the network may use without a password: told once, at the start, and only when it is old."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping

import pytest
from structlog.testing import capture_logs

from shared.redis_client import make_redis
from shared.redis_reach import is_open, old_version, warn_of_open_redis
from tests.servers import RedisServer

OPEN = {"bind": "* -::*", "port": "6379", "protected-mode": "no"}
OLD = {"redis_version": "7.0.15"}


@pytest.mark.parametrize(
    "version",
    ["5.0.14", "6.0.20", "6.2.14", "6.2.19", "7.0.15", "7.2.10", "7.4.5", "8.0.3", "8.2.1"],
)
def test_a_redis_before_the_fixes_is_old(version: str) -> None:
    assert old_version({"redis_version": version}) == version
    assert old_version({"redis_version": version.encode()}) == version


@pytest.mark.parametrize("version", ["6.2.20", "7.2.11", "7.4.6", "8.0.4", "8.2.2", "8.4.0", "9.0.0"])
def test_a_redis_with_the_fixes_is_not(version: str) -> None:
    assert old_version({"redis_version": version}) is None


@pytest.mark.parametrize(
    ("version", "is_old"),
    [
        ("7.2.10", True),
        ("7.2.11", False),
        ("8.0.5", True),
        ("8.1.3", True),
        ("8.1.4", False),
        ("9.1.2", False),
    ],
)
def test_valkey_counts_by_its_own_version(version: str, is_old: bool) -> None:
    server = {"redis_version": "7.2.4", "valkey_version": version}
    assert (old_version(server) is not None) is is_old


@pytest.mark.parametrize("version", ["", "x", "7", "7.x.1", "255.255.255"])
def test_what_is_not_known_is_not_called_old(version: str) -> None:
    assert old_version({"redis_version": version}) is None
    assert old_version({}) is None


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (OPEN, True),
        ({**OPEN, "bind": ""}, True),
        ({**OPEN, "bind": "127.0.0.1 192.0.2.7"}, True),
        ({**OPEN, "bind": "127.0.0.1 -::1"}, False),
        ({**OPEN, "port": "0"}, False),
        ({**OPEN, "protected-mode": "yes"}, False),
        ({}, False),
    ],
)
def test_whether_a_server_listens_beyond_this_machine(config: dict[str, str], expected: bool) -> None:
    assert is_open(config) is expected


def bulk(text: str) -> bytes:
    return f"${len(text)}\r\n{text}\r\n".encode()


@contextlib.asynccontextmanager
async def simulated_redis(info: Mapping[str, str], config: Mapping[str, str] | None) -> AsyncIterator[int]:
    """Answer INFO and CONFIG GET on a port of loopback; no `config`: that is refused."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            words = []
            for _ in range(int(line[1:])):
                await reader.readline()
                words.append((await reader.readline()).strip().upper())
            if words[0] == b"INFO":
                writer.write(bulk("".join(f"{name}:{value}\r\n" for name, value in info.items())))
            elif words[0] == b"CONFIG" and config is not None:
                pairs = [bulk(part) for pair in config.items() for part in pair]
                writer.write(b"*%d\r\n" % len(pairs) + b"".join(pairs))
            elif words[0] == b"CONFIG":
                writer.write(b"-NOPERM this user has no permissions\r\n")
            else:
                writer.write(b"+OK\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def warnings_of(url: str) -> list[str]:
    client = make_redis(url, socket_timeout=5, protocol=2)
    with capture_logs() as lines:
        await warn_of_open_redis(client)
    await client.aclose()
    return [f"{line['log_level']} {line['event']} {line['version']}" for line in lines]


async def test_an_old_one_that_the_network_may_use_is_told() -> None:
    async with simulated_redis(OLD, OPEN) as port:
        [line] = await warnings_of(f"redis://127.0.0.1:{port}/0")
    assert line.startswith("warning Redis is open to the network without a password")
    assert line.endswith("7.0.15")


@pytest.mark.parametrize(
    ("login", "info", "config"),
    [
        (":secret@", OLD, OPEN),
        ("", {"redis_version": "8.2.2"}, OPEN),
        ("", OLD, {**OPEN, "bind": "127.0.0.1"}),
        ("", OLD, None),
        ("", {}, OPEN),
    ],
    ids=["a password", "new", "this machine alone", "it does not tell", "no version"],
)
async def test_others_are_not(login: str, info: dict[str, str], config: dict[str, str] | None) -> None:
    async with simulated_redis(info, config) as port:
        assert await warnings_of(f"redis://{login}127.0.0.1:{port}/0") == []


@pytest.mark.redis
async def test_a_real_one_on_loopback_is_not(redis_server: RedisServer) -> None:
    assert await warnings_of(redis_server.url) == []
