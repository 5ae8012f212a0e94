"""`python -m services.recorder.users`: users and API tokens on the database of the environment, as in a container.

`clipwatch user` and `clipwatch token` call the same functions. They work while the recorder runs, which sees a change
within seconds, and while it does not. Passwords come from a terminal or from stdin, never from the arguments.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import getpass
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from services.recorder.access.accounts import Accounts
from services.recorder.access.names import shown
from services.recorder.access.opening import address_fault
from services.recorder.access.tokens import NewToken, TokenRequest, Tokens
from services.recorder.access.values import SCOPES, ApiToken, NoSuchUser, User
from services.recorder.record.bootstrap import open_database
from services.recorder.record.database import Database
from services.recorder.settings import RecorderSettings
from shared.clock import now_utc
from shared.errors import ConfigError, Transient, reason
from shared.permissions import Role
from shared.settings import load_settings
from shared.terminal_text import say
from shared.uncaught import redact_uncaught

CONNECT_S, TRANSACTION_S = 10.0, 30.0
DAYS_MAX = 3650
_STDIN_MAX = 8192
_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class UserOptions:
    """A user as the command line names one; no cameras: all."""

    name: str
    role: str = "viewer"
    cameras: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class TokenOptions:
    """A token as the command line names one; no cameras: all; `days` None: no end."""

    name: str
    scopes: Sequence[str] = ("look",)
    cameras: Sequence[str] = ()
    days: float | None = None


def on_database(address: str, work: Callable[[Database], Awaitable[_Answer]]) -> _Answer:
    """Return what `work` does with the database; raise ConfigError when it cannot be opened, Transient when it is busy.

    Files that are made belong to this account alone.
    """

    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[Database]:
        database = await open_database(address, asyncio.Event(), CONNECT_S, TRANSACTION_S)
        try:
            yield database
        finally:
            await database.close()

    async def run() -> _Answer:
        async with opened() as database:
            return await work(database)

    before = os.umask(0o077)
    try:
        return asyncio.run(run())
    finally:
        os.umask(before)


def add_user(address: str, options: UserOptions, password: str) -> User:
    """Make a user; raise ConfigError."""
    role = _role(options.role)
    cameras = options.cameras or None
    return on_database(
        address, lambda database: Accounts(database).add(options.name, password, role, cameras)
    )


def set_password(address: str, name: str, password: str) -> None:
    """Give a user another password, and end the user's sessions; raise ConfigError."""
    on_database(address, lambda database: Accounts(database).set_password(name, password))


def list_users(address: str) -> list[User]:
    """Return all users."""
    return on_database(address, lambda database: Accounts(database).users())


def remove_user(address: str, name: str) -> None:
    """Remove a user; raise ConfigError, also for the last admin."""
    on_database(address, lambda database: Accounts(database).remove(name))


def add_token(address: str, options: TokenOptions) -> NewToken:
    """Make a token; raise ConfigError."""
    if options.days is not None and not 0 < options.days <= DAYS_MAX:
        raise ConfigError(f"--days {options.days:g}: must be more than 0, and {DAYS_MAX} at most")
    ends_at = None if options.days is None else now_utc() + timedelta(days=options.days)
    wanted = TokenRequest(options.name, options.scopes, options.cameras or None, ends_at)
    return on_database(address, lambda database: Tokens(database).make(wanted))


def list_tokens(address: str) -> list[ApiToken]:
    """Return all tokens."""
    return on_database(address, lambda database: Tokens(database).list())


def end_token(address: str, id_or_name: str) -> None:
    """End a token; raise NoSuchUser."""
    if not on_database(address, lambda database: Tokens(database).end(id_or_name)):
        raise NoSuchUser(f"no token {shown(id_or_name)}; see: clipwatch token list")


def open_network_fault(address: str, host: str, api_token: str | None) -> str | None:
    """Return why a recorder that listens on `host` would end at once, or None; a database is read, never made."""
    return asyncio.run(address_fault(address, host, api_token))


def read_password(is_from_stdin: bool) -> str:
    """Return a password: typed twice on the terminal, or the first line of stdin; raise ConfigError."""
    if is_from_stdin:
        line = sys.stdin.buffer.readline(_STDIN_MAX)
        try:
            return line.decode().rstrip("\r\n")
        except UnicodeDecodeError as exc:
            raise ConfigError(
                "--password-stdin: stdin is not UTF-8: must be the password and a line break"
            ) from exc
    if not sys.stdin.isatty():
        raise ConfigError("no terminal to ask for the password: must be one, or give it by --password-stdin")
    try:
        password = getpass.getpass("password: ")
        again = getpass.getpass("once more: ")
    except EOFError as exc:
        raise ConfigError("no password was typed: must be typed twice") from exc
    if password != again:
        raise ConfigError("the two passwords differ: must be the same; start again")
    return password


