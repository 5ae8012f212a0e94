"""Past answers: what was said of a snippet before labels in hindsight replaced it.

A frozen copy of the table as it was at this revision. May be run again after a crash in its middle.

Revision ID: 0003_past_answers
Revises: 0002_told
"""

from __future__ import annotations

from datetime import datetime

from alembic import op
from sqlalchemy import (
    Column,
    DateTime,
    ForeignKeyConstraint,
    Integer,
    PrimaryKeyConstraint,
    String,
    Text,
    inspect,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeEngine

revision = "0003_past_answers"
down_revision = "0002_told"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table where it is missing."""
    if "past_answers" in inspect(op.get_bind()).get_table_names():
        return
    id_type = String(36).with_variant(mysql.CHAR(36, charset="ascii", collation="ascii_bin"), "mysql")
    op.create_table(
        "past_answers",
        Column("event_id", id_type, nullable=False, comment="the event"),
        Column("snippet", Integer, autoincrement=False, nullable=False, comment="number within the event"),
        Column("labelled_at", _time(), nullable=False, comment="when this answer was decided, UTC"),
        Column("replaced_at", _time(), nullable=False, comment="when labels in hindsight replaced it, UTC"),
        Column("model", String(200), nullable=False, comment="as in snippets, at that time"),
        Column("reason", Text, nullable=False, comment="as in snippets, at that time"),
        Column("label_set", _json(), nullable=False, comment="as in snippets, at that time"),
        Column("decision", Text, nullable=False, comment="as in snippets, at that time"),
        Column("accepted", _json(), nullable=False, comment="as in snippets, at that time"),
        Column("peaks", _json(), nullable=False, comment="as in snippets, at that time"),
        PrimaryKeyConstraint("event_id", "snippet", "labelled_at", name="pk_past_answers"),
        ForeignKeyConstraint(
            ["event_id", "snippet"],
            ["snippets.event_id", "snippets.snippet"],
            ondelete="CASCADE",
            name="fk_past_answers_snippets",
        ),
        comment="What was said of a snippet before labels in hindsight replaced it; kept to look up.",
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
    )


def _time() -> TypeEngine[datetime]:
    return DateTime().with_variant(mysql.DATETIME(fsp=3), "mysql")


def _json() -> TypeEngine[str]:
    return Text().with_variant(mysql.MEDIUMTEXT(), "mysql")
