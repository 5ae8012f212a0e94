"""What all tests share: markers and order, real servers, and a folder of the test's own."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import hypothesis
import pytest
from redis.asyncio import Redis
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]  # ships no types

from shared.secrets import forget_all
from tests.programs import ServerError
from tests.servers import (
    MYSQL_MISSING,
    MariaDBServer,
    MosquittoServer,
    NamedMySQL,
    PrometheusServer,
    RedisServer,
    RtspServer,
    S3Server,
)
from tests.wall_clock import SettableClock

# The machine may be busy: how long one example takes says nothing here. Speed is asserted in bench/.
hypothesis.settings.register_profile("clipwatch", deadline=None)
hypothesis.settings.register_profile("fast", deadline=None, max_examples=10)

_Server = TypeVar(
    "_Server",
    RedisServer,
    MariaDBServer,
    RtspServer,
    MosquittoServer,
    PrometheusServer,
    S3Server,
    SettableClock,
)
_TESTS = Path(__file__).parent
# Longest first, so that no worker is left with a long test at the end; the marker of a folder's tests.
_MARKERS = {
    "e2e": "e2e",
    "browser": "browser",
    "integration": "integration",
    "attack": "attack",
    "contract": "unit",
    "unit": "unit",
}
# One worker runs all tests of a group. One browser, one stack of services and one model at a time fill two cores.
_GROUPS = {
    "e2e": "e2e",
    "browser": "browser",
    "integration/test_classifier_service.py": "model",
    "integration/test_picture_requests.py": "model",
    "integration/test_simulated_gpus.py": "model",
    "integration/test_stop.py": "model",
    # what a module makes once is dear
    "attack/test_planted_secrets.py": "planted secrets",
    "integration/test_grafana_queries.py": "grafana",
    "integration/test_image_packages.py": "image",
    "integration/test_images.py": "image",
    "integration/test_live_view.py": "live view",
    "integration/test_pipeline_queries.py": "pipeline",
    "integration/test_recorder_service.py": "recorder",
}

_FIRST_OF_FOLDER = tuple(_TESTS / "attack" / name for name in ("test_schemas.py", "test_planted_secrets.py"))

# `--fast` leaves these out: they load torch, start processes, or look at seconds of video.
_NOT_FAST = tuple(
    _TESTS / name
    for name in (
        "e2e",
        "browser",
        "integration",
        "attack",
        "contract",
        "unit/classifier/model",
        "unit/classifier/test_convert.py",
        "unit/classifier/test_fetch.py",
        "unit/classifier/weights",
        "unit/deploy/test_bootstrap.py",
        "unit/deploy/test_helm_chart.py",
        "unit/deploy/test_helm_services.py",
        "unit/deploy/test_helm_values.py",
        "unit/deploy/test_rtsp_camera.py",
        "unit/docs/test_site.py",
        "unit/layout",
        "unit/local/launcher",
        "unit/local/tasks/test_camera_calibration.py",
        "unit/local/test_odd_names.py",
        "unit/models",
        "unit/motion/cameras",
        "unit/motion/detection/test_calibration.py",
        "unit/motion/detection/test_detector.py",
        "unit/motion/events/test_rates.py",
        "unit/motion/events/test_watcher.py",
        "unit/motion/live",
        "unit/motion/media/test_clips.py",
        "unit/motion/media/test_shown_pictures.py",
        "unit/motion/sources",
        "unit/motion/snippets/test_maker.py",
        "unit/motion/spool/test_journal.py",
        "unit/motion/test_check.py",
        "unit/shared/cameras/test_editor.py",
        "unit/shared/cameras/test_store.py",
        "unit/shared/test_long_texts.py",
    )
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fast", action="store_true", help="only tests that load no model and start no server")


def pytest_configure(config: pytest.Config) -> None:
    """A fast run tries fewer examples where a test does not say how many."""
    hypothesis.settings.load_profile("fast" if config.getoption("fast") else "clipwatch")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With --fast leave files out before they are imported."""
    if config.getoption("fast") and collection_path in _NOT_FAST:
        return True
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by their folder, and put the longest first."""
    folders = list(_MARKERS)
    for item in items:
        item.add_marker(_MARKERS[_folder(item)])
    items.sort(key=lambda item: (folders.index(_folder(item)), item.path not in _FIRST_OF_FOLDER))


def _folder(item: pytest.Item) -> str:
    return item.path.relative_to(_TESTS).parts[0]


class _Scheduling(LoadScopeScheduling):  # type: ignore[misc]  # its base has no types
    """Hands out groups whole, unit tests by file, attacks by file or class, others singly; `loadgroup` does not."""

    def _split_scope(self, nodeid: str) -> str:
        path, *classes = nodeid.split("[")[0].removeprefix("tests/").split("::")[:-1]
        folder = path.partition("/")[0]
        if folder == "attack":  # one site a file or class
            whole = "::".join((path, *classes))
        else:
            whole = path if folder in ("contract", "unit") else nodeid
        return _GROUPS.get(folder) or _GROUPS.get(path) or whole


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _Scheduling:  # Any: xdist's own
    """Spread tests over workers in our way, whatever --dist says."""
    return _Scheduling(config, log)


@pytest.fixture(autouse=True)
def known_secrets() -> Iterator[None]:
    """What a test made known as a secret is hidden in no other test's texts."""
    yield
    forget_all()


