"""A bucket of an S3-compatible object store. The only place that knows its client.

    <prefix>/<yyyy>/<mm>/<dd>/<key>.mp4|.jpg   whole: an object is there once its upload has ended
    <prefix>/.probe/<random>                   of a check, for a moment

An object is put before the transaction that names it, under its own name. What no row came to name is removed a day
later (record/orphan_media.py). An object that is there already is put again only once the database was asked whose it
is; its time is then new, so that it is not removed as an orphan meanwhile.

The client's threads may still give back what an answer held when Python takes itself down right after it, which aborts
the process (4 of 22 short scripts, obstore 0.12.1); services leave by os._exit (shared/runtime.py), where nothing can.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from services.recorder.media.s3_access import S3Access
from services.recorder.media.store import PIECE_BYTES, MediaAway, MediaFile, MediaGone, MediaRefused, Space
from services.recorder.media.values import NAME, TYPES, StoredMedia, media_names
from shared.contract import MediaMessage
from shared.logs import get_logger

if TYPE_CHECKING:  # obstore has its types in stubs alone
    from obstore import ObjectMeta
    from obstore.store import ClientConfig, S3Config

log = get_logger(__name__)

T = TypeVar("T")
PROBES = ".probe/"
PAGE = 1000  # names of one answer; S3's own limit
AT_ONCE = 8  # requests of one removal
CONNECT_S = 3.0
REQUEST_S = 45.0  # one attempt; a service's loop may be silent for 60 s
PUT_S = 35.0  # of one object; with the look before it that is within those 60 s
PUTS_AT_ONCE = 4  # a narrow uplink is shared by few, so that each gets through
PUBLISH_S = 10.0  # a transaction waits for it
READ_S = 20.0
CHECK_S = 4.0
CHECK_EVERY_S = 60.0  # a check costs three requests; any object that is put counts as one
AWAY_S = 10.0  # after a fault that passes no clip is tried for this long, unless a check goes well
FRESH_S = 3600.0  # an object that was put longer ago is put again before a row names it
_CODE = re.compile(r"<Code>([A-Za-z0-9]{1,60})</Code>")
_STATUS = re.compile(r"status code: (\d{3}(?: [A-Za-z ]{1,40})?)")
_TOO_LARGE = ("EntityTooLarge", "413")  # S3's code, or the status where there is none
_KEYS = "S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY"
_TO_DO = {  # by S3's code, or the status where there is none
    "NoSuchBucket": "make the bucket, or correct MEDIA_URL",
    "AccessDenied": f"let the user of {_KEYS} write, read, list and remove objects of this bucket",
    "403": f"check {_KEYS}, and what they may do with this bucket",
    "InvalidAccessKeyId": f"correct {_KEYS}",
    "SignatureDoesNotMatch": f"correct {_KEYS}",
}
_CERTIFICATE = {  # by what the client's own text says is wrong with it
    "UnknownIssuer": "is signed by an unknown authority; name that one in S3_CA_FILE",
    "NotValidForName": "is for another host; set S3_ENDPOINT_URL to the host that it is for",
    "CaUsedAsEndEntity": "is an authority's own; give it one for a server (CA:FALSE)",
    "Expired": "has expired",
}


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object of the bucket; `modified_at` is the store's clock."""

    name: str
    modified_at: datetime


@dataclass(slots=True)
class StagedInBucket:
    """Implements StagedMedia. `later`: what is put by `publish`, since an object of its name was there."""

    store: BucketStore
    kept: StoredMedia
    contents: dict[str, bytes]  # by name
    later: set[str]
    was_there: bool
    put_at: float  # monotonic

    async def publish(self) -> None:
        if self.store.seconds() - self.put_at > FRESH_S:
            self.later = set(self.contents)
        if not self.later:
            return
        await self.store.put_all({name: self.contents[name] for name in self.later}, PUBLISH_S)
        self.later, self.put_at = set(), self.store.seconds()

    async def discard(self) -> None:
        """Nothing is removed: another recorder may have the same message in hand, and name the objects."""


