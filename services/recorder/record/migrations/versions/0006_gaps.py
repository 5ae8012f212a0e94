"""Configured cameras, gaps, who is to be told of them, and what was announced to brokers.

A frozen copy; may be run again after a crash in its middle: it makes what is missing.

Revision ID: 0006_gaps
Revises: 0005_scores
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

revision = "0006_gaps"
down_revision = "0005_scores"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables and the indexes that are missing."""
    bind = op.get_bind()
    for name in ("cameras", "gaps", "gap_notices", "installation", "announcements"):
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


_MYSQL: dict[str, Any] = {  # Any: keyword arguments of every type
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
}
metadata = MetaData(naming_convention={"pk": "pk_%(table_name)s"})

Table(
    "cameras",
    metadata,
    Column("id", String(64), primary_key=True, comment="id of the camera in the camera file"),
    Column("name", String(200), nullable=False, comment="its name for people; empty: none"),
    Column("owner", String(128), nullable=False, comment="data directory of the motion service that has it"),
    comment="The cameras that are configured: what motion services last said; a removed camera has no row.",
    **_MYSQL,
)

Table(
    "gaps",
    metadata,
    Column("id", _id(), primary_key=True, comment="UUIDv7, made by the recorder that saw it"),
    Column(
        "kind",
        String(32),
        nullable=False,
        comment="camera.away, motion.gone, classifier.gone, disk.full, recorder.unready or target.away",
    ),
    Column(
        "subject", String(128), nullable=False, comment="camera, service, disk or target that it is about"
    ),
    Column("camera", String(64), comment="the camera; NULL: no single one"),
    Column("reason", String(500), nullable=False, comment="why, in words, as it was at the start"),
    Column("started_at", _time(), nullable=False, comment="since when, UTC, recorder's clock"),
    Column("ended_at", _time(), comment="until when, UTC; NULL: it lasts"),
    Column(
        "open_key",
        String(170),
        comment="kind and subject while it lasts, else NULL: of several recorders one writes it",
    ),
    UniqueConstraint("open_key", name="uq_gaps_open_key"),
    Index("ix_gaps_started", "started_at", "id"),
    Index("ix_gaps_camera_started", "camera", "started_at", "id"),
    Index("ix_gaps_ended", "ended_at"),
    comment="Times in which something was not watched, recorded or told.",
    **_MYSQL,
)

Table(
    "gap_notices",
    metadata,
    Column("target", String(64), primary_key=True, comment="name of the target in the notify file"),
    Column("gap_id", _id(), primary_key=True, comment="the gap"),
    Column("due_at", _time(), comment="when it is to be told (again), UTC; NULL: nothing is to be done"),
    Column("noted_at", _time(), nullable=False, comment="when the gap began or ended, UTC"),
    Column("attempts", Integer, nullable=False, comment="failed attempts since it was last told"),
    Column("said", String(8), comment="what was told: began or ended; NULL: nothing yet"),
    ForeignKeyConstraint(["gap_id"], ["gaps.id"], ondelete="CASCADE", name="fk_gap_notices_gaps"),
    Index("ix_gap_notices_due", "target", "due_at"),
    Index("ix_gap_notices_gap", "gap_id"),
    comment="Which gaps are to be told to whom: written in the transaction that changes the gap.",
    **_MYSQL,
)

Table(
    "installation",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False, comment="1: there is one row"),
    Column(
        "id", String(16), nullable=False, comment="random, made once: tells installations on one broker apart"
    ),
    comment="What tells this installation from others.",
    **_MYSQL,
)

Table(
    "announcements",
    metadata,
    Column("target", String(64), primary_key=True, comment="name of the target in the notify file"),
    Column("camera", String(64), primary_key=True, comment="the camera; empty: the installation itself"),
    Column("topic", String(100), nullable=False, comment="topic below which its state is published"),
    Column("discovery", String(100), nullable=False, comment="discovery prefix; empty: none"),
    Column("node", String(200), nullable=False, comment="its node id in the discovery topics"),
    comment="What was announced to MQTT brokers, so that it can be taken back.",
    **_MYSQL,
)
