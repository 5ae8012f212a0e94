"""The camera file on disk: replaced whole or not at all, by one writer at a time, at the revision that was seen."""

from __future__ import annotations

import errno
import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from shared.cameras.store import BrokenFile, CameraFileChanged, CameraFileStore, NotWritable
from shared.errors import ConfigError
from tests.unit.shared.cameras.test_editor import ENVIRONMENT, FILE


def store(folder: Path, text: str = FILE, **more: Any) -> CameraFileStore:  # Any: the store's own parameters
    (folder / "cameras.yml").write_text(text)
    return CameraFileStore(folder / "cameras.yml", ENVIRONMENT, **more)


def test_the_file_is_replaced_with_its_mode_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    file = store(tmp_path)
    file.path.chmod(0o640)
    inode = file.path.stat().st_ino
    version = file.change("gate", {"threshold": 0.7})
    assert version.cameras.cameras[0].threshold == 0.7
    assert version == file.read()
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o640
    assert file.path.stat().st_ino != inode
    assert [path.name for path in tmp_path.iterdir()] == ["cameras.yml"]
    assert "secret" not in file.path.read_text()


def test_a_link_is_followed_and_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    real = store(tmp_path / "real").path
    (tmp_path / "link.yml").symlink_to(real)
    CameraFileStore(tmp_path / "link.yml", ENVIRONMENT).change("gate", {"threshold": 0.7})
    assert (tmp_path / "link.yml").is_symlink()
    assert "threshold:   0.7 " in real.read_text()


def test_a_file_whose_name_cannot_be_replaced_is_written_in_place(tmp_path: Path) -> None:
    def busy(_old: Path, _new: Path) -> None:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    file = store(tmp_path, replace=busy)
    inode = file.path.stat().st_ino
    file.change("gate", {"labels": ["x"]})
    assert file.read().cameras.cameras[0].labels == ("x",)
    assert file.path.stat().st_ino == inode
    assert [path.name for path in tmp_path.iterdir()] == ["cameras.yml"]


def test_a_disk_without_room_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    def full(_old: Path, _new: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    file = store(tmp_path, replace=full)
    with pytest.raises(NotWritable, match=r"cameras\.yml: cannot be written: No space left"):
        file.change("gate", {"threshold": 0.7})
    assert file.path.read_text() == FILE
    assert [path.name for path in tmp_path.iterdir()] == ["cameras.yml"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_a_file_that_is_read_only_is_told_and_stays(tmp_path: Path) -> None:
    file = store(tmp_path)
    file.path.chmod(0o444)
    with pytest.raises(NotWritable, match="Permission denied"):
        file.change("gate", {"threshold": 0.7})
    assert file.path.read_text() == FILE


def test_another_revision_is_not_overwritten(tmp_path: Path) -> None:
    file = store(tmp_path)
    seen = file.read().revision
    file.change("gate", {"threshold": 0.7}, seen)
    with pytest.raises(CameraFileChanged):
        file.change("gate", {"threshold": 0.8}, seen)
    assert file.read().cameras.cameras[0].threshold == 0.7


def test_all_faults_of_new_values_are_told_as_the_reader_tells_them(tmp_path: Path) -> None:
    file = store(tmp_path)
    with pytest.raises(ConfigError) as caught:
        file.change("gate", {"threshold": 7, "labels": [], "motion": {"min_frame": 3}})
    told = "\n".join(caught.value.faults)
    assert len(caught.value.faults) == 3
    assert "cameras.yml: camera 'gate': threshold=7: " in told
    assert "did you mean 'min_frames'" in told
    assert file.path.read_text() == FILE


def test_values_cannot_read_the_environment(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\$\{GATE_PASSWORD\}"):
        store(tmp_path).change("gate", {"labels": ["a ${GATE_PASSWORD}"]})


def test_a_file_with_faults_is_not_changed(tmp_path: Path) -> None:
    file = store(tmp_path, FILE.replace("url: yard.mp4", "url: ftp://yard"))
    with pytest.raises(BrokenFile, match="scheme 'ftp'"):
        file.change("gate", {"threshold": 0.7})


def test_writers_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    first, second = store(tmp_path), CameraFileStore(tmp_path / "cameras.yml", ENVIRONMENT)
    names = [f"min_{n}" for n in range(6)]

    def write(file: CameraFileStore, camera: str) -> None:
        for name in names:
            file.change(camera, {"name": name, "min_moments": len(name)})

    threads = [
        threading.Thread(target=write, args=args)
        for args in ((first, "gate"), (first, "yard"), (second, "gate"), (second, "yard"))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [camera.name for camera in first.read().cameras.cameras] == [names[-1]] * 2
