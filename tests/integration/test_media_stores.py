"""The stores of clips, a folder and a bucket of a real S3: what is kept is whole, served, removed, and waited for."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from redis.asyncio import Redis
from sqlalchemy import select

from services.recorder.http.api import add_routes
from services.recorder.http.rules import PATTERNS, RULES
from services.recorder.http.state import ApiState
from services.recorder.intake.intake import Intake
from services.recorder.media import s3_store as s3_store_module
from services.recorder.media.folder_store import THREADS, FolderStore
from services.recorder.media.s3_access import S3Access
from services.recorder.media.s3_store import FRESH_S, PROBES, BucketStore
from services.recorder.media.store import (
    PIECE_BYTES,
    MediaAway,
    MediaFile,
    MediaGone,
    MediaRefused,
    MediaStore,
)
from services.recorder.metrics import RecorderMetrics
from services.recorder.record import orphan_media as orphan_module
from services.recorder.record.bootstrap import open_database
from services.recorder.record.database import Database
from services.recorder.record.orphan_media import KEPT_S, OrphanMedia
from services.recorder.record.retention import Retention, RetentionLimits, remove_events
from services.recorder.record.schema import events, snippets
from shared.clock import now_utc
from shared.contract import LABELS, MEDIA
from shared.http_access import TokenAuthenticator
from shared.http_api import make_app
from shared.streams.outcomes import Delivery, Done, Retry
from tests.http_apps import client_of, guarded
from tests.servers import HOST, S3Server, free_port
from tests.unit.recorder.messages import CLIP, THUMBNAIL, Said, append, labels_message, media_message

BIG = CLIP * 300  # 3 MB: three pieces
KEY = Said().media_key
CLIP_NAME, THUMBNAIL_NAME = f"2026/05/04/{KEY}.mp4", f"2026/05/04/{KEY}.jpg"


def access_of(url: str, bucket: str, prefix: str = "site/one") -> S3Access:
    keys = SecretStr(S3Server.key_id), SecretStr(S3Server.key)
    return S3Access(bucket, prefix, url, "us-east-1", *keys)


@pytest.fixture
def bucket_store(s3_server: S3Server, bucket: str) -> BucketStore:
    return BucketStore(access_of(s3_server.url, bucket))


@pytest.fixture(params=["folder", "bucket"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> MediaStore:
    if request.param == "bucket":
        made: BucketStore = request.getfixturevalue("bucket_store")
        return made
    folder = FolderStore.at(tmp_path / "media")
    await folder.prepare()
    return folder


@pytest.fixture
async def database(sqlite_record: str) -> AsyncIterator[Database]:
    database = await open_database(sqlite_record, asyncio.Event(), 30, 30)
    yield database
    await database.close()


@dataclass
class Seconds:
    """A clock that is set by hand."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


async def keep(store: MediaStore, said: Said, clip: bytes = CLIP) -> None:
    staged = await store.stage(media_message(said, clip))
    await staged.publish()
    await staged.discard()


async def content(store: MediaStore, name: str) -> bytes | None:
    found = await store.find(name)
    if found is None:
        return None
    return b"".join([piece async for piece in store.read(found, 0, found.n_bytes)])


# -- both stores


async def test_clip_and_thumbnail_are_kept_under_the_day_of_the_clip(store: MediaStore) -> None:
    staged = await store.stage(media_message(Said(), BIG))
    assert not staged.was_there
    await staged.publish()
    await staged.discard()
    assert (staged.kept.clip_name, staged.kept.thumbnail_name) == (CLIP_NAME, THUMBNAIL_NAME)
    assert staged.kept.clip_bytes == len(BIG)
    assert await content(store, CLIP_NAME) == BIG
    assert await content(store, THUMBNAIL_NAME) == THUMBNAIL
    found = await store.find(CLIP_NAME)
    assert found is not None
    assert (found.media_type, found.n_bytes) == ("video/mp4", len(BIG))


async def test_a_file_that_was_there_is_told_and_a_torn_one_is_whole_again(store: MediaStore) -> None:
    await keep(store, Said(), b"torn")
    staged = await store.stage(media_message(Said()))
    assert staged.was_there
    assert await content(store, CLIP_NAME) == b"torn"  # until the database was asked whose it is
    await staged.publish()
    await staged.discard()
    assert await content(store, CLIP_NAME) == CLIP


