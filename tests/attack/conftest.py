"""The site that is attacked, and what `make test-attack` says at its end.

    allowed.py, visitors.py    who may use which route, and everybody who may come; test_every_route.py asks
    test_schemas.py            requests made from both OpenAPI documents: no 5xx, no answer that is not as documented
    fuzz.py, test_fuzz.py      requests, uploads and stream messages of noise: no crash, no long answer, no memory
    test_slow_clients.py       clients that say little, or nothing
    test_held_loops.py         no input of any length holds a service for 50 ms
    planted_site.py, test_planted_secrets.py    odd passwords in every place; found nowhere else (only at length)
    bombs.py, picture_reader.py and the rest    what cameras, playlists, redirects and offers may hide

`make test` has a short version of nearly all; what is marked LONG runs in `make test-attack` only.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.attack.site_rig import API_TOKEN, Site, running_site
from tests.servers import RedisServer


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was tried: what tests gave to `record_property`."""
    for report in (*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")):
        if report.user_properties:
            said = ", ".join(f"{name} {value}" for name, value in report.user_properties)
            terminalreporter.write_line(f"{report.nodeid.rpartition('/')[2]}: {said}")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer) -> Iterator[Site]:
    """Recorder and motion, with tokens."""
    redis_server.start()
    redis_server.clear()
    with running_site(tmp_path_factory.mktemp("site"), redis_server.url, API_TOKEN=API_TOKEN) as running:
        yield running
