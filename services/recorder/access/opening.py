"""What is settled before the site answers: the first admin, this machine's token, and who may reach it at all."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, replace
from pathlib import Path

from services.recorder.access import rows
from services.recorder.access.accounts import Accounts
from services.recorder.access.site import SiteAccess
from services.recorder.access.values import NameTaken
from services.recorder.record.database import Database
from services.recorder.record.database_errors import TablesMissing
from services.recorder.record.database_url import parse_url
from services.recorder.record.engines import make_engine
from shared.access import is_loopback
from shared.errors import ConfigError, Transient, reason
from shared.files import write_durably
from shared.logs import get_logger
from shared.secrets import know_issued

log = get_logger(__name__)

TOKEN_MIN = 16  # characters of an API_TOKEN that stands between a network and the site
FIRST_ADMIN = "admin"
LOOK_S = 10.0  # for a look at the database, by programs beside the recorder


@dataclass(frozen=True, slots=True)
class SiteOpening:
    """What the settings say of it."""

    host: str
    api_token: str | None = None
    admin_password: str | None = None
    local_token_file: Path | None = None


async def open_site(access: SiteAccess, database: Database, plan: SiteOpening) -> None:
    """Let in who may from now on; raise ConfigError when the site may not be opened, Transient when it cannot yet."""
    await add_first_admin(access.accounts_of(database), plan.admin_password)
    await refuse_open_network(database, plan.host, plan.api_token)
    if plan.local_token_file is not None:
        token = await asyncio.to_thread(write_local_token, plan.local_token_file)
        access.authenticator.tokens = replace(access.authenticator.tokens, local=token)
    access.open(database)


def network_fault(host: str, api_token: str | None, is_anybody: bool) -> str | None:
    """Return why the site may not listen on `host`, or None when it may.

    `is_anybody`: there are users or tokens in the database. Loopback is always fine.
    """
    if is_loopback(host) or is_anybody or (api_token is not None and len(api_token) >= TOKEN_MIN):
        return None
    found = "no user" if api_token is None else f"an API_TOKEN of {len(api_token)} characters and no user"
    return (
        f"HTTP_HOST={host} is reached by others, with {found}: must be with a user or an API_TOKEN of "
        f"{TOKEN_MIN} characters; run: clipwatch user add NAME --role admin"
    )


async def is_anybody_there(database: Database) -> bool:
    """Whether the database has users or tokens; none when it has no tables yet. Raises Transient."""
    try:
        async with database.reading() as connection:
            return await rows.is_anybody(connection)
    except TablesMissing:
        return False


async def add_first_admin(accounts: Accounts, password: str | None) -> None:
    """Make the user FIRST_ADMIN with ADMIN_PASSWORD while there is no user; raise ConfigError for a bad password."""
    if password is None or await accounts.users():
        return
    try:
        await accounts.add_first_admin(FIRST_ADMIN, password)
    except NameTaken:  # another recorder was faster
        return
    except ConfigError as exc:
        raise ConfigError([f"ADMIN_PASSWORD: {fault}" for fault in exc.faults]) from exc
    log.info("made the first user: log in with ADMIN_PASSWORD", user=FIRST_ADMIN)


async def refuse_open_network(database: Database, host: str, api_token: str | None) -> None:
    """Raise ConfigError when the site would be open to a network."""
    if network_fault(host, api_token, is_anybody=False) is None:
        return  # whatever the database holds
    fault = network_fault(host, api_token, await is_anybody_there(database))
    if fault is not None:
        raise ConfigError(fault)


def write_local_token(path: Path) -> str:
    """Write a fresh token that only this account can read, and return it; raise ConfigError. Blocks on the disk."""
    token = secrets.token_hex(32)
    know_issued(token)
    try:
        write_durably(path, f"{token}\n".encode(), mode=0o600)
    except OSError as exc:
        raise ConfigError(
            f"LOCAL_TOKEN_FILE={path}: {reason(exc)}; choose a file that can be written"
        ) from exc
    return token


async def start_fault(database: Database, host: str, api_token: str | None) -> str | None:
    """Return why a recorder on this database would end at once, for programs beside it; None: it would not, or the
    database does not answer, which is another fault.
    """
    try:
        return network_fault(host, api_token, await is_anybody_there(database))
    except Transient:
        return None


async def address_fault(address: str, host: str, api_token: str | None) -> str | None:
    """The same for the address of a database; it is read, never made. Raises ConfigError for what is no address."""
    fault = network_fault(host, api_token, is_anybody=False)
    url = parse_url(address)
    if fault is None or (url.get_backend_name() == "sqlite" and not Path(url.database or "").exists()):
        return fault
    engine = make_engine(address)
    try:
        return await start_fault(Database(engine, LOOK_S), host, api_token)
    finally:
        await engine.dispose()
