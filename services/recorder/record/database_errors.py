"""What the errors of a database mean, whatever driver they come from.

    DatabaseBusy     (Transient)  a deadlock or a lock that was not got in time: the same transaction, again
    DatabaseAway     (Transient)  no answer, full, read-only, refused: wait for it; no item is at fault
    RowConflict      (Transient)  a row that this one hangs on is gone, or the values contradict the tables' rules
    Permanent                     the database will never take these values

Anything else that the driver raises is a bug.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator

from sqlalchemy.exc import DataError as SqlDataError
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import IntegrityError as SqlIntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from shared.errors import Permanent, Transient, reason

_BUSY = {1205, 1213, 3572}  # lock wait timeout, deadlock, NOWAIT
# packet too large; out of range, truncated, wrong or too long
_NEVER = {1153, 1264, 1265, 1292, 1366, 1406, 1411}
_REFUSED = {
    1044,
    1045,
    1049,
    1130,
    1142,
    1251,
    2059,
    2061,
}  # rights, password, unknown database, login method
_MISSING = {1146}
_DUPLICATE = 1062


class DatabaseBusy(Transient):
    """Another transaction was in the way; this one was undone and can be run again at once."""


class DatabaseAway(Transient):
    """The database cannot work now, whatever it is given."""


class RowConflict(Transient):
    """A rule of the tables is broken: mostly a row that this one hangs on was deleted meanwhile."""


class TablesMissing(DatabaseAway):
    """The database has no tables yet: no recorder has started on it."""


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Turn what SQLAlchemy, the drivers and deadlines raise into this module's errors."""
    try:
        yield
    except (TimeoutError, PoolTimeout) as exc:
        raise DatabaseAway("no answer from the database within the deadline") from exc
    except (OperationalError, InterfaceError, SqlDataError, SqlIntegrityError, DBAPIError) as exc:
        raise _meaning(exc) from exc
    except OSError as exc:
        raise DatabaseAway(f"{type(exc).__name__}: {reason(exc)}") from exc


def _meaning(exc: DBAPIError) -> Exception:
    said = reason(exc.orig or exc)
    number = exc.orig.args[0] if exc.orig is not None and exc.orig.args else None
    if number in _BUSY or is_locked_sqlite(exc.orig):
        return DatabaseBusy(said)
    if number in _MISSING or "no such table" in said:
        return TablesMissing(said)
    if number in _NEVER or isinstance(exc, SqlDataError):
        return Permanent(said)
    if isinstance(exc, SqlIntegrityError):
        return RowConflict(said)
    if exc.connection_invalidated or isinstance(exc, OperationalError | InterfaceError):
        return DatabaseAway(said)
    return exc


def is_duplicate(exc: DBAPIError) -> bool:
    """Return whether MySQL or MariaDB refused a row since its key is there already."""
    return exc.orig is not None and exc.orig.args[:1] == (_DUPLICATE,)


def is_locked_sqlite(error: BaseException | None) -> bool:
    """Return whether SQLite says that another connection has the lock."""
    return isinstance(error, sqlite3.OperationalError) and (
        getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
    )


def is_refused(exc: Transient) -> bool:
    """Return whether the server refused the login or the database, which no wait cures."""
    cause = getattr(exc.__cause__, "orig", None)
    return bool(cause is not None and cause.args and cause.args[0] in _REFUSED)
