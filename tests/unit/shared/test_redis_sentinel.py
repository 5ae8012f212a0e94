"""What a REDIS_URL of Sentinels says, and what is wrong with it."""

from __future__ import annotations

import pytest

from shared.errors import ConfigError
from shared.redis_client import make_redis, redis_address, redis_faults
from shared.redis_sentinel import SentinelAddress, read_sentinel_url


def test_hosts_name_database_and_logins_are_read() -> None:
    url = "redis+sentinel://motion:p%40w@one:26380,two,[2001:db8::1]:26381,[::1]/main.1/2?sentinel_password=s%26t"
    assert redis_faults(url) == []
    hosts = (("one", 26380), ("two", 26379), ("2001:db8::1", 26381), ("::1", 26379))
    assert read_sentinel_url(url) == SentinelAddress(
        hosts, "main.1", 2, False, "motion", "p@w", {"sentinel_password": "s&t"}
    )


def test_the_passwords_of_the_settings_are_put_in_where_the_url_has_none() -> None:
    url = redis_address("redis+sentinel://motion@one,two/main", "p@w", "s&t")
    assert url == "redis+sentinel://motion:p%40w@one,two/main?sentinel_password=s%26t"
    assert redis_address(url, "other", "another") == url
    assert redis_address("redis://one/0", "", "s&t") == "redis://one/0"


def test_rediss_speaks_tls_with_sentinels_and_redis() -> None:
    pool = make_redis("rediss+sentinel://one/main?ssl_ca_certs=/ca.pem", socket_timeout=10).connection_pool
    (sentinel,) = pool.sentinel_manager.sentinels  # type: ignore[attr-defined]  # of a pool of Sentinels
    for connections in (pool, sentinel.connection_pool):
        connection = connections.make_connection()
        assert connection.ssl_context.ca_certs == "/ca.pem"
    assert pool.connection_kwargs["socket_timeout"] == 10


def test_all_faults_are_told_at_once_and_none_shows_a_password() -> None:
    faults = redis_faults("redis+sentinel://u:hunter22@one:port,,two/ma in/x?db=1&sentinel_password=")
    assert len(faults) == 5
    text = "\n".join(faults)
    assert "hunter22" not in text
    for part in (
        "port is no number",
        "names no host",
        "names no master",
        "the database behind the master's name is no number",
        "an option behind the ? is not known, or has no value, wanted one of sentinel_password, ssl_ca_certs",
    ):
        assert part in text


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://one",
        "redis+sentinel://u:hunter/22@one/main",
        "redis+sentinel://u:hunter#22@one/main",
        "redis+sentinel://u:hunter?22@one/main",
        "redis+sentinel://u:pw@one/m m?sentinel_pasword=hunter22",
        "redis+sentinel://u@one:99999/main?sentinel_password=s3cr'hunter",
        "redis+sentinel://u@one:99999/main?sentinel_password=abcd@hunter",
        "redis+sentinel://u:hunter@one/main?ssl_ca_certs=/ca.pem",
    ],
)
def test_what_cannot_be_used_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_redis(url)
    assert "REDIS_URL=redis+sentinel://***" in str(caught.value)
    assert "hunter" not in str(caught.value)
