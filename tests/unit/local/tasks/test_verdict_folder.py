"""The folder of what a camera has learned: what is written, and what is read of a table that anybody may have made."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from services.local.tasks.clip_pictures import ClipPictureError, picture_of
from services.local.tasks.verdict_folder import PictureRow, read_folder, require_empty, write_folder
from shared.errors import ConfigError

Colour = tuple[int, int, int]
RED, BLUE = (200, 30, 30), (30, 30, 200)
AT = "2026-05-04T03:02:01Z"


def clip_of(*moments: tuple[Colour, Colour]) -> bytes:
    """Return an MP4 with a second for each moment: the colours of its left and its right half."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(10 * len(moments)):
            picture = np.empty((48, 64, 3), np.uint8)
            picture[:, :32], picture[:, 32:] = moments[index // 10]
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def clip() -> bytes:
    return clip_of((RED, BLUE), (BLUE, RED))


def colour(jpeg: bytes) -> tuple[int, int]:
    """Return the size of a picture of one colour; fails for another one."""
    with Image.open(io.BytesIO(jpeg)) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
        wanted = RED if pixels[0, 0, 0] > 100 else BLUE
        assert np.abs(pixels - np.array(wanted)).max() < 60
        return (wanted[0], image.width)


def test_a_picture_is_cut_out_of_its_moment() -> None:
    mp4 = clip()
    left, right = (0.0, 0.0, 0.45, 1.0), (0.55, 0.0, 0.45, 1.0)
    assert colour(picture_of(mp4, 0.4, left))[0] == RED[0]
    assert colour(picture_of(mp4, 0.4, right))[0] == BLUE[0]
    assert colour(picture_of(mp4, 1.5, left))[0] == BLUE[0]
    assert colour(picture_of(mp4, 99.0, left))[0] == BLUE[0], "the last one there is"
    with Image.open(io.BytesIO(picture_of(mp4, 0.0, None))) as whole:
        assert whole.size == (64, 48)
    with Image.open(io.BytesIO(picture_of(mp4, 0.0, (2.0, -1.0, 9.0, 0.0)))) as odd:
        assert min(odd.size) >= 1
    for broken in (b"", b"no clip", mp4[: len(mp4) // 3]):
        with pytest.raises(ClipPictureError, match="its clip"):
            picture_of(broken, 0.4, None)


def example(number: int, **values: Any) -> dict[str, Any]:  # Any: JSON
    return {
        "number": number,
        "event_id": "019d3727-f93a-7abc-8def-0123456789ab",
        "label": "a dog",
        "is_right": False,
        "captured_at": AT,
        "model": "mini",
        "made_by": "anna",
        "made_at": AT,
        "clip_url": "/media/a.mp4",
        "offset_s": 0.4,
        "box": [0.0, 0.0, 0.45, 1.0],
        **values,
    }


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    fetched: list[str] = []

    def fetch(address: str) -> bytes:
        fetched.append(address)
        return b"no clip" if address.endswith("broken.mp4") else clip()

    found = [
        example(1),
        example(2, label=None),
        example(3, label="a fox", is_right=True, offset_s=1.5),
        example(4, clip_url=None, offset_s=None, box=None),
        example(5, clip_url="/media/broken.mp4"),
    ]
    done = write_folder(tmp_path, (("gate", one) for one in found), fetch)
    assert (done.n_rows, done.n_without) == (5, 2)
    assert fetched == ["/media/a.mp4", "/media/broken.mp4"], "each clip once"
    table = read_folder(tmp_path)
    assert table.n_without == 2
    assert [(row.path.name, row.label, row.shows) for row in table.rows] == [
        ("000001.jpg", "a dog", False),
        ("000002.jpg", None, False),
        ("000003.jpg", "a fox", True),
    ]
    assert {row.event for row in table.rows} == {found[0]["event_id"]}
    with (tmp_path / "verdicts.csv").open(encoding="utf-8-sig", newline="") as file:
        notes = [row["note"] for row in csv.DictReader(file)]
    assert notes[:3] == ["", "", ""]
    assert "gone" in notes[3]
    assert "cannot be read" in notes[4]


@pytest.mark.parametrize("label", ["=1+1", "+a", "-a dog", "@SUM(A1)", "'quoted", 'a, "b"', "ein Würfel"])
def test_a_cell_is_no_formula_and_comes_back_as_it_was(label: str, tmp_path: Path) -> None:
    write_folder(
        tmp_path, [("=gate", example(1, label=label, made_by="=cmd|' /C calc'!A0"))], lambda _: clip()
    )
    with (tmp_path / "verdicts.csv").open(encoding="utf-8-sig", newline="") as file:
        [_, cells] = list(csv.reader(file))
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
    assert [row.label for row in read_folder(tmp_path).rows] == [label]


def table(folder: Path, *lines: str, header: str = "file,label,shows") -> Path:
    Image.new("RGB", (40, 30), "red").save(folder / "a.png")
    (folder / "verdicts.csv").write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return folder


def faults_of(folder: Path) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        read_folder(folder)
    return caught.value.faults


def test_a_table_made_by_hand_is_read(tmp_path: Path) -> None:
    folder = table(
        tmp_path, "no,a dog,a.png,x", "", "YES,'a dog,a.png,", "no,,a.png,", header="shows,label,file,event"
    )
    assert read_folder(folder).rows == (
        PictureRow(2, tmp_path / "a.png", "a dog", False, "x"),
        PictureRow(4, tmp_path / "a.png", "a dog", True, None),
        PictureRow(5, tmp_path / "a.png", None, False, None),
    )


def test_all_bad_rows_are_named_at_once(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no picture")
    outside = tmp_path.parent / "outside.png"
    Image.new("RGB", (4, 4)).save(outside)
    (tmp_path / "link.png").symlink_to(outside)
    folder = table(
        tmp_path,
        "../outside.png,a dog,yes",
        f"{outside},a dog,yes",
        "link.png,a dog,yes",
        "none.png,a dog,maybe",
        "a.png,,yes",
        f"a.png,{'x' * 201},yes",
        "text.jpg,a dog,no",
        "a.png,a dog,yes",
        "a\0.png,a dog,yes",
    )
    said = "\n".join(faults_of(folder))
    for line, fault in (
        (2, "file '../outside.png': outside the folder"),
        (3, "outside the folder"),
        (4, "file 'link.png': outside the folder"),
        (5, "file 'none.png': no such file; shows 'maybe': wanted yes or no"),
        (6, "shows 'yes' without a label"),
        (7, "wanted at most 200 printable characters"),
        (8, "wanted a picture (JPEG, PNG, WebP, …)"),
        (10, "file 'a\\x00.png'"),
    ):
        assert any(f"line {line}:" in one and fault in one for one in said.splitlines()), (line, fault, said)
    assert "line 9:" not in said


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (b"", "without the columns file, label, shows"),
        (b"file,label\na.png,a dog\n", "without the columns shows; wanted a header with file, label, shows"),
        (b"file,label,shows,label\n", "without the columns label"),
        (b"file,label,shows\n\xff\xfe\n", "not UTF-8; save it as CSV (UTF-8)"),
        (b'file,label,shows\n"a.png"x,a dog,yes\n', "wanted CSV with commas"),
        (b"file,label,shows\n" + b"a.png,a dog,yes\n" * 2001, "more than 2000 rows; split it"),
        (b"file,label,shows\n" + b"x" * 200_000 + b",a,yes\n", "field larger than field limit"),
        (b"x" * (4 * 1024 * 1024 + 1), "more than 4 MiB; split it"),
    ],
)
def test_what_is_no_such_table_is_named(text: bytes, fault: str, tmp_path: Path) -> None:
    table(tmp_path)
    (tmp_path / "verdicts.csv").write_bytes(text)
    assert fault in faults_of(tmp_path)[0]


def test_a_folder_that_is_not_there_or_not_empty_is_named(tmp_path: Path) -> None:
    assert "wanted a folder as --export writes it" in faults_of(tmp_path / "none")[0]
    require_empty(tmp_path / "new" / "one")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a.txt").touch()
    with pytest.raises(ConfigError, match="it is not empty"):
        require_empty(tmp_path / "full")
    with pytest.raises(ConfigError, match="name a folder that can be written"):
        require_empty(tmp_path / "full" / "a.txt")
