"""Where texts leave the program: printed by one function, shortened by one function, logged by one handler."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
# Print what is theirs: the function itself, tools that write pages of the documentation, and tokens that are shown once
PRINTERS = {
    "shared/terminal_text.py",
    "shared/uncaught.py",
    "services/local/launcher/stack.py",
    "services/local/commands/token.py",
    "services/recorder/users.py",
    "services/local/settings_doc.py",
    "services/recorder/record/schema_page.py",
}
CONSOLES = {"services/local/printable_console.py", "services/local/tasks/screen.py"}


def _sources() -> Iterator[tuple[str, ast.Module]]:
    for folder in ("services", "shared"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield str(path.relative_to(ROOT)), ast.parse(path.read_text(encoding="utf-8"))


def prints(tree: ast.AST) -> list[int]:
    """Return the lines that print by themselves."""
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in ("print", "typer.echo", "sys.stdout.write", "sys.stderr.write")
    ]


def consoles(tree: ast.AST) -> list[int]:
    """Return the lines that make a console of rich's own."""
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("Console", "rich.print")
    ]


def cuts(tree: ast.AST) -> list[int]:
    """Return the lines that cut a text which they made at once, and which nobody redacted."""
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Subscript)
        and isinstance(node.slice, ast.Slice)
        and node.slice.lower is None
        and isinstance(node.value, ast.Call)
        and ast.unparse(node.value.func).rpartition(".")[2] in ("str", "repr", "join", "decode", "format")
    ]


def test_all_that_is_printed_goes_through_one_function() -> None:
    assert [
        f"{name}:{line}" for name, tree in _sources() if name not in PRINTERS for line in prints(tree)
    ] == []
    assert [
        f"{name}:{line}" for name, tree in _sources() if name not in CONSOLES for line in consoles(tree)
    ] == []


def test_no_text_is_cut_before_it_is_redacted() -> None:
    assert [f"{name}:{line}" for name, tree in _sources() for line in cuts(tree)] == []


@pytest.mark.parametrize(
    ("find", "text"),
    [
        (prints, "print(name)"),
        (prints, "typer.echo(name)"),
        (consoles, "Console(stderr=True)"),
        (cuts, "str(exc)[:200]"),
        (cuts, "' '.join(str(exc).split())[:200]"),
        (cuts, "f'{body.decode()[:80]}'"),
    ],
)
def test_the_search_finds_what_it_is_for(find: object, text: str) -> None:
    assert callable(find)
    assert find(ast.parse(text)) == [1]
