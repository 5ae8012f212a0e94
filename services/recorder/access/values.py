"""Who may use the site, as values: users, sessions, tokens, and the errors of changing them. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from shared.errors import ConfigError
from shared.permissions import Identity, Permission, Role

Way = Literal["open", "user", "token", "none"]  # how a caller was let in; none: nobody is logged in
SCOPES = (Permission.LOOK, Permission.OPERATE, Permission.ADMIN, Permission.METRICS)
EVERYTHING = frozenset(SCOPES)


@dataclass(frozen=True, slots=True)
class User:
    """A user; `cameras` None: sees all. Times UTC."""

    id: str
    name: str
    role: Role
    cameras: frozenset[str] | None
    has_password: bool
    created_at: datetime
    seen_at: datetime | None


@dataclass(frozen=True, slots=True)
class Session:
    """A login in a browser. `id` is for lists and opens nothing; `ends_at` at the latest, UTC."""

    id: str
    user: User
    created_at: datetime
    seen_at: datetime
    ends_at: datetime
    address: str
    agent: str


@dataclass(frozen=True, slots=True)
class ApiToken:
    """A program's token without its secret; `ends_at` None: no end. Times UTC."""

    id: str
    name: str
    scopes: frozenset[Permission]
    cameras: frozenset[str] | None
    created_at: datetime
    ends_at: datetime | None
    used_at: datetime | None


@dataclass(frozen=True, slots=True)
class SiteIdentity(Identity):
    """Who calls the site, and by what: a user's session, a token, or this machine while there is neither."""

    way: Way = "none"
    role: Role | None = None
    user_id: str | None = None
    session_id: str | None = None
    token_id: str | None = None
    lookup: str = field(default="", repr=False)  # what is asked for again, while a stream stays open


class NoSuchUser(ConfigError):
    """There is no user, session or token of this name or id."""


class NameTaken(ConfigError):
    """There is one of this name already."""


class LastAdmin(ConfigError):
    """The only admin cannot be removed, nor get another role: nobody could undo it."""
