"""Secrets that lie in files of their own: NAME_FILE in the place of NAME, as Docker and Kubernetes mount them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

MOST_BYTES = 64 * 1024
_SUFFIX = "_FILE"
_MOUNTED = "/run/secrets/"  # readable by all of a container, in which nobody else is


class SecretFileFault(ValueError):
    """NAME_FILE cannot be used; its text says found, wanted and what to do, and nothing of the file's content."""


def secret_from_file(name: str, environment: Mapping[str, str]) -> str | None:
    """Return what the file of NAME_FILE holds, without one newline at its end; None: there is no NAME_FILE."""
    path = environment.get(f"{name}{_SUFFIX}")
    if not path or path == f"${{{name}{_SUFFIX}}}":
        return None
    where = f"{name}{_SUFFIX}={path}"
    if environment.get(name) not in (None, "", f"${{{name}}}"):
        raise SecretFileFault(f"{where}: {name} is given too, wanted one of them; leave one out")
    try:
        with open(path, "rb", opener=_open_without_waiting) as file:  # noqa: PTH123 - Path's own takes no opener
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise SecretFileFault(f"{where}: is no file, wanted one that holds the secret alone")
            raw = file.read(MOST_BYTES + 1)
    except OSError as exc:
        raise SecretFileFault(
            f"{where}: cannot be read: {exc.strerror}; wanted a file that user {os.geteuid()} may read"
        ) from None
    except SecretFileFault:
        raise
    except ValueError:  # a name with a NUL
        raise SecretFileFault(f"{name}{_SUFFIX}: is no name of a file") from None
    return _text(where, raw)


def secret_of(name: str, environment: Mapping[str, str]) -> str:
    """Return the value of NAME, or what its file holds; '' where there is neither, or the file has a fault."""
    try:
        return secret_from_file(name, environment) or environment.get(name, "")
    except SecretFileFault:
        return ""


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a pipe that nobody writes to


def _text(where: str, raw: bytes) -> str:
    if len(raw) > MOST_BYTES:
        raise SecretFileFault(f"{where}: holds more than {MOST_BYTES} bytes, wanted the secret alone")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise SecretFileFault(f"{where}: is not UTF-8 text (byte {exc.start})") from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text or "\0" in text:
        raise SecretFileFault(f"{where}: {'is empty' if not text else 'holds a NUL'}, wanted the secret")
    return text


def open_to_all(names: Iterable[str], environment: Mapping[str, str]) -> list[str]:
    """Return the files of NAME_FILE, of these names, that every user of this machine may read."""
    found = []
    for name in names:
        path = environment.get(f"{name}{_SUFFIX}", "")
        try:
            mode = Path(path).stat().st_mode if path and not path.startswith(_MOUNTED) else 0
        except (OSError, ValueError):
            continue
        if mode & stat.S_IROTH:
            found.append(path)
    return found
