"""Plays the recordings of a folder, one after the other."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from services.motion.cameras.context import CameraContext
from services.motion.cameras.file_worker import FileWorker
from services.motion.sources.folder import FolderFiles, Identity, identity_of
from services.motion.sources.probe import probe, videos_in
from services.motion.spool.recordings import Recording
from services.motion.status import CameraStatus
from shared.cameras import Camera
from shared.errors import ConfigError
from shared.logs import get_logger

log = get_logger(__name__)

RESCAN_S = 1.0  # how often a folder is listed while there is nothing to read


class FolderWorker(FileWorker):
    """A folder of recordings, read in the order of their names.

    Each file is read as FileWorker does, and marked when it was read (unless looped); one that cannot be used is left
    out. Files that are added or changed later are read once they are whole. A service that ends when all is read
    (`exit_when_done`) takes the files that are there at the start, as they are.
    """

    def __init__(
        self,
        camera: Camera,
        context: CameraContext,
        status: CameraStatus,
        find_recording: Callable[[Camera], Recording | None],
    ) -> None:
        super().__init__(camera, context, status, None)
        self._find_recording = find_recording
        self._is_followed = camera.loop or not context.settings.exit_when_done
        self._files = FolderFiles(camera.loop)
        if not self._is_followed:
            self._files.settle_s = 0.0
        self._next_at = camera.starts_at  # when the next file is taken to begin
        self._why_bad = ""
        self._is_readable = True

    def _run_camera(self) -> None:
        self.status.is_file = True
        while not self._stop.is_set():
            n_read = self._read_folder()
            if self._stop.is_set():
                return
            self._report_folder()
            if not self._is_followed:
                return
            if not n_read:
                self._wait(RESCAN_S)

    def _read_folder(self) -> int:
        """Read the files that are whole and were not read yet; return how many those were."""
        self._files.see(self._list_files(), time.monotonic())
        n_read = 0
        for path in self._files.ready(time.monotonic(), in_order=self._next_at is not None):
            if self._stop.is_set():
                break
            n_read += self._read_one(path)
        return n_read

    def _list_files(self) -> dict[Path, Identity]:
        try:
            found = {path: identity_of(path) for path in videos_in(Path(self.camera.url))}
        except OSError as exc:
            self._is_readable = False
            self._fail_folder(f"{self.camera.url}: the folder cannot be read: {exc.strerror}")
            return {}
        self._is_readable = True
        return {path: one for path, one in found.items() if one is not None}

    def _read_one(self, path: Path) -> bool:
        """Read a file, unless an earlier run did; return whether it was read now."""
        self._url = str(path)
        before = identity_of(path)
        self._recording = self._find_recording(
            self.camera.model_copy(update={"url": self._url, "starts_at": self._next_at})
        )
        is_known = self._recording is not None and self._recording.is_finished
        is_read = not is_known and self._read_file(repeats=False)
        if self._stop.is_set() or identity_of(path) is None:
            return is_read  # gone meanwhile: that is no fault of the file
        if is_read and self._recording is not None and self._is_followed and identity_of(path) != before:
            self._write_mark(self._recording.begin)  # it has grown: it is read again once it is whole
        self._files.note(path, "read" if is_read or is_known else "bad")
        if self._next_at is not None:
            self._next_at += timedelta(seconds=_length_s(path))
        return is_read

    def _failed(self, message: str) -> None:
        """Note what is wrong with one file; the others are still read."""
        self._why_bad = message
        log.error("the file cannot be used", camera=self.camera.id, error=message)

    def _fail_folder(self, message: str) -> None:
        if self.status.message != message:
            log.error("nothing of the folder can be used", camera=self.camera.id, error=message)
        self.status.last_error = self.status.message = message
        self.status.become("failed")

    def _report_folder(self) -> None:
        """Report the state of the folder, now that all that can be read was read."""
        files, url = self._files, self.camera.url
        if not files.n_files:
            if not self._is_followed:
                self._fail_folder(f"{url}: none of its 0 video files can be used")
            elif self._is_readable:
                self._wait_for("waits for a video file, the folder holds none")
        elif files.n_bad == files.n_files:
            self._fail_folder(
                f"{url}: none of its {files.n_files} video files can be used; the last one: {self._why_bad}"
            )
        elif (path := files.unfinished) is not None and self._is_followed:
            self._wait_for(f"waits until {path.name} is complete")
        else:
            bad = f"{files.n_bad} of {files.n_files} files could not be used" if files.n_bad else ""
            self.status.message = bad
            if not self.camera.loop:
                self.status.last_error = ""
                self.status.become("ended")

    def _wait_for(self, message: str) -> None:
        """Report what is waited for; between two files of a loop the camera stays "running"."""
        self.status.message, self.status.last_error = message, ""
        if self.status.state == "failed" or not self.camera.loop:
            self.status.become("connecting")


def _length_s(path: Path) -> float:
    """Return the file's own length; 0 when it cannot be used: the next one then begins in its place."""
    with contextlib.suppress(ConfigError):
        return probe(path).duration_s or 0.0
    return 0.0