async def test_only_names_of_kept_files_are_found(store: MediaStore) -> None:
    await keep(store, Said())
    for wrong in ("secret.mp4", f"../x/{CLIP_NAME}", CLIP_NAME + "\n", f"{CLIP_NAME}/..", "", ".probe/x"):
        assert await store.find(wrong) is None
    assert await store.find(CLIP_NAME.replace("/04/", "/05/")) is None


async def test_what_is_removed_is_gone_and_may_be_removed_again(store: MediaStore) -> None:
    await keep(store, Said())
    for _ in range(2):
        await store.remove([CLIP_NAME, THUMBNAIL_NAME])
        assert await store.find(CLIP_NAME) is None
        assert await store.find(THUMBNAIL_NAME) is None


async def test_a_check_leaves_nothing(store: MediaStore) -> None:
    await store.check()
    assert await store.has_room(1)
    if isinstance(store, BucketStore):
        assert [one async for page in store.objects() for one in page] == []
    else:
        assert isinstance(store, FolderStore)
        assert [path for path in store.folder.root.rglob("*") if path.is_file()] == []


async def test_a_file_that_goes_once_it_was_found_is_told_as_gone(store: MediaStore) -> None:
    await keep(store, Said(), BIG)
    found = await store.find(CLIP_NAME)
    assert found is not None
    pieces = store.read(found, 0, found.n_bytes)
    await store.remove([CLIP_NAME])
    with pytest.raises(MediaGone):
        await anext(pieces)


RANGES = [
    (None, 200, BIG, None),
    ("bytes=0-9", 206, BIG[:10], f"bytes 0-9/{len(BIG)}"),
    ("bytes=100-", 206, BIG[100:], f"bytes 100-{len(BIG) - 1}/{len(BIG)}"),
    ("bytes=-5", 206, BIG[-5:], f"bytes {len(BIG) - 5}-{len(BIG) - 1}/{len(BIG)}"),
    (
        f"bytes={PIECE_BYTES - 1}-{PIECE_BYTES}",
        206,
        BIG[PIECE_BYTES - 1 : PIECE_BYTES + 1],
        f"bytes {PIECE_BYTES - 1}-{PIECE_BYTES}/{len(BIG)}",
    ),
    (f"bytes=9-{10**9}", 206, BIG[9:], f"bytes 9-{len(BIG) - 1}/{len(BIG)}"),
    (f"bytes={len(BIG)}-", 416, b"", f"bytes */{len(BIG)}"),
]


async def test_clips_are_served_with_ranges_and_known_versions(store: MediaStore, database: Database) -> None:
    await keep(store, Said(), BIG)
    app, api = make_app("recorder"), ApiState(lambda: True, database, store)
    add_routes(app, api)
    async with client_of(guarded(app, RULES, PATTERNS, TokenAuthenticator())) as http:
        etag = (await http.head(f"/media/{CLIP_NAME}")).headers["etag"]
        for wanted, status, body, content_range in RANGES:
            answer = await http.get(f"/media/{CLIP_NAME}", headers={"range": wanted} if wanted else {})
            assert (answer.status_code, answer.content) == (status, body), wanted
            assert answer.headers.get("content-range") == content_range
            if status != 416:
                assert answer.headers["content-length"] == str(len(body))
                assert answer.headers["content-type"] == "video/mp4"
                assert answer.headers["accept-ranges"] == "bytes"
                assert answer.headers["cache-control"] == "private, no-cache"
                assert answer.headers["etag"] == etag
        head = await http.head(f"/media/{CLIP_NAME}")
        assert (head.status_code, head.headers["content-length"]) == (200, str(len(BIG)))
        known = await http.get(f"/media/{CLIP_NAME}", headers={"if-none-match": etag})
        assert (known.status_code, known.content) == (304, b"")
        for if_range, status in ((etag, 206), ('"another"', 200), (head.headers["last-modified"], 206)):
            headers = {"range": "bytes=0-0", "if-range": if_range}
            assert (await http.get(f"/media/{CLIP_NAME}", headers=headers)).status_code == status
        assert (await http.get(f"/media/{THUMBNAIL_NAME}")).headers["content-type"] == "image/jpeg"
        assert (await http.get(f"/media/{CLIP_NAME.replace('/04/', '/05/')}")).status_code == 404


