"""Who calls the site, on a real database: users, tokens, and this machine while there is neither."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from argon2 import PasswordHasher
from prometheus_client import CollectorRegistry
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncConnection

from services.recorder.access.accounts import Client, UserChange
from services.recorder.access.authenticator import (
    COOKIE,
    RecorderAuthenticator,
    SettingTokens,
    cookie_hash,
)
from services.recorder.access.cached import KEPT_S
from services.recorder.access.passwords import Passwords
from services.recorder.access.site import ADDRESS_TRIES, NAME_TRIES, SiteAccess, TriedTooOften
from services.recorder.access.token_text import token_text
from services.recorder.access.tokens import TokenRequest, Tokens
from services.recorder.access.values import EVERYTHING, SiteIdentity
from services.recorder.metrics import RecorderMetrics
from services.recorder.record.bootstrap import open_database
from services.recorder.record.database import Database
from services.recorder.record.database_errors import DatabaseAway
from shared.access import Caller, Refusal
from shared.permissions import Permission, Role

PASSWORD = "correct horse"
PHONE = Client("192.0.2.7", "a phone")
HERE = Caller("127.0.0.1", "127.0.0.1:8080", address="127.0.0.1", is_local=True)
THERE = Caller("192.0.2.7", "192.0.2.1:8080", address="192.0.2.7")
NO_TOKEN = token_text(b"\0" * 6, b"\0" * 32)


@dataclass
class ManualClock:
    now: datetime = field(default_factory=lambda: datetime(2026, 5, 4, 12, tzinfo=UTC))
    seconds: float = 1000.0

    def pass_by(self, span: timedelta) -> None:
        self.now += span
        self.seconds += span.total_seconds()


class DatabaseThatIsAway(Database):
    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        if self.transaction_s:
            raise DatabaseAway("no answer")
        yield await self.engine.connect()  # never


@dataclass
class Site:
    """One site, its clock, and how often its database was asked."""

    access: SiteAccess
    database: Database
    clock: ManualClock
    n_queries: int = 0

    @property
    def authenticator(self) -> RecorderAuthenticator:
        return self.access.authenticator

    async def who(self, caller: Caller) -> SiteIdentity | Refusal:
        return await self.authenticator.identify(caller)

    async def name(self, caller: Caller) -> str | int:
        """Return the name of who calls, or the status of the refusal."""
        found = await self.who(caller)
        return found.status if isinstance(found, Refusal) else found.name

    async def user(
        self, name: str = "ada", role: Role = Role.VIEWER, cameras: list[str] | None = None
    ) -> Caller:
        """Make a user who logs in elsewhere, and return that browser."""
        assert self.access.accounts is not None
        await self.access.accounts.add(name, PASSWORD, role, cameras)
        return await self.browser(name)

    async def browser(self, name: str = "ada") -> Caller:
        assert self.access.accounts is not None
        made = await self.access.login(self.access.accounts, name, PASSWORD, PHONE)
        assert made is not None
        return replace(THERE, cookie=f"theme=dark; {COOKIE}={made.cookie}")


@pytest.fixture
async def site(sqlite_record: str) -> AsyncIterator[Site]:
    database = await open_database(sqlite_record, asyncio.Event(), connect_s=10, transaction_s=20)
    clock = ManualClock()
    authenticator = RecorderAuthenticator(now=lambda: clock.now)
    for lookups in (authenticator._sessions, authenticator._tokens, authenticator._anybody):
        lookups.seconds = lambda: clock.seconds
    quick = Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    made = Site(SiteAccess(authenticator, RecorderMetrics(CollectorRegistry()), quick), database, clock)
    for tries in (made.access.by_address, made.access.by_name):
        tries.seconds = lambda: clock.seconds
    made.access.open(database)

    @event.listens_for(database.engine.sync_engine, "before_cursor_execute")
    def asked(*_details: object) -> None:
        made.n_queries += 1

    yield made
    await database.close()


def with_token(caller: Caller, token: str) -> Caller:
    return replace(caller, authorization=f"Bearer {token}")


async def test_nobody_is_known_before_the_database_is(site: Site) -> None:
    site.authenticator.database = None
    site.authenticator.tokens = SettingTokens(api="a token of the settings")
    for caller in (HERE, THERE, with_token(THERE, "a token of the settings")):
        assert await site.name(caller) == 503


async def test_a_database_that_is_away_is_no_open_door(site: Site) -> None:
    site.authenticator.database = DatabaseThatIsAway(site.database.engine)
    assert await site.name(HERE) == 503
    assert await site.name(replace(THERE, cookie=f"{COOKIE}={'0' * 64}")) == 503
    assert await site.name(with_token(THERE, NO_TOKEN)) == 503


async def test_this_machine_is_let_in_while_there_is_neither_user_nor_token(site: Site) -> None:
    found = await site.who(HERE)
    assert isinstance(found, SiteIdentity)
    assert (found.way, found.permissions, found.cameras) == ("open", EVERYTHING, None)
    assert await site.name(THERE) == 401
    assert await site.name(replace(HERE, is_local=False)) == 401


@pytest.mark.parametrize("what", ["user", "token", "setting", "ended token"])
async def test_then_nobody_is_let_in_without_one(site: Site, what: str) -> None:
    assert await site.name(HERE) == "this machine"
    if what == "user":
        await site.user()
    elif what == "setting":
        site.authenticator.tokens = SettingTokens(api="a token of the settings")
    else:
        assert site.access.api_tokens is not None
        end = None if what == "token" else site.clock.now + timedelta(seconds=1)
        await site.access.api_tokens.make(TokenRequest("grafana", ends_at=end))
        site.clock.pass_by(timedelta(seconds=2))
    assert await site.name(HERE) == 401


async def test_what_another_program_made_counts_within_seconds(site: Site) -> None:
    assert await site.name(HERE) == "this machine"
    await Tokens(site.database).make(TokenRequest("grafana"))
    site.clock.pass_by(timedelta(seconds=KEPT_S))
    assert await site.name(HERE) == 401


async def test_a_browser_is_its_user(site: Site) -> None:
    found = await site.who(await site.user("ada", Role.OPERATOR, ["gate"]))
    assert isinstance(found, SiteIdentity)
    assert (found.name, found.way, found.role) == ("ada", "user", Role.OPERATOR)
    assert found.permissions == {Permission.LOOK, Permission.OPERATE}
    assert found.sees("gate")
    assert not found.sees("yard")


@pytest.mark.parametrize(
    "cookie",
    [
        None,
        "",
        f"{COOKIE}=",
        f"{COOKIE}={'0' * 64}",
        f"{COOKIE}={'0' * 63}",
        f"{COOKIE}=' OR 1=1 --",
        f"other{COOKIE}={'0' * 64}",
        f"{COOKIE}={'0' * 64};" * 1000,
        "\ud800",
    ],
)
async def test_any_other_cookie_is_nobody(site: Site, cookie: str | None) -> None:
    await site.user()
    assert await site.name(replace(THERE, cookie=cookie)) == 401


def test_a_cookie_is_found_among_those_of_other_programs() -> None:
    own = f"{COOKIE}={'0a' * 32}"
    for header in (own, f"a=b; {own}", f'broken"; ={{}}; a b=c ;{own}; z', f"{COOKIE}=old; {own}"):
        assert cookie_hash(header) == cookie_hash(own) is not None


@pytest.mark.parametrize("what", ["ended", "password", "role", "removed", "logged out"])
async def test_what_ends_a_session_counts_at_once(site: Site, what: str) -> None:
    await site.user("root", Role.ADMIN)
    browser = await site.user()
    identity = await site.who(browser)
    accounts = site.access.accounts
    assert isinstance(identity, SiteIdentity)
    assert identity.session_id is not None
    assert accounts is not None
    assert await site.authenticator.is_current(identity)
    if what == "ended":
        await accounts.end_session(identity.session_id, None)
    elif what == "password":
        await accounts.set_password("ada", "another horse")
    elif what == "role":
        await accounts.change("ada", UserChange(role=Role.OPERATOR))
    elif what == "removed":
        await accounts.remove("ada")
    else:
        await accounts.end_cookie(cookie_hash(browser.cookie) or "")
    assert await site.name(browser) == 401
    assert not await site.authenticator.is_current(identity)


async def test_a_session_ends_idle_and_at_the_latest(site: Site) -> None:
    idle = await site.user()
    busy = await site.browser()
    for _ in range(10):
        site.clock.pass_by(timedelta(days=2, hours=23))
        assert await site.name(busy) == "ada"
        await site.authenticator.write_uses()
    assert await site.name(idle) == 401
    site.clock.pass_by(timedelta(hours=10))
    assert await site.name(busy) == 401


async def test_a_page_of_pictures_asks_the_database_once(site: Site) -> None:
    browser = await site.user()
    site.authenticator.changed()
    site.n_queries = 0
    names = await asyncio.gather(*(site.name(browser) for _ in range(30)))
    assert set(names) == {"ada"}
    assert site.n_queries <= 3  # BEGIN, SELECT
    site.clock.pass_by(timedelta(seconds=KEPT_S / 2))
    site.n_queries = 0
    assert await site.name(browser) == "ada"
    assert site.n_queries == 0


async def test_last_uses_are_written_once_a_minute(site: Site) -> None:
    browser = await site.user()
    accounts, tokens = site.access.accounts, site.access.api_tokens
    assert accounts is not None
    assert tokens is not None
    token = with_token(THERE, (await tokens.make(TokenRequest("grafana"))).text)
    begun_at = site.clock.now
    site.clock.pass_by(timedelta(seconds=59))
    await site.name(browser)
    await site.authenticator.write_uses()
    assert (await accounts.sessions(None))[0].seen_at == begun_at
    site.clock.pass_by(timedelta(seconds=1))
    for _ in range(3):
        await site.name(browser)
        await site.name(token)
    await site.authenticator.write_uses()
    assert (await accounts.sessions(None))[0].seen_at == site.clock.now
    assert (await tokens.list())[0].used_at == site.clock.now


async def test_a_token_is_its_program_until_it_ends(site: Site) -> None:
    tokens = site.access.api_tokens
    assert tokens is not None
    end = site.clock.now + timedelta(days=1)
    made = await tokens.make(TokenRequest("grafana", ["look", "metrics"], ["gate"], end))
    caller = with_token(THERE, made.text)
    found = await site.who(caller)
    assert isinstance(found, SiteIdentity)
    assert (found.name, found.way, found.role) == ("grafana", "token", None)
    assert found.permissions == {Permission.LOOK, Permission.METRICS}
    assert found.cameras == frozenset({"gate"})
    assert await site.authenticator.is_current(found)
    site.clock.pass_by(timedelta(days=1) - timedelta(seconds=1))
    assert await site.name(caller) == "grafana"
    site.clock.pass_by(timedelta(seconds=1))
    assert await site.name(caller) == 401
    assert not await site.authenticator.is_current(found)


async def test_the_id_of_a_token_opens_nothing_without_its_secret(site: Site) -> None:
    tokens = site.access.api_tokens
    assert tokens is not None
    made = await tokens.make(TokenRequest("grafana"))
    assert await site.name(with_token(THERE, made.text)) == "grafana"
    guessed = token_text(bytes.fromhex(made.token.id), b"\0" * 32)
    assert await site.name(with_token(THERE, guessed)) == 401
    assert await site.name(with_token(HERE, guessed)) == 401
    assert await site.name(with_token(THERE, made.text)) == "grafana"


async def test_an_ended_token_counts_at_once(site: Site) -> None:
    tokens = site.access.api_tokens
    assert tokens is not None
    made = await tokens.make(TokenRequest("grafana"))
    assert await site.name(with_token(THERE, made.text)) == "grafana"
    await tokens.end(made.token.id)
    assert await site.name(with_token(THERE, made.text)) == 401


async def test_tokens_of_the_settings(site: Site) -> None:
    site.authenticator.tokens = SettingTokens(
        api="of the settings", metrics="of the metrics", local="of here"
    )
    found = await site.who(with_token(THERE, "of the settings"))
    assert isinstance(found, SiteIdentity)
    assert found.permissions == EVERYTHING
    numbers = await site.who(with_token(THERE, "of the metrics"))
    assert isinstance(numbers, SiteIdentity)
    assert numbers.permissions == {Permission.METRICS}
    assert not numbers.sees("gate")
    for caller in (HERE, replace(HERE, is_local=False), THERE):  # behind a proxy too
        assert await site.name(with_token(caller, "of here")) == "this machine"
    assert await site.name(HERE) == 401


@pytest.mark.parametrize("sent", ["", "x", "\ud800", "x" * 100_000, NO_TOKEN, NO_TOKEN.upper(), "' OR 1=1"])
async def test_any_other_token_is_refused_also_while_the_site_is_open(site: Site, sent: str) -> None:
    assert await site.name(with_token(HERE, sent)) == 401


async def test_a_proxys_basic_login_is_not_ours(site: Site) -> None:
    browser = await site.user()
    assert await site.name(replace(browser, authorization="Basic YWRhOmFkYQ==")) == "ada"


async def test_too_many_logins_of_an_address_or_for_a_name_wait(site: Site) -> None:
    await site.user()
    access, accounts = site.access, site.access.accounts
    assert accounts is not None
    for _ in range(ADDRESS_TRIES):
        assert await access.login(accounts, "ada", "wrong", Client("198.51.100.1")) is None
    with pytest.raises(TriedTooOften) as limited:
        await access.login(accounts, "ada", PASSWORD, Client("198.51.100.1"))
    assert 0 < limited.value.wait_s <= 300
    assert await access.login(accounts, "ada", PASSWORD, Client("198.51.100.2")) is not None
    for number in range(NAME_TRIES):
        await access.login(accounts, "ADA", "wrong", Client(f"2001:db8:0:{number:x}::1"))
    with pytest.raises(TriedTooOften):
        await access.login(accounts, "ada", PASSWORD, Client("198.51.100.3"))
    site.clock.pass_by(timedelta(minutes=5))
    assert await access.login(accounts, "ada", PASSWORD, Client("198.51.100.1")) is not None


async def test_logins_are_counted_and_logged_without_names(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    await site.user()
    accounts, metrics = site.access.accounts, site.access.metrics
    assert accounts is not None
    await site.access.login(accounts, "my password in the wrong field", "wrong", PHONE)
    assert metrics.logins.labels("ok")._value.get() == 1
    assert metrics.logins.labels("wrong")._value.get() == 1
    said = capsys.readouterr().out
    assert said.count("a login was refused") == 1
    assert "192.0.2.7" in said
    assert "wrong field" not in said
