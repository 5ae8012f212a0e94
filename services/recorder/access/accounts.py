"""What can be done with users and their sessions: by HTTP, and by the command line on the same database.

Names and passwords are checked here. Raises ConfigError (NoSuchUser, NameTaken, LastAdmin among them) for what cannot
be, Transient when the database or the hashing is busy; nothing is changed then.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from services.recorder.access import rows
from services.recorder.access.names import clean_cameras, clean_name, clean_password, name_key, shown
from services.recorder.access.oidc import OidcUser
from services.recorder.access.passwords import Passwords
from services.recorder.access.session_ends import SessionLimits
from services.recorder.access.token_text import SECRET_BYTES, hash_secret
from services.recorder.access.values import LastAdmin, NameTaken, NoSuchUser, Session, User
from services.recorder.record.database import Database
from shared.clock import now_utc, uuid7
from shared.errors import ConfigError
from shared.permissions import Role
from shared.secrets import know_issued
from shared.terminal_text import printable

AGENT_CHARS, ADDRESS_CHARS = 120, 64


@dataclass(frozen=True, slots=True)
class Client:
    """Where a login comes from: address and User-Agent, as far as they are known."""

    address: str = ""
    agent: str = ""


@dataclass(frozen=True, slots=True)
class NewSession:
    """A session and its cookie's value, which nobody can read again later."""

    cookie: str
    session: Session


@dataclass(frozen=True, slots=True)
class UserChange:
    """What is to become of a user; None: stays. `cameras` counts with `has_cameras` only, where None means all."""

    role: Role | None = None
    cameras: frozenset[str] | None = None
    has_cameras: bool = False


