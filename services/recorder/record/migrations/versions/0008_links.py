"""Signed links to events, and an index by which the event of a media file is found.

A frozen copy; may be run again after a crash in its middle: it makes what is missing.

Revision ID: 0008_links
Revises: 0007_access
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from alembic import op
from sqlalchemy import (
    Column,
    DateTime,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    inspect,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeEngine

revision = "0008_links"
down_revision = "0007_access"
branch_labels = None
depends_on = None

INDEX = "ix_snippets_clip"


def upgrade() -> None:
    """Add the tables and the indexes that are missing."""
    bind = op.get_bind()
    for name in ("links", "link_keys"):
        table = metadata.tables[name]
        table.create(bind, checkfirst=True)
        existing = {index["name"] for index in inspect(bind).get_indexes(name)}
        for index in sorted(table.indexes, key=lambda index: str(index.name)):
            if index.name not in existing:
                index.create(bind)
    if INDEX not in {index["name"] for index in inspect(bind).get_indexes("snippets")}:
        op.create_index(INDEX, "snippets", ["clip_name"])


def _time() -> TypeEngine[datetime]:
    return DateTime().with_variant(mysql.DATETIME(fsp=3), "mysql")


def _id() -> TypeEngine[str]:
    return String(36).with_variant(mysql.CHAR(36, charset="ascii", collation="ascii_bin"), "mysql")


_MYSQL: dict[str, Any] = {  # Any: keyword arguments of every type
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
}
metadata = MetaData(naming_convention={"pk": "pk_%(table_name)s"})

Table("events", metadata, Column("id", _id(), primary_key=True))

Table(
    "links",
    metadata,
    Column(
        "id", String(32), primary_key=True, comment="128 random bits, hexadecimal; alone it opens nothing"
    ),
    Column("event_id", _id(), nullable=False, comment="the event that it shows"),
    Column("target", String(64), comment="target of the notify file that was sent it; NULL: none"),
    Column("made_by", String(80), nullable=False, comment="name of the user, token or target"),
    Column("note", String(200), nullable=False, comment="what it is for, in words; empty: not said"),
    Column("made_at", _time(), nullable=False, comment="when it was made, UTC"),
    Column("ends_at", _time(), nullable=False, comment="it opens nothing after this, UTC"),
    Column("revoked_at", _time(), comment="when it was taken back, UTC; NULL: it was not"),
    ForeignKeyConstraint(["event_id"], ["events.id"], ondelete="CASCADE", name="fk_links_events"),
    UniqueConstraint("event_id", "target", name="uq_links_event_target"),
    Index("ix_links_ends", "ends_at"),
    comment="Signed links to events; a link without a row opens nothing.",
    **_MYSQL,
)

Table(
    "link_keys",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False, comment="1: there is one row"),
    Column("secret", String(64), nullable=False, comment="256 random bits, hexadecimal, made once"),
    comment="What links are signed with: a secret.",
    **_MYSQL,
)
