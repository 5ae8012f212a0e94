"""Users, sessions and tokens on real databases: the same suite on SQLite and MariaDB."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from argon2 import PasswordHasher
from sqlalchemy import select, text

from services.recorder.access import rows
from services.recorder.access.accounts import Accounts, Client, NewSession, UserChange
from services.recorder.access.passwords import Passwords
from services.recorder.access.token_text import hash_secret, parse_token
from services.recorder.access.tokens import TokenRequest, Tokens
from services.recorder.access.values import LastAdmin, NameTaken, NoSuchUser
from services.recorder.record.bootstrap import open_database
from services.recorder.record.database import Database
from services.recorder.record.schema import api_tokens, sessions, users
from shared.errors import ConfigError, Transient
from shared.permissions import Permission, Role

QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
PHONE = Client("192.0.2.7", "Mozilla/5.0 (a phone)")
PASSWORD = "correct horse"


@dataclass
class ManualClock:
    now: datetime = field(default_factory=lambda: datetime(2026, 5, 4, 12, tzinfo=UTC))

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def database(record_url: str) -> AsyncIterator[Database]:
    database = await open_database(record_url, asyncio.Event(), connect_s=10, transaction_s=20)
    yield database
    await database.close()


@pytest.fixture
def accounts(database: Database, clock: ManualClock) -> Accounts:
    return Accounts(database, Passwords(QUICK), now=clock)


async def login(accounts: Accounts, name: str = "ada", password: str = PASSWORD) -> NewSession:
    made = await accounts.login(name, password, PHONE)
    assert made is not None
    return made


async def is_open(accounts: Accounts, made: NewSession) -> bool:
    async with accounts.database.reading() as connection:
        return await rows.find_session(connection, hash_secret(made.cookie)) is not None


async def dump(database: Database) -> str:
    async with database.reading() as connection:
        found = [await connection.execute(select(table)) for table in (users, sessions, api_tokens)]
    return "\n".join(str(row) for result in found for row in result)


async def test_a_user_logs_in_by_name_in_any_case_and_password(
    accounts: Accounts, clock: ManualClock
) -> None:
    made = await accounts.add("Ada", PASSWORD, Role.VIEWER, ["yard", "gate"])
    assert (made.name, made.role, made.cameras) == ("Ada", Role.VIEWER, frozenset({"gate", "yard"}))
    assert made.created_at == clock.now
    assert made.seen_at is None
    begun = await login(accounts, "aDA")
    assert begun.session.user.id == made.id
    assert begun.session.address == "192.0.2.7"
    assert begun.session.ends_at == clock.now + timedelta(days=30)
    assert (await accounts.users())[0].seen_at == clock.now
    assert await accounts.login("ada", "correct hors", PHONE) is None
    assert await accounts.login("bob", PASSWORD, PHONE) is None
    assert await accounts.login("\ud800" * 5000, PASSWORD, PHONE) is None


async def test_no_password_cookie_or_token_stands_in_the_tables(
    accounts: Accounts, database: Database
) -> None:
    await accounts.add("ada", PASSWORD, Role.ADMIN)
    begun = await login(accounts)
    token = await Tokens(database).make(TokenRequest("grafana"))
    text = await dump(database)
    assert "ada" in text
    for secret in (PASSWORD, begun.cookie, token.text, token.text.rpartition("_")[2]):
        assert secret not in text


async def test_names_that_look_alike_are_taken_once(accounts: Accounts) -> None:
    await accounts.add("müller", PASSWORD, Role.ADMIN)
    for name in ("müller", "MÜLLER", "mu\u0308ller"):
        with pytest.raises(NameTaken):
            await accounts.add(name, PASSWORD, Role.VIEWER)


async def test_of_two_that_are_made_at_once_one_is_there(accounts: Accounts) -> None:
    made = await asyncio.gather(
        *(accounts.add(name, PASSWORD, Role.VIEWER) for name in ("ada", "ADA", "Ada")), return_exceptions=True
    )
    assert len([one for one in made if not isinstance(one, BaseException)]) == 1
    assert all(isinstance(one, NameTaken | Transient) for one in made if isinstance(one, BaseException))
    assert len(await accounts.users()) == 1


async def test_the_first_admin_is_made_once(accounts: Accounts) -> None:
    made = await accounts.add_first_admin("ada", PASSWORD)
    assert made.role is Role.ADMIN
    with pytest.raises(NameTaken):
        await accounts.add_first_admin("eve", PASSWORD)


async def test_the_last_admin_stays_admin(accounts: Accounts) -> None:
    await accounts.add("ada", PASSWORD, Role.ADMIN)
    await accounts.add("bob", PASSWORD, Role.OPERATOR)
    for change in (accounts.remove("ADA"), accounts.change("ada", UserChange(role=Role.VIEWER))):
        with pytest.raises(LastAdmin):
            await change
    await accounts.change("ada", UserChange(role=Role.ADMIN))
    await accounts.change("bob", UserChange(role=Role.ADMIN))
    await accounts.remove("ada")
    assert [(user.name, user.role) for user in await accounts.users()] == [("bob", Role.ADMIN)]
    with pytest.raises(LastAdmin):
        await accounts.remove("bob")


async def test_two_admins_that_remove_each_other_leave_one(accounts: Accounts) -> None:
    await accounts.add("ada", PASSWORD, Role.ADMIN)
    await accounts.add("bob", PASSWORD, Role.ADMIN)
    await asyncio.gather(accounts.remove("ada"), accounts.remove("bob"), return_exceptions=True)
    assert len(await accounts.users()) >= 1


@pytest.mark.parametrize("what", ["password", "role", "cameras", "removal"])
async def test_what_changes_a_user_ends_the_sessions(accounts: Accounts, what: str) -> None:
    await accounts.add("ada", PASSWORD, Role.VIEWER)
    await accounts.add("bob", PASSWORD, Role.VIEWER)
    hers, his = await login(accounts), await login(accounts, "bob")
    if what == "password":
        await accounts.set_password("ADA", "another horse")
        assert await accounts.login("ada", PASSWORD, PHONE) is None
        assert await is_open(accounts, await login(accounts, password="another horse"))
    elif what == "role":
        await accounts.change("ada", UserChange(role=Role.OPERATOR))
    elif what == "cameras":
        await accounts.change("ada", UserChange(cameras=frozenset({"gate"}), has_cameras=True))
    else:
        await accounts.remove("ada")
    assert not await is_open(accounts, hers)
    assert await is_open(accounts, his)


async def test_a_change_that_changes_nothing_ends_nothing(accounts: Accounts) -> None:
    await accounts.add("ada", PASSWORD, Role.VIEWER, ["gate"])
    begun = await login(accounts)
    await accounts.change("ada", UserChange(role=Role.VIEWER))
    assert await is_open(accounts, begun)


async def test_the_own_session_outlives_a_new_password(accounts: Accounts) -> None:
    await accounts.add("ada", PASSWORD, Role.VIEWER)
    own, other = await login(accounts), await login(accounts)
    await accounts.set_password("ada", "another horse", kept_session=own.session.id)
    assert await is_open(accounts, own)
    assert not await is_open(accounts, other)


async def test_an_older_hash_is_made_new_at_the_login(accounts: Accounts, database: Database) -> None:
    await accounts.add("ada", PASSWORD, Role.VIEWER)
    today = Accounts(database, Passwords(PasswordHasher(time_cost=2, memory_cost=8, parallelism=1)))
    await login(today)
    async with database.reading() as connection:
        found = await rows.find_user(connection, "ada")
    assert found is not None
    assert "t=2," in str(found.password_hash)
    await login(today)


async def test_a_login_that_a_new_password_overtakes_opens_nothing(accounts: Accounts) -> None:
    user = await accounts.add("ada", PASSWORD, Role.VIEWER)
    async with accounts.database.reading() as connection:
        found = await rows.find_user(connection, "ada")
    assert found is not None
    await accounts.set_password("ada", "another horse")
    assert await accounts.begin_session(user, PHONE, found.password_hash) is None
    await accounts.remove("ada")
    assert await accounts.begin_session(user, PHONE) is None


async def test_sessions_are_listed_and_ended_by_their_owner_or_an_admin(accounts: Accounts) -> None:
    ada = await accounts.add("ada", PASSWORD, Role.VIEWER)
    bob = await accounts.add("bob", PASSWORD, Role.VIEWER)
    hers, his = await login(accounts), await login(accounts, "bob")
    assert [one.id for one in await accounts.sessions(ada.id)] == [hers.session.id]
    assert {one.id for one in await accounts.sessions(None)} == {hers.session.id, his.session.id}
    assert not await accounts.end_session(hers.session.id, bob.id)
    assert await is_open(accounts, hers)
    assert await accounts.end_session(hers.session.id, ada.id)
    assert not await is_open(accounts, hers)
    assert await accounts.end_session(his.session.id, None)
    assert not await accounts.end_session(his.session.id, None)


async def test_sessions_that_are_over_are_neither_shown_nor_kept(
    accounts: Accounts, clock: ManualClock
) -> None:
    user = await accounts.add("ada", PASSWORD, Role.VIEWER)
    old = await login(accounts)
    clock.now += timedelta(days=6)
    new = await login(accounts)
    clock.now += timedelta(days=1)
    assert [one.id for one in await accounts.sessions(user.id)] == [new.session.id]
    async with accounts.database.writing() as connection:
        await rows.remove_over(connection, clock.now, clock.now - accounts.limits.idle)
    assert not await is_open(accounts, old)
    assert await is_open(accounts, new)


async def test_of_too_many_sessions_the_unused_ends(accounts: Accounts, clock: ManualClock) -> None:
    user = await accounts.add("ada", PASSWORD, Role.VIEWER)
    first = await login(accounts)
    for _ in range(rows.SESSIONS_MAX):
        clock.now += timedelta(seconds=1)
        last = await accounts.begin_session(user, PHONE)
    assert last is not None
    assert not await is_open(accounts, first)
    assert await is_open(accounts, last)
    assert len(await accounts.sessions(user.id)) == rows.SESSIONS_MAX


async def test_a_last_use_is_never_set_back(
    accounts: Accounts, clock: ManualClock, database: Database
) -> None:
    user = await accounts.add("ada", PASSWORD, Role.VIEWER)
    begun = await login(accounts)
    token = await Tokens(database, clock).make(TokenRequest("grafana"))
    for minutes in (5, 3):
        at = clock.now + timedelta(minutes=minutes)
        async with database.writing() as connection:
            await rows.mark_session(connection, begun.session.id, at)
            await rows.mark_token(connection, token.token.id, at)
    expected = clock.now + timedelta(minutes=5)
    assert (await accounts.sessions(user.id))[0].seen_at == expected
    assert (await Tokens(database).list())[0].used_at == expected


async def test_a_token_is_made_listed_found_and_ended(database: Database, clock: ManualClock) -> None:
    tokens = Tokens(database, clock)
    end = clock.now + timedelta(days=365)
    made = await tokens.make(TokenRequest("Home Assistant", ["operate", "look"], ["gate"], end))
    parts = parse_token(made.text)
    assert parts is not None
    async with database.reading() as connection:
        assert await rows.find_token(connection, parts.id) == (made.token, parts.secret_hash)
        assert await rows.find_token(connection, "0" * 12) is None
        assert await rows.is_anybody(connection)
    assert await tokens.list() == [made.token]
    assert made.token.scopes == {Permission.LOOK, Permission.OPERATE}
    assert made.token.ends_at == end
    assert await tokens.end("Home Assistant")
    assert not await tokens.end(made.token.id)
    async with database.reading() as connection:
        assert not await rows.is_anybody(connection)


@pytest.mark.parametrize(
    "wanted",
    [
        TokenRequest("a/b"),
        TokenRequest("x", []),
        TokenRequest("x", ["own"]),
        TokenRequest("x", ["everything"]),
        TokenRequest("x", ["admin"], ["gate"]),
        TokenRequest("x", ends_at=datetime(2026, 5, 4, 12, tzinfo=UTC)),
        TokenRequest("taken"),
    ],
)
async def test_other_tokens_are_refused(database: Database, clock: ManualClock, wanted: TokenRequest) -> None:
    tokens = Tokens(database, clock)
    await tokens.make(TokenRequest("taken"))
    with pytest.raises(ConfigError):
        await tokens.make(wanted)
    assert len(await tokens.list()) == 1


async def test_nobody_is_there_at_first_and_somebody_with_a_user(
    accounts: Accounts, database: Database
) -> None:
    async with database.reading() as connection:
        assert not await rows.is_anybody(connection)
    await accounts.add("ada", PASSWORD, Role.VIEWER)
    async with database.reading() as connection:
        assert await rows.is_anybody(connection)


@pytest.mark.parametrize(
    ("name", "password", "role", "cameras"),
    [
        ("a/b", PASSWORD, Role.VIEWER, None),
        ("ada", "short", Role.VIEWER, None),
        ("ada", PASSWORD, Role.ADMIN, ["gate"]),
        ("ada", PASSWORD, Role.VIEWER, ["a b"]),
    ],
)
async def test_other_users_are_refused(
    accounts: Accounts, name: str, password: str, role: Role, cameras: list[str] | None
) -> None:
    with pytest.raises(ConfigError):
        await accounts.add(name, password, role, cameras)
    assert await accounts.users() == []


async def test_a_user_who_is_not_there_is_told(accounts: Accounts) -> None:
    for change in (
        accounts.remove("nobody"),
        accounts.set_password("nobody", PASSWORD),
        accounts.change("nobody", UserChange(role=Role.ADMIN)),
    ):
        with pytest.raises(NoSuchUser):
            await change


async def test_changes_are_told_to_who_keeps_copies(accounts: Accounts, database: Database) -> None:
    n_changes = 0

    def changed() -> None:
        nonlocal n_changes
        n_changes += 1

    accounts.changed = changed
    await accounts.add("ada", PASSWORD, Role.ADMIN)
    begun = await login(accounts)
    await accounts.end_session(begun.session.id, None)
    await accounts.set_password("ada", "another horse")
    await accounts.change("ada", UserChange(role=Role.ADMIN))
    tokens = Tokens(database, changed=changed)
    token = await tokens.make(TokenRequest("grafana"))
    await tokens.end(token.token.id)
    assert n_changes == 6


async def test_the_foreign_key_takes_sessions_of_a_removed_row(
    accounts: Accounts, database: Database
) -> None:
    await accounts.add("ada", PASSWORD, Role.VIEWER)
    begun = await login(accounts)
    async with database.writing() as connection:
        await connection.execute(text("DELETE FROM users"))
    assert not await is_open(accounts, begun)
