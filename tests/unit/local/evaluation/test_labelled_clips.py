"""What is true of a folder's clips: folder names, file names, lists, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.local.evaluation.labelled_clips import labels_of, read_folder
from shared.errors import ConfigError


def make(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return folder


def test_a_folder_names_the_label_of_its_clips(tmp_path: Path) -> None:
    make(tmp_path, "a dog/1.mp4", "a dog/deep/2.mkv", "nothing/3.mp4", "a dog/notes.txt")
    clips = read_folder(tmp_path, ())
    assert {clip.name: set(clip.truth) for clip in clips} == {
        "a dog/1.mp4": {"a dog"},
        "a dog/deep/2.mkv": {"a dog"},
        "nothing/3.mp4": set(),
    }
    assert labels_of(clips) == ("a dog",)


def test_a_folder_without_its_article_means_the_label_that_was_asked_for(tmp_path: Path) -> None:
    make(tmp_path, "Dog/1.mp4", "red_car/2.mp4")
    clips = read_folder(tmp_path, ("a dog", "a red car"))
    assert [set(clip.truth) for clip in clips] == [{"a dog"}, {"a red car"}]


@pytest.mark.parametrize(
    ("name", "truth"),
    [
        ("a dog.mp4", {"a dog"}),
        ("dog_07.mp4", {"a dog"}),
        ("a dog - garden.mp4", {"a dog"}),
        ("red car (2).mov", {"a red car"}),
        ("nothing-1.mp4", set()),
    ],
)
def test_a_files_name_begins_with_its_label(tmp_path: Path, name: str, truth: set[str]) -> None:
    make(tmp_path, name)
    (clip,) = read_folder(tmp_path, ("a dog", "a car", "a red car"))
    assert set(clip.truth) == truth


def test_all_names_that_say_nothing_are_told_at_once(tmp_path: Path) -> None:
    make(tmp_path, "clip1.mp4", "dogs.mp4", "a dog.mp4")
    with pytest.raises(ConfigError) as caught:
        read_folder(tmp_path, ("a dog",))
    assert [fault.partition(":")[0] for fault in caught.value.faults] == ["clip1.mp4", "dogs.mp4"]
    assert "labels.csv" in caught.value.faults[0]


def test_a_list_is_the_whole_truth(tmp_path: Path) -> None:
    make(tmp_path, "x/1.mp4", "2.mp4", "3.mp4", "unlisted.mp4")
    (tmp_path / "labels.csv").write_text(
        "file,labels\n# a remark\nx/1.mp4,a dog; a cat\n2.mp4,\n3.mp4,nothing\n", encoding="utf-8-sig"
    )
    clips = read_folder(tmp_path, ())
    assert {clip.name: set(clip.truth) for clip in clips} == {
        "x/1.mp4": {"a dog", "a cat"},
        "2.mp4": set(),
        "3.mp4": set(),
    }


def test_a_label_may_contain_the_lists_comma_in_a_table_of_tabs(tmp_path: Path) -> None:
    make(tmp_path, "1.mp4")
    (tmp_path / "labels.tsv").write_text("1.mp4\ta dog, wet\n", encoding="utf-8")
    assert labels_of(read_folder(tmp_path, ())) == ("a dog, wet",)


def test_every_fault_of_a_list_is_told_with_its_line(tmp_path: Path) -> None:
    make(tmp_path / "in", "1.mp4")
    make(tmp_path, "outside.mp4")
    (tmp_path / "in" / "labels.csv").write_text(
        "1.mp4,a dog\n1.mp4,a cat\ngone.mp4,a dog\n../outside.mp4,a dog\n", encoding="utf-8"
    )
    with pytest.raises(ConfigError) as caught:
        read_folder(tmp_path / "in", ())
    assert ["line 2" in caught.value.faults[0], "line 3" in caught.value.faults[1]] == [True, True]
    assert "line 4" in caught.value.faults[2]
    assert len(caught.value.faults) == 3


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b""])
def test_a_list_that_says_nothing_is_one_fault(tmp_path: Path, content: bytes) -> None:
    make(tmp_path, "1.mp4")
    (tmp_path / "labels.csv").write_bytes(content)
    with pytest.raises(ConfigError, match=r"labels\.csv"):
        read_folder(tmp_path, ())


def test_two_lists_are_one_too_many(tmp_path: Path) -> None:
    make(tmp_path, "labels.csv", "labels.tsv")
    with pytest.raises(ConfigError, match="wanted one list"):
        read_folder(tmp_path, ())


def test_no_folder_and_no_clips_say_what_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such folder"):
        read_folder(tmp_path / "gone", ())
    with pytest.raises(ConfigError, match="holds no video files"):
        read_folder(tmp_path, ())
