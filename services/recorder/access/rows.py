"""The rows of users, sessions and tokens. Knows the tables; no rule of names, no secret, no clock."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, and_, delete, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from services.recorder.access.values import ApiToken, LastAdmin, NameTaken, NoSuchUser, Session, User
from services.recorder.record.schema import api_tokens, sessions, users
from shared.permissions import Permission, Role

USERS_MAX, TOKENS_MAX, SESSIONS_MAX = 1000, 500, 50  # sessions: of one user, the oldest ends


@dataclass(frozen=True, slots=True)
class UserRow:
    """A user's row, with what only a login may see."""

    user: User
    password_hash: str | None


# -- users


async def find_users(connection: AsyncConnection) -> list[User]:
    """Return all users by name."""
    found = await connection.execute(select(users).order_by(users.c.name_key).limit(USERS_MAX))
    return [_user(row) for row in found]


async def find_user(connection: AsyncConnection, key: str) -> UserRow | None:
    """Return the user whose `name_key` this is."""
    row = (await connection.execute(select(users).where(users.c.name_key == key))).one_or_none()
    return None if row is None else UserRow(_user(row), row.password_hash)


async def find_subject(connection: AsyncConnection, subject_hash: str) -> User | None:
    """Return the user of an OIDC subject."""
    row = (await connection.execute(select(users).where(users.c.subject_hash == subject_hash))).one_or_none()
    return None if row is None else _user(row)


async def is_anybody(connection: AsyncConnection) -> bool:
    """Whether there is a user or a token, ended ones included: then nobody is let in without one."""
    for table in (users, api_tokens):
        if (await connection.execute(select(table.c.id).limit(1))).first() is not None:
            return True
    return False


async def add_user(
    connection: AsyncConnection, key: str, row: Mapping[str, Any]
) -> None:  # Any: column values
    """Add a user's row; raise NameTaken when the name is, or the tables are full."""
    if await _count(connection, users.c.id) >= USERS_MAX:
        raise NameTaken(f"{USERS_MAX} users: must be fewer; remove one")
    if await find_user(connection, key) is not None:
        raise NameTaken(f"a user '{row['name']}' is there already; choose another name")
    try:
        await connection.execute(insert(users).values({**row, "name_key": key}))
    except IntegrityError as exc:  # another recorder was faster
        raise NameTaken(f"a user '{row['name']}' is there already; choose another name") from exc


async def locked_user(connection: AsyncConnection, key: str, shown: str) -> User:
    """Return a user whose row nobody else changes until the end of the transaction; raise NoSuchUser."""
    found = select(users).where(users.c.name_key == key).with_for_update()
    row = (await connection.execute(found)).one_or_none()
    if row is None:
        raise NoSuchUser(f"no user {shown}; see the list of users")
    return _user(row)


async def refuse_last_admin(connection: AsyncConnection, user: User) -> None:
    """Raise LastAdmin when there is no admin but `user`; the other admins' rows stay as they are meanwhile."""
    if user.role is not Role.ADMIN:
        return
    admins = select(users.c.id).where(users.c.role == Role.ADMIN.value).order_by(users.c.id).with_for_update()
    if not [row.id for row in await connection.execute(admins) if row.id != user.id]:
        raise LastAdmin(f"'{user.name}' is the last admin; make another user an admin first")


async def change_user(
    connection: AsyncConnection,
    user_id: str,
    values: Mapping[str, Any],  # Any: column values
) -> None:
    """Change columns of a user."""
    await connection.execute(update(users).where(users.c.id == user_id).values(dict(values)))


async def remove_user(connection: AsyncConnection, user_id: str) -> None:
    """Remove a user and the user's sessions."""
    await end_sessions(connection, user_id)
    await connection.execute(delete(users).where(users.c.id == user_id))


def user_values(role: Role, cameras: frozenset[str] | None) -> dict[str, str | None]:
    """Return a role and cameras as columns."""
    return {"role": role.value, "cameras": _cameras_text(cameras)}


# -- sessions


async def add_session(connection: AsyncConnection, secret_hash: str, session: Session) -> None:
    """Add a session; of too many of one user the ones that were unused for longest end."""
    of_user = select(sessions.c.id).where(sessions.c.user_id == session.user.id)
    ordered = of_user.order_by(sessions.c.seen_at.desc(), sessions.c.id.desc())
    surplus = [
        row.id for row in await connection.execute(ordered.offset(SESSIONS_MAX - 1).limit(SESSIONS_MAX))
    ]
    if surplus:
        await connection.execute(delete(sessions).where(sessions.c.id.in_(surplus)))
    await connection.execute(
        insert(sessions).values(
            id=session.id,
            secret_hash=secret_hash,
            user_id=session.user.id,
            created_at=session.created_at,
            seen_at=session.seen_at,
            ends_at=session.ends_at,
            address=session.address,
            agent=session.agent,
        )
    )


async def find_session(connection: AsyncConnection, secret_hash: str) -> Session | None:
    """Return the session of a cookie, over or not."""
    row = (await connection.execute(_sessions().where(sessions.c.secret_hash == secret_hash))).one_or_none()
    return None if row is None else _session(row)