def user_lines(users: Sequence[User]) -> list[str]:
    """Return a line a user, for people."""
    rows = [("NAME", "ROLE", "CAMERAS", "LAST LOGIN")]
    for user in users:
        seen = f"{user.seen_at:%Y-%m-%d %H:%M} UTC" if user.seen_at else "never"
        rows.append((user.name, user.role, _cameras(user.cameras), seen))
    return _columns(rows)


def token_lines(tokens: Sequence[ApiToken]) -> list[str]:
    """Return a line a token, for people."""
    rows = [("ID", "NAME", "SCOPES", "CAMERAS", "ENDS", "LAST USE")]
    for token in tokens:
        ends = f"{token.ends_at:%Y-%m-%d}" if token.ends_at else "never"
        used = f"{token.used_at:%Y-%m-%d %H:%M} UTC" if token.used_at else "never"
        scopes = " ".join(sorted(token.scopes))
        rows.append((token.id, token.name, scopes, _cameras(token.cameras), ends, used))
    return _columns(rows)


def _cameras(cameras: frozenset[str] | None) -> str:
    return "all" if cameras is None else ",".join(sorted(cameras)) or "none"


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def _role(text: str) -> Role:
    try:
        return Role(text)
    except ValueError:
        raise ConfigError(f"--role {shown(text)}: wanted {', '.join(Role)}") from None


# -- the command line of a container


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the arguments say; return the exit code: 0 done, 1 the database does not answer, 2 bad input."""
    redact_uncaught()
    given = _parser().parse_args(arguments)
    try:
        address = load_settings(RecorderSettings).database_address
        lines = _done(given, address)
        if given.what == "token-add":  # shown this once, and nothing but it
            print(*lines)
        else:
            say(*lines)
    except ConfigError as exc:
        say(*exc.faults, is_error=True)
        return 2
    except Transient as exc:
        say(f"the database does not answer: {reason(exc)}", is_error=True)
        return 1
    except KeyboardInterrupt:
        return 1
    return 0


def _done(given: argparse.Namespace, address: str) -> list[str]:
    if given.what == "add":
        options = UserOptions(given.name, given.role, given.camera)
        made = add_user(address, options, read_password(given.password_stdin))
        return [f"made the user '{made.name}', {made.role}"]
    if given.what == "passwd":
        set_password(address, given.name, read_password(given.password_stdin))
        return ["changed; all sessions of this user have ended"]
    if given.what == "rm":
        remove_user(address, given.name)
        return ["removed; all sessions of this user have ended"]
    if given.what == "token-add":
        scopes = given.scope or ["look"]
        return [add_token(address, TokenOptions(given.name, scopes, given.camera, given.days)).text]
    if given.what == "token-rm":
        end_token(address, given.name)
        return ["ended"]
    return user_lines(list_users(address)) if given.what == "list" else token_lines(list_tokens(address))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m services.recorder.users",
        description="Users and API tokens of this recorder's database.",
    )
    commands = parser.add_subparsers(dest="what", required=True, metavar="COMMAND")
    named = {
        "add": "make a user; asks for the password",
        "passwd": "give a user another password",
        "rm": "remove a user",
        "token-add": "make an API token and print it, once",
        "token-rm": "end an API token, by its id or name",
    }
    for what, text in named.items():
        one = commands.add_parser(what, help=text, description=text)
        one.add_argument("name")
        if what in ("add", "passwd"):
            one.add_argument("--password-stdin", action="store_true", help="read the password from stdin")
        if what == "add":
            one.add_argument("--role", choices=[str(role) for role in Role], default="viewer")
        if what in ("add", "token-add"):
            one.add_argument("--camera", action="append", default=[], help="may be given often; none: all")
        if what == "token-add":
            one.add_argument("--scope", action="append", choices=[str(scope) for scope in SCOPES])
            one.add_argument("--days", type=float, help="it ends after so many days; none: never")
    commands.add_parser("list", help="list the users")
    commands.add_parser("token-list", help="list the API tokens")
    return parser


if __name__ == "__main__":
    sys.exit(main())
