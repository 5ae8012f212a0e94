"""No planted secret is found anywhere but where it was planted: logs, answers, metrics, Redis, database, files, argv.

All cameras but one fail, each in its own way; who refuses them repeats what it was sent, as badly made devices do.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from services.classifier.settings import ClassifierSettings
from services.motion.settings import MotionServiceSettings
from services.recorder.settings import RecorderSettings
from shared.settings import ServiceSettings, secret_names
from tests.attack.planted_site import (
    OTHERS,
    ROOT,
    SETTINGS,
    PlantedSite,
    finds,
    mark_of,
    planted_site,
    secret_of,
)
from tests.attack.site_rig import LONG
from tests.servers import MariaDBServer, wait_until

pytestmark = [pytest.mark.redis, pytest.mark.mariadb, *LONG]
ALL = (*SETTINGS, *OTHERS)
# Only `--check` is given these: the launcher makes its own, or they stand in the place of a password that is given
CHECKED = ("REDIS_URL", "DATABASE_URL", "MIGRATION_DATABASE_URL", "MOTION_TOKEN")
KINDS: dict[str, type[ServiceSettings]] = {
    "motion": MotionServiceSettings,
    "classifier": ClassifierSettings,
    "recorder": RecorderSettings,
}
READ_BYTES = 1 << 20
FAILING = ("refused", "filed", "loginpas", "psw", "path", "key", "token", "dns", "mjpeg", "moved", "whep")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, mariadb_server: MariaDBServer) -> Iterator[PlantedSite]:
    """The site, once every camera has failed at least once and an event was recorded and told."""
    mariadb_server.start()
    with planted_site(tmp_path_factory.mktemp("planted"), mariadb_server) as running:
        wait_until(lambda: _is_settled(running), 300, "every camera has failed, and an event is there")
        yield running


def _is_settled(site: PlantedSite) -> bool:
    assert site.process is not None
    assert site.process.poll() is None, site.log.decode(errors="replace")[-4000:]
    with contextlib.suppress(OSError, httpx.HTTPError, KeyError, ValueError):
        cameras = _get(site, "/api/cameras").json()["cameras"]
        failed = {one["id"] for one in cameras if one["last_error"]}
        events = _get(site, "/api/events").json()["events"]
        return failed >= set(FAILING) and any(event["label"] for event in events)
    return False


def _get(site: PlantedSite, path: str) -> httpx.Response:
    headers = {"authorization": f"Bearer {secret_of('API_TOKEN')}"}
    return httpx.get(f"{site.url}{path}", headers=headers, timeout=10, trust_env=False)


def test_every_secret_setting_is_planted() -> None:
    known = {name for kind in KINDS.values() for name in secret_names(kind)}
    assert known == {*SETTINGS, *CHECKED}
    assert len({mark_of(name) for name in (*ALL, *CHECKED)}) == len((*ALL, *CHECKED))
    assert finds(json.dumps({"a": secret_of("GATE_PASSWORD")}).encode(), ALL)


def test_no_answer_holds_a_secret(site: PlantedSite) -> None:
    found: list[str] = []
    n_answers = 0
    for who, client in _callers(site):
        with client:
            for path in _paths(site):
                n_answers += 1
                said = _said(client, path)
                found += [f"{who} {path}: {one}" for one in finds(said, ALL)]
            for path, body in _bad_bodies():
                said = _dump(client.post(path, json=body, headers={"origin": site.url}))
                found += [f"{who} POST {path}: {one}" for one in finds(said, ALL)]
    assert found == []
    assert n_answers > 90, n_answers


def _callers(site: PlantedSite) -> Iterator[tuple[str, httpx.Client]]:
    options: dict[str, Any] = {
        "base_url": site.url,
        "timeout": 10,
        "trust_env": False,
    }  # Any: of one function
    yield "nobody", httpx.Client(**options)
    yield "token", httpx.Client(headers={"authorization": f"Bearer {secret_of('API_TOKEN')}"}, **options)
    yield (
        "metrics",
        httpx.Client(headers={"authorization": f"Bearer {secret_of('METRICS_TOKEN')}"}, **options),
    )
    login = {"name": "admin", "password": secret_of("ADMIN_PASSWORD")}
    answer = httpx.post(f"{site.url}/api/login", json=login, headers={"origin": site.url}, trust_env=False)
    assert answer.status_code == 200
    yield "admin", httpx.Client(cookies=dict(answer.cookies), **options)


def _paths(site: PlantedSite) -> list[str]:
    """Return every GET of the document, for each camera that it may be asked for, and the page's own addresses."""
    document = _get(site, "/openapi.json").json()
    event = _get(site, "/api/events").json()["events"][0]["id"]
    found = [
        "/",
        "/login",
        "/metrics",
        "/healthz",
        "/readyz",
        "/openapi.json",
        "/cameras",
        "/nothing",
        "/users",
    ]
    for path, methods in document["paths"].items():
        if "get" not in methods:
            continue
        cameras = FAILING if "camera_id" in path else ("people",)
        for camera in cameras:
            one = path.replace("{camera_id}", camera).replace("{event_id}", event)
            found.append(re.sub(r"\{[^}]*\}", "0", one))
    return list(dict.fromkeys(found))


def _bad_bodies() -> Iterator[tuple[str, object]]:
    """Yield what a browser may send by mistake, with a secret of ours in it."""
    password = secret_of("ADMIN_PASSWORD")
    yield "/api/login", {"name": "admin", "password": [password]}
    yield "/api/login", {"name": "admin", "password": f"{password}x", "more": password}
    yield f"/api/{secret_of('API_TOKEN')}", {}
    yield "/api/users", {"name": password, "password": password, "role": password}


