"""Every import contract of pyproject.toml fails when it is broken, and every folder of a service is in one."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tomllib
from itertools import pairwise, permutations
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CONTRACTS: list[dict[str, Any]] = PROJECT["tool"]["importlinter"]["contracts"]
PURE_FOLDERS = ("services/motion/detection", "services/motion/events", "shared/decisions")


def _packages() -> list[str]:
    """Return all packages of the product, by their dotted names."""
    found = [path for root in ("shared", "services") for path in sorted((ROOT / root).rglob("__init__.py"))]
    return [".".join(path.parent.relative_to(ROOT).parts) for path in found]


def _forbidden_imports(contract: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the imports (importer, imported) that `contract` must refuse, one for each of its rules."""
    if contract["type"] == "layers":
        layers = [[name.strip() for name in layer.split("|")] for layer in contract["layers"]]
        upward = [(low, high) for above, below in pairwise(layers) for high in above for low in below]
        sideways = [pair for layer in layers for pair in permutations(layer, 2)]
        return upward + sideways
    if contract["type"] == "independence":
        return list(permutations(contract["modules"], 2))
    if contract["type"] == "protected":
        allowed = tuple(f"{name}." for name in contract["allowed_importers"])
        importers = [name for name in _packages() if not f"{name}.".startswith(allowed)]
        return [(importer, module) for importer in importers for module in contract["protected_modules"]]
    assert contract["type"] == "forbidden", (
        f"a kind of contract that this test does not know: {contract['type']}"
    )
    return [
        (source, module) for source in contract["source_modules"] for module in contract["forbidden_modules"]
    ]


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What lint-imports says of a copy of the tree in which each rule of each contract is broken once."""
    copy = tmp_path_factory.mktemp("tree")
    without_caches = shutil.ignore_patterns("__pycache__", "web")
    for name in ("shared", "services"):
        shutil.copytree(ROOT / name, copy / name, ignore=without_caches)
    shutil.copy(ROOT / "pyproject.toml", copy)
    for contract in CONTRACTS:
        for importer, imported in _forbidden_imports(contract):
            path = copy / importer.replace(".", "/")
            target = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
            with target.open("a", encoding="utf-8") as file:
                file.write(f"\nimport {imported}\n")
    command = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    done = subprocess.run(
        [sys.executable, "-c", command, "--no-cache"],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract["name"])
def test_a_contract_fails_when_it_is_broken(contract: dict[str, Any], broken: str) -> None:
    missing = [
        (importer, imported)
        for importer, imported in _forbidden_imports(contract)
        if f"{importer} -> {imported} " not in broken
        and f"{importer} is not allowed to import {imported}" not in broken
    ]
    assert f"{contract['name']} BROKEN" in broken
    assert missing == []


def test_every_folder_of_a_service_has_its_place() -> None:
    layered = {
        name.strip()
        for contract in CONTRACTS
        if contract["type"] == "layers"
        for layer in contract["layers"]
        for name in layer.split("|")
    }
    folders = [
        path.parent
        for root in (
            "services/motion",
            "services/classifier",
            "services/recorder",
            "services/local",
            "shared",
        )
        for path in sorted((ROOT / root).glob("*/__init__.py"))
    ]
    missing = [
        folder.relative_to(ROOT).as_posix()
        for folder in folders
        if ".".join(folder.relative_to(ROOT).parts) not in layered
    ]
    assert missing == []


@pytest.mark.parametrize("folder", PURE_FOLDERS)
def test_a_pure_folder_opens_no_file(folder: str) -> None:
    opened = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("open", "print", "input")
    ]
    assert opened == []
