"""The camera file on disk: reads it, and changes one camera's settings. Knows no service and no HTTP.

A change names the revision it was made for; it is written to a temporary file that replaces the old one, or in place
where that cannot be.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from shared.cameras.editor import Values, changed_document, edit, placeholders
from shared.cameras.model import CameraFile
from shared.cameras.reader import parse_cameras
from shared.errors import ClipwatchError, ConfigError, redact
from shared.files import Replace, replace_file, sync_folder
from shared.yaml_files import parse_yaml, read_bytes

_IN_PLACE = (errno.EBUSY, errno.EXDEV, errno.EACCES, errno.EPERM, errno.EROFS)


class BrokenFile(ConfigError):
    """The file has faults already: what a change would mean is not known."""


class CameraFileChanged(ClipwatchError):
    """The file is not at the revision that the change was made for."""


class NotWritable(ClipwatchError):
    """The file cannot be written; it is as it was."""


@dataclass(frozen=True, slots=True)
class CameraFileVersion:
    """The camera file at one moment; `revision` names its bytes."""

    cameras: CameraFile
    revision: str


class CameraFileStore:
    """The camera file on disk: reads and changes it; one writer at a time, other processes of ours included."""

    def __init__(
        self,
        path: Path,
        environment: Mapping[str, str] | None = None,
        replace: Replace = os.replace,
    ) -> None:
        self.path = path
        self._environment = os.environ if environment is None else environment
        self._replace = replace
        self._lock = threading.Lock()

    def read(self) -> CameraFileVersion:
        """Read and validate the file; raises ConfigError with every fault."""
        with self._locked():
            raw = read_bytes(self.path)
        return CameraFileVersion(self._parse(parse_yaml(raw, self.path.name)), revision_of(raw))

    def change(self, camera: str, values: Values, if_revision: str | None = None) -> CameraFileVersion:
        """Set `values` of a camera in the file, and return what the file says now.

        Raises CameraFileChanged when the file is not at `if_revision` any more, BrokenFile when it has faults already,
        UnknownCamera, ConfigError with every fault of the new values, NotWritable. Nothing changes then.
        """
        if found := placeholders(values):
            raise ConfigError(
                f"{self.path.name}: camera {camera!r}: found {', '.join(found)}, wanted plain values; write "
                "${NAME} into the file by hand"
            )
        with self._locked():
            try:
                raw = read_bytes(self.path)
            except ConfigError as exc:
                raise BrokenFile(exc.faults) from exc
            if if_revision is not None and if_revision != revision_of(raw):
                raise CameraFileChanged(
                    f"{self.path.name}: was changed since; read the settings again, then change them"
                )
            try:
                document = parse_yaml(raw, self.path.name)
                self._parse(document)
            except ConfigError as exc:
                raise BrokenFile(exc.faults) from exc
            self._parse(changed_document(document, camera, values))  # the faults of the new values
            text = raw.decode("utf-8")
            try:
                new = edit(text, camera, values, self._environment).encode("utf-8")
            except UnicodeEncodeError as exc:
                raise ConfigError(f"{self.path.name}: camera {camera!r}: holds half a character") from exc
            cameras = self._parse(parse_yaml(new, self.path.name))
            if new != raw:
                write_atomically(self.path, new, self._replace)
            return CameraFileVersion(cameras, revision_of(new))

    def _parse(self, document: Values) -> CameraFile:
        return parse_cameras(document, self.path.name, self.path.parent, self._environment)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """One at a time in this process, and by flock(2) on the folder among processes (`clipwatch labels`)."""
        with self._lock, contextlib.ExitStack() as stack:
            with contextlib.suppress(OSError):  # a file system without locks: the revision still protects
                folder = os.open(self.path.resolve().parent, os.O_RDONLY)
                stack.callback(os.close, folder)
                fcntl.flock(folder, fcntl.LOCK_EX)
            yield


def revision_of(raw: bytes) -> str:
    """Name the bytes of a file."""
    return hashlib.sha256(raw).hexdigest()[:16]


def write_atomically(path: Path, raw: bytes, replace: Replace = os.replace) -> None:
    """Replace the file's bytes; a reader sees the old or the new ones. Links are followed, mode and owner stay.

    Where the name cannot be replaced (a single file mounted into a container: EBUSY; a folder that may not be
    written) the file is overwritten in place. Raises NotWritable; the old bytes are there then.
    """
    target = path.resolve()
    try:
        _replace(target, raw, replace)
    except OSError as exc:
        if exc.errno not in _IN_PLACE:
            raise _not_writable(path, exc) from exc
        _overwrite(path, target, raw)


def _replace(target: Path, raw: bytes, replace: Replace) -> None:
    facts = target.stat()
    if not os.access(target, os.W_OK):  # a file that its owner protected is not replaced behind his back
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))
    replace_file(target, raw, facts.st_mode & 0o7777, (facts.st_uid, facts.st_gid), replace)
    with contextlib.suppress(OSError):
        sync_folder(target.parent)


def _overwrite(path: Path, target: Path, raw: bytes) -> None:
    try:
        with target.open("r+b") as file:
            old = file.read()
            try:
                _write_over(file.fileno(), raw)
            except OSError:
                _write_over(file.fileno(), old)
                raise
    except OSError as exc:
        raise _not_writable(path, exc) from exc


def _write_over(handle: int, raw: bytes) -> None:
    os.lseek(handle, 0, os.SEEK_SET)
    rest = memoryview(raw)
    while rest:
        rest = rest[os.write(handle, rest) :]
    os.ftruncate(handle, len(raw))
    os.fsync(handle)


def _not_writable(path: Path, exc: OSError) -> NotWritable:
    return NotWritable(
        redact(
            f"{path.name}: cannot be written: {exc.strerror}; nothing was changed. Make the file writable for this "
        )
        + "service (in containers: mount its folder without read_only), or change it where it can be"
    )
