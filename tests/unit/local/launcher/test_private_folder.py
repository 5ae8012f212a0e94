"""The data directory is one user's: new ones from the start, old ones from the next start on."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from services.local.launcher.private_folder import make_private
from shared.errors import ConfigError


def modes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): oct(stat.S_IMODE(path.lstat().st_mode))[2:]
        for path in sorted([folder, *folder.rglob("*")])
        if not path.is_symlink()
    }


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The data directory of an older clipwatch, which everybody may read."""
    folder = tmp_path / "data"
    for name in ("media/2026", "motion/outbox", "logs", "redis"):
        (folder / name).mkdir(parents=True)
    for name in ("clipwatch.db", "clipwatch.db-wal", "media/2026/a.mp4", "motion/status.json", "lock"):
        (folder / name).write_text("x")
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    return folder


def test_a_new_folder_is_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        assert make_private(tmp_path / "a" / "data") == ""
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a" / "data").stat().st_mode) == 0o700


def test_an_old_folder_is_narrowed_once_and_said_in_one_line(old: Path) -> None:
    said = make_private(old)
    assert said == f"{old}: was readable for other users, now for its own alone (12 files and folders)"
    assert set(modes(old).values()) == {"700", "600"}
    assert make_private(old) == ""


def test_a_folder_that_holds_other_things_keeps_its_mode_and_theirs(old: Path) -> None:
    (old / "recordings").mkdir(mode=0o755)
    (old / "cameras").write_text("x")
    said = make_private(old)
    assert said.endswith("(11 files and folders); the folder holds other things too and keeps its own mode")
    kept = modes(old)
    assert [kept[name] for name in (".", "recordings", "cameras")] == ["755", "755", "644"]
    assert [kept[name] for name in ("clipwatch.db", "media", "media/2026/a.mp4")] == ["600", "700", "600"]


def test_links_are_not_followed(old: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o755)
    (outside / "clip.mp4").write_text("x")
    (old / "recorder").symlink_to(outside)
    (old / "media" / "link.mp4").symlink_to(outside / "clip.mp4")
    make_private(old)
    assert modes(outside) == {".": "755", "clip.mp4": "644"}


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match=r"cannot be made: .*choose another folder"):
        make_private(tmp_path / "file" / "data")