@dataclass(slots=True)
class BucketStore:
    """Implements MediaStore."""

    access: S3Access
    seconds: Callable[[], float] = time.monotonic
    _client: S3Store = field(init=False, repr=False)
    _puts: asyncio.Semaphore = field(init=False, repr=False)
    _fault: str = field(default="", init=False)
    _fault_at: float = field(default=0, init=False)
    _worked_at: float = field(default=float("-inf"), init=False)

    def __post_init__(self) -> None:
        self._client = _client_of(self.access)
        self._puts = asyncio.Semaphore(PUTS_AT_ONCE)

    @property
    def place(self) -> str:
        return f"bucket {self.access.bucket}"

    async def check(self) -> None:
        if not self._fault and self.seconds() - self._worked_at < CHECK_EVERY_S:
            return
        try:
            await self.now()
        except MediaAway as exc:
            self._failed(str(exc))
            raise

    async def has_room(self, n_bytes: int) -> bool:  # noqa: ARG002  # a bucket has no end
        if self._is_away():
            return False
        try:
            await self.check()
        except MediaAway:
            return False
        return True

    async def now(self) -> datetime:
        """Write, read and remove an object; return the store's own time. Raises MediaAway."""
        name = f"{PROBES}{secrets.token_hex(8)}"
        await self._ask(obstore.put_async(self._client, name, b"clipwatch", use_multipart=False), CHECK_S)
        try:
            meta = await self._ask(obstore.head_async(self._client, name), CHECK_S)
        except MediaAway:  # a check that is cancelled does not wait: what it leaves goes a day later
            with contextlib.suppress(MediaAway):
                await self._ask(obstore.delete_async(self._client, name), CHECK_S)
            raise
        await self._ask(obstore.delete_async(self._client, name), CHECK_S)
        self._worked()
        return meta["last_modified"]

    async def stage(self, message: MediaMessage) -> StagedInBucket:
        if self._is_away():
            raise MediaRefused(self._fault, is_lasting=False)
        clip_name, thumbnail_name = media_names(message.header)
        contents = {clip_name: message.clip}
        if message.thumbnail:
            contents[thumbnail_name] = message.thumbnail
        try:
            there = await asyncio.gather(*map(self._is_there, contents))
            known = {name for name, is_there in zip(contents, there, strict=True) if is_there}
            faults = await self._put_each({n: one for n, one in contents.items() if n not in known}, PUT_S)
        except MediaAway as exc:
            self._failed(str(exc))
            raise MediaRefused(self._fault, is_lasting=False) from exc
        if thumbnail_name in faults and faults[thumbnail_name].is_lasting:
            log.warning("the thumbnail cannot be kept", name=thumbnail_name, error=faults.pop(thumbnail_name))
            del contents[thumbnail_name]
        if faults:
            raise next(iter(faults.values()))
        kept = StoredMedia(
            clip_name, thumbnail_name if thumbnail_name in contents else None, len(message.clip)
        )
        return StagedInBucket(self, kept, contents, known, bool(known), self.seconds())

    async def put_all(self, contents: dict[str, bytes], limit_s: float) -> None:
        """Put objects, durable when this returns. Raises MediaRefused."""
        if faults := await self._put_each(contents, limit_s):
            raise next(iter(faults.values()))

    async def _put_each(self, contents: dict[str, bytes], limit_s: float) -> dict[str, MediaRefused]:
        """Put objects, durable when this returns; return what was refused, by name."""
        faults = await asyncio.gather(*(self._put(name, one, limit_s) for name, one in contents.items()))
        refused = {name: fault for name, fault in zip(contents, faults, strict=True) if fault is not None}
        if contents and not refused:
            self._worked()
        return refused

    async def _put(self, name: str, content: bytes, limit_s: float) -> MediaRefused | None:
        """Put one object in one request: parts of an upload that was cut off would lie unseen, and be paid for."""
        kind = {"Content-Type": TYPES[name.rpartition(".")[2]]}
        try:
            async with self._puts:  # a request begins when it is made, not when it is awaited
                put = obstore.put_async(self._client, name, content, attributes=kind, use_multipart=False)
                await self._ask(put, limit_s)
        except MediaAway as exc:
            is_lasting = isinstance(exc, _TooLarge)
            if not is_lasting:
                self._failed(str(exc))
            return MediaRefused(f"{name}: {exc}", is_lasting)
        return None

    async def _is_there(self, name: str) -> bool:
        return await self.head(name) is not None

    async def head(self, name: str) -> StoredObject | None:
        """Return an object; None: there is none. Raises MediaAway."""
        meta = await self._meta(name)
        return StoredObject(name, meta["last_modified"]) if meta else None

    async def _meta(self, name: str) -> ObjectMeta | None:
        try:
            return await self._ask(obstore.head_async(self._client, name), READ_S)
        except MediaGone:
            return None

    async def find(self, name: str) -> MediaFile | None:
        found = NAME.fullmatch(name)
        meta = await self._meta(name) if found is not None else None
        if found is None or meta is None:
            return None
        return MediaFile(name, TYPES[found["kind"]], meta["size"], meta["last_modified"])

    async def read(self, file: MediaFile, start: int, stop: int) -> AsyncIterator[bytes]:
        """Ask for each piece by itself: a viewer who is slow, or waits, holds no request open."""
        for at in range(start, stop, PIECE_BYTES):
            end = min(stop, at + PIECE_BYTES)
            piece = obstore.get_range_async(self._client, file.name, start=at, end=end)
            yield bytes(await self._ask(piece, READ_S))

    async def remove(self, names: Sequence[str]) -> None:
        """As the port says. S3 answers 204 for what is not there: a 404 without its code is believed after a check."""
        free, faults, doubts = asyncio.Semaphore(AT_ONCE), list[MediaAway](), list[MediaGone]()

        async def remove(name: str) -> None:
            async with free:
                if faults:
                    return  # a store that hangs is not asked for each name
                try:
                    await self._ask(obstore.delete_async(self._client, name), READ_S)
                except MediaGone as exc:
                    if "NoSuchKey" not in str(exc):
                        doubts.append(exc)
                except MediaAway as exc:
                    faults.append(exc)

        await asyncio.gather(*map(remove, names))
        if faults:
            raise faults[0]
        if doubts:
            await self.now()

    async def objects(self) -> AsyncIterator[list[StoredObject]]:
        """Yield all media files and probes, page by page. Raises MediaAway."""
        pages = obstore.list(self._client, chunk_size=PAGE)
        while True:
            try:
                async with asyncio.timeout(REQUEST_S):
                    page = await anext(pages, None)
            except (BaseError, OSError) as exc:  # TimeoutError is an OSError
                raise self._translated(exc, REQUEST_S) from exc
            if page is None:
                return
            yield [
                StoredObject(one["path"], one["last_modified"])
                for one in page
                if NAME.fullmatch(one["path"]) or one["path"].startswith(PROBES)
            ]

    async def space(self) -> Space | None:
        return None

    # -- how it is

    def _is_away(self) -> bool:
        return bool(self._fault) and self.seconds() - self._fault_at < AWAY_S

    def _worked(self) -> None:
        if self._fault:
            log.info("clips can be kept again", place=self.place)
        self._fault, self._worked_at = "", self.seconds()

    def _failed(self, fault: str) -> None:
        if not self._fault:
            log.warning("clips cannot be kept now", place=self.place, reason=fault)
        self._fault, self._fault_at = fault, self.seconds()

    async def _ask(self, request: Coroutine[Any, Any, T], limit_s: float) -> T:  # Any: as of all coroutines
        try:
            async with asyncio.timeout(limit_s):
                return await request
        except (BaseError, OSError) as exc:  # a missing object is FileNotFoundError, a timeout TimeoutError
            raise self._translated(exc, limit_s) from exc

    def _translated(self, exc: Exception, limit_s: float) -> MediaAway:
        if isinstance(exc, TimeoutError):
            return MediaAway(f"no answer within {limit_s:g} s")
        fault, (code, status) = _said(str(exc)), _code_and_status(str(exc))
        log.debug("the store failed", place=self.place, error=exc)
        if (code or status[:3]) in _TOO_LARGE:
            return _TooLarge(fault)
        is_object = isinstance(exc, FileNotFoundError) and "NoSuchBucket" not in fault
        return MediaGone(fault) if is_object else MediaAway(fault)


