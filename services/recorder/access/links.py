"""Signed links to one event: who has one may look at its clip, picture and labels until it ends. Knows no HTTP.

    token = base64url(link id, 16 bytes | event id, 16 bytes | end, 8 bytes, ms since 1970 | HMAC-SHA256, 32 bytes)

The key is made once and stands in the database, as do the links: one without a row, or with a row that was revoked,
opens nothing. The signature is checked first, so that whoever guesses asks nothing of the database.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, and_, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from services.recorder.record.camera_filter import CameraIds, of_cameras
from services.recorder.record.database import Database
from services.recorder.record.engines import insert_or_keep
from services.recorder.record.link_tables import MADE_BY_CHARS, NOTE_CHARS, link_keys, links
from services.recorder.record.queries import find_events_by_id, is_there
from services.recorder.record.schema import cameras as camera_names
from services.recorder.record.schema import events
from services.recorder.record.values import Event
from shared.clock import epoch_ms, from_epoch_ms, now_utc, to_millis

TOKEN = re.compile(r"[A-Za-z0-9_-]{96}")
LINK_ID = re.compile(r"[0-9a-f]{32}")
LASTS_MAX = timedelta(hours=8760)
OF_EVENT_MAX = 100  # links of one event that open it
LISTED_MAX = 500  # of all links that people made
KEPT = timedelta(days=30)  # after its end, a link's row is kept for this long
PRUNED_AT_ONCE = 500
_SIGNED_BYTES = 40
_PURPOSE = b"clipwatch link 1"
_LATEST_MS = 7_258_118_400_000  # the year 2200


class LinkEnded(Exception):
    """The link was made here, and has ended or was revoked."""


class TooManyLinks(Exception):
    """The event has as many links as one may have."""


@dataclass(frozen=True, slots=True)
class EventLink:
    """A link: what it opens, until when, who made it and what for. `token` is the secret that opens it."""

    id: str
    event_id: str
    target: str | None
    made_by: str
    note: str
    made_at: datetime
    ends_at: datetime
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class NewLink:
    """What somebody asks for."""

    lasts: timedelta
    made_by: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class OpenLink:
    """A link that opens something now, and what that is."""

    link: EventLink
    camera: str
    label: str | None
    started_at: datetime


@dataclass(frozen=True, slots=True)
class OpenLinks:
    """The newest LISTED_MAX links that people made and that open something, and how many targets were sent."""

    links: tuple[OpenLink, ...]
    n_of_targets: int


@dataclass(frozen=True, slots=True)
class SharedEvent:
    """What a link shows; `camera_name` is what people call the camera."""

    event: Event
    camera_name: str
    ends_at: datetime


@dataclass(slots=True)
class EventLinks:
    """The links of one database. All methods raise Transient when it does not answer."""

    database: Database
    now: Callable[[], datetime] = now_utc
    of_event_max: int = OF_EVENT_MAX
    _key: bytes | None = field(default=None, init=False, repr=False)

    async def make(self, event_id: str, new: NewLink, cameras: CameraIds = None) -> EventLink | None:
        """Make a link; None: these cameras have no such event. Raises TooManyLinks."""
        now, key = to_millis(self.now()), await self.key()
        ends_at = to_millis(now + min(new.lasts, LASTS_MAX))
        row = {
            "id": secrets.token_hex(16),
            "event_id": event_id,
            "target": None,
            "made_by": new.made_by[:MADE_BY_CHARS],
            "note": new.note[:NOTE_CHARS],
            "made_at": now,
            "ends_at": ends_at,
        }
        async with self.database.writing() as connection:
            if not await is_there(connection, event_id, cameras):
                return None
            await _prune(connection, now)
            open_ones = select(links.c.id).where(links.c.event_id == event_id, _opens(now))
            if len((await connection.scalars(open_ones.limit(self.of_event_max))).all()) >= self.of_event_max:
                raise TooManyLinks
            await connection.execute(insert(links).values(row))
            made = (await connection.execute(select(links).where(links.c.id == row["id"]))).one()
        return _link(made, key)

    async def of_event(self, event_id: str, cameras: CameraIds = None) -> list[EventLink] | None:
        """Return the links that open an event, the newest first; None: these cameras have no such event."""
        key = await self.key()
        query = select(links).where(links.c.event_id == event_id, _opens(self.now()))
        async with self.database.reading() as connection:
            if not await is_there(connection, event_id, cameras):
                return None
            ordered = query.order_by(links.c.made_at.desc(), links.c.id).limit(2 * OF_EVENT_MAX)
            found = (await connection.execute(ordered)).all()
        return [_link(row, key) for row in found]

    async def all_open(self, cameras: CameraIds = None) -> OpenLinks:
        """Return the links that open events of these cameras, the newest first."""
        key = await self.key()
        columns = (events.c.camera, events.c.label, events.c.started_at)
        joined = links.join(events, events.c.id == links.c.event_id)
        opening = and_(_opens(self.now()), *of_cameras(events.c.camera, cameras))
        mine = select(links, *columns).select_from(joined).where(opening, links.c.target.is_(None))
        sent = select(func.count()).select_from(joined).where(opening, links.c.target.is_not(None))
        async with self.database.reading() as connection:
            ordered = mine.order_by(links.c.made_at.desc(), links.c.id).limit(LISTED_MAX)
            found = (await connection.execute(ordered)).all()
            n_of_targets = int(await connection.scalar(sent) or 0)
        made = tuple(OpenLink(_link(row, key), row.camera, row.label, row.started_at) for row in found)
        return OpenLinks(made, n_of_targets)

    async def revoke_all(self, event_id: str, cameras: CameraIds = None) -> int | None:
        """Take back all links of an event; return how many, or None: these cameras have no such event."""
        now = self.now()
        mine = and_(links.c.event_id == event_id, links.c.revoked_at.is_(None))
        async with self.database.writing() as connection:
            if not await is_there(connection, event_id, cameras):
                return None
            done = await connection.execute(update(links).where(mine).values(revoked_at=now))
        return int(done.rowcount)

    async def revoke(self, link_id: str, cameras: CameraIds = None) -> bool:
        """Take back one link; return False when there is none of these cameras' events."""
        query = (
            select(links.c.id)
            .join(events, events.c.id == links.c.event_id)
            .where(links.c.id == link_id, links.c.revoked_at.is_(None), *of_cameras(events.c.camera, cameras))
        )
        async with self.database.writing() as connection:
            if (await connection.execute(query)).first() is None:
                return False
            await connection.execute(update(links).where(links.c.id == link_id).values(revoked_at=self.now()))
        return True

    async def for_target(self, event_id: str, target: str, lasts: timedelta) -> EventLink | None:
        """Return the one link of an event that a target is sent; None: it was revoked, or the event is gone.

        It is made at the first message about the event, and stays the same for all that follow while it lasts.
        """
        key = await self.key()
        mine = and_(links.c.event_id == event_id, links.c.target == target)
        async with self.database.reading() as connection:
            row = (await connection.execute(select(links).where(mine))).one_or_none()
        if row is None or row.ends_at <= self.now():
            row = await self._renewed(event_id, target, lasts)
        return None if row is None or row.revoked_at is not None else _link(row, key)

    async def _renewed(self, event_id: str, target: str, lasts: timedelta) -> Row[Any] | None:
        """Make a target's link, or give it a new end; tokens with the end before have ended by themselves."""
        now = to_millis(self.now())
        ends_at = to_millis(now + min(lasts, LASTS_MAX))
        new = {"id": secrets.token_hex(16), "event_id": event_id, "target": target, "made_by": target}
        times = {"made_at": now, "ends_at": ends_at}
        mine = and_(links.c.event_id == event_id, links.c.target == target)
        async with self.database.writing() as connection:
            if not await is_there(connection, event_id, None):
                return None
            await _prune(connection, now)
            made = insert_or_keep(connection.dialect.name, links, "id")
            await connection.execute(made.values(new | times | {"note": ""}))
            ended = and_(mine, links.c.ends_at <= now, links.c.revoked_at.is_(None))
            await connection.execute(update(links).where(ended).values(times))
            return (await connection.execute(select(links).where(mine))).one_or_none()

    async def open(self, token: str) -> SharedEvent | None:
        """Return what a token shows; None: it was not made here, or the event is gone. Raises LinkEnded."""
        said = _read(token, await self.key())
        if said is None:
            return None
        link_id, event_id, ends_at = said
        if ends_at <= self.now():
            raise LinkEnded
        query = select(links.c.revoked_at, links.c.ends_at, links.c.event_id).where(links.c.id == link_id)
        async with self.database.reading() as connection:
            row = (await connection.execute(query)).one_or_none()
            found = (await find_events_by_id(connection, [event_id])).get(event_id)
            if row is None or found is None:
                return None
            name = await connection.scalar(
                select(camera_names.c.name).where(camera_names.c.id == found.camera)
            )
        if row.revoked_at is not None or (row.event_id, row.ends_at) != (event_id, ends_at):
            raise LinkEnded
        return SharedEvent(found, name or found.camera, ends_at)

    async def key(self) -> bytes:
        """Return the key that links are signed with; the first recorder on a database makes it."""
        if self._key is None:
            query = select(link_keys.c.secret).where(link_keys.c.number == 1)
            async with self.database.reading() as connection:
                found = await connection.scalar(query)
            if found is None:
                async with self.database.writing() as connection:
                    made = insert_or_keep(connection.dialect.name, link_keys, "number")
                    await connection.execute(made.values(number=1, secret=secrets.token_hex(32)))
                    found = await connection.scalar(query)
            self._key = bytes.fromhex(str(found))
        return self._key