async def test_retention_removes_rows_and_files(
    store: MediaStore, database: Database, redis_client: Redis
) -> None:
    intake = intake_of(redis_client, database, store)
    for event in range(3):
        [outcome] = await intake.handle([await delivery(redis_client, Said(event=event, is_last=True))])
        assert isinstance(outcome, Done)
    old = now_utc() + timedelta(days=31)
    metrics = RecorderMetrics(CollectorRegistry())
    retention = Retention(database, store, metrics, RetentionLimits(days=30), lambda: old, hold_s=0)
    async with database.writing() as connection:  # killed before the files of this one went
        assert (await remove_events(connection, events.c.id == Said(event=0).event_id, old))[0] == 1
    assert await store.find(CLIP_NAME) is not None
    await retention.make_pass(asyncio.Event(), lambda: None)
    for event in range(3):
        assert await store.find(f"2026/05/04/{Said(event=event).media_key}.mp4") is None
    assert await named(database) == []


# -- the bucket alone: how it is away


@contextlib.contextmanager
def refusing(
    status: int, code: str, only: str = "", ending: str = "", asked: list[str] | None = None
) -> Iterator[str]:
    """Serve an object store that answers requests with a fault; gives its URL, and notes in `asked` what was asked.

    `only` this method, and only for names with this `ending`; else it answers as if it worked and had probes alone.
    """

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            if asked is not None:
                asked.append(f"{self.command} {self.path}")
            is_refused = (not only or self.command == only) and self.path.endswith(ending)
            body = f"<Error><Code>{code}</Code></Error>".encode() if is_refused else b""
            is_missing = self.command == "HEAD" and PROBES not in self.path
            self.send_response(status if is_refused else 404 if is_missing else 200)
            self.send_header("content-length", "0" if self.command == "HEAD" else str(len(body)))
            self.send_header("last-modified", "Mon, 04 May 2026 10:00:00 GMT")
            self.send_header("etag", '"x"')
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_PUT = do_HEAD = do_DELETE = _answer  # noqa: N815  # the standard library's names

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer((HOST, 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://{HOST}:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def intake_of(redis: Redis, database: Database, store: MediaStore) -> Intake:
    metrics = RecorderMetrics(CollectorRegistry())
    return Intake(redis, database, store, metrics, asyncio.Event(), lambda: None, lambda _: None)


async def delivery(redis: Redis, said: Said) -> Delivery:
    media_id = await append(redis, MEDIA, media_message(said).encode())
    return Delivery(LABELS, "1-1", labels_message(said, media_id).encode(), 1)


async def named(database: Database) -> list[str | None]:
    async with database.reading() as connection:
        return list((await connection.scalars(select(snippets.c.clip_name))).all())


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (503, "SlowDown", "SlowDown, 503"),
        (500, "InternalError", "InternalError, 500"),
        (403, "AccessDenied", "let the user of S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY write, read"),
        (403, "SignatureDoesNotMatch", "correct S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY"),
        (404, "NoSuchBucket", "make the bucket, or correct MEDIA_URL"),
    ],
)
async def test_a_store_that_refuses_is_told_and_the_clip_waits_in_the_queue(
    database: Database,
    redis_client: Redis,
    s3_server: S3Server,
    bucket: str,
    status: int,
    code: str,
    said: str,
) -> None:
    with refusing(status, code) as url:
        store = BucketStore(access_of(url, bucket))
        with pytest.raises(MediaAway, match=said):
            await store.check()
        assert not await store.has_room(1)
        intake = intake_of(redis_client, database, BucketStore(access_of(url, bucket)))
        taken = await delivery(redis_client, Said())
        [outcome] = await intake.handle([taken])
    assert isinstance(outcome, Retry)
    assert not outcome.is_charged
    assert S3Server.key not in outcome.reason
    assert await named(database) == [None]  # the event is recorded meanwhile
    assert intake.waiting.count() == 1
    assert await redis_client.xlen(MEDIA) == 1
    intake.media = BucketStore(access_of(s3_server.url, bucket))  # it is back
    [outcome] = await intake.handle([replace(taken, attempts=2)])
    assert isinstance(outcome, Done)
    assert await named(database) == [CLIP_NAME]
    assert s3_server.get(bucket, f"site/one/{CLIP_NAME}") == CLIP


