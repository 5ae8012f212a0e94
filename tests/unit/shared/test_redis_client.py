"""Clients of the Redis that REDIS_URL names: each kind of address takes the options of the services."""

from __future__ import annotations

import pytest

from shared.redis_client import make_redis, redis_faults

OPTIONS = {"socket_timeout": 10, "socket_connect_timeout": 3, "socket_keepalive": True}  # of the services


@pytest.mark.parametrize(
    "url",
    [
        "redis://:p%40w@localhost:6379/0",
        "rediss://motion:pw@localhost/0",
        "unix://:pw@/run/a%20b/redis.sock",
        "unix://motion:pw@/run/redis.sock?db=0",
    ],
)
def test_every_kind_of_address_takes_the_services_options(url: str) -> None:
    assert redis_faults(url) == []
    pool = make_redis(url, **OPTIONS).connection_pool
    connection = pool.make_connection()  # type: ignore[no-untyped-call]  # redis-py leaves it bare
    assert connection.socket_timeout == 10
    assert connection.password in ("pw", "p@w")
