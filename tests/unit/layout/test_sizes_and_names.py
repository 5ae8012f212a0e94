"""Modules and functions stay short, a class name has one meaning, and a module that a text names exists."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
MODULES = sorted(path for root in ("shared", "services") for path in (ROOT / root).rglob("*.py"))
THIRD_PARTY = {"pretrained.py"}  # a module of open_clip
ROOTS = ("shared", "services", "tests", "bench", "models", "deploy", "grafana-provisioning")
NAMED_MODULE = re.compile(r"(?<![\w./*{-])[\w/-]*[a-z_0-9]\.py\b")
LONGEST_MODULE = 450
LONGEST_FUNCTION = 60
REASON = "# One function because"
DOCUMENTS = [path for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")] if path.name != "CHANGELOG.md"]
# Words that say nothing of cameras, events or queues to somebody who reads them for the first time.
METAPHORS = re.compile(r"Crew|Roster|Door|Showroom|Gallery|Seat|Wish|Lane|Told|Heard|Spoken|Visit|Inbox")


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _long_functions(path: Path) -> list[str]:
    """Return the functions of a module that are too long and do not say why, with their lengths."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    functions = [
        node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    return [
        f"{_name(path)}:{node.lineno} {node.name}: {length} lines"
        for node in functions
        if (length := (node.end_lineno or node.lineno) - node.lineno + 1) > LONGEST_FUNCTION
        and not any(REASON in line for line in lines[node.lineno - 3 : node.end_lineno])
    ]


def test_modules_are_short() -> None:
    lengths = {_name(path): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert {name: length for name, length in lengths.items() if length > LONGEST_MODULE} == {}


def test_functions_are_short_or_say_why_not() -> None:
    assert [fault for path in MODULES for fault in _long_functions(path)] == []


def test_a_class_name_has_one_meaning() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(f"{_name(path)}:{node.lineno}")
    assert {name: where for name, where in places.items() if len(where) > 1} == {}
    assert [name for name in places if METAPHORS.search(name)] == []


def test_a_module_that_a_text_names_exists() -> None:
    known = [f"/{_name(path)}" for root in ROOTS for path in (ROOT / root).rglob("*.py")]
    missing = [
        f"{_name(path)}: {named}"
        for path in (*MODULES, *DOCUMENTS)
        for named in NAMED_MODULE.findall(path.read_text(encoding="utf-8"))
        if named not in THIRD_PARTY and not any(name.endswith(f"/{named}") for name in known)
    ]
    assert missing == []
