"""Says who calls the site: a user's session, a token, or this machine while there is neither. Knows no route.

Look-ups are kept for some seconds (cached.py); `changed` makes a change of this process count at once. While the
database does not answer, sessions and tokens of the database cannot be known: 503.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from services.recorder.access import rows
from services.recorder.access.cached import CachedLookups
from services.recorder.access.session_ends import SEEN_EVERY, SessionLimits
from services.recorder.access.token_text import parse_cookie, parse_token
from services.recorder.access.values import EVERYTHING, ApiToken, Session, SiteIdentity
from services.recorder.record.database import Database
from shared.access import Caller, Refusal
from shared.clock import now_utc
from shared.errors import Transient
from shared.permissions import PERMISSIONS_OF, Identity, Permission
from shared.secrets import know_issued

COOKIE = "clipwatch-session"
COOKIES_MAX = 8192  # characters of a Cookie header that are read
_KEPT_TOUCHES = 4096


@dataclass(frozen=True, slots=True)
class SettingTokens:
    """Tokens that stand in no table: API_TOKEN, METRICS_TOKEN, and that of this machine; None: there is none."""

    api: str | None = None
    metrics: str | None = None
    local: str | None = None


@dataclass(slots=True)
class RecorderAuthenticator:
    """The site's Authenticator. Nobody is known until `database` is there."""

    tokens: SettingTokens = field(default_factory=SettingTokens)
    limits: SessionLimits = field(default_factory=SessionLimits)
    now: Callable[[], datetime] = now_utc
    database: Database | None = None
    _sessions: CachedLookups[Session | None] = field(init=False)
    _tokens: CachedLookups[ApiToken | None] = field(init=False)
    _anybody: CachedLookups[bool] = field(init=False)
    _used: dict[tuple[str, str], datetime] = field(
        default_factory=dict
    )  # (kind, id): last use, to be written

    def __post_init__(self) -> None:
        self._sessions = CachedLookups(self._find_session)
        self._tokens = CachedLookups(self._find_token)
        self._anybody = CachedLookups(self._find_anybody)

    def changed(self) -> None:
        """Forget what was looked up: something was changed by this process."""
        for lookups in (self._sessions, self._tokens, self._anybody):
            lookups.forget()

    async def identify(self, caller: Caller) -> SiteIdentity | Refusal:
        """Return who calls, or a refusal: 401 unknown, 429 too many wrong tokens, 503 it cannot be known now."""
        if self.database is None:
            return _unknown_yet("the recorder is starting")
        try:
            return await self._identified(caller)
        except Transient:
            return _unknown_yet("the database does not answer")

    async def _identified(self, caller: Caller) -> SiteIdentity | Refusal:
        if caller.bearer is not None:
            return await self._of_token(caller.bearer)
        if (secret_hash := cookie_hash(caller.cookie)) is not None:
            session = await self._sessions.get(secret_hash)
            if session is not None and not self._is_over(session):
                know_issued(cookie_secret(caller.cookie) or "")
                self._use("session", session.id, session.seen_at)
                return identity_of_session(session, secret_hash)
        if caller.is_local and await self.is_open():
            return SiteIdentity("this machine", EVERYTHING, way="open")
        return Refusal(
            401,
            "log in, or send the header 'Authorization: Bearer …' with a token",
            "nobody is logged in",
            "a user or a token",
            "no_credentials",
        )

    async def is_open(self) -> bool:
        """Whether callers of this machine need no login: as long as there is neither user nor token."""
        return self.tokens.api is None and not await self._anybody.get("")

    async def is_current(self, identity: Identity) -> bool:
        """Whether somebody who was let in would still be, with the same rights; yes while the database is away."""
        if not isinstance(identity, SiteIdentity):
            return False
        try:
            if identity.way == "open":
                return await self.is_open()
            if identity.session_id is not None:
                session = await self._sessions.get(identity.lookup)
                if session is None or self._is_over(session):
                    return False
                now = identity_of_session(session, identity.lookup)
                return (now.permissions, now.cameras) == (identity.permissions, identity.cameras)
            if identity.token_id is not None:
                token = await self._tokens.get(identity.lookup)
                return token is not None and not _has_ended(token, self.now())
        except Transient:
            return True
        return identity.way == "token"

    # -- tokens

    async def _of_token(self, sent: str) -> SiteIdentity | Refusal:
        if (fixed := self._of_settings(sent)) is not None:
            return fixed
        parts = parse_token(sent)
        key = f"{parts.id} {parts.secret_hash}" if parts else ""
        token = await self._tokens.get(key) if parts else None
        if token is not None and not _has_ended(token, self.now()):
            know_issued(sent.rpartition("_")[2])
            self._use("token", token.id, token.used_at)
            return SiteIdentity(
                token.name,
                token.scopes,
                token.cameras,
                key=f"token {token.id}",
                way="token",
                token_id=token.id,
                lookup=key,
            )
        found = "a token that is not known" if token is None else "a token that has ended"
        return Refusal(401, "make a new one: clipwatch token add", found, "one that is", "wrong_credentials")

    def _of_settings(self, sent: str) -> SiteIdentity | None:
        if _is_same(sent, self.tokens.api):
            return SiteIdentity("API_TOKEN", EVERYTHING, key="a setting", way="token")
        if _is_same(sent, self.tokens.metrics):
            return SiteIdentity("METRICS_TOKEN", frozenset({Permission.METRICS}), frozenset(), way="token")
        if _is_same(sent, self.tokens.local):  # from any address: the site may listen on none of loopback
            return SiteIdentity("this machine", EVERYTHING, way="token")
        return None

    # -- look-ups

    async def _find_session(self, secret_hash: str) -> Session | None:
        async with self._opened().reading() as connection:
            return await rows.find_session(connection, secret_hash)

    async def _find_token(self, key: str) -> ApiToken | None:
        token_id, _, secret_hash = key.partition(" ")
        async with self._opened().reading() as connection:
            found = await rows.find_token(connection, token_id)
        return found[0] if found is not None and _is_same(found[1], secret_hash) else None

    async def _find_anybody(self, _key: str) -> bool:
        async with self._opened().reading() as connection:
            return await rows.is_anybody(connection)

    def _opened(self) -> Database:
        assert self.database is not None
        return self.database

    def _is_over(self, session: Session) -> bool:
        seen_at = max(session.seen_at, self._used.get(("session", session.id), session.seen_at))
        return self.limits.is_over(session.created_at, seen_at, session.ends_at, self.now())

    # -- last uses

    def _use(self, kind: str, its_id: str, known_at: datetime | None) -> None:
        now = self.now()
        if (known_at is None or now - known_at >= SEEN_EVERY) and len(self._used) < _KEPT_TOUCHES:
            self._used[kind, its_id] = now

    async def write_uses(self) -> None:
        """Write when sessions and tokens were last used, and remove sessions that are over; raises Transient."""
        if self.database is None:
            return
        used, self._used = self._used, {}
        now = self.now()
        try:
            async with self.database.writing() as connection:
                for (kind, its_id), at in used.items():
                    mark = rows.mark_session if kind == "session" else rows.mark_token
                    await mark(connection, its_id, at)
                await rows.remove_over(connection, now, now - self.limits.idle)
        except Transient:
            self._used = {**used, **self._used}
            raise