def _said(client: httpx.Client, path: str) -> bytes:
    """Return an answer with its headers, of a stream its beginning."""
    body = b""
    with contextlib.suppress(httpx.HTTPError), client.stream("GET", path, timeout=3) as answer:
        body += _head(answer)
        for part in answer.iter_raw():
            body += part
            if len(body) > READ_BYTES or answer.headers.get("content-type", "").startswith(
                ("text/event-stream", "multipart")
            ):
                break
    return body


def _dump(answer: httpx.Response) -> bytes:
    return _head(answer) + answer.content


def _head(answer: httpx.Response) -> bytes:
    return b"\n".join(b"%s: %s" % pair for pair in answer.headers.raw)


def test_redis_and_the_database_hold_no_secret(site: PlantedSite, mariadb_server: MariaDBServer) -> None:
    with contextlib.closing(redis.Redis.from_url(site.redis.url, socket_timeout=5)) as client:
        keys = list(client.scan_iter())
        assert len(keys) >= 5
        values = b"\n".join(repr(_value(client, key)).encode() for key in keys)
    assert finds(values, ALL) == []
    name = site.environment["DATABASE_URL"].rpartition("/")[2]
    with contextlib.closing(mariadb_server.connect(name)) as connection, connection.cursor() as cursor:
        cursor.execute("SHOW TABLES")
        tables = [row[0] for row in cursor.fetchall()]
        assert "events" in tables
        for table in tables:
            cursor.execute(f"SELECT * FROM {table}")  # noqa: S608 - a table's name
            assert finds(repr(cursor.fetchall()).encode(), ALL) == [], table


def _value(client: Any, key: bytes) -> object:  # Any: redis-py types sync and async answers as one
    ways = {
        b"string": lambda: client.get(key),
        b"hash": lambda: client.hgetall(key),
        b"stream": lambda: client.xrange(key),
        b"list": lambda: client.lrange(key, 0, -1),
        b"set": lambda: client.smembers(key),
        b"zset": lambda: client.zrange(key, 0, -1, withscores=True),
    }
    return key, ways[client.type(key)]()


def test_commands_print_no_secret(site: PlantedSite) -> None:
    commands = (
        ("check",), ("user", "list"), ("token", "list", "--json"), ("labels", "refused"), ("labels", "nobody"),
        ("search", "a dog"), ("relabel", "--label", "a dog"), ("run",), ("user", "rm", "nobody"),
    )  # fmt: skip
    for command in commands:
        done = site.clipwatch(*command)
        assert finds(done.stdout + done.stderr, ALL) == [], command
    made = site.clipwatch("token", "add", "later").stdout.strip().decode()
    answer = httpx.get(
        f"{site.url}/api/events", headers={"authorization": f"Bearer {made}"}, timeout=10, trust_env=False
    )
    assert answer.status_code == 200
    assert made.rpartition("_")[2].encode() not in site.log


def test_arguments_files_and_logs_hold_no_secret(site: PlantedSite) -> None:
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and str(site.folder).encode() in (entry / "environ").read_bytes():
                arguments = (entry / "cmdline").read_bytes()
                assert arguments.startswith(b"redis") or finds(arguments, ALL) == [], arguments[:200]
    site.stop()
    assert len(site.log.splitlines()) > 100
    assert finds(site.log, ALL) == []
    assert b"\x1b" not in site.log
    for path in site.data.rglob("*"):
        if path.is_file():
            assert finds(path.read_bytes(), ALL) == [], path


@pytest.mark.parametrize("service", KINDS)
def test_wrong_settings_are_told_without_a_secret(service: str, tmp_path: Path) -> None:
    """Each secret is half right, or stands in the place of another: what a service does not know it cannot hide."""
    wrong = {
        "REDIS_URL": f"redis://u:{secret_of('REDIS_URL')}@h:port/0",
        "DATABASE_URL": f"nosql://u:{secret_of('DATABASE_URL')}@h/x",
        "MIGRATION_DATABASE_URL": f"mysql://u:{secret_of('MIGRATION_DATABASE_URL')}@h:x/y",
        "MOTION_TOKEN": secret_of("MOTION_TOKEN"),
        "MOTION_URL": f"http://u:{secret_of('MOTION_TOKEN')}@h/",
        "LOG_LEVEL": secret_of("API_TOKEN"),
        "HTTP_PORT": secret_of("API_TOKEN"),
        "API_TOKEN": secret_of("API_TOKEN"),
        "ALLOWED_HOSTS": f"a b {secret_of('API_TOKEN')}",
        "ADMIN_PASSWORD": secret_of("ADMIN_PASSWORD"),
        "ADMIN_PASSWORD_FILE": str(tmp_path / "none"),
        "METRICS_TOKEN_FILE": str(tmp_path / "none"),
        "CAMERAS_FILE": str(tmp_path / "cameras.yml"),
        "DATA_DIR": str(tmp_path / "data"),
    }
    camera = {"id": "a", "url": f"rtsp://u:{secret_of('GATE_PASSWORD')}@h/x", "labels": [1], "x": 1}
    (tmp_path / "cameras.yml").write_text(json.dumps({"cameras": [camera]}))
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), **wrong}
    done = subprocess.run(
        [sys.executable, "-m", f"services.{service}", "--check"], env=environment, capture_output=True, timeout=120,
        cwd=tmp_path, check=False,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode == 2, said
    assert finds(said, (*ALL, *CHECKED)) == []
    assert b"METRICS_TOKEN_FILE" in said
    assert b"REDIS_URL" in said
    assert b"HTTP_PORT" in said
