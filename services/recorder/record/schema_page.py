"""`python -m services.recorder.record.schema_page [--check]`: writes docs/reference/schema.md from schema.py."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Column, Table
from sqlalchemy.dialects import mysql

from services.recorder.record.schema import metadata

TARGET = Path(__file__).parents[3] / "docs" / "reference" / "schema.md"
HEAD = """# The tables

Made by `python -m services.recorder.record.schema_page` from `schema.py`, `access_tables.py` and
`verdict_tables.py` in `services/recorder/record/`; do not edit.

Times are UTC, `DATETIME(3)` on MySQL and MariaDB. Texts are utf8mb4 and compare by code point (`utf8mb4_bin`): case and
accents count. What was said of a snippet stands in `snippets`, `frame_probabilities` and `frame_embeddings`; `events`
and `detections` follow from it. Deleting an event deletes all of it but its weather report.
Why it is so: [the record](../design/record.md).
"""
_ORDER = (
    "events",
    "detections",
    "snippets",
    "frame_probabilities",
    "frame_embeddings",
    "past_answers",
    "relabels",
    "verdicts",
    "examples",
    "weather_reports",
    "notices",
    "notice_holders",
    "removals",
    "day_totals",
    "cameras",
    "gaps",
    "gap_notices",
    "installation",
    "announcements",
    "users",
    "sessions",
    "api_tokens",
    "links",
    "link_keys",
    "label_changes",
)


def schema_page() -> str:
    """Return the page as Markdown."""
    return HEAD + "".join(f"\n{_section(metadata.tables[name])}" for name in _ORDER)


def _section(table: Table) -> str:
    lines = [f"## {table.name}", "", table.comment or "", "", "| column | type | meaning |", "|---|---|---|"]
    lines += [f"| {_name(column)} | {_type(column)} | {column.comment} |" for column in table.columns]
    lines += ["", *_keys(table), ""]
    return "\n".join(lines)


def _name(column: Column[object]) -> str:
    return f"**`{column.name}`**" if column.primary_key else f"`{column.name}`"


def _type(column: Column[object]) -> str:
    said = str(column.type.compile(dialect=mysql.dialect())).partition(" CHARACTER SET")[0]
    return said if not column.nullable else f"{said} NULL"


def _keys(table: Table) -> Iterator[str]:
    yield f"Key: {', '.join(column.name for column in table.primary_key)}."
    for index in sorted(table.indexes, key=lambda index: str(index.name)):
        yield f"Index `{index.name}`: {', '.join(column.name for column in index.columns)}."
    for constraint in sorted(table.foreign_key_constraints, key=lambda constraint: str(constraint.name)):
        target = ", ".join(element.target_fullname for element in constraint.elements)
        yield f"Foreign key: {', '.join(constraint.column_keys)} -> {target}."


def main() -> None:
    """Write the page, or with --check say whether it is in step (exit 1: it is not)."""
    page = schema_page()
    if "--check" in sys.argv[1:]:
        is_same = TARGET.exists() and TARGET.read_text(encoding="utf-8") == page
        print(
            f"{TARGET.name}: {'in step' if is_same else 'run python -m services.recorder.record.schema_page'}"
        )
        sys.exit(0 if is_same else 1)
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