async def test_what_is_too_large_for_the_store_is_refused_for_good(bucket: str) -> None:
    with refusing(413, "EntityTooLarge", only="PUT") as url:
        with pytest.raises(MediaRefused) as refused:
            await BucketStore(access_of(url, bucket)).stage(media_message(Said()))
        assert refused.value.is_lasting


async def test_a_clip_is_kept_when_the_store_refuses_its_thumbnail_for_good(bucket: str) -> None:
    with refusing(413, "EntityTooLarge", only="PUT", ending=".jpg") as url:
        staged = await BucketStore(access_of(url, bucket)).stage(media_message(Said()))
        assert (staged.kept.clip_name, staged.kept.thumbnail_name) == (CLIP_NAME, None)
        await staged.publish()  # nor is it tried again
    with refusing(503, "SlowDown", only="PUT", ending=".jpg") as url:
        with pytest.raises(MediaRefused) as refused:  # that may pass
            await BucketStore(access_of(url, bucket)).stage(media_message(Said()))
        assert not refused.value.is_lasting


async def test_what_is_not_there_counts_as_removed_only_by_a_store_that_works(bucket: str) -> None:
    with refusing(404, "") as url, pytest.raises(MediaAway):  # a proxy's answer, or the bucket is gone
        await BucketStore(access_of(url, bucket)).remove([CLIP_NAME])
    asked: list[str] = []
    with refusing(404, "", only="DELETE", ending=".mp4", asked=asked) as url:
        await BucketStore(access_of(url, bucket)).remove([CLIP_NAME])
    assert len(asked) == 4  # the removal, and a check's three
    with refusing(404, "NoSuchKey", only="DELETE", asked=asked) as url:
        await BucketStore(access_of(url, bucket)).remove([CLIP_NAME])
    assert len(asked) == 5


async def test_a_check_that_fails_half_way_removes_its_object(bucket: str) -> None:
    asked: list[str] = []
    with refusing(403, "AccessDenied", only="HEAD", asked=asked) as url:
        store = BucketStore(access_of(url, bucket))
        with pytest.raises(MediaAway):
            await store.check()
    assert PROBES in asked[0]
    assert asked[-1] == asked[0].replace("PUT", "DELETE", 1)


@contextlib.asynccontextmanager
async def cutting(answer: str) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Serve an endpoint that cuts each connection, or hangs; gives its URL and the first bytes of each request."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.read(20))
        if answer == "hangs":
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(60)
        writer.transport.abort()

    server = await asyncio.start_server(serve, HOST, 0)
    try:
        yield f"http://{HOST}:{server.sockets[0].getsockname()[1]}", asked
    finally:
        server.close()


async def test_a_connection_that_is_cut_may_pass_whatever_stands_in_names() -> None:
    said = media_message(Said())
    said = replace(said, header=said.header.model_copy(update={"media_key": "a413" * 8}))
    async with cutting("cuts") as (url, _):
        store = BucketStore(access_of(url, "cam413"))
        fault = await store._put(f"2026/05/04/{'a413' * 8}.mp4", CLIP, 30)
        assert isinstance(fault, MediaRefused)
        assert not fault.is_lasting
        with pytest.raises(MediaRefused) as refused:
            await store.stage(said)
    for text in (str(fault).partition(": ")[2], str(refused.value)):
        assert "the connection was cut" in text
        assert not [secret for secret in ("cam413", url, "a413") if secret in text]


async def test_a_removal_ends_with_the_first_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_store_module, "READ_S", 0.5)
    async with cutting("hangs") as (url, asked):
        with pytest.raises(MediaAway, match="no answer"):
            await BucketStore(access_of(url, "clips")).remove(
                [f"2026/05/04/{n:032x}.mp4" for n in range(500)]
            )
    assert 1 <= len(asked) <= s3_store_module.AT_ONCE


