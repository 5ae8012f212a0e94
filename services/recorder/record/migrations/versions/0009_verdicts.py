"""Verdicts, their examples, the changes of labels of the past that can be taken back, and each camera's label sets.

Also the number of the object that each crop shows.

A frozen copy; may be run again after a crash in its middle: it makes what is missing.

Revision ID: 0009_verdicts
Revises: 0008_links
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from alembic import op
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Double,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    inspect,
    text,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeEngine

revision = "0009_verdicts"
down_revision = "0008_links"
branch_labels = None
depends_on = None

PAST = "past_answers"
PICTURES = "frame_embeddings"


def upgrade() -> None:
    """Add the tables, the indexes and the columns that are missing."""
    bind = op.get_bind()
    for name in ("verdicts", "examples", "relabels", "label_changes"):
        table = metadata.tables[name]
        table.create(bind, checkfirst=True)
        existing = {index["name"] for index in inspect(bind).get_indexes(name)}
        for index in sorted(table.indexes, key=lambda index: str(index.name)):
            if index.name not in existing:
                index.create(bind)
    known = {column["name"] for column in inspect(bind).get_columns(PAST)}
    for column in (
        Column("relabel_id", _id(), comment="the change that replaced it; NULL: before changes were kept"),
        Column("replaced_by", _time(), comment="labelled_at of the answer that took its place, UTC"),
        Column(
            "frames", _packed(), comment="its rows of frame_probabilities, packed (record/packed_frames.py)"
        ),
    ):
        if column.name not in known:
            op.add_column(PAST, column)
    if "example_group" not in {column["name"] for column in inspect(bind).get_columns("cameras")}:
        op.add_column(
            "cameras",
            Column(
                "example_group",
                String(64),
                nullable=False,
                server_default=text("''"),
                comment="cameras with the same one learn from each other's verdicts; empty: none",
            ),
        )
    if "ix_past_answers_relabel" not in {index["name"] for index in inspect(bind).get_indexes(PAST)}:
        op.create_index("ix_past_answers_relabel", PAST, ["relabel_id", "event_id"])
    if "track" not in {column["name"] for column in inspect(bind).get_columns(PICTURES)}:
        said = "crop: number of the object within the event; NULL: not known, or a frame"
        op.add_column(PICTURES, Column("track", Integer(), comment=said))


def _time() -> TypeEngine[datetime]:
    return DateTime().with_variant(mysql.DATETIME(fsp=3), "mysql")


def _id() -> TypeEngine[str]:
    return String(36).with_variant(mysql.CHAR(36, charset="ascii", collation="ascii_bin"), "mysql")


def _json() -> TypeEngine[str]:
    return Text().with_variant(mysql.MEDIUMTEXT(), "mysql")


def _packed() -> TypeEngine[bytes]:
    return LargeBinary().with_variant(mysql.MEDIUMBLOB(), "mysql")


def _number() -> TypeEngine[int]:
    return BigInteger().with_variant(Integer(), "sqlite")


_MYSQL: dict[str, Any] = {  # Any: keyword arguments of every type
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
}
metadata = MetaData(naming_convention={"pk": "pk_%(table_name)s"})

Table(
    "verdicts",
    metadata,
    Column("id", _id(), primary_key=True, comment="UUIDv7, made by the recorder that took it"),
    Column("event_id", _id(), nullable=False, comment="the event; it may be deleted since"),
    Column("camera", String(64), nullable=False, comment="camera of the event"),
    Column("event_started_at", _time(), nullable=False, comment="start of the event, UTC"),
    Column(
        "kind",
        String(10),
        nullable=False,
        comment="right, wrong, is (something else), nothing (at all) or missed (a label that it has not)",
    ),
    Column(
        "label",
        String(200),
        comment="right, wrong: the label that it is about, NULL: all recorded ones; is, missed: what it is",
    ),
    Column("recorded", _json(), nullable=False, comment="JSON: [accepted labels of the event then]"),
    Column(
        "drawn_with",
        Double,
        comment="probability with which the event was drawn to be judged, 0..1; NULL: not drawn",
    ),
    Column("drawn_at", _time(), comment="when the check was drawn that asked for it, UTC; NULL: not drawn"),
    Column(
        "effect",
        String(10),
        nullable=False,
        comment="none (it is counted only), future, or past (events of the past were changed as well)",
    ),
    Column("taught_at", _time(), comment="when its examples were chosen, UTC; NULL: not yet, or no effect"),
    Column(
        "is_followed", Boolean, comment="1: with them the event is decided as was said; NULL: none chosen"
    ),
    Column(
        "unrelated",
        Double,
        comment="mean cosine of pictures of different events of the camera; NULL: none chosen",
    ),
    Column("relabel_id", _id(), comment="the change of the past that it led to; NULL: none"),
    Column("made_by", String(80), nullable=False, comment="name of the user or token"),
    Column("made_at", _time(), nullable=False, comment="when it was said, UTC"),
    Column("undone_by", String(80), comment="who took it back; NULL: nobody"),
    Column("undone_at", _time(), comment="when it was taken back, UTC; NULL: it stands"),
    Index("ix_verdicts_camera_made", "camera", "made_at", "id"),
    Index("ix_verdicts_event", "event_id", "made_at"),
    comment="What people said of events; the last one that stands counts.",
    **_MYSQL,
)

Table(
    "examples",
    metadata,
    Column("number", _number(), primary_key=True, autoincrement=True, comment="number of the example"),
    Column("verdict_id", _id(), nullable=False, comment="the verdict that it follows from"),
    Column("camera", String(64), nullable=False, comment="camera whose decisions it changes"),
    Column(
        "label", String(200), comment="the label that it is about; NULL: it shows none of those asked for"
    ),
    Column("is_right", Boolean, nullable=False, comment="1: it shows the label, 0: it does not"),
    Column("event_id", _id(), nullable=False, comment="event of the picture"),
    Column("snippet", Integer, nullable=False, comment="snippet of the picture"),
    Column("picture", Integer, nullable=False, comment="number of the picture within the snippet"),
    Column("captured_at", _time(), nullable=False, comment="capture time, UTC"),
    Column("model", String(200), nullable=False, comment="model that made the embedding"),
    Column("dim", Integer, nullable=False, comment="numbers in the embedding"),
    Column("embedding", LargeBinary, nullable=False, comment="float16[dim], little-endian, unit length"),
    ForeignKeyConstraint(["verdict_id"], ["verdicts.id"], ondelete="CASCADE", name="fk_examples_verdicts"),
    Index("ix_examples_verdict", "verdict_id"),
    Index("ix_examples_camera_model", "camera", "model", "number"),
    comment="Pictures that verdicts teach by: they change the scores of pictures that look alike.",
    **_MYSQL,
)

Table(
    "relabels",
    metadata,
    Column("id", _id(), primary_key=True, comment="UUIDv7, made by the recorder that did it"),
    Column("kind", String(10), nullable=False, comment="words (labels in hindsight) or verdicts"),
    Column("asked", _json(), nullable=False, comment="JSON: what was asked for: labels, cameras, time"),
    Column("made_by", String(80), nullable=False, comment="name of the user or token"),
    Column("made_at", _time(), nullable=False, comment="when it was applied, UTC"),
    Column("n_events", Integer, nullable=False, comment="events whose labels it changed"),
    Column("n_snippets", Integer, nullable=False, comment="answers that it replaced"),
    Column("undone_by", String(80), comment="who took it back; NULL: nobody"),
    Column("undone_at", _time(), comment="when it was taken back, UTC; NULL: it stands"),
    Index("ix_relabels_made", "made_at", "id"),
    comment="Each time that labels of the past were changed: what can be taken back as a whole.",
    **_MYSQL,
)

Table(
    "label_changes",
    metadata,
    Column("camera", String(64), primary_key=True, comment="id of the camera"),
    Column(
        "number", Integer, primary_key=True, autoincrement=False, comment="of the camera's changes, from 1"
    ),
    Column("changed_at", _time(), nullable=False, comment="since when, UTC; rises with the number"),
    Column("changed_by", String(80), comment="who, on the page or by API; NULL: in the file"),
    Column("label_set", _json(), nullable=False, comment="JSON: {labels: [...], background: [...]}"),
    Column("decision", Text, nullable=False, comment="JSON: settings of the decision (threshold, ...)"),
    comment="Labels, background and threshold of each camera as they were at each time.",
    **_MYSQL,
)
