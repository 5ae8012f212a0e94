"""Clients of the Redis that REDIS_URL names: each kind of address takes the options of the services."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.redis_client import make_redis, redis_faults
from tests.certificates import make_certificate

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


@pytest.mark.parametrize("address", ["rediss://m@localhost/0", "rediss+sentinel://m@one,two/main"])
def test_an_authority_for_tls_is_a_file_with_certificates(address: str, tmp_path: Path) -> None:
    made = make_certificate(tmp_path)
    assert redis_faults(f"{address}?ssl_ca_certs={made.chain}") == []
    [fault] = redis_faults(f"{address}?ssl_ca_certs={tmp_path}/none.pem")
    assert f"ssl_ca_certs={tmp_path}/none.pem cannot be read: No such file" in fault
    [fault] = redis_faults(f"{address}?ssl_ca_certs={made.key}")
    assert f"ssl_ca_certs={made.key} holds no certificate; name a PEM file" in fault


@pytest.mark.parametrize("option", ["ssl_cert_reqs=none", "ssl_check_hostname=false", "ssl_cert_reqs"])
def test_a_server_that_is_not_checked_is_refused(option: str) -> None:
    (fault,) = redis_faults(f"rediss://:geheim@redis.example:6379/0?{option}")
    assert "wanted a server that is checked; leave it out" in fault
    assert "geheim" not in fault
