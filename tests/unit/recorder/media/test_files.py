"""Clips and thumbnails: whole or not at all, and left alone when they are there."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

from services.recorder.media.files import INCOMING, MediaFolder
from services.recorder.media.store import MediaRefused
from tests.unit.recorder.messages import CLIP, THUMBNAIL, Said, keep, media_message


@pytest.fixture
def folder(tmp_path: Path) -> MediaFolder:
    folder = MediaFolder(tmp_path / "media")
    folder.prepare()
    return folder


@dataclass(frozen=True, slots=True)
class RefusingFolder(MediaFolder):
    """A media folder whose file system refuses files of a kind."""

    number: int = errno.ENOSPC
    kind: str = ""

    def _written(self, name: str, content: bytes) -> tuple[int, Path]:
        if self.kind in name:
            raise OSError(self.number, os.strerror(self.number))
        return MediaFolder._written(self, name, content)


def test_files_lie_under_the_day_of_the_clip(folder: MediaFolder) -> None:
    kept = keep(folder, Said())
    key = Said().media_key
    assert (kept.clip_name, kept.thumbnail_name) == (f"2026/05/04/{key}.mp4", f"2026/05/04/{key}.jpg")
    assert (folder.root / f"2026/05/04/{key}.mp4").read_bytes() == CLIP
    assert (folder.root / f"2026/05/04/{key}.jpg").read_bytes() == THUMBNAIL
    assert kept.clip_bytes == len(CLIP)
    assert list((folder.root / INCOMING).iterdir()) == []


def test_keeping_again_leaves_the_files_alone(folder: MediaFolder) -> None:
    kept = keep(folder, Said())
    path = folder.root / str(kept.clip_name)
    before = path.stat()
    assert keep(folder, Said()) == kept
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_torn_file_is_replaced(folder: MediaFolder) -> None:
    path = folder.root / str(keep(folder, Said()).clip_name)
    path.write_bytes(CLIP[:100])
    keep(folder, Said())
    assert path.read_bytes() == CLIP


def test_clip_without_thumbnail_is_kept(folder: MediaFolder) -> None:
    kept = keep(folder, Said(), thumbnail=b"")
    assert kept.thumbnail_name is None
    assert (folder.root / str(kept.clip_name)).exists()


def test_leftovers_of_killed_writers_go_and_those_of_living_ones_stay(folder: MediaFolder) -> None:
    leftover, in_work = folder.root / INCOMING / "a.mp4.1", folder.root / INCOMING / "b.mp4.2"
    leftover.write_bytes(b"half")
    handle = os.open(in_work, os.O_WRONLY | os.O_CREAT)
    fcntl.flock(handle, fcntl.LOCK_EX)
    assert folder.prepare() == 1
    assert not leftover.exists()
    assert in_work.exists()
    os.close(handle)
    assert folder.prepare() == 1


def test_a_file_system_that_refuses_is_told_apart_from_a_bug(folder: MediaFolder) -> None:
    (folder.root / "2026").write_text("a file where a folder is wanted")
    with pytest.raises(MediaRefused) as refused:
        keep(folder, Said())
    assert not refused.value.is_lasting  # whoever put it there may take it away
    assert list((folder.root / INCOMING).iterdir()) == []


@pytest.mark.parametrize(
    ("number", "is_lasting"),
    [
        *((number, False) for number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EACCES)),
        (errno.EFBIG, True),
    ],
)
def test_only_what_lies_in_the_file_itself_is_refused_for_good(
    tmp_path: Path, number: int, is_lasting: bool
) -> None:
    folder = RefusingFolder(tmp_path, number)
    with pytest.raises(MediaRefused) as refused:
        folder.stage(media_message(Said()))
    assert refused.value.is_lasting == is_lasting


def test_a_clip_waits_when_the_disk_has_room_for_its_thumbnail_only_later(tmp_path: Path) -> None:
    folder = RefusingFolder(tmp_path, errno.ENOSPC, kind=".jpg")
    folder.prepare()
    with pytest.raises(MediaRefused):
        folder.stage(media_message(Said()))
    assert list((folder.root / INCOMING).iterdir()) == []  # nothing is left of the clip


def test_files_that_are_not_published_leave_nothing(folder: MediaFolder) -> None:
    staged = folder.stage(media_message(Said()))
    assert len(list((folder.root / INCOMING).iterdir())) == 2
    staged.discard()
    assert [path for path in folder.root.rglob("*") if path.is_file()] == []


def test_files_are_not_discarded_while_they_are_published(folder: MediaFolder) -> None:
    staged = folder.stage(media_message(Said()))
    with staged._one_at_a_time:  # as a publish that the disk holds up
        discarding = threading.Thread(target=staged.discard)
        discarding.start()
        discarding.join(0.2)
        assert discarding.is_alive()
        assert len(list((folder.root / INCOMING).iterdir())) == 2
    discarding.join(60)
    assert [path for path in folder.root.rglob("*") if path.is_file()] == []
    staged.publish()  # of a transaction that was given up: nothing is left to be named
    assert [path for path in folder.root.rglob("*") if path.is_file()] == []


def test_a_folder_without_room_fails_its_check(tmp_path: Path) -> None:
    folder = MediaFolder(tmp_path / "nowhere")
    with pytest.raises(OSError, match="nowhere"):
        folder.check()
    assert not folder.has_room(1)


def test_only_names_of_kept_files_are_found(folder: MediaFolder) -> None:
    name = str(keep(folder, Said()).clip_name)
    found = folder.find(name)
    assert found is not None
    assert (found[0], found[2]) == (folder.root / name, "video/mp4")
    (folder.root / "secret.mp4").write_bytes(b"x")
    for wrong in (
        "secret.mp4",
        f"../media/{name}",
        name + "\n",
        f"{name}/..",
        name.replace("0000", "000%2f"),
        "",
    ):
        assert folder.find(wrong) is None
    assert folder.find("2026/05/04/" + "f" * 32 + ".mp4") is None


def test_clip_is_kept_when_only_the_thumbnail_is_refused(folder: MediaFolder) -> None:
    (folder.root / f"2026/05/04/{Said().media_key}.jpg").mkdir(parents=True)
    kept = keep(folder, Said())
    assert (kept.thumbnail_name, kept.clip_bytes) == (None, len(CLIP))
    assert (folder.root / str(kept.clip_name)).read_bytes() == CLIP
    assert list((folder.root / INCOMING).iterdir()) == []