@dataclass(frozen=True, slots=True)
class TargetLinks:
    """The links that one target is sent; `lasts` None: none."""

    links: EventLinks
    target: str
    lasts: timedelta | None

    async def of(self, event_id: str) -> EventLink | None:
        """Return the link that messages about an event carry. Raises Transient of the database."""
        return None if self.lasts is None else await self.links.for_target(event_id, self.target, self.lasts)


async def _prune(connection: AsyncConnection, now: datetime) -> None:
    """Forget links that ended long ago: their tokens say so themselves."""
    query = select(links.c.id).where(links.c.ends_at < now - KEPT).limit(PRUNED_AT_ONCE)
    if found := (await connection.scalars(query)).all():
        await connection.execute(delete(links).where(links.c.id.in_(found)))


def _opens(now: datetime) -> ColumnElement[bool]:
    return and_(links.c.revoked_at.is_(None), links.c.ends_at > now)


def _link(row: Row[Any], key: bytes) -> EventLink:  # Any: columns of every type
    said = (row.id, row.event_id, row.target, row.made_by, row.note, row.made_at, row.ends_at)
    return EventLink(*said, token=_token(row.id, row.event_id, row.ends_at, key))


# -- tokens


def _token(link_id: str, event_id: str, ends_at: datetime, key: bytes) -> str:
    signed = bytes.fromhex(link_id) + UUID(event_id).bytes + epoch_ms(ends_at).to_bytes(8, "big")
    return base64.urlsafe_b64encode(signed + _mac(signed, key)).decode()


def _read(token: str, key: bytes) -> tuple[str, str, datetime] | None:
    """Return link id, event id and end of a token that was signed with `key`."""
    if TOKEN.fullmatch(token) is None:
        return None
    data = base64.urlsafe_b64decode(token)
    signed, mac = data[:_SIGNED_BYTES], data[_SIGNED_BYTES:]
    if not hmac.compare_digest(mac, _mac(signed, key)):
        return None
    ends_at = from_epoch_ms(min(int.from_bytes(signed[32:], "big"), _LATEST_MS))
    return signed[:16].hex(), str(UUID(bytes=signed[16:32])), ends_at


def _mac(signed: bytes, key: bytes) -> bytes:
    return hmac.new(key, _PURPOSE + signed, hashlib.sha256).digest()