async def test_few_objects_are_put_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or all of a batch would share a narrow uplink, and run out of time together."""
    async with cutting("hangs") as (url, asked):
        store = BucketStore(access_of(url, "clips"))
        names = [f"2026/05/04/{n:032x}.mp4" for n in range(16)]
        putting = [asyncio.create_task(store._put(name, CLIP, 60)) for name in names]
        async with asyncio.timeout(60):
            while len(asked) < s3_store_module.PUTS_AT_ONCE:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)
        assert len(asked) == s3_store_module.PUTS_AT_ONCE
        for one in putting:
            one.cancel()
        await asyncio.wait(putting)


async def test_a_store_that_is_away_is_not_asked_for_each_clip(bucket: str) -> None:
    seconds = Seconds()
    store = BucketStore(access_of(f"http://{HOST}:{free_port()}", bucket), seconds)
    with pytest.raises(MediaRefused, match="cannot be reached") as refused:
        await store.stage(media_message(Said()))
    assert not refused.value.is_lasting
    with refusing(503, "SlowDown") as url:
        store.access = access_of(url, bucket)
        store.__post_init__()
        with pytest.raises(MediaRefused, match="cannot be reached"):  # as it was: nothing was asked
            await store.stage(media_message(Said()))
        seconds.now += 60
        with pytest.raises(MediaRefused, match="503"):
            await store.stage(media_message(Said()))


async def test_a_store_that_hangs_fails_its_check_in_time_and_recovers(bucket: str) -> None:
    server = S3Server()
    server.start()
    try:
        server.make_bucket(bucket)
        store = BucketStore(access_of(server.url, bucket))
        await store.check()
        store._worked_at = float("-inf")  # a minute later
        server.freeze()
        with pytest.raises(MediaAway, match="no answer"):
            await store.check()
        with pytest.raises(MediaRefused, match="no answer"):  # at once
            await store.stage(media_message(Said()))
        server.thaw()
        await store.check()
        await keep(store, Said())
        assert await content(store, CLIP_NAME) == CLIP
    finally:
        server.close()


async def test_a_store_that_is_away_is_no_missing_file_to_browsers(database: Database, bucket: str) -> None:
    with refusing(503, "SlowDown") as url:
        api = ApiState(lambda: True, database, BucketStore(access_of(url, bucket)))
        app = make_app("recorder")
        add_routes(app, api)
        async with client_of(guarded(app, RULES, PATTERNS, TokenAuthenticator())) as http:
            answer = await http.get(f"/media/{CLIP_NAME}")
    assert answer.status_code == 503
    assert f"bucket {bucket}: " in answer.json()["error"]["found"]


class RemovingStore(BucketStore):
    """Whatever is found in it is removed before it can be read."""

    async def find(self, name: str) -> MediaFile | None:
        found = await BucketStore.find(self, name)
        await self.remove([name])
        return found


async def test_a_clip_that_goes_while_it_is_asked_for_is_missing(
    database: Database, s3_server: S3Server, bucket: str
) -> None:
    store = RemovingStore(access_of(s3_server.url, bucket))
    await keep(store, Said())
    app = make_app("recorder")
    add_routes(app, ApiState(lambda: True, database, store))
    async with client_of(guarded(app, RULES, PATTERNS, TokenAuthenticator())) as http:
        assert (await http.get(f"/media/{CLIP_NAME}")).status_code == 404


# -- the folder alone: its disk hangs


async def test_who_looks_does_not_wait_for_writes_that_hang(tmp_path: Path) -> None:
    store = FolderStore.at(tmp_path / "media")
    await store.prepare()
    await keep(store, Said())
    gate = threading.Event()
    hanging = [asyncio.create_task(store.threads.run(gate.wait)) for _ in range(THREADS)]
    try:
        async with asyncio.timeout(60):
            assert await content(store, CLIP_NAME) == CLIP
            assert await store.space() is not None
        assert not any(task.done() for task in hanging)
    finally:
        gate.set()
        await asyncio.gather(*hanging)


# -- the bucket alone: what belongs to no row


async def hours_later(store: BucketStore, monkeypatch: pytest.MonkeyPatch, hours: float) -> None:
    now = await store.now() + timedelta(hours=hours)

    async def later(_: BucketStore) -> object:
        return now

    monkeypatch.setattr(BucketStore, "now", later)


async def test_clips_of_another_record_stay(
    database: Database,
    bucket_store: BucketStore,
    s3_server: S3Server,
    bucket: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As with an older database, or two records under one prefix: many objects that no row names."""
    monkeypatch.setattr(orphan_module, "MOST", 3)
    for event in range(2):
        await bucket_store.stage(media_message(Said(event=event)))
    await hours_later(bucket_store, monkeypatch, 25)
    orphans = OrphanMedia(bucket_store, database)
    assert await orphans.make_pass(asyncio.Event(), lambda: None) == 0
    assert len(s3_server.names(bucket)) == 4
    monkeypatch.setattr(orphan_module, "MOST", 4)
    assert await orphans.make_pass(asyncio.Event(), lambda: None) == 4