class _TooLarge(MediaAway):
    """The store will never take an object of this size."""


def _client_of(access: S3Access) -> S3Store:
    given: S3Config = {}
    if access.endpoint:
        given["endpoint"] = given["aws_endpoint_url_s3"] = access.endpoint
    if access.access_key_id.get_secret_value():
        given["access_key_id"] = access.access_key_id.get_secret_value()
        given["secret_access_key"] = access.secret_access_key.get_secret_value()
    options: ClientConfig = {
        "allow_http": access.endpoint.startswith("http://"),
        "connect_timeout": timedelta(seconds=CONNECT_S),
        "timeout": timedelta(seconds=REQUEST_S),
    }
    if access.ca_pem is not None:
        options["root_certificate"] = access.ca_pem
    return S3Store(
        access.bucket,
        prefix=access.prefix or None,
        config=given,
        region=access.region,
        virtual_hosted_style_request=False,
        disable_bulk_delete=True,  # not every store has it, and Google's refuses it
        client_options=options,
        retry_config={"max_retries": 2, "retry_timeout": timedelta(seconds=REQUEST_S)},
    )


def _said(text: str) -> str:
    """Return what a fault says in few words: S3's code and the status, or why there was no answer.

    The client's own text names address, bucket and key, and may hold anything that stands in them.
    """
    code, status = _code_and_status(text)
    if code or status:
        to_do = _TO_DO.get(code or status[:3])
        said = ", ".join(filter(None, (code, status)))
        return f"{said}; {to_do}" if to_do else said
    if certificate := text.partition("InvalidCertificate(")[2]:
        reasons = (meaning for sign, meaning in _CERTIFICATE.items() if sign in certificate[:200])
        return f"its certificate {next(reasons, 'cannot be trusted')}"
    for sign, meaning in (("kind: Timeout", "no answer in time"), ("kind: Connect", "cannot be reached")):
        if sign in text:
            return meaning
    return "the connection was cut, or the answer cannot be read"


def _code_and_status(text: str) -> tuple[str, str]:
    """Return S3's code and the status of an answer, with its words; '': it has none."""
    code, status = _CODE.search(text), _STATUS.search(text)
    return code[1] if code else "", status[1].strip() if status else ""
