"""The data directory: its folders, its secret, and a start on a disk that is full."""

from __future__ import annotations

import errno
import secrets
from dataclasses import dataclass
from pathlib import Path

from shared.errors import ConfigError
from shared.files import write_durably
from shared.logs import get_logger

log = get_logger(__name__)

# Faults that may pass without a changed setting: no space, or a disk that fails or is read-only because it failed.
_PASSING = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM}
)


def is_short_of_means(exc: BaseException) -> bool:
    """Whether an error was caused by a lack of file descriptors or memory, and not by a file."""
    cause = exc.__cause__
    return isinstance(cause, OSError) and cause.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


def prepare_folder(path: Path) -> Path:
    """Make `path` and test whether it can be written; raise ConfigError when only a person can mend it.

    A full disk is logged but does not prevent a start: cameras can be watched, and events kept once there is room.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".writable"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as exc:
        if exc.errno not in _PASSING:
            raise ConfigError(f"DATA_DIR={path}: cannot be written: {exc.strerror}") from exc
        log.warning("the data directory cannot be written now, events may be lost", folder=path, error=exc)
    return path


@dataclass(slots=True)
class DirectorySecret:
    """The secret of a data directory; made once, readable by the owner only."""

    path: Path
    value: bytes
    is_kept: bool

    def keep(self) -> None:
        """Write it, unless it is there; raises OSError. This process uses it even while it is not written."""
        if not self.is_kept:
            write_durably(self.path, self.value)
            self.is_kept = True


def find_secret(folder: Path) -> DirectorySecret:
    """Return the secret of this data directory, a new one where there is none."""
    path = folder / "secret"
    try:
        known = path.read_bytes()
    except FileNotFoundError:
        known = b""
    except OSError as exc:
        if exc.errno not in _PASSING:
            raise ConfigError(f"DATA_DIR={folder}: {path.name} cannot be read: {exc.strerror}") from exc
        log.warning("the secret of the data directory cannot be read now", error=exc)
        return DirectorySecret(path, secrets.token_bytes(32), is_kept=True)  # the one on the disk stays
    if len(known) >= 32:
        return DirectorySecret(path, known, is_kept=True)
    secret = DirectorySecret(path, secrets.token_bytes(32), is_kept=False)
    try:
        secret.keep()
    except OSError as exc:
        log.warning("the secret of the data directory cannot be written now", error=exc)
    return secret
