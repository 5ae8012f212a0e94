"""The test servers themselves: they answer, survive what tests do to them, and leave nothing behind."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import redis.exceptions

from tests.servers import MariaDBServer, RedisServer


def test_redis_keeps_its_port_and_its_data_over_a_kill(own_redis: RedisServer) -> None:
    port = own_redis.port
    with contextlib.closing(own_redis.client()) as client:
        client.set("key", "value")
    own_redis.restart()
    assert own_redis.port == port
    with contextlib.closing(own_redis.client()) as client:
        assert client.get("key") == b"value"


def test_each_test_gets_an_empty_redis(redis_server: RedisServer, redis_url: str) -> None:
    with contextlib.closing(redis_server.client()) as client:
        assert client.dbsize() == 0


def test_a_frozen_redis_does_not_answer_until_it_is_thawed(own_redis: RedisServer) -> None:
    own_redis.freeze()
    with contextlib.closing(redis.Redis.from_url(own_redis.url, socket_timeout=0.1, retry=None)) as client:
        with pytest.raises(redis.exceptions.TimeoutError):
            client.ping()
        own_redis.thaw()
    with contextlib.closing(own_redis.client()) as client:
        assert client.ping()


def test_a_frozen_server_is_closed_at_once_and_its_folder_is_gone() -> None:
    server = RedisServer()
    server.start()
    server.freeze()
    server.close()
    assert not server.is_running
    assert not Path(server.folder).exists()


@pytest.mark.mariadb
def test_mariadb_gives_an_empty_database_in_utc(mariadb_server: MariaDBServer, mariadb_url: str) -> None:
    database = mariadb_url.rpartition("/")[2]
    with contextlib.closing(mariadb_server.connect(database)) as connection, connection.cursor() as cursor:
        cursor.execute("SHOW TABLES")
        assert cursor.fetchall() == ()
        cursor.execute("SELECT @@time_zone, @@character_set_database")
        assert cursor.fetchone() == ("+00:00", "utf8mb4")


@pytest.mark.mariadb
def test_mariadb_keeps_committed_rows_over_a_kill(own_mariadb: MariaDBServer) -> None:
    database = own_mariadb.new_database()
    with contextlib.closing(own_mariadb.connect(database)) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE t (n INT)")
        cursor.execute("INSERT INTO t VALUES (1)")
    own_mariadb.restart()
    with contextlib.closing(own_mariadb.connect(database)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT n FROM t")
        assert cursor.fetchall() == ((1,),)
