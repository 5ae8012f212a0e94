"""The site that is attacked."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.attack.site_rig import API_TOKEN, Site, running_site
from tests.servers import RedisServer


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer) -> Iterator[Site]:
    """Recorder and motion, with tokens."""
    redis_server.start()
    redis_server.clear()
    with running_site(tmp_path_factory.mktemp("site"), redis_server.url, API_TOKEN=API_TOKEN) as running:
        yield running
