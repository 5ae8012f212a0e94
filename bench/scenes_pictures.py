"""Where the bench's pictures come from: photographs of Debian and Python packages, fetched by their own clients.

They are read as data and never kept in this repository. Licences: docs/reference/motion-performance.md.
A picture belongs to one plan only, by a hash of its name, so that the held-out plan shows nothing that was tuned on.
"""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Gray = npt.NDArray[np.uint8]

DEBIAN = (
    "lomiri-wallpapers-16.04",
    "mate-backgrounds",
    "opencv-doc",
    "plasma-workspace-wallpapers",
    "tuxpaint-stamps-default",
)
PYTHON = ("scikit-image==0.25.2",)
FETCH_LIMIT_S = 1800
BACKGROUNDS = (
    r"nature/(Blinds|Dune|Garden|GreenMeadow|Storm|Wood|Aqua)\.jpg$",
    r"backgrounds/(Bridge|aitzgorri|greentock|life|picos|sunset|seeding|free|Picture)\w*\.jpg$",
    r"(Autumn|BytheWater|EveningGlow|FallenLeaf|Grey|OneStandsOut|Path|Kite|PastelHills|summer_1am|ColorfulCups)"
    r"/contents/images/[^/]*\.jpg$",
    r"skimage/data/(brick|grass|gravel|rocket|motorcycle_left|coffee)\.(png|jpg)$",
    r"examples/data/(home|leuvenA|building|board|aloeL|fruits|left01|graf1|box_in_scene)\.(png|jpg)$",
)
CUT_OUTS = r"stamps/(animals|vehicles|people|household|clothes)/.*\.png$"
NOT_PHOTOGRAPHS = r"cartoon|symbols|toys|mirror|outline|balloon|roadsign"


def fetch(cache: Path) -> None:
    """Download and unpack every package into `cache`, unless it is there; raises CalledProcessError."""
    (cache / "packages").mkdir(parents=True, exist_ok=True)
    for name in DEBIAN:
        if not (cache / name).exists():
            _run(["apt-get", "download", "-qq", name], cache / "packages")
            deb = next((cache / "packages").glob(f"{name}_*.deb"))
            _run(["dpkg-deb", "-x", str(deb.resolve()), str((cache / name).resolve())], cache)
    for pin in PYTHON:
        name = pin.partition("==")[0]
        if not (cache / name).exists():
            pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:"]
            _run([*pip, "-d", "packages", pin], cache)
            wheel = next((cache / "packages").glob(name.replace("-", "_") + "-*.whl"))
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(cache / name)


def _run(command: Sequence[str], folder: Path) -> None:
    subprocess.run(command, cwd=folder, check=True, timeout=FETCH_LIMIT_S, stderr=subprocess.DEVNULL)


def is_held_out(path: Path) -> bool:
    """Tell which plan a picture belongs to."""
    return zlib.crc32(path.name.encode()) % 2 == 1 if "contents" not in path.parts else _of_folder(path)


def _of_folder(path: Path) -> bool:
    return zlib.crc32(path.parent.parent.parent.name.encode()) % 2 == 1


def backgrounds(cache: Path, held_out: bool) -> list[Path]:
    """Return the photographs of places that a plan may use, one a place."""
    found: dict[str, Path] = {}
    for package in (*DEBIAN, *(pin.partition("==")[0] for pin in PYTHON)):
        for path in sorted((cache / package).resolve().rglob("*")):
            if any(re.search(pattern, path.as_posix()) for pattern in BACKGROUNDS):
                key = path.parent.parent.parent.name if "contents" in path.parts else path.name
                found.setdefault(key, path)
    return [path for path in found.values() if is_held_out(path) == held_out]


def cut_outs(cache: Path, held_out: bool) -> list[Path]:
    """Return the photographs of things, with alpha, that a plan may use."""
    root = (cache / "tuxpaint-stamps-default").resolve()
    return [
        path
        for path in sorted(root.rglob("*.png"))
        if re.search(CUT_OUTS, path.as_posix())
        and not re.search(NOT_PHOTOGRAPHS, path.as_posix())
        and is_held_out(path) == held_out
    ]


def background(path: Path, width: int, height: int, rng: np.random.Generator) -> Gray:
    """Return a piece of a photograph, uint8[height, width]."""
    picture = _gray(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE))
    scale = max(width / picture.shape[1], height / picture.shape[0]) * float(rng.uniform(1.0, 1.4))
    size = (max(width, round(picture.shape[1] * scale)), max(height, round(picture.shape[0] * scale)))
    picture = _gray(
        cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    )
    x = int(rng.integers(0, picture.shape[1] - width + 1))
    y = int(rng.integers(0, picture.shape[0] - height + 1))
    part = picture[y : y + height, x : x + width]
    return _gray(cv2.flip(part, 1)) if rng.random() < 0.5 else part.copy()


def cut_out(path: Path, longer_px: int) -> tuple[Gray, npt.NDArray[np.float32]] | None:
    """Return a thing's luma and its alpha (0..1), its longer side `longer_px`; None when the file has no alpha."""
    picture: Any = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)  # Any: OpenCV's stubs
    if picture is None or picture.ndim != 3 or picture.shape[2] != 4:
        return None
    alpha = picture[..., 3]
    rows, columns = np.where(alpha > 40)
    if rows.size < 0.03 * alpha.size:
        return None
    cut = picture[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    scale = longer_px / max(cut.shape[:2])
    size = (max(2, round(cut.shape[1] * scale)), max(2, round(cut.shape[0] * scale)))
    cut = cv2.resize(cut, size, interpolation=cv2.INTER_AREA)
    return _gray(cv2.cvtColor(cut[..., :3], cv2.COLOR_BGR2GRAY)), cut[..., 3].astype(np.float32) / 255


def _gray(picture: Any) -> Gray:  # Any: OpenCV's stubs say MatLike
    result: Gray = picture
    return result
