"""Which files of a folder are read, and when: by what they are, not by their names."""

from __future__ import annotations

from pathlib import Path

from services.motion.sources.folder import SETTLE_S, FolderFiles, Identity, identity_of

A, B, C = Path("a.mp4"), Path("b.mp4"), Path("c.mp4")


def one(number: int, n_bytes: int = 100) -> Identity:
    return (1, number, n_bytes, 5)


def settled(files: FolderFiles, found: dict[Path, Identity], now_s: float = 0.0) -> float:
    """See the same files twice, so far apart that they are whole; return the later time."""
    files.see(found, now_s)
    files.see(found, now_s + SETTLE_S)
    return now_s + SETTLE_S


def test_a_file_is_read_once_it_has_not_changed_for_a_while() -> None:
    files = FolderFiles(repeats=False)
    for second, n_bytes in enumerate((100, 200, 300, 300, 300)):
        files.see({A: one(1, n_bytes)}, float(second))
        assert files.ready(float(second)) == ([A] if second == 4 else [])
    assert files.unfinished == A


def test_what_was_read_is_read_again_only_where_files_repeat_or_when_it_grew() -> None:
    once, looped = FolderFiles(repeats=False), FolderFiles(repeats=True)
    for files in (once, looped):
        now_s = settled(files, {A: one(1)})
        files.note(A, "read")
        assert files.ready(now_s) == ([A] if files is looped else [])
    now_s = settled(once, {A: one(1, 900)}, 10.0)
    assert once.ready(now_s) == [A]


def test_a_file_that_is_renamed_is_no_other_one() -> None:
    files = FolderFiles(repeats=False)
    settled(files, {A: one(1)})
    files.note(A, "read")
    assert files.ready(settled(files, {B: one(1), C: one(2)}, 10.0)) == [C]


def test_a_bad_file_is_tried_again_only_when_it_changed() -> None:
    files = FolderFiles(repeats=True)
    now_s = settled(files, {A: one(1), B: one(2)})
    files.note(A, "bad")
    assert files.ready(now_s) == [B]
    assert (files.n_files, files.n_bad) == (2, 1)
    assert files.ready(settled(files, {A: one(1, 700), B: one(2)}, 10.0)) == [A, B]
    assert files.n_bad == 0


def test_in_order_nothing_is_read_before_an_earlier_name_is_whole() -> None:
    files = FolderFiles(repeats=False)
    settled(files, {B: one(2)})
    files.see({A: one(1), B: one(2)}, 3.0)
    assert files.ready(3.0, in_order=True) == []
    assert files.ready(3.0) == [B]


def test_what_is_gone_is_forgotten() -> None:
    files = FolderFiles(repeats=False)
    settled(files, {A: one(1)})
    files.note(A, "bad")
    files.see({}, 5.0)
    assert (files.n_files, files.n_bad, files.unfinished) == (0, 0, None)
    files.see({A: one(1)}, 6.0)
    assert files.ready(6.0) == []


def test_a_file_is_known_by_more_than_its_name(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    assert identity_of(path) is None
    path.write_bytes(b"1")
    before = identity_of(path)
    moved = path.rename(tmp_path / "b.mp4")
    assert identity_of(moved) == before
    moved.write_bytes(b"12")
    assert identity_of(moved) != before
