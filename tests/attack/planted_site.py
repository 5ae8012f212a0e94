"""A site with a secret of its own in each place that takes one, and outsiders that repeat whatever they are sent.

Each secret holds a mark that nothing else holds. It consists of letters and digits, so that it stays the same however
a secret is quoted; `finds` knows it in base64 and hexadecimal too.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from tests.attack.canary import LoopbackServer, loopback_server, request_of
from tests.servers import HOST, MariaDBServer, RedisServer, free_port, spawn

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "samples" / "people-walking.mp4"
USER = "admin"
# what each setting of a secret is given in the run; of the others only `--check` can be asked
SETTINGS = (
    "REDIS_PASSWORD", "DATABASE_PASSWORD", "MIGRATION_DATABASE_PASSWORD", "API_TOKEN", "METRICS_TOKEN",
    "ADMIN_PASSWORD", "OIDC_CLIENT_SECRET", "OPENWEATHER_KEY", "LIVE_ICE_PASSWORD",
)  # fmt: skip
OF_FILES = (
    "REDIS_PASSWORD",
    "METRICS_TOKEN",
    "OIDC_CLIENT_SECRET",
    "OPENWEATHER_KEY",
    "DEN_PASSWORD",
    "HOOK_SECRET",
)
OTHERS = (
    "HF_TOKEN", "GATE_PASSWORD", "DEN_PASSWORD", "GATE_LOGINPAS", "GATE_PSW", "GATE_PATH", "PATH_KEY", "QUERY_TOKEN",
    "WHIP_TOKEN", "WHEP_PASSWORD", "DNS_PASSWORD", "MJPEG_PASSWORD", "REDIRECT_PASSWORD", "DETECT_PASSWORD",
    "MQTT_PASSWORD", "HOOK_SECRET", "HOOK_LOGIN", "HOOK_KEY", "OFF_PASSWORD",
)  # fmt: skip
_TOKENS = (
    "API_TOKEN",
    "METRICS_TOKEN",
    "WHIP_TOKEN",
    "QUERY_TOKEN",
    "PATH_KEY",
    "HOOK_KEY",
    "OPENWEATHER_KEY",
)


def mark_of(name: str) -> str:
    """Return the mark in the secret of that name: 21 letters and digits."""
    return f"Zq7{hashlib.sha256(name.encode()).hexdigest()[:16]}Kw"


def secret_of(name: str) -> str:
    """Return the secret that is planted as `name`: with everything that has to be quoted, where it may hold that."""
    mark = mark_of(name)
    return f"tok3n{mark}end" if name in _TOKENS else f"p%21@:/#\"'{mark}"


def finds(data: bytes, names: tuple[str, ...]) -> list[str]:
    """Return the names whose secret stands in `data`, in any form, with what stands around it."""
    found = []
    for name in names:
        for form in _forms(mark_of(name).encode()):
            at = data.find(form)
            if at >= 0:
                found.append(f"{name}: {data[max(0, at - 120) : at + 120]!r}")
                break
    return found


def _forms(mark: bytes) -> Iterator[bytes]:
    yield mark
    yield mark[:12]  # cut
    yield mark[-12:]
    yield mark.hex().encode()
    for before in range(3):  # where it begins in a group of three bytes
        encoded = base64.b64encode(b"\0" * before + mark)
        yield encoded[(0, 2, 3)[before] : -4]


def echo(connection: socket.socket) -> None:
    """Refuse, and repeat the whole request: in the status line, in a header, in the body."""
    heard = request_of(connection)
    line = heard.split(b"\r\n")[0][:2000]
    if heard.startswith((b"OPTIONS", b"DESCRIBE")):
        sequence = next((one for one in heard.split(b"\r\n") if one.lower().startswith(b"cseq")), b"CSeq: 1")
        connection.sendall(
            b"RTSP/1.0 401 No " + line + b"\r\n" + sequence + b"\r\nX-Said: " + line + b"\r\n\r\n"
        )
        return
    if b"/redirect" in line:
        place = b"Location: http://u:" + mark_of("REDIRECT_PASSWORD").encode() + b"@127.0.0.1:9/other\r\n"
        connection.sendall(
            b"HTTP/1.1 302 Found\r\n" + place + b"Content-Length: 0\r\nConnection: close\r\n\r\n"
        )
        return
    body = b'{"message": ' + json.dumps(heard.decode("latin-1")).encode() + b"}"
    connection.sendall(
        b"HTTP/1.1 401 No " + line + b"\r\nX-Said: " + line + b"\r\nContent-Type: application/json\r\n"
        b"Content-Length: " + str(len(body)).encode() + b"\r\nConnection: close\r\n\r\n" + body
    )


class ClosedRedis(RedisServer):
    """A Redis with a password."""

    @property
    def url(self) -> str:
        return f"redis://:{quote(secret_of('REDIS_PASSWORD'), safe='')}@{HOST}:{self.port}/0"


@dataclass(slots=True)
class PlantedSite:
    """`clipwatch run`, with all its files in `folder`."""

    folder: Path
    redis: ClosedRedis
    environment: dict[str, str]
    process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> bytes:
        return (self.folder / "log.txt").read_bytes()

    @property
    def data(self) -> Path:
        return self.folder / "kept"

    @property
    def url(self) -> str:
        return (self.data / "page-url").read_text().strip().rstrip("/")

    def clipwatch(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
        """Run a command beside it."""
        return subprocess.run(
            [sys.executable, "-m", "services.local.cli", *arguments], cwd=self.folder, stdin=subprocess.DEVNULL,
            env={**self.environment, **environment}, capture_output=True, timeout=120, check=False,
        )  # fmt: skip

    def start(self) -> None:
        command = [sys.executable, "-m", "services.local.cli", "run", "--log-level", "DEBUG"]
        config = str(self.folder / "clipwatch.yml")
        self.process = spawn([*command, "--config", config], self.folder / "log.txt", self.environment)

    def stop(self) -> None:
        """Stop it in order."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(60)
        if self.process is not None and self.process.poll() is None:
            self.process.kill()


