"""What can be done with API tokens: by HTTP, and by the command line on the same database. Raises as accounts.py."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from services.recorder.access import rows
from services.recorder.access.names import clean_cameras, clean_name, shown
from services.recorder.access.token_text import ID_BYTES, SECRET_BYTES, parse_token, token_text
from services.recorder.access.values import SCOPES, ApiToken
from services.recorder.record.database import Database
from shared.clock import now_utc
from shared.errors import ConfigError
from shared.permissions import Permission
from shared.secrets import know_issued


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token and its text, which is shown this once."""

    text: str
    token: ApiToken


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """Which token to make; `cameras` None: all; `ends_at` None: no end."""

    name: str
    scopes: Iterable[str] = ("look",)
    cameras: Iterable[str] | None = None
    ends_at: datetime | None = None


@dataclass(slots=True)
class Tokens:
    """The API tokens of one database. `changed` is called after every change."""

    database: Database
    now: Callable[[], datetime] = now_utc
    changed: Callable[[], None] = lambda: None

    async def make(self, wanted: TokenRequest) -> NewToken:
        """Make a token; raise ConfigError."""
        now = self.now()
        if wanted.ends_at is not None and wanted.ends_at <= now:
            raise ConfigError("the token's end is past: must be a time to come, or none")
        token_id, secret = secrets.token_bytes(ID_BYTES), secrets.token_bytes(SECRET_BYTES)
        text = token_text(token_id, secret)
        know_issued(secret.hex())
        parts = parse_token(text)
        assert parts is not None
        token = ApiToken(
            parts.id,
            clean_name(wanted.name),
            clean_scopes(wanted.scopes),
            clean_cameras(wanted.cameras),
            now,
            wanted.ends_at,
            None,
        )
        if token.cameras is not None and Permission.ADMIN in token.scopes:
            raise ConfigError("a token with 'admin' sees all cameras: must be without cameras")
        async with self.database.writing() as connection:
            await rows.add_token(connection, parts.secret_hash, token)
        self.changed()
        return NewToken(text, token)

    async def list(self) -> list[ApiToken]:
        """Return all tokens by name, ended ones too."""
        async with self.database.reading() as connection:
            return await rows.find_tokens(connection)

    async def end(self, id_or_name: str) -> bool:
        """Remove a token; return whether there was one."""
        async with self.database.writing() as connection:
            ended = await rows.end_token(connection, id_or_name)
        self.changed()
        return ended


def clean_scopes(given: Iterable[str]) -> frozenset[Permission]:
    """Return scopes; raise ConfigError for one that is none, and for none at all."""
    known = {str(scope): scope for scope in SCOPES}
    names = list(given)
    for name in names:
        if name not in known:
            raise ConfigError(f"scope {shown(name)}: wanted any of {', '.join(known)}")
    if not names:
        raise ConfigError(f"no scope: wanted any of {', '.join(known)}")
    return frozenset(known[name] for name in names)
