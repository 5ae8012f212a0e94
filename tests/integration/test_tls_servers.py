"""Redis, MySQL and an object store by TLS: checked by the authorities that are named, and never without TLS."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from services.recorder.media.s3_access import S3Settings, parse_s3
from services.recorder.media.s3_store import BucketStore
from services.recorder.media.store import MediaAway
from services.recorder.record.engines import NO_TLS, make_engine
from shared.redis_client import make_redis
from tests.certificates import Certificate, make_certificate
from tests.integration.test_recorder_service import Recorder
from tests.servers import HOST, MariaDBServer, RedisServer, S3Server


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority that has signed no server."""
    return make_certificate(tmp_path_factory.mktemp("stranger")).chain


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A certificate for another host."""
    return make_certificate(tmp_path_factory.mktemp("elsewhere"), is_local=False)


@contextlib.contextmanager
def mariadb_with(certificate: Certificate) -> Iterator[MariaDBServer]:
    server = MariaDBServer([f"--ssl-cert={certificate.chain}", f"--ssl-key={certificate.key}"])
    server.start()
    try:
        yield server
    finally:
        server.close()


@pytest.fixture(scope="module")
def tls_mariadb(certificate: Certificate) -> Iterator[MariaDBServer]:
    with mariadb_with(certificate) as server:
        yield server


async def cipher(url: str) -> str:
    """Return by what a connection to MySQL is encrypted; '': by nothing."""
    engine = make_engine(url)
    try:
        async with engine.connect() as connection:
            return str((await connection.execute(text("SHOW STATUS LIKE 'Ssl_cipher'"))).one()[1])
    finally:
        await engine.dispose()


async def test_mysql_is_talked_to_by_tls_where_the_url_names_its_authority(
    tls_mariadb: MariaDBServer, certificate: Certificate
) -> None:
    url = tls_mariadb.url(tls_mariadb.new_database())
    assert await cipher(url) == ""
    assert await cipher(f"{url}?ssl_ca={certificate.chain}") != ""


async def test_a_mysql_of_another_authority_is_not_talked_to(
    tls_mariadb: MariaDBServer, stranger: Path
) -> None:
    with pytest.raises(OperationalError) as refused:
        await cipher(f"{tls_mariadb.url(tls_mariadb.new_database())}?ssl_ca={stranger}")
    assert isinstance(refused.value.orig and refused.value.orig.__cause__, ssl.SSLCertVerificationError)


async def test_a_mysql_with_the_certificate_of_another_host_is_not_talked_to(elsewhere: Certificate) -> None:
    with mariadb_with(elsewhere) as server, pytest.raises(OperationalError) as refused:
        await cipher(f"{server.url(server.new_database())}?ssl_ca={elsewhere.chain}")
    assert isinstance(refused.value.orig and refused.value.orig.__cause__, ssl.SSLCertVerificationError)


async def test_a_mysql_that_offers_no_tls_is_not_talked_to_without_it(
    mariadb_url: str, certificate: Certificate
) -> None:
    assert await cipher(mariadb_url) == ""
    with pytest.raises(OperationalError) as refused:
        await cipher(f"{mariadb_url}?ssl_ca={certificate.chain}")
    assert NO_TLS in str(refused.value)


@contextlib.asynccontextmanager
async def tls_relay(port: int, certificate: Certificate) -> AsyncIterator[int]:
    """Take TLS at a port of its own, and pass on what it holds to `port`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.chain, certificate.key)

    async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                target.write(data)
                await target.drain()
        target.close()

    async def relay(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        reader, writer = await asyncio.open_connection(HOST, port)
        await asyncio.gather(copy(source, writer), copy(reader, target))

    server = await asyncio.start_server(relay, HOST, 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def pings(url: str) -> bool:
    client: Redis = make_redis(url, socket_timeout=10)
    try:
        return bool(await client.ping())
    finally:
        await client.aclose()


async def test_redis_is_checked_by_the_authority_that_the_url_names(
    redis_server: RedisServer, certificate: Certificate, stranger: Path
) -> None:
    redis_server.start()
    async with tls_relay(redis_server.port, certificate) as port:
        assert await pings(f"rediss://{HOST}:{port}/0?ssl_ca_certs={certificate.chain}")
        for wrong in (f"?ssl_ca_certs={stranger}", ""):
            with pytest.raises(RedisConnectionError, match="certificate verify failed"):
                await pings(f"rediss://{HOST}:{port}/0{wrong}")


async def test_a_redis_with_the_certificate_of_another_host_is_not_talked_to(
    redis_server: RedisServer, elsewhere: Certificate
) -> None:
    redis_server.start()
    async with tls_relay(redis_server.port, elsewhere) as port:
        with pytest.raises(RedisConnectionError, match="certificate verify failed"):
            await pings(f"rediss://{HOST}:{port}/0?ssl_ca_certs={elsewhere.chain}")


def store_at(port: int, bucket: str, authorities: Path | None) -> BucketStore:
    keys = SecretStr(S3Server.key_id), SecretStr(S3Server.key)
    given = S3Settings(f"s3://{bucket}", f"https://{HOST}:{port}", "us-east-1", *keys, authorities)
    return BucketStore(parse_s3(given))


async def test_an_object_store_is_checked_by_the_authorities_that_are_named(
    s3_server: S3Server, bucket: str, tmp_path: Path, stranger: Path
) -> None:
    server = make_certificate(tmp_path, "store.example.org", is_authority=False)
    async with tls_relay(s3_server.port, server) as port:
        await store_at(port, bucket, server.chain).check()
        for wrong in (stranger, None):
            with pytest.raises(MediaAway, match="unknown authority; name that one in S3_CA_FILE"):
                await store_at(port, bucket, wrong).check()


@pytest.mark.parametrize(
    ("is_local", "is_authority", "wanted"),
    [(False, False, "is for another host; set S3_ENDPOINT_URL"), (True, True, "is an authority's own")],
)
async def test_a_certificate_that_an_object_store_cannot_use_is_told(
    s3_server: S3Server, bucket: str, tmp_path: Path, is_local: bool, is_authority: bool, wanted: str
) -> None:
    server = make_certificate(tmp_path, is_local=is_local, is_authority=is_authority)
    async with tls_relay(s3_server.port, server) as port:
        with pytest.raises(MediaAway, match=f"^its certificate {wanted}"):
            await store_at(port, bucket, server.chain).check()


async def test_a_recorder_is_ready_with_both_by_tls(
    redis_server: RedisServer, tls_mariadb: MariaDBServer, certificate: Certificate, tmp_path: Path
) -> None:
    redis_server.start()
    async with tls_relay(redis_server.port, certificate) as port:
        recorder = Recorder(
            tmp_path,
            f"rediss://{HOST}:{port}/0?ssl_ca_certs={certificate.chain}",
            f"{tls_mariadb.url(tls_mariadb.new_database())}?ssl_ca={certificate.chain}",
        )
        try:
            await asyncio.to_thread(recorder.start)
            assert await asyncio.to_thread(recorder.stop) == 0
        finally:
            recorder.kill()