@contextlib.contextmanager
def planted_site(folder: Path, mariadb: MariaDBServer) -> Iterator[PlantedSite]:
    """Write all files, start the servers and `clipwatch run`."""
    with contextlib.ExitStack() as held:
        outsider = held.enter_context(loopback_server(echo))
        redis = ClosedRedis(arguments=("--requirepass", secret_of("REDIS_PASSWORD")))
        held.callback(redis.close)
        redis.start()
        database = mariadb.new_database()
        held.callback(mariadb.drop_database, database)
        with contextlib.closing(mariadb.connect()) as connection, connection.cursor() as cursor:
            for user, name in (
                ("worker_p", "DATABASE_PASSWORD"),
                ("migrator_p", "MIGRATION_DATABASE_PASSWORD"),
            ):
                cursor.execute(f"CREATE OR REPLACE USER {user}@'{HOST}' IDENTIFIED BY %s", (secret_of(name),))
                cursor.execute(f"GRANT ALL ON {database}.* TO {user}@'{HOST}'")
        base = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("CLIPWATCH", "DATABASE"))
        }
        environment = {
            **base,
            "PYTHONPATH": str(ROOT),
            "REDIS_URL": f"redis://{HOST}:{redis.port}/0",
            "DATABASE_URL": f"mysql://worker_p@{HOST}:{mariadb.port}/{database}",
            "MIGRATION_DATABASE_URL": f"mysql://migrator_p@{HOST}:{mariadb.port}/{database}",
            "OIDC_ISSUER": f"http://{HOST}:{outsider.port}/realm",
            "WEATHER_URL": outsider.url,
            "LIVE_ICE_SERVERS": f'["turn:{HOST}:{free_port()}"]',
            "LIVE_ICE_USERNAME": "turner",
            "NOTIFY_FILE": str(folder / "notify.yml"),
            **_secrets(folder),
        }
        _write_files(folder, outsider)
        site = PlantedSite(folder, redis, environment)
        held.callback(site.stop)
        site.start()
        yield site


def _secrets(folder: Path) -> dict[str, str]:
    given = {name: secret_of(name) for name in (*SETTINGS, *OTHERS) if name not in OF_FILES}
    for name in OF_FILES:
        path = folder / f"secret-{name}"
        path.write_text(f"{secret_of(name)}\n")
        path.chmod(0o600)
        given[f"{name}_FILE"] = str(path)
    return given


def _write_files(folder: Path, outsider: LoopbackServer) -> None:
    def literal(name: str) -> str:
        return quote(secret_of(name), safe="")

    there, closed = f"{HOST}:{outsider.port}", f"{HOST}:{free_port()}"
    urls = {
        "refused": f"rtsp://{USER}:${{GATE_PASSWORD}}@{closed}/Streaming/Channels/101",
        "filed": f"rtsp://{USER}:${{DEN_PASSWORD}}@{there}/h264Preview_01_main",
        "loginpas": f"http://{there}/videostream.cgi?loginuse={USER}&loginpas={literal('GATE_LOGINPAS')}",
        "psw": f"rtsp://{there}/live?usr={USER}&psw={literal('GATE_PSW')}&a=1",
        "path": f"rtsp://{there}/user={USER}_password={mark_of('GATE_PATH')}_channel=1_stream=0.sdp?real_stream",
        "key": f"rtsp://{closed}/live/{secret_of('PATH_KEY')}",
        "token": f"http://{there}/v1/stream?token={secret_of('QUERY_TOKEN')}",
        "dns": f"rtsp://{USER}:{literal('DNS_PASSWORD')}@no-such-host.invalid/x",
        "mjpeg": f"http://{USER}:{literal('MJPEG_PASSWORD')}@{there}/mjpeg",
        "moved": f"http://{USER}:{literal('REDIRECT_PASSWORD')}@{there}/redirect",
        "whep": f"whep://{USER}:{literal('WHEP_PASSWORD')}@{there}/whep",
        "phone": f"whip:?token={secret_of('WHIP_TOKEN')}",
        "off": f"rtsp://{USER}:{literal('OFF_PASSWORD')}@{closed}/off",
        "people": str(SAMPLE),
    }
    cameras = [
        {"id": name, "url": url, "name": f"the {name} camera", "enabled": name != "off", "labels": ["a pedestrian"],
         "background": ["an empty street"], "latitude": 52.5, "longitude": 13.4}
        for name, url in urls.items()
    ]  # fmt: skip
    cameras[0]["detect_url"] = f"rtsp://{USER}:{literal('DETECT_PASSWORD')}@{closed}/small"
    settings = {"model": "mini", "data_dir": "kept", "page_port": 0, "weather": "openweather"}
    (folder / "clipwatch.yml").write_text(json.dumps({"settings": settings, "cameras": cameras}))
    hook = f"http://u:{literal('HOOK_LOGIN')}@{there}/services/{secret_of('HOOK_KEY')}"
    mqtt = {
        "host": HOST,
        "port": outsider.port,
        "user": "home",
        "password": "${MQTT_PASSWORD}",
        "timeout_s": 1,
    }
    targets = [
        {"name": "hook", "webhook": {"url": hook, "secret": "${HOOK_SECRET}", "when": "changes"}},
        {"name": "broker", "mqtt": mqtt},
    ]
    (folder / "notify.yml").write_text(json.dumps({"targets": targets}))
