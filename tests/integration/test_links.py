"""Signed links to events, on SQLite and MariaDB: what opens, until when, and what never does."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import pytest
from sqlalchemy import delete, func, select

from services.recorder.access.links import (
    KEPT,
    LASTS_MAX,
    TOKEN,
    EventLink,
    EventLinks,
    LinkEnded,
    NewLink,
    TooManyLinks,
)
from services.recorder.media.values import StoredMedia
from services.recorder.record import queries
from services.recorder.record.bootstrap import open_database
from services.recorder.record.database import Database
from services.recorder.record.rows import snippet_rows
from services.recorder.record.schema import events, link_keys, links
from services.recorder.record.transactions import record_snippet
from shared.clock import now_utc
from tests.unit.recorder.messages import START, Said, labels_message

OF_GATE = Said(event=0, camera="gate", accepted=[("a dog", 0.9)])
OF_YARD = Said(event=1, camera="yard")
GATE, YARD = frozenset({"gate"}), frozenset({"yard"})
HOUR = timedelta(hours=1)


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
async def database(record_url: str) -> AsyncIterator[Database]:
    database = await open_database(record_url, asyncio.Event(), 30, 30)
    for said in (OF_GATE, OF_YARD):
        await record(database, said, StoredMedia(f"2026/05/04/{said.media_key}.mp4", None, 10))
    yield database
    await database.close()


async def record(database: Database, said: Said, media: StoredMedia) -> None:
    async with database.writing() as connection:
        await record_snippet(connection, snippet_rows(labels_message(said)), media, now_utc())


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def over(database: Database, clock: Clock) -> EventLinks:
    return EventLinks(database, clock)


async def made(over: EventLinks, said: Said = OF_GATE, lasts: timedelta = HOUR) -> EventLink:
    found = await over.make(said.event_id, NewLink(lasts, "anna", "for the neighbour"))
    assert found is not None
    return found


async def test_a_link_opens_its_event_until_its_end(over: EventLinks, clock: Clock) -> None:
    link = await made(over)
    assert (link.made_by, link.note, link.ends_at) == ("anna", "for the neighbour", START + HOUR)
    assert link.token not in repr(link)
    shown = await over.open(link.token)
    assert shown is not None
    assert (shown.event.id, shown.event.label, shown.camera_name) == (OF_GATE.event_id, "a dog", "gate")
    clock.now = START + HOUR
    with pytest.raises(LinkEnded):
        await over.open(link.token)
    assert await over.of_event(OF_GATE.event_id) == []
    clock.now += 2 * KEPT
    await made(over, OF_YARD)  # forgets what ended long ago
    with pytest.raises(LinkEnded):
        await over.open(link.token)


async def test_no_link_lasts_longer_than_a_year(over: EventLinks) -> None:
    assert (await made(over, lasts=10 * LASTS_MAX)).ends_at == START + LASTS_MAX


async def test_what_was_revoked_opens_nothing(over: EventLinks) -> None:
    one, other, of_yard = await made(over), await made(over), await made(over, OF_YARD)
    assert {link.id for link in await over.of_event(OF_GATE.event_id) or ()} == {one.id, other.id}
    assert await over.revoke(one.id)
    assert not await over.revoke(one.id)
    with pytest.raises(LinkEnded):
        await over.open(one.token)
    assert await over.open(other.token) is not None
    assert await over.revoke_all(OF_GATE.event_id) == 1
    with pytest.raises(LinkEnded):
        await over.open(other.token)
    assert await over.open(of_yard.token) is not None


async def test_links_are_made_listed_and_revoked_only_by_who_sees_the_camera(over: EventLinks) -> None:
    link = await made(over)
    assert await over.make(OF_GATE.event_id, NewLink(HOUR, "bert"), YARD) is None
    assert await over.of_event(OF_GATE.event_id, YARD) is None
    assert await over.revoke_all(OF_GATE.event_id, YARD) is None
    assert not await over.revoke(link.id, YARD)
    assert not await over.revoke(link.id, frozenset())
    assert await over.open(link.token) is not None
    assert [one.id for one in await over.of_event(OF_GATE.event_id, GATE) or ()] == [link.id]
    assert await over.revoke(link.id, GATE)


async def test_an_event_that_is_gone_takes_its_links_with_it(over: EventLinks, database: Database) -> None:
    link = await made(over)
    async with database.writing() as connection:
        await connection.execute(delete(events).where(events.c.id == OF_GATE.event_id))
        assert await connection.scalar(select(func.count()).select_from(links)) == 0
    assert await over.open(link.token) is None
    assert await over.make(OF_GATE.event_id, NewLink(HOUR, "anna")) is None
    assert await over.for_target(OF_GATE.event_id, "home", HOUR) is None


async def test_a_token_that_was_changed_in_any_bit_opens_nothing(over: EventLinks) -> None:
    link = await made(over)
    data = base64.urlsafe_b64decode(link.token)
    assert TOKEN.fullmatch(link.token)
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        assert await over.open(base64.urlsafe_b64encode(changed).decode()) is None, bit
    for other in ("", "A" * 96, link.token[:-1], link.token + "A", "é" * 96, link.token + "=", "A" * 10**6):
        assert await over.open(other) is None


async def test_a_token_asks_nothing_of_the_database_unless_it_was_signed_here(
    over: EventLinks, database: Database
) -> None:
    await over.key()
    await database.close()
    asked = EventLinks(Database(None))  # type: ignore[arg-type]  # whoever asks it fails
    asked._key = over._key
    assert await asked.open("A" * 96) is None


async def test_a_row_whose_end_or_event_was_changed_does_not_lengthen_a_token(
    over: EventLinks, database: Database
) -> None:
    link = await made(over)
    async with database.writing() as connection:
        await connection.execute(links.update().values(ends_at=START + 2 * HOUR))
    with pytest.raises(LinkEnded):
        await over.open(link.token)


async def test_recorders_on_one_database_have_one_key_which_no_other_has(
    over: EventLinks, database: Database
) -> None:
    others = [EventLinks(database) for _ in range(4)]
    keys = set(await asyncio.gather(*(one.key() for one in others)))
    assert keys == {await over.key()}
    assert len(next(iter(keys))) == 32
    assert repr(next(iter(keys)))[2:-1] not in repr(others[0])
    link = await made(over)
    async with database.writing() as connection:
        await connection.execute(link_keys.delete())
    assert await EventLinks(database, over.now).open(link.token) is None


async def test_an_event_has_a_bounded_number_of_links(database: Database, clock: Clock) -> None:
    over = EventLinks(database, clock, of_event_max=2)
    one, _ = await made(over), await made(over)
    with pytest.raises(TooManyLinks):
        await made(over)
    await over.revoke(one.id)
    await made(over)


async def test_a_target_has_one_link_an_event_however_many_messages_it_is_sent(
    over: EventLinks, clock: Clock, database: Database
) -> None:
    first = await asyncio.gather(*(over.for_target(OF_GATE.event_id, "home", HOUR) for _ in range(4)))
    assert len({link.token for link in first if link}) == 1
    link = first[0]
    assert link is not None
    assert (link.target, link.made_by, link.ends_at) == ("home", "home", START + HOUR)
    other = await over.for_target(OF_GATE.event_id, "work", HOUR)
    assert other is not None
    assert other.id != link.id
    clock.now = START + HOUR
    later = await over.for_target(OF_GATE.event_id, "home", HOUR)
    assert later is not None
    assert (later.id, later.ends_at) == (link.id, START + 2 * HOUR)
    assert await over.open(later.token) is not None
    with pytest.raises(LinkEnded):
        await over.open(link.token)
    async with database.reading() as connection:
        assert await connection.scalar(select(func.count()).select_from(links)) == 2


async def test_a_target_gets_no_link_again_that_was_revoked(over: EventLinks, clock: Clock) -> None:
    assert await over.for_target(OF_GATE.event_id, "home", HOUR) is not None
    assert await over.revoke_all(OF_GATE.event_id) == 1
    assert await over.for_target(OF_GATE.event_id, "home", HOUR) is None
    clock.now += 2 * HOUR
    assert await over.for_target(OF_GATE.event_id, "home", HOUR) is None


# -- media files


async def test_a_media_name_belongs_to_the_cameras_of_its_event(database: Database) -> None:
    day = "2026/05/04/"
    await record(database, Said(event=2), StoredMedia(f"{day}two.mp4", f"{day}two.jpg", 1))
    await record(database, Said(event=3, camera="yard"), StoredMedia(f"{day}shared.mp4", None, 1))
    await record(database, Said(event=4, camera="gate"), StoredMedia(f"{day}shared.mp4", None, 1))
    expected = {
        f"{day}two.mp4": {GATE, GATE | YARD},
        f"{day}two.jpg": {GATE, GATE | YARD},
        f"{day}{OF_YARD.media_key}.mp4": {YARD, GATE | YARD},
        f"{day}{OF_YARD.media_key}.jpg": set[frozenset[str]](),  # it has no picture
        f"{day}shared.mp4": {GATE | YARD},  # of two events: who sees both
        f"{day}nothing.mp4": set(),
    }
    async with database.reading() as connection:
        for name, viewers in expected.items():
            found = {
                viewer
                for viewer in (frozenset[str](), GATE, YARD, GATE | YARD)
                if await queries.is_media_of(connection, name, viewer)
            }
            assert found == viewers, name
