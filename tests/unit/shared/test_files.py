"""Files that are written whole."""

import os
import stat
from pathlib import Path

import pytest

from shared.files import replace_file, write_durably


def test_a_file_and_its_folders_are_made_for_the_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    write_durably(path, b"first")
    write_durably(path, b"second")
    assert path.read_bytes() == b"second"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_an_unwritable_name_leaves_nothing_behind(tmp_path: Path) -> None:
    target = tmp_path / "a-directory"
    target.mkdir()
    with pytest.raises(OSError, match=r".*"):
        write_durably(target, b"content")
    assert [path.name for path in tmp_path.iterdir()] == ["a-directory"]


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    seen: list[bytes] = []

    def replace(new: Path, old: Path) -> None:
        seen.extend((old.read_bytes(), new.read_bytes()))
        new.replace(old)

    replace_file(path, b"new", 0o644, replace=replace)
    assert [*seen, path.read_bytes()] == [b"old", b"new", b"new"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_content_is_on_the_disk_before_its_name_and_the_name_before_the_return(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    synced: list[tuple[str, bool]] = []  # what, and whether the file has its name by then

    def fsync(descriptor: int) -> None:
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        synced.append(("folder" if is_folder else "content", path.exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    write_durably(path, b"content")
    assert synced == [("content", False), ("folder", True)]
