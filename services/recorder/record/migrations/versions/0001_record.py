"""The record: events, snippets, detections, frame probabilities, embeddings and weather reports.

A frozen copy of the tables as they were at this revision; schema.py may have moved on. May be run again after a
crash in its middle (MySQL commits at every DDL statement): it makes what is missing.

Revision ID: 0001
Revises:
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
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    inspect,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeEngine

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables and indexes that are missing."""
    bind = op.get_bind()
    for table in metadata.sorted_tables:
        table.create(bind, checkfirst=True)
        existing = {index["name"] for index in inspect(bind).get_indexes(table.name)}
        for index in sorted(table.indexes, key=lambda index: str(index.name)):
            if index.name not in existing:
                index.create(bind)


def _time() -> TypeEngine[datetime]:
    return DateTime().with_variant(mysql.DATETIME(fsp=3), "mysql")


def _id() -> TypeEngine[str]:
    return String(36).with_variant(mysql.CHAR(36, charset="ascii", collation="ascii_bin"), "mysql")


def _json() -> TypeEngine[str]:
    return Text().with_variant(mysql.MEDIUMTEXT(), "mysql")


def _number() -> TypeEngine[int]:
    return BigInteger().with_variant(Integer(), "sqlite")


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)
# Any: keyword arguments of every type
_MYSQL: dict[str, Any] = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
}

weather_reports = Table(
    "weather_reports",
    metadata,
    Column("id", _number(), primary_key=True, autoincrement=True, comment="number of the report"),
    Column("provider", String(32), nullable=False, comment="who said so: open_meteo"),
    Column("latitude", Double, nullable=False, comment="degrees north, rounded to 0.01 (about 1 km)"),
    Column("longitude", Double, nullable=False, comment="degrees east, rounded to 0.01"),
    Column("observed_at", _time(), nullable=False, comment="time that the report is for, UTC"),
    Column("fetched_at", _time(), nullable=False, comment="when the provider was asked, UTC"),
    Column("temperature_c", Double, comment="air temperature 2 m above ground, degrees Celsius"),
    Column("humidity_percent", Double, comment="relative humidity 2 m above ground, 0..100"),
    Column("precipitation_mm", Double, comment="rain, showers and snow of the preceding interval, mm"),
    Column("wind_speed_ms", Double, comment="wind 10 m above ground, metres a second"),
    Column("wind_direction_deg", Double, comment="where the wind comes from, degrees clockwise from north"),
    Column("cloud_percent", Double, comment="cloud cover, 0..100"),
    Column("pressure_hpa", Double, comment="air pressure at sea level, hPa"),
    Column("visibility_m", Double, comment="viewing distance, metres"),
    Column("is_day", Boolean, comment="1 between sunrise and sunset, else 0"),
    Column("wmo_code", Integer, comment="weather code of WMO table 4677, as Open-Meteo uses it"),
    Column("words", String(100), nullable=False, comment="the weather code in words"),
    UniqueConstraint(
        "provider", "latitude", "longitude", "observed_at", name="uq_weather_reports_place_time"
    ),
    comment="Weather observations, one a place, time and provider; events point here.",
    **_MYSQL,
)

events = Table(
    "events",
    metadata,
    Column("id", _id(), primary_key=True, comment="UUIDv7, made once by the motion service"),
    Column("camera", String(64), nullable=False, comment="id of the camera in the camera file"),
    Column("started_at", _time(), nullable=False, comment="first frame with motion, UTC"),
    Column("ended_at", _time(), nullable=False, comment="last frame with motion so far, UTC"),
    Column("is_open", Boolean, nullable=False, comment="1 while further snippets are expected"),
    Column("is_accepted", Boolean, nullable=False, comment="1 when at least one label was accepted"),
    Column("label", String(200), comment="accepted label with the highest peak; NULL: none accepted"),
    Column("probability", Double, comment="averaged peak probability of that label, 0..1"),
    Column("n_snippets", Integer, nullable=False, comment="snippets recorded so far"),
    Column("motion_peak", Double, nullable=False, comment="highest motion score, 0..1"),
    Column("clip_name", String(60), comment="clip that shows the label best, yyyy/mm/dd/<key>.mp4"),
    Column("thumbnail_name", String(60), comment="picture of that clip, yyyy/mm/dd/<key>.jpg"),
    Column("latitude", Double, comment="where the camera was, degrees north; NULL: not configured"),
    Column("longitude", Double, comment="where the camera was, degrees east; NULL: not configured"),
    Column(
        "weather_id",
        _number(),
        ForeignKey("weather_reports.id"),
        comment="weather at the start; NULL: none (yet)",
    ),
    Column("created_at", _time(), nullable=False, comment="when the row was made, UTC, recorder's clock"),
    Column(
        "updated_at", _time(), nullable=False, comment="when the row last changed, UTC; rises at each change"
    ),
    Index("ix_events_started", "started_at", "id"),
    Index("ix_events_accepted_started", "is_accepted", "started_at", "id"),
    Index("ix_events_camera_started", "camera", "started_at", "id"),
    Index("ix_events_camera_accepted_started", "camera", "is_accepted", "started_at", "id"),
    Index("ix_events_open_updated", "is_open", "updated_at"),
    Index("ix_events_updated", "updated_at"),
    Index("ix_events_weather_started", "weather_id", "started_at"),
    comment="One contiguous stretch of motion on one camera; label NULL: nothing was accepted.",
    **_MYSQL,
)

