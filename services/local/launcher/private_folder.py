"""The data directory belongs to one user: folders 0700, files 0600, also those of an older clipwatch."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from shared.errors import ConfigError

FOLDER_MODE, FILE_MODE, UMASK = 0o700, 0o600, 0o077
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
# What clipwatch makes in its data directory
_OURS = (
    "redis",
    "motion",
    "classifier",
    "recorder",
    "media",
    "logs",
    "lock",
    "port",
    "local-token",
    "cameras.yml",
)
_DATABASE = "clipwatch.db"


def make_private(data_dir: Path) -> str:
    """Make the folder, or take it and what clipwatch keeps in it from everybody else; return what was changed, or ''.

    A folder that holds other things as well keeps its own mode: somebody may need it. Links are not followed.
    Raises ConfigError when the folder cannot be made.
    """
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=FOLDER_MODE)
        names = sorted(path.name for path in data_dir.iterdir())
    except OSError as exc:
        raise ConfigError(f"{data_dir}: cannot be made: {exc.strerror}; choose another folder") from exc
    ours = [name for name in names if name in _OURS or name.startswith(_DATABASE)]
    is_shared = len(ours) < len(names)
    changed = 0 if is_shared else _narrow(data_dir)
    for name in ours:
        if _narrow(data_dir / name):
            changed += 1 + sum(_narrow(path) for path in _below(data_dir / name))
    if not changed:
        return ""
    left = "; the folder holds other things too and keeps its own mode" if is_shared else ""
    return (
        f"{data_dir}: was readable for other users, now for its own alone ({changed} files and folders){left}"
    )


def _below(folder: Path) -> list[Path]:
    if folder.is_symlink() or not folder.is_dir():
        return []
    return [Path(parent) / name for parent, folders, files in os.walk(folder) for name in (*folders, *files)]


def _narrow(path: Path) -> bool:
    """Take a file or folder of ours from everybody else; return whether that changed anything."""
    with contextlib.suppress(OSError):  # gone meanwhile, or another user's
        facts = path.lstat()
        if stat.S_ISLNK(facts.st_mode) or not facts.st_mode & _OTHERS:
            return False
        path.chmod(stat.S_IMODE(facts.st_mode) & ~_OTHERS)
        return True
    return False
