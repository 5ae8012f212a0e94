"""The security page names tests that there are, and permissions as they are."""

from __future__ import annotations

import re
from pathlib import Path

from shared.permissions import PERMISSIONS_OF, Permission

ROOT = Path(__file__).resolve().parents[3]
TEXT = (ROOT / "docs" / "design" / "security.md").read_text(encoding="utf-8")
TEST = re.compile(r"`(tests/[^`]+)`")
SHOWN = (Permission.LOOK, Permission.OPERATE, Permission.ADMIN, Permission.METRICS)


def rows(section: str) -> list[list[str]]:
    """Return the cells of a section's table, without its head."""
    part = TEXT.split(f"\n## {section}\n")[1].split("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_each_line_of_defence_is_attacked_by_a_test_that_there_is() -> None:
    lines = rows("Lines of defence")
    assert len(lines) > 15
    for against, _, tests in lines:
        found = TEST.findall(tests)
        assert found, against
        for name in found:
            path = ROOT / name
            assert path.is_file(), f"{against}: {name}"
            assert re.search(r"^ *(async )?def test_", path.read_text(encoding="utf-8"), re.MULTILINE), name


def test_roles_may_what_the_code_says() -> None:
    shown = {role: dict(zip(SHOWN, cells, strict=True)) for role, *cells in rows("Who may do what")}
    assert shown == {
        str(role): {one: "yes" if one in may else "no" for one in SHOWN}
        for role, may in PERMISSIONS_OF.items()
    }


def test_what_is_left_says_why_or_what_to_do() -> None:
    assert all(len(row) == 2 and all(row) for row in rows("What is left"))
