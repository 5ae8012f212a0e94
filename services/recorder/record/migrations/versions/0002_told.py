"""Protected events, what is to be told to whom, and files that retention has still to unlink.

A frozen copy; may be run again after a crash in its middle: it makes what is missing.

Revision ID: 0002_told
Revises: 0001
"""

from __future__ import annotations

from datetime import datetime

from alembic import op
from sqlalchemy import (
    Boolean,
    Column,
    DateTime,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    inspect,
    text,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeEngine

revision = "0002_told"
down_revision = "0001"
branch_labels = None
depends_on = None

PROTECTED = "1: retention leaves the event alone"


def upgrade() -> None:
    """Add the column, the tables and the indexes that are missing."""
    bind = op.get_bind()
    if "is_protected" not in {column["name"] for column in inspect(bind).get_columns("events")}:
        op.add_column(
            "events",
            Column("is_protected", Boolean, nullable=False, server_default=text("0"), comment=PROTECTED),
        )
    for name in ("notices", "notice_holders", "removals"):
        table = metadata.tables[name]
        table.create(bind, checkfirst=True)
        existing = {index["name"] for index in inspect(bind).get_indexes(name)}
        for index in sorted(table.indexes, key=lambda index: str(index.name)):
            if index.name not in existing:
                index.create(bind)


def _time() -> TypeEngine[datetime]:
    return DateTime().with_variant(mysql.DATETIME(fsp=3), "mysql")


def _id() -> TypeEngine[str]:
    return String(36).with_variant(mysql.CHAR(36, charset="ascii", collation="ascii_bin"), "mysql")


metadata = MetaData(naming_convention={"pk": "pk_%(table_name)s"})
Table("events", metadata, Column("id", _id(), primary_key=True))

Table(
    "notices",
    metadata,
    Column("target", String(64), primary_key=True, comment="name of the target in the notify file"),
    Column("event_id", _id(), primary_key=True, comment="the event"),
    Column("version", Integer, nullable=False, comment="rises at each change of the event, from 1"),
    Column("due_at", _time(), comment="when it is to be looked at (again), UTC; NULL: nothing is to be done"),
    Column("noted_at", _time(), nullable=False, comment="when the event last changed, UTC"),
    Column("attempts", Integer, nullable=False, comment="failed attempts since it was last sent"),
    Column("said", String(64), comment="what was last sent, as a digest; NULL: nothing yet"),
    Column("sent_at", _time(), comment="when it was first sent, UTC: cooldowns count from here; NULL: never"),
    Column("camera", String(64), comment="camera of the event that was sent"),
    Column("label", String(200), comment="label that was sent"),
    ForeignKeyConstraint(["event_id"], ["events.id"], ondelete="CASCADE", name="fk_notices_events"),
    Index("ix_notices_due", "target", "due_at"),
    Index("ix_notices_event", "event_id"),
    Index("ix_notices_noted", "noted_at"),
    Index("ix_notices_sent", "target", "camera", "label", "sent_at"),
    comment="What is to be told to whom, and what was: written in the transaction that changes the event.",
    mysql_engine="InnoDB",
    mysql_charset="utf8mb4",
    mysql_collate="utf8mb4_bin",
)

Table(
    "notice_holders",
    metadata,
    Column("target", String(64), primary_key=True, comment="name of the target"),
    Column("holder", String(64), nullable=False, comment="the recorder that tells it"),
    Column("held_until", _time(), nullable=False, comment="another recorder may take over after this, UTC"),
    comment="Which of several recorders tells a target.",
    mysql_engine="InnoDB",
    mysql_charset="utf8mb4",
    mysql_collate="utf8mb4_bin",
)

Table(
    "removals",
    metadata,
    Column("name", String(60), primary_key=True, comment="file below the media folder"),
    Column("decided_at", _time(), nullable=False, comment="when its event's rows were removed, UTC"),
    comment="Files whose rows are gone and that are to be unlinked; empty but for moments.",
    mysql_engine="InnoDB",
    mysql_charset="utf8mb4",
    mysql_collate="utf8mb4_bin",
)
