"""Durable files: the one place that writes a file whole, so that a reader or a restart finds all of it or nothing.

Every function blocks on the disk and raises OSError; it leaves nothing behind then.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

Replace = Callable[[Path, Path], None]


def write_durably(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Write a file, and its folder where there is none; a loss of power after this returns does not undo it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, content, mode)
    sync_folder(path.parent)


def replace_file(
    path: Path,
    content: bytes,
    mode: int,
    owner: tuple[int, int] | None = None,
    replace: Replace = os.replace,
) -> None:
    """Give `path` these bytes: a temporary file beside it, fsync, rename. sync_folder makes the rename durable.

    `owner` is a user's and a group's number; None: this process's.
    """
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            if owner is not None and owner != (os.geteuid(), os.getegid()):
                os.fchown(descriptor, *owner)
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):  # the first error says more
            temporary.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Make new names and renames in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