async def test_objects_that_no_row_names_go_after_a_day_and_others_stay(
    database: Database,
    bucket_store: BucketStore,
    s3_server: S3Server,
    bucket: str,
    redis_client: Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    [outcome] = await intake_of(redis_client, database, bucket_store).handle(
        [await delivery(redis_client, Said(event=1))]
    )
    assert isinstance(outcome, Done)
    await bucket_store.stage(media_message(Said(event=2)))  # killed here
    s3_server.put(bucket, f"site/one/{PROBES}of-a-killed-one", b"x")
    s3_server.put(bucket, "site/one/somebody-elses.txt", b"x")
    s3_server.put(bucket, f"site/two/{CLIP_NAME}", b"x")
    n_before = len(s3_server.names(bucket))
    stop = asyncio.Event()
    assert await OrphanMedia(bucket_store, database, kept_s=KEPT_S).make_pass(stop, lambda: None) == 0
    assert len(s3_server.names(bucket)) == n_before == 7
    await hours_later(bucket_store, monkeypatch, 25)
    assert await OrphanMedia(bucket_store, database).make_pass(stop, lambda: None) == 3
    mine = f"site/one/2026/05/04/{Said(event=1).media_key}"
    assert s3_server.names(bucket) == sorted(
        (f"{mine}.jpg", f"{mine}.mp4", "site/one/somebody-elses.txt", f"site/two/{CLIP_NAME}")
    )


async def test_what_comes_again_after_a_kill_is_named_once_and_is_young_again(
    database: Database, bucket_store: BucketStore, s3_server: S3Server, bucket: str, redis_client: Redis
) -> None:
    await bucket_store.stage(media_message(Said()))  # killed between upload and row
    before = await bucket_store.head(CLIP_NAME)
    assert before is not None
    taken = await delivery(redis_client, Said())
    await asyncio.sleep(1.1)  # the store's times are whole seconds
    [outcome] = await intake_of(redis_client, database, bucket_store).handle([replace(taken, attempts=2)])
    assert isinstance(outcome, Done)
    assert await named(database) == [CLIP_NAME]
    assert s3_server.names(bucket) == [f"site/one/{THUMBNAIL_NAME}", f"site/one/{CLIP_NAME}"]
    after = await bucket_store.head(CLIP_NAME)
    assert after is not None
    assert after.modified_at > before.modified_at


async def test_a_clip_whose_row_waited_long_is_put_again_before_the_row_names_it(
    s3_server: S3Server, bucket: str
) -> None:
    seconds = Seconds()
    store = BucketStore(access_of(s3_server.url, bucket), seconds)
    staged = await store.stage(media_message(Said()))
    await store.remove([CLIP_NAME, THUMBNAIL_NAME])  # as orphans
    await staged.publish()
    assert s3_server.names(bucket) == []  # a moment later nothing is done
    seconds.now += FRESH_S + 1
    await staged.publish()
    assert await content(store, CLIP_NAME) == CLIP


async def test_another_snippets_clip_is_never_written_over(
    database: Database, store: MediaStore, redis_client: Redis
) -> None:
    @dataclass(frozen=True, slots=True)
    class Forged(Said):
        @property
        def media_key(self) -> str:
            return KEY

    intake = intake_of(redis_client, database, store)
    [outcome] = await intake.handle([await delivery(redis_client, Said())])
    assert isinstance(outcome, Done)
    forged = Forged(event=1)
    media_id = await append(redis_client, MEDIA, media_message(forged, b"forged").encode())
    [outcome] = await intake.handle([Delivery(LABELS, "1-2", labels_message(forged, media_id).encode(), 1)])
    assert isinstance(outcome, Done)
    assert await content(store, CLIP_NAME) == CLIP
    assert intake.metrics.media_lost.labels("refused")._value.get() == 1


async def test_no_secret_is_shown(bucket_store: BucketStore) -> None:
    assert S3Server.key not in repr(bucket_store)
    assert S3Server.key not in repr(bucket_store.access)
