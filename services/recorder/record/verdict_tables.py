"""The tables of what people said of events, and of what they changed about labels. Knows no query.

Verdicts outlive the events that they are about: neither they nor their examples fall to retention by age.
"""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    Double,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
)

from services.recorder.record.columns import (
    MYSQL,
    UtcMillis,
    json_type,
    metadata,
    number_type,
    uuid_type,
)

VERDICT_WHO_CHARS = 80

verdicts = Table(
    "verdicts",
    metadata,
    Column("id", uuid_type(), primary_key=True, comment="UUIDv7, made by the recorder that took it"),
    Column("event_id", uuid_type(), nullable=False, comment="the event; it may be deleted since"),
    Column("camera", String(64), nullable=False, comment="camera of the event"),
    Column("event_started_at", UtcMillis, nullable=False, comment="start of the event, UTC"),
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
    Column("recorded", json_type(), nullable=False, comment="JSON: [accepted labels of the event then]"),
    Column(
        "drawn_with",
        Double,
        comment="probability with which the event was drawn to be judged, 0..1; NULL: not drawn",
    ),
    Column("drawn_at", UtcMillis, comment="when the check was drawn that asked for it, UTC; NULL: not drawn"),
    Column(
        "effect",
        String(10),
        nullable=False,
        comment="none (it is counted only), future, or past (events of the past were changed as well)",
    ),
    Column("taught_at", UtcMillis, comment="when its examples were chosen, UTC; NULL: not yet, or no effect"),
    Column(
        "is_followed", Boolean, comment="1: with them the event is decided as was said; NULL: none chosen"
    ),
    Column(
        "unrelated",
        Double,
        comment="mean cosine of pictures of different events of the camera; NULL: none chosen",
    ),
    Column("relabel_id", uuid_type(), comment="the change of the past that it led to; NULL: none"),
    Column("made_by", String(VERDICT_WHO_CHARS), nullable=False, comment="name of the user or token"),
    Column("made_at", UtcMillis, nullable=False, comment="when it was said, UTC"),
    Column("undone_by", String(VERDICT_WHO_CHARS), comment="who took it back; NULL: nobody"),
    Column("undone_at", UtcMillis, comment="when it was taken back, UTC; NULL: it stands"),
    Index("ix_verdicts_camera_made", "camera", "made_at", "id"),
    Index("ix_verdicts_event", "event_id", "made_at"),
    comment="What people said of events; the last one that stands counts.",
    **MYSQL,
)

examples = Table(
    "examples",
    metadata,
    Column("number", number_type(), primary_key=True, autoincrement=True, comment="number of the example"),
    Column("verdict_id", uuid_type(), nullable=False, comment="the verdict that it follows from"),
    Column("camera", String(64), nullable=False, comment="camera whose decisions it changes"),
    Column(
        "label", String(200), comment="the label that it is about; NULL: it shows none of those asked for"
    ),
    Column("is_right", Boolean, nullable=False, comment="1: it shows the label, 0: it does not"),
    Column("event_id", uuid_type(), nullable=False, comment="event of the picture"),
    Column("snippet", Integer, nullable=False, comment="snippet of the picture"),
    Column("picture", Integer, nullable=False, comment="number of the picture within the snippet"),
    Column("captured_at", UtcMillis, nullable=False, comment="capture time, UTC"),
    Column("model", String(200), nullable=False, comment="model that made the embedding"),
    Column("dim", Integer, nullable=False, comment="numbers in the embedding"),
    Column("embedding", LargeBinary, nullable=False, comment="float16[dim], little-endian, unit length"),
    ForeignKeyConstraint(["verdict_id"], ["verdicts.id"], ondelete="CASCADE", name="fk_examples_verdicts"),
    Index("ix_examples_verdict", "verdict_id"),
    Index("ix_examples_camera_model", "camera", "model", "number"),
    comment="Pictures that verdicts teach by: they change the scores of pictures that look alike.",
    **MYSQL,
)

relabels = Table(
    "relabels",
    metadata,
    Column("id", uuid_type(), primary_key=True, comment="UUIDv7, made by the recorder that did it"),
    Column("kind", String(10), nullable=False, comment="words (labels in hindsight) or verdicts"),
    Column("asked", json_type(), nullable=False, comment="JSON: what was asked for: labels, cameras, time"),
    Column("made_by", String(VERDICT_WHO_CHARS), nullable=False, comment="name of the user or token"),
    Column("made_at", UtcMillis, nullable=False, comment="when it was applied, UTC"),
    Column("n_events", Integer, nullable=False, comment="events whose labels it changed"),
    Column("n_snippets", Integer, nullable=False, comment="answers that it replaced"),
    Column("undone_by", String(VERDICT_WHO_CHARS), comment="who took it back; NULL: nobody"),
    Column("undone_at", UtcMillis, comment="when it was taken back, UTC; NULL: it stands"),
    Index("ix_relabels_made", "made_at", "id"),
    comment="Each time that labels of the past were changed: what can be taken back as a whole.",
    **MYSQL,
)

label_changes = Table(
    "label_changes",
    metadata,
    Column("camera", String(64), primary_key=True, comment="id of the camera"),
    Column(
        "number", Integer, primary_key=True, autoincrement=False, comment="of the camera's changes, from 1"
    ),
    Column("changed_at", UtcMillis, nullable=False, comment="since when, UTC; rises with the number"),
    Column("changed_by", String(VERDICT_WHO_CHARS), comment="who, on the page or by API; NULL: in the file"),
    Column("label_set", json_type(), nullable=False, comment="JSON: {labels: [...], background: [...]}"),
    Column("decision", Text, nullable=False, comment="JSON: settings of the decision (threshold, ...)"),
    comment="Labels, background and threshold of each camera as they were at each time.",
    **MYSQL,
)
