"""Redis with a replica and Sentinels: the master is killed under load, and every snippet is recorded once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from redis.exceptions import ConnectionError as RedisConnectionError

from shared.contract import SNIPPETS, SnippetMessage
from shared.errors import ConfigError
from shared.redis_client import make_redis, redis_address
from shared.runtime import connect_redis
from shared.settings import ServiceSettings
from shared.urls import SecretUrl
from tests.integration.failover_rig import WatchedRedis, kill_the_master, watched_redis
from tests.integration.pipeline_rig import SnippetShape, motion
from tests.integration.streams_rig import entries, until
from tests.servers import HOST, RedisServer, SentinelServer, free_port

pytestmark = [pytest.mark.redis, pytest.mark.e2e, pytest.mark.slow]

PASSWORD, SENTINELS_PASSWORD = "p@ss/word", "s&ntinel"


@pytest.fixture
def watched() -> Iterator[WatchedRedis]:
    with watched_redis() as made:
        yield made


async def test_the_master_is_killed_three_times_under_load_and_nothing_is_lost_or_doubled(
    watched: WatchedRedis, tmp_path: Path
) -> None:
    result = await kill_the_master(watched, tmp_path)
    assert len(result.back_s) == 3
    assert max(result.back_s) < 60  # bench/failover.py measures it
    assert result.n_put > 60
    assert (result.n_lost, result.n_doubled, result.n_dead) == (0, 0, 0)
    assert result.n_clips == result.n_put


async def test_what_the_replica_did_not_get_is_sent_again(watched: WatchedRedis, tmp_path: Path) -> None:
    async with motion(tmp_path, watched.url, SnippetShape()) as source:
        await asyncio.to_thread(watched.cut_off_the_replica)
        put = {await source.put(number) for number in range(5)}
        await until(lambda: source.outbox.n_kept == 5)  # the master has acknowledged them
        await asyncio.to_thread(watched.master().kill)
        await until(lambda: source.n_sent_again == 5)
        await until(lambda: source.outbox.n_kept == 5)
        sent = [SnippetMessage.decode(fields) for fields in await entries(source.redis, SNIPPETS)]
    assert {message.header.event_id for message in sent} == put
    assert len(sent) == 5


@pytest.fixture
def guarded() -> Iterator[SentinelServer]:
    """A Sentinel with a password, of a master with another one."""
    server = RedisServer(password=PASSWORD)
    sentinel = SentinelServer(server.port, quorum=1, password=SENTINELS_PASSWORD, master_password=PASSWORD)
    server.start()
    sentinel.start()
    yield sentinel
    sentinel.close()
    server.close()


async def test_sentinel_and_redis_have_passwords_of_their_own(guarded: SentinelServer) -> None:
    settings = ServiceSettings(
        redis_url=SecretUrl(f"redis+sentinel://{HOST}:{guarded.port}/mymaster"),
        redis_password=SecretStr(PASSWORD),
        redis_sentinel_password=SecretStr(SENTINELS_PASSWORD),
    )
    redis = await connect_redis(settings, asyncio.Event())
    assert await redis.set("a", "1")
    await redis.aclose()


async def test_a_sentinel_that_is_away_is_passed_over(guarded: SentinelServer) -> None:
    url = f"redis+sentinel://{HOST}:{free_port()},{HOST}:{guarded.port}/mymaster"
    redis = make_redis(redis_address(url, PASSWORD, SENTINELS_PASSWORD))
    assert await redis.ping()
    await redis.aclose()


async def test_without_a_master_redis_is_away(guarded: SentinelServer) -> None:
    url = f"redis+sentinel://{HOST}:{guarded.port}/other"
    redis = make_redis(redis_address(url, PASSWORD, SENTINELS_PASSWORD))
    with pytest.raises(RedisConnectionError, match=r"none of the Sentinels names a master 'other'$"):
        await redis.ping()
    await redis.aclose()


async def test_a_wrong_password_of_the_sentinels_is_told_at_once(guarded: SentinelServer) -> None:
    settings = ServiceSettings(
        redis_url=SecretUrl(f"redis+sentinel://{HOST}:{guarded.port}/mymaster"),
        redis_password=SecretStr(PASSWORD),
        redis_sentinel_password=SecretStr("wr'ong"),
    )
    with pytest.raises(ConfigError) as caught:
        await asyncio.wait_for(connect_redis(settings, asyncio.Event()), 60)
    said = str(caught.value)
    assert (
        f"REDIS_URL=redis+sentinel://{HOST}:{guarded.port}/mymaster: refused: the Sentinels refuse the password"
        in said
    )
    assert "wr" not in said.replace("wrong password", "")
    url = f"redis+sentinel://{HOST}:{guarded.port},{HOST}:{free_port()}/mymaster"
    redis = make_redis(redis_address(url, PASSWORD, "wrong"))
    with pytest.raises(RedisConnectionError, match="1 of them refuse the password"):
        await redis.ping()
    await redis.aclose()
