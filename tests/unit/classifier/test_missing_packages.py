"""Advice where packages are missing: it names commands that exist, on a machine and in a container."""

from __future__ import annotations

from pathlib import Path

from services.classifier.missing_packages import INSTALL_CONVERT, INSTALL_GPU, how_to_install

ROOT = Path(__file__).resolve().parents[3]


def test_beside_the_command_line_make_installs_them(tmp_path: Path) -> None:
    (tmp_path / "clipwatch").touch()
    assert how_to_install("gpu", tmp_path) == "run `make install GPU=1`"
    assert how_to_install("convert", tmp_path) == "run `make install CONVERT=1`"


def test_in_a_container_another_image_has_them(tmp_path: Path) -> None:
    for advice in (how_to_install("gpu", tmp_path), how_to_install("convert", tmp_path)):
        assert "docker-compose.gpu.yml" in advice
    assert (ROOT / "docker-compose.gpu.yml").is_file()


def test_what_make_is_told_is_what_the_makefile_reads() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for command in (INSTALL_GPU, INSTALL_CONVERT):
        variable = command.removeprefix("make install ").removesuffix("=1")
        assert f"$(if $({variable}),$(BIN)/.installed-{variable.lower()})" in makefile
        assert (ROOT / "requirements" / f"{variable.lower()}.txt").is_file()