async def find_sessions(connection: AsyncConnection, user_id: str | None) -> list[Session]:
    """Return the sessions of one user or of all, the last seen first."""
    query = _sessions().order_by(sessions.c.seen_at.desc(), sessions.c.id).limit(USERS_MAX)
    found = await connection.execute(query if user_id is None else query.where(sessions.c.user_id == user_id))
    return [_session(row) for row in found]


async def end_session(connection: AsyncConnection, session_id: str, user_id: str | None) -> bool:
    """End a session, if it is of that user (None: of any); return whether there was one."""
    query = delete(sessions).where(sessions.c.id == session_id)
    ended = await connection.execute(query if user_id is None else query.where(sessions.c.user_id == user_id))
    return ended.rowcount > 0


async def end_sessions(connection: AsyncConnection, user_id: str, kept: str | None = None) -> None:
    """End all sessions of a user, but the one whose id is `kept`."""
    query = delete(sessions).where(sessions.c.user_id == user_id)
    await connection.execute(query if kept is None else query.where(sessions.c.id != kept))


async def remove_over(connection: AsyncConnection, now: datetime, idle_since: datetime) -> None:
    """Forget sessions that are over."""
    await connection.execute(
        delete(sessions).where(or_(sessions.c.ends_at <= now, sessions.c.seen_at <= idle_since))
    )


async def mark_session(connection: AsyncConnection, session_id: str, at: datetime) -> None:
    """Write when a session was last used; never back in time."""
    of_session = and_(sessions.c.id == session_id, sessions.c.seen_at < at)
    await connection.execute(update(sessions).where(of_session).values(seen_at=at))


# -- tokens


async def add_token(connection: AsyncConnection, secret_hash: str, token: ApiToken) -> None:
    """Add a token; raise NameTaken when its name is, or the table is full."""
    if await _count(connection, api_tokens.c.id) >= TOKENS_MAX:
        raise NameTaken(f"{TOKENS_MAX} tokens: must be fewer; end one")
    known = select(api_tokens.c.id).where(api_tokens.c.name == token.name).limit(1)
    if (await connection.execute(known)).first() is not None:
        raise NameTaken(f"a token '{token.name}' is there already; choose another name, or end that one")
    await connection.execute(
        insert(api_tokens).values(
            id=token.id,
            name=token.name,
            secret_hash=secret_hash,
            scopes=" ".join(sorted(token.scopes)),
            cameras=_cameras_text(token.cameras),
            created_at=token.created_at,
            ends_at=token.ends_at,
        )
    )


async def find_tokens(connection: AsyncConnection) -> list[ApiToken]:
    """Return all tokens by name."""
    found = await connection.execute(select(api_tokens).order_by(api_tokens.c.name).limit(TOKENS_MAX))
    return [_token(row) for row in found]


async def find_token(connection: AsyncConnection, token_id: str) -> tuple[ApiToken, str] | None:
    """Return a token and the hash of its secret."""
    row = (await connection.execute(select(api_tokens).where(api_tokens.c.id == token_id))).one_or_none()
    return None if row is None else (_token(row), row.secret_hash)


async def end_token(connection: AsyncConnection, id_or_name: str) -> bool:
    """Remove a token by its id or name; return whether there was one."""
    ended = await connection.execute(
        delete(api_tokens).where(or_(api_tokens.c.id == id_or_name, api_tokens.c.name == id_or_name))
    )
    return ended.rowcount > 0


async def mark_token(connection: AsyncConnection, token_id: str, at: datetime) -> None:
    """Write when a token was last used; never back in time."""
    unused = or_(api_tokens.c.used_at.is_(None), api_tokens.c.used_at < at)
    await connection.execute(
        update(api_tokens).where(and_(api_tokens.c.id == token_id, unused)).values(used_at=at)
    )


# -- values


def _sessions() -> Select[Any]:  # Any: rows of several tables
    columns = [column.label(f"user_{column.name}") for column in users.columns]
    own = [column for column in sessions.columns if column.name != "user_id"]
    return select(*own, *columns).join(users, users.c.id == sessions.c.user_id)


def _session(row: Row[Any]) -> Session:  # Any: as above
    user = User(
        row.user_id,
        row.user_name,
        Role(row.user_role),
        _cameras(row.user_cameras),
        row.user_password_hash is not None,
        row.user_created_at,
        row.user_seen_at,
    )
    return Session(row.id, user, row.created_at, row.seen_at, row.ends_at, row.address, row.agent)


def _user(row: Row[Any]) -> User:  # Any: as above
    return User(
        row.id,
        row.name,
        Role(row.role),
        _cameras(row.cameras),
        row.password_hash is not None,
        row.created_at,
        row.seen_at,
    )


def _token(row: Row[Any]) -> ApiToken:  # Any: as above
    scopes = frozenset(Permission(scope) for scope in row.scopes.split())
    return ApiToken(row.id, row.name, scopes, _cameras(row.cameras), row.created_at, row.ends_at, row.used_at)


def _cameras(text: str | None) -> frozenset[str] | None:
    return None if text is None else frozenset(json.loads(text))


def _cameras_text(cameras: frozenset[str] | None) -> str | None:
    return None if cameras is None else json.dumps(sorted(cameras))


async def _count(connection: AsyncConnection, column: Any) -> int:  # Any: a column of any type
    return int(await connection.scalar(select(func.count(column))) or 0)