@pytest.fixture(scope="session", autouse=True)
def no_torch_in_a_fast_run(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a fast run in which a test loaded torch after all: its file belongs into _NOT_FAST."""
    yield
    assert not (request.config.getoption("fast") and "torch" in sys.modules)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A redis-server without persistence for the whole run; leave it running and thawed (else use `own_redis`)."""
    server = _made(RedisServer)
    server.start()
    yield server
    server.close()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """The URL of a Redis that holds nothing."""
    redis_server.start()
    redis_server.clear()
    return redis_server.url


@pytest.fixture
async def redis_client(redis_url: str) -> AsyncIterator[Redis]:
    """A client (bytes in, bytes out) of a Redis that holds nothing."""
    client: Redis = Redis.from_url(redis_url)
    yield client
    await client.aclose()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """An object store for the whole run; leave it running and thawed, and use a bucket of your own (`bucket`)."""
    server = _made(S3Server)
    server.start()
    yield server
    server.close()


@pytest.fixture
def bucket(s3_server: S3Server) -> str:
    """The name of a new bucket."""
    name = f"clips-{secrets.token_hex(6)}"
    s3_server.make_bucket(name)
    return name


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A running redis-server (AOF, every write synced) that the test may kill, freeze and start again."""
    server = _made(lambda: RedisServer(is_persistent=True))
    server.start()
    yield server
    server.close()


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[MariaDBServer]:
    """A mariadbd for the whole run, fast rather than durable; leave it running (else use `own_mariadb`)."""
    server = _made(MariaDBServer)
    server.start()
    yield server
    server.close()


@pytest.fixture(scope="session")
def mysql_server() -> NamedMySQL:
    """The MySQL that CLIPWATCH_MYSQL_URL names; without it the test is skipped, since no system package brings one."""
    if "CLIPWATCH_MYSQL_URL" not in os.environ:
        pytest.skip(MYSQL_MISSING)
    return NamedMySQL()


@pytest.fixture
def mariadb_url(mariadb_server: MariaDBServer) -> Iterator[str]:
    """The URL (mysql+aiomysql://…) of an empty MariaDB database, dropped after the test."""
    mariadb_server.start()
    database = mariadb_server.new_database()
    yield mariadb_server.url(database)
    mariadb_server.drop_database(database)


@pytest.fixture
def own_mariadb() -> Iterator[MariaDBServer]:
    """A running, durable mariadbd that the test may kill, freeze and start again."""
    server = _made(lambda: MariaDBServer(arguments=["--innodb-flush-log-at-trx-commit=1"]))
    server.start()
    yield server
    server.close()


@pytest.fixture
def broker() -> Iterator[MosquittoServer]:
    """A running MQTT broker (nothing persisted) that the test may kill, freeze and start again."""
    server = _made(MosquittoServer)
    server.start()
    yield server
    server.close()


@pytest.fixture
def closed_broker() -> Iterator[MosquittoServer]:
    """A running MQTT broker that refuses every login."""
    server = _made(partial(MosquittoServer, is_closed=True))
    server.start()
    yield server
    server.close()


@pytest.fixture(scope="session")
def start_prometheus() -> Iterator[Callable[[dict[str, int]], PrometheusServer]]:
    """Start a Prometheus that scrapes these ports of the loopback, by service."""
    servers: list[PrometheusServer] = []

    def start(targets: dict[str, int]) -> PrometheusServer:
        server = _made(lambda: PrometheusServer(targets))
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def rtsp_server() -> Iterator[Callable[..., RtspServer]]:
    """Start RTSP cameras: each call takes the arguments of tests/rtsp_server.py and gives a running server."""
    servers: list[RtspServer] = []

    def start(*arguments: str) -> RtspServer:
        server = _made(lambda: RtspServer(*arguments))
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def settable_clock(tmp_path: Path) -> SettableClock:
    """A wall clock for a process that is started with its `environment`."""
    return _made(lambda: SettableClock(tmp_path))


@pytest.fixture
def work_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of the test's own, which is also the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _made(make: Callable[[], _Server]) -> _Server:
    """Build a server; where its program is missing fail with one line, or skip if CLIPWATCH_TESTS_MAY_SKIP=1."""
    try:
        return make()
    except ServerError as exc:
        if os.environ.get("CLIPWATCH_TESTS_MAY_SKIP") == "1":
            pytest.skip(str(exc))
        pytest.fail(str(exc), pytrace=False)
