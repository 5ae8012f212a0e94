"""The pinned requirements: whole, hashed, in step with each other, and without torch where no GPU is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "requirements"
FILES = tuple(sorted(path.stem for path in FOLDER.glob("*.txt")))
NEEDS_TORCH = ("torch", "torchvision", "timm", "transformers", "triton")
WITH_TORCH = ("gpu", "test")


def entries(file: str) -> list[tuple[str, int]]:
    """Return each pin of a requirements file, and how many hashes it has."""
    text = (FOLDER / f"{file}.txt").read_text(encoding="utf-8")
    joined = re.sub(r" *#.*", "", text).replace("\\\n", " ")
    lines = [line.split("--hash=sha256:") for line in joined.splitlines() if line.strip()]
    return [(pin.strip(), len(hashes)) for pin, *hashes in lines]


def pins(file: str) -> list[Requirement]:
    """Return what is pinned in a requirements file for this platform."""
    found = [Requirement(pin) for pin, _ in entries(file)]
    return [pin for pin in found if pin.marker is None or pin.marker.evaluate()]


def names(file: str) -> set[str]:
    return {Requirement(pin).name for pin, _ in entries(file)}


@pytest.mark.parametrize("file", FILES)
def test_every_package_has_one_version_and_hashes(file: str) -> None:
    assert entries(file)
    for pin, n_hashes in entries(file):
        [specifier] = Requirement(pin).specifier
        assert specifier.operator == "==", pin
        assert n_hashes >= 1, pin


@pytest.mark.parametrize("file", FILES)
def test_no_file_says_where_packages_come_from(file: str) -> None:
    """An address would bind every user to the index of whoever compiled the file."""
    text = (FOLDER / f"{file}.txt").read_text(encoding="utf-8")
    assert "://" not in text
    assert "index-url" not in text


def test_every_input_is_compiled_and_nothing_else_is_there() -> None:
    assert set(FILES) == {path.stem for path in FOLDER.glob("*.in")}
    script = (FOLDER / "compile.sh").read_text(encoding="utf-8")
    assert {name for name in FILES if re.search(rf"\b{name}\b", script)} == set(FILES)


@pytest.mark.parametrize("file", [name for name in FILES if name not in ("test", "models")])
def test_all_files_pin_what_the_tests_run_with(file: str) -> None:
    tested = {(pin.name, str(pin.specifier)) for pin in pins("test")}
    assert {(pin.name, str(pin.specifier)) for pin in pins(file)} <= tested


@pytest.mark.parametrize("file", [name for name in FILES if name not in WITH_TORCH])
def test_torch_is_where_gpus_are_and_nowhere_else(file: str) -> None:
    assert names(file) & set(NEEDS_TORCH) == set()
    assert not [name for name in names(file) if name.startswith(("nvidia-", "cuda-"))]


def test_what_gpus_and_conversion_need_is_pinned() -> None:
    assert {"torch", "torchvision", "transformers", "timm", "open-clip-torch"} <= names("gpu")
    assert {"openvino", "nncf"} <= names("convert")
    assert names("classifier") <= names("gpu") & names("convert") & names("local")


def test_open_clip_is_data_without_what_it_depends_on() -> None:
    assert names("open_clip") == {"open-clip-torch"}
    assert "open-clip-torch" not in names("local") | names("classifier")


@pytest.mark.parametrize("file", FILES)
def test_nothing_reports_home(file: str) -> None:
    """`import openvino` and nncf tell Google Analytics that they are used, where this package is there."""
    assert "openvino-telemetry" not in names(file)


def test_every_file_is_installed_without_looking_for_dependencies() -> None:
    """Else pip looks for the package that is left out, and refuses it: it has no hash."""
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    found = re.findall(r"pip (?:install|download) .{27}", dockerfile)
    assert len(found) == 4
    assert all(command.endswith(" --no-deps --require-hashes ") for command in found), found
    assert "-m pip install -r" not in (ROOT / "Makefile").read_text(encoding="utf-8")
    script = (FOLDER / "install.sh").read_text(encoding="utf-8")
    assert script.count("pip install") == script.count("--no-deps") == 3
    assert "--require-hashes" in script