@dataclass(slots=True)
class Accounts:
    """Users and sessions of one database. `changed` is called after every change that takes something away."""

    database: Database
    passwords: Passwords = field(default_factory=Passwords)
    limits: SessionLimits = field(default_factory=SessionLimits)
    now: Callable[[], datetime] = now_utc
    changed: Callable[[], None] = lambda: None

    # -- users

    async def users(self) -> list[User]:
        """Return all users by name."""
        async with self.database.reading() as connection:
            return await rows.find_users(connection)

    async def add(
        self, name: str, password: str | None, role: Role, cameras: Iterable[str] | None = None
    ) -> User:
        """Make a user; `password` None: one who comes by OIDC only. Raises ConfigError."""
        name = clean_name(name)
        row = await self._new_row(name, password, role, cameras)
        async with self.database.writing() as connection:
            await rows.add_user(connection, name_key(name), row)
        self.changed()
        return await self._user(name)

    async def add_first_admin(self, name: str, password: str) -> User:
        """Make an admin while there is no user at all; raise NameTaken when there is one."""
        name = clean_name(name)
        row = await self._new_row(name, password, Role.ADMIN, None)
        async with self.database.writing() as connection:
            if await rows.find_users(connection):
                raise NameTaken("there are users already; log in as an admin, or run: clipwatch user add")
            await rows.add_user(connection, name_key(name), row)
        self.changed()
        return await self._user(name)

    async def change(self, name: str, change: UserChange) -> User:
        """Give a user another role or other cameras, and end the user's sessions; raise NoSuchUser or LastAdmin."""
        async with self.database.writing() as connection:
            user = await rows.locked_user(connection, name_key(name), shown(name))
            role = change.role or user.role
            cameras = clean_cameras(change.cameras) if change.has_cameras else user.cameras
            _refuse_narrow_admin(role, cameras)
            if role is not Role.ADMIN:
                await rows.refuse_last_admin(connection, user)
            await rows.change_user(connection, user.id, rows.user_values(role, cameras))
            if (role, cameras) != (user.role, user.cameras):
                await rows.end_sessions(connection, user.id)
        self.changed()
        return await self._user(name)

    async def remove(self, name: str) -> None:
        """Remove a user and the user's sessions; raise NoSuchUser or LastAdmin."""
        async with self.database.writing() as connection:
            user = await rows.locked_user(connection, name_key(name), shown(name))
            await rows.refuse_last_admin(connection, user)
            await rows.remove_user(connection, user.id)
        self.changed()

    async def set_password(self, name: str, password: str, kept_session: str | None = None) -> None:
        """Give a user another password, and end all of the user's sessions but `kept_session`."""
        known = await self._user(name)
        made = await self.passwords.hash(clean_password(password, known.name))
        async with self.database.writing() as connection:
            user = await rows.locked_user(connection, name_key(name), shown(name))
            await rows.change_user(connection, user.id, {"password_hash": made})
            await rows.end_sessions(connection, user.id, kept_session)
        self.changed()

    async def user_of_provider(self, came: OidcUser) -> User:
        """Return the user of an OIDC subject, made at the first login; a role that the provider says counts at each.

        Never a user who is there already: a name is anybody's to choose at a provider.
        """
        async with self.database.reading() as connection:
            known = await rows.find_subject(connection, came.subject_hash)
        if known is not None:
            if known.role is came.role or not came.is_role_said:
                return known
            cameras = None if came.role is Role.ADMIN else known.cameras
            try:
                return await self.change(known.name, UserChange(came.role, cameras, has_cameras=True))
            except LastAdmin:
                return known
        for name in _free_names(came):
            row = {**await self._new_row(name, None, came.role, None), "subject_hash": came.subject_hash}
            try:
                async with self.database.writing() as connection:
                    await rows.add_user(connection, name_key(name), row)
            except NameTaken:
                continue
            self.changed()
            return await self._user(name)
        raise NameTaken("no name is free for this user of the provider: must be made by an admin")

    # -- logins

    async def login(self, name: str, password: str, client: Client) -> NewSession | None:
        """Return a new session, or None for a wrong name or password: both take the same time."""
        async with self.database.reading() as connection:
            found = await rows.find_user(connection, name_key(name[:256]))
        known_hash = None if found is None else found.password_hash
        is_right = await self.passwords.is_right(password, known_hash)
        if found is None or known_hash is None or not is_right:
            return None
        newer = None
        if self.passwords.needs_rehash(known_hash):
            newer = await self.passwords.hash(password)
        return await self.begin_session(found.user, client, known_hash, newer)

    async def is_password(self, name: str, password: str) -> bool:
        """Whether this is the user's password."""
        async with self.database.reading() as connection:
            found = await rows.find_user(connection, name_key(name))
        return await self.passwords.is_right(password, found.password_hash if found else None)

    async def begin_session(
        self,
        user: User,
        client: Client,
        known_hash: str | None = None,
        newer_hash: str | None = None,
    ) -> NewSession | None:
        """Begin a session of a user who proved to be one; None when the user changed meanwhile.

        `known_hash`: what the proof was for, where it was a password.
        """
        now = self.now()
        cookie = secrets.token_hex(SECRET_BYTES)
        know_issued(cookie)
        session = Session(
            id=uuid7(now),
            user=user,
            created_at=now,
            seen_at=now,
            ends_at=self.limits.ends_at(now),
            address=client.address[:ADDRESS_CHARS],
            agent=printable(client.agent)[:AGENT_CHARS],
        )
        async with self.database.writing() as connection:
            found = await rows.find_user(connection, name_key(user.name))
            if found is None or found.user.id != user.id:
                return None
            if known_hash is not None and found.password_hash != known_hash:
                return None
            values = {"seen_at": now} if newer_hash is None else {"seen_at": now, "password_hash": newer_hash}
            await rows.change_user(connection, user.id, values)
            await rows.add_session(connection, hash_secret(cookie), session)
        return NewSession(cookie, session)

    async def sessions(self, user_id: str | None) -> list[Session]:
        """Return the sessions that are not over, of one user or of all."""
        now = self.now()
        async with self.database.reading() as connection:
            found = await rows.find_sessions(connection, user_id)
        return [
            one for one in found if not self.limits.is_over(one.created_at, one.seen_at, one.ends_at, now)
        ]

    async def end_session(self, session_id: str, user_id: str | None) -> bool:
        """End a session, if it is that user's (None: anybody's); return whether there was one."""
        async with self.database.writing() as connection:
            ended = await rows.end_session(connection, session_id, user_id)
        self.changed()
        return ended

    async def end_cookie(self, secret_hash: str) -> None:
        """End the session of a cookie, if there is one."""
        async with self.database.writing() as connection:
            found = await rows.find_session(connection, secret_hash)
            if found is not None:
                await rows.end_session(connection, found.id, None)
        self.changed()

    # -- parts

    async def _new_row(
        self, name: str, password: str | None, role: Role, cameras: Iterable[str] | None
    ) -> dict[str, str | datetime | None]:
        seen = clean_cameras(cameras)
        _refuse_narrow_admin(role, seen)
        made = None if password is None else await self.passwords.hash(clean_password(password, name))
        now = self.now()
        return {
            "id": uuid7(now),
            "name": name,
            "password_hash": made,
            "created_at": now,
            **rows.user_values(role, seen),
        }

    async def _user(self, name: str) -> User:
        async with self.database.reading() as connection:
            found = await rows.find_user(connection, name_key(name))
        if found is None:
            raise NoSuchUser(f"no user {shown(name)}; see the list of users")
        return found.user


def _free_names(came: OidcUser) -> Iterator[str]:
    for name in (*came.names, f"user-{came.subject_hash[:8]}"):
        try:
            yield clean_name(name)
        except ConfigError:
            continue


def _refuse_narrow_admin(role: Role, cameras: frozenset[str] | None) -> None:
    if role is Role.ADMIN and cameras is not None:
        raise ConfigError("an admin sees all cameras: must be without cameras, or a viewer or operator")