snippets = Table(
    "snippets",
    metadata,
    Column("event_id", _id(), primary_key=True, comment="the event"),
    Column(
        "snippet", Integer, primary_key=True, autoincrement=False, comment="number within the event, from 0"
    ),
    Column("started_at", _time(), nullable=False, comment="first frame of the clip, pre-roll included, UTC"),
    Column("ended_at", _time(), nullable=False, comment="last frame of the clip, post-roll included, UTC"),
    Column("event_started_at", _time(), nullable=False, comment="first frame of the event with motion, UTC"),
    Column("event_ended_at", _time(), nullable=False, comment="last frame with motion then known, UTC"),
    Column("is_last", Boolean, nullable=False, comment="1 when the event ended with this snippet"),
    Column("motion_peak", Double, nullable=False, comment="highest motion score of the snippet, 0..1"),
    Column("latitude", Double, comment="degrees north; NULL: not configured"),
    Column("longitude", Double, comment="degrees east; NULL: not configured"),
    Column("clip_name", String(60), comment="file below the media folder; NULL: no clip"),
    Column("thumbnail_name", String(60), comment="file below the media folder; NULL: no picture"),
    Column("clip_bytes", BigInteger, nullable=False, comment="size of the clip, bytes; 0: no clip"),
    Column("is_media_lost", Boolean, nullable=False, comment="1 when the clip could not be kept"),
    Column("model", String(200), nullable=False, comment="model that gave the probabilities"),
    Column(
        "reason", Text, nullable=False, comment="why nothing was accepted, in words; empty: something was"
    ),
    Column("label_set", _json(), nullable=False, comment="JSON: {labels: [...], background: [...]}"),
    Column(
        "decision", Text, nullable=False, comment="JSON: settings of the decision (threshold, margin, ...)"
    ),
    Column("accepted", _json(), nullable=False, comment="JSON: [{label, probability, started_at, ended_at}]"),
    Column(
        "peaks",
        _json(),
        nullable=False,
        comment="JSON: {text: averaged peak probability 0..1}, background too",
    ),
    Column("labelled_at", _time(), nullable=False, comment="when the classifier decided, UTC"),
    Column("recorded_at", _time(), nullable=False, comment="when the row was made, UTC, recorder's clock"),
    ForeignKeyConstraint(["event_id"], ["events.id"], ondelete="CASCADE", name="fk_snippets_events"),
    comment="Playable pieces of an event, and what the classifier said of each.",
    **_MYSQL,
)

detections = Table(
    "detections",
    metadata,
    Column("event_id", _id(), primary_key=True, comment="the event"),
    Column("label", String(200), primary_key=True, comment="an accepted label"),
    Column("camera", String(64), nullable=False, comment="camera of the event"),
    Column("event_started_at", _time(), nullable=False, comment="start of the event, UTC"),
    Column("probability", Double, nullable=False, comment="highest averaged probability in the event, 0..1"),
    Column("started_at", _time(), nullable=False, comment="first moment that carried the label, UTC"),
    Column("ended_at", _time(), nullable=False, comment="last moment that carried the label, UTC"),
    Column("snippet", Integer, nullable=False, comment="snippet with the highest probability"),
    ForeignKeyConstraint(["event_id"], ["events.id"], ondelete="CASCADE", name="fk_detections_events"),
    Index("ix_detections_label_started", "label", "event_started_at", "event_id"),
    Index("ix_detections_camera_label_started", "camera", "label", "event_started_at", "event_id"),
    Index("ix_detections_started", "event_started_at"),
    comment="Accepted labels of an event, each once.",
    **_MYSQL,
)

frame_probabilities = Table(
    "frame_probabilities",
    metadata,
    Column("event_id", _id(), primary_key=True, comment="the event"),
    Column("snippet", Integer, primary_key=True, autoincrement=False, comment="number within the event"),
    Column("moment", Integer, primary_key=True, autoincrement=False, comment="number within the snippet"),
    Column("kind", String(10), primary_key=True, comment="target, background, or other (pooled distractors)"),
    Column("label", String(200), primary_key=True, comment="the words, or 'other'"),
    Column("captured_at", _time(), nullable=False, comment="capture time of the moment, UTC"),
    Column("probability", Double, nullable=False, comment="softmax share, 0..1; all of a moment sum to 1"),
    ForeignKeyConstraint(
        ["event_id", "snippet"],
        ["snippets.event_id", "snippets.snippet"],
        ondelete="CASCADE",
        name="fk_frame_probabilities_snippets",
    ),
    comment="What the model said of each moment, before averaging.",
    **_MYSQL,
)

frame_embeddings = Table(
    "frame_embeddings",
    metadata,
    Column("event_id", _id(), primary_key=True, comment="the event"),
    Column("snippet", Integer, primary_key=True, autoincrement=False, comment="number within the event"),
    Column("picture", Integer, primary_key=True, autoincrement=False, comment="number within the snippet"),
    Column("moment", Integer, nullable=False, comment="moment that the picture shows"),
    Column("captured_at", _time(), nullable=False, comment="capture time, UTC"),
    Column("kind", String(10), nullable=False, comment="frame (whole) or crop (of the moving box)"),
    Column("box_x", Double, comment="left edge, share of the frame's width; NULL: the whole frame"),
    Column("box_y", Double, comment="top edge, share of the frame's height"),
    Column("box_w", Double, comment="width, share of the frame's width"),
    Column("box_h", Double, comment="height, share of the frame's height"),
    Column("model", String(200), nullable=False, comment="model that made the embedding"),
    Column("dim", Integer, nullable=False, comment="numbers in the embedding"),
    Column("embedding", LargeBinary, nullable=False, comment="float16[dim], little-endian, unit length"),
    ForeignKeyConstraint(
        ["event_id", "snippet"],
        ["snippets.event_id", "snippets.snippet"],
        ondelete="CASCADE",
        name="fk_frame_embeddings_snippets",
    ),
    comment="Image embeddings of the classifier's pictures: for search and for labels in hindsight.",
    **_MYSQL,
)