def identity_of_session(session: Session, lookup: str) -> SiteIdentity:
    """Return who a session's user is."""
    user = session.user
    return SiteIdentity(
        user.name,
        PERMISSIONS_OF[user.role],
        user.cameras,
        key=f"user {user.id}",
        way="user",
        role=user.role,
        user_id=user.id,
        session_id=session.id,
        lookup=lookup,
    )


def cookie_hash(header: str | None) -> str | None:
    """Return the hash of the session's cookie in a Cookie header; None when there is none that could be one."""
    secret = cookie_secret(header)
    return None if secret is None else parse_cookie(secret)


def cookie_secret(header: str | None) -> str | None:
    """Return the session's cookie in a Cookie header; None when there is none that could be one."""
    if header is None or len(header) > COOKIES_MAX:
        return None
    for part in header.split(
        ";"
    ):  # not http.cookies, which stops at what it cannot read of another program's
        name, _, value = part.strip().partition("=")
        if name == COOKIE and parse_cookie(value) is not None:
            return value
    return None


def _unknown_yet(found: str) -> Refusal:
    return Refusal(503, "try again in a moment", found, "a recorder that is ready", "starting")


def _has_ended(token: ApiToken, now: datetime) -> bool:
    return token.ends_at is not None and now >= token.ends_at


def _is_same(sent: str, known: str | None) -> bool:
    return known is not None and hmac.compare_digest(
        sent.encode("utf-8", "surrogatepass"), known.encode("utf-8", "surrogatepass")
    )
