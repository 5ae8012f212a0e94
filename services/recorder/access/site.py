"""Everything about who may use one site, built together: it answers nobody until its database is there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from services.recorder.access.accounts import Accounts, Client, NewSession
from services.recorder.access.authenticator import RecorderAuthenticator
from services.recorder.access.names import name_key
from services.recorder.access.oidc import OidcLogins
from services.recorder.access.passwords import Passwords, TooManyLogins
from services.recorder.access.tokens import Tokens
from services.recorder.metrics import RecorderMetrics
from services.recorder.record.database import Database
from shared.errors import ClipwatchError, Transient
from shared.logs import get_logger
from shared.rate_limit import FailureLimit, RefusalLog, address_key
from shared.waits import pause

log = get_logger(__name__)

ADDRESS_TRIES, NAME_TRIES, WINDOW_S = 10, 30, 300.0  # failed logins; a name is tried from many addresses
BUSY_S = 2.0
WRITE_EVERY_S = 60.0


class TriedTooOften(ClipwatchError):
    """Too many failed logins, or too many at once; try again after `wait_s`."""

    def __init__(self, wait_s: float) -> None:
        super().__init__(f"too many logins: wait {wait_s:.0f} s")
        self.wait_s = wait_s


@dataclass(slots=True)
class SiteAccess:
    """Authenticator, users and tokens of one database; `accounts` and `api_tokens` are None until it is open."""

    authenticator: RecorderAuthenticator
    metrics: RecorderMetrics
    passwords: Passwords = field(default_factory=Passwords)
    by_address: FailureLimit = field(default_factory=lambda: FailureLimit(ADDRESS_TRIES, WINDOW_S))
    by_name: FailureLimit = field(default_factory=lambda: FailureLimit(NAME_TRIES, WINDOW_S))
    refusals: RefusalLog = field(default_factory=lambda: RefusalLog(log))
    oidc: OidcLogins | None = None
    accounts: Accounts | None = None
    api_tokens: Tokens | None = None

    def accounts_of(self, database: Database) -> Accounts:
        """Return the users of a database."""
        one = self.authenticator
        return Accounts(database, self.passwords, one.limits, one.now, one.changed)

    def open(self, database: Database) -> None:
        """Let in who may from now on."""
        one = self.authenticator
        self.accounts = self.accounts_of(database)
        self.api_tokens = Tokens(database, one.now, one.changed)
        one.database = database

    async def run(self, stop: asyncio.Event, beat: Callable[[], None]) -> None:
        """Write until `stop` when sessions and tokens were last used, and remove sessions that are over."""
        while not stop.is_set():
            await pause(WRITE_EVERY_S, stop)
            try:
                await self.authenticator.write_uses()
            except Transient as exc:
                log.debug("last uses wait for the database", error=exc)
            beat()

    async def login(self, accounts: Accounts, name: str, password: str, client: Client) -> NewSession | None:
        """Return a new session, None for a wrong name or password; raise TriedTooOften."""
        keys = (address_key(client.address), name_key(name[:256]))
        self._refuse_many(*keys)
        try:
            made = await accounts.login(name, password, client)
        except TooManyLogins as exc:
            self.metrics.logins.labels("busy").inc()
            raise TriedTooOften(BUSY_S) from exc
        self._count(keys, is_right=made is not None)
        return made

    async def is_password(self, accounts: Accounts, name: str, password: str, client: Client) -> bool:
        """Whether this is the user's password, with the bounds of logins; raise TriedTooOften."""
        keys = (address_key(client.address), name_key(name))
        self._refuse_many(*keys)
        try:
            is_right = await accounts.is_password(name, password)
        except TooManyLogins as exc:
            raise TriedTooOften(BUSY_S) from exc
        if not is_right:
            self._count(keys, is_right=False)
        return is_right

    def _refuse_many(self, address: str, name: str) -> None:
        wait_s = max(self.by_address.wait_s(address), self.by_name.wait_s(name))
        if wait_s > 0:
            self.metrics.logins.labels("limited").inc()
            self.refusals.warn("logins are refused: too many were wrong", address)
            raise TriedTooOften(wait_s)

    def _count(self, keys: tuple[str, str], is_right: bool) -> None:
        address, name = keys
        self.metrics.logins.labels("ok" if is_right else "wrong").inc()
        if is_right:
            self.by_address.forget(address)
            self.by_name.forget(name)
            return
        self.by_address.count(address)
        self.by_name.count(name)
        # without the name: people type passwords into the wrong field
        self.refusals.warn("a login was refused: wrong name or password", address)
