"""The tables of the record, column by column, with units. Knows no query; migrations/ brings a database to this state.

Times are UTC, to the millisecond. Texts compare by code point (utf8mb4_bin), as SQLite does. What the
classifier said of a snippet stands in `snippets` and the frame tables; `events` and `detections` follow from it
(rows.py). The tables of users stand in access_tables.py, those of
links in link_tables.py, those of verdicts and changed labels in verdict_tables.py.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from services.recorder.record.access_tables import api_tokens, sessions, users
from services.recorder.record.columns import (
    MYSQL,
    UtcMillis,
    json_type,
    metadata,
    number_type,
    packed_type,
    uuid_type,
)
from services.recorder.record.link_tables import link_keys, links
from services.recorder.record.verdict_tables import examples, label_changes, relabels, verdicts

__all__ = [
    "announcements",
    "api_tokens",
    "cameras",
    "day_totals",
    "detections",
    "events",
    "examples",
    "frame_embeddings",
    "frame_probabilities",
    "gap_notices",
    "gaps",
    "installation",
    "label_changes",
    "link_keys",
    "links",
    "metadata",
    "notice_holders",
    "notices",
    "past_answers",
    "relabels",
    "removals",
    "sessions",
    "snippets",
    "users",
    "verdicts",
    "weather_reports",
]

LABEL_CHARS = 200  # LabelText in shared/contract/; 800 bytes of the 3072 that an InnoDB key may have
MODEL_CHARS = 200
CAMERA_CHARS = 64
MEDIA_NAME_CHARS = 60
TARGET_CHARS = 64

weather_reports = Table(
    "weather_reports",
    metadata,
    Column("id", number_type(), primary_key=True, autoincrement=True, comment="number of the report"),
    Column("provider", String(32), nullable=False, comment="who said so: open_meteo"),
    Column("latitude", Double, nullable=False, comment="degrees north, rounded to 0.01 (about 1 km)"),
    Column("longitude", Double, nullable=False, comment="degrees east, rounded to 0.01"),
    Column("observed_at", UtcMillis, nullable=False, comment="time that the report is for, UTC"),
    Column("fetched_at", UtcMillis, nullable=False, comment="when the provider was asked, UTC"),
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
    **MYSQL,
)

events = Table(
    "events",
    metadata,
    Column("id", uuid_type(), primary_key=True, comment="UUIDv7, made once by the motion service"),
    Column("camera", String(CAMERA_CHARS), nullable=False, comment="id of the camera in the camera file"),
    Column("started_at", UtcMillis, nullable=False, comment="first frame with motion, UTC"),
    Column("ended_at", UtcMillis, nullable=False, comment="last frame with motion so far, UTC"),
    Column("is_open", Boolean, nullable=False, comment="1 while further snippets are expected"),
    Column("is_accepted", Boolean, nullable=False, comment="1 when at least one label was accepted"),
    Column("label", String(LABEL_CHARS), comment="accepted label with the highest peak; NULL: none accepted"),
    Column("probability", Double, comment="averaged peak probability of that label, 0..1"),
    Column("n_snippets", Integer, nullable=False, comment="snippets recorded so far"),
    Column("motion_peak", Double, nullable=False, comment="highest motion score, 0..1"),
    Column(
        "clip_name", String(MEDIA_NAME_CHARS), comment="clip that shows the label best, yyyy/mm/dd/<key>.mp4"
    ),
    Column("thumbnail_name", String(MEDIA_NAME_CHARS), comment="picture of that clip, yyyy/mm/dd/<key>.jpg"),
    Column("latitude", Double, comment="where the camera was, degrees north; NULL: not configured"),
    Column("longitude", Double, comment="where the camera was, degrees east; NULL: not configured"),
    Column(
        "weather_id",
        number_type(),
        ForeignKey("weather_reports.id"),
        comment="weather at the start; NULL: none (yet)",
    ),
    Column("created_at", UtcMillis, nullable=False, comment="when the row was made, UTC, recorder's clock"),
    Column(
        "updated_at",
        UtcMillis,
        nullable=False,
        comment="when the row last changed, UTC; rises at each change",
    ),
    Column(
        "is_protected",
        Boolean,
        nullable=False,
        server_default=text("0"),
        comment="1: retention leaves the event alone",
    ),
    Index("ix_events_started", "started_at", "id"),
    Index("ix_events_accepted_started", "is_accepted", "started_at", "id"),
    Index("ix_events_camera_started", "camera", "started_at", "id"),
    Index("ix_events_camera_accepted_started", "camera", "is_accepted", "started_at", "id"),
    Index("ix_events_open_updated", "is_open", "updated_at"),
    Index("ix_events_updated", "updated_at"),
    Index("ix_events_weather_started", "weather_id", "started_at"),
    comment="One contiguous stretch of motion on one camera; label NULL: nothing was accepted.",
    **MYSQL,
)

snippets = Table(
    "snippets",
    metadata,
    Column("event_id", uuid_type(), primary_key=True, comment="the event"),
    Column(
        "snippet", Integer, primary_key=True, autoincrement=False, comment="number within the event, from 0"
    ),
    Column(
        "started_at", UtcMillis, nullable=False, comment="first frame of the clip, pre-roll included, UTC"
    ),
    Column("ended_at", UtcMillis, nullable=False, comment="last frame of the clip, post-roll included, UTC"),
    Column(
        "event_started_at", UtcMillis, nullable=False, comment="first frame of the event with motion, UTC"
    ),
    Column("event_ended_at", UtcMillis, nullable=False, comment="last frame with motion then known, UTC"),
    Column("is_last", Boolean, nullable=False, comment="1 when the event ended with this snippet"),
    Column("motion_peak", Double, nullable=False, comment="highest motion score of the snippet, 0..1"),
    Column("latitude", Double, comment="degrees north; NULL: not configured"),
    Column("longitude", Double, comment="degrees east; NULL: not configured"),
    Column("clip_name", String(MEDIA_NAME_CHARS), comment="file below the media folder; NULL: no clip"),
    Column(
        "thumbnail_name", String(MEDIA_NAME_CHARS), comment="file below the media folder; NULL: no picture"
    ),
    Column("clip_bytes", BigInteger, nullable=False, comment="size of the clip, bytes; 0: no clip"),
    Column("is_media_lost", Boolean, nullable=False, comment="1 when the clip could not be kept"),
    Column("model", String(MODEL_CHARS), nullable=False, comment="model that gave the probabilities"),
    Column(
        "reason", Text, nullable=False, comment="why nothing was accepted, in words; empty: something was"
    ),
    Column("label_set", json_type(), nullable=False, comment="JSON: {labels: [...], background: [...]}"),
    Column(
        "decision", Text, nullable=False, comment="JSON: settings of the decision (threshold, margin, ...)"
    ),
    Column(
        "accepted", json_type(), nullable=False, comment="JSON: [{label, probability, started_at, ended_at}]"
    ),
    Column(
        "peaks",
        json_type(),
        nullable=False,
        comment="JSON: {text: averaged peak probability 0..1}, background too",
    ),
    Column("labelled_at", UtcMillis, nullable=False, comment="when the classifier decided, UTC"),
    Column("recorded_at", UtcMillis, nullable=False, comment="when the row was made, UTC, recorder's clock"),
    ForeignKeyConstraint(["event_id"], ["events.id"], ondelete="CASCADE", name="fk_snippets_events"),
    Index("ix_snippets_clip", "clip_name"),
    comment="Playable pieces of an event, and what the classifier said of each.",
    **MYSQL,
)

detections = Table(
    "detections",
    metadata,
    Column("event_id", uuid_type(), primary_key=True, comment="the event"),
    Column("label", String(LABEL_CHARS), primary_key=True, comment="an accepted label"),
    Column("camera", String(CAMERA_CHARS), nullable=False, comment="camera of the event"),
    Column("event_started_at", UtcMillis, nullable=False, comment="start of the event, UTC"),
    Column("probability", Double, nullable=False, comment="highest averaged probability in the event, 0..1"),
    Column("started_at", UtcMillis, nullable=False, comment="first moment that carried the label, UTC"),
    Column("ended_at", UtcMillis, nullable=False, comment="last moment that carried the label, UTC"),
    Column("snippet", Integer, nullable=False, comment="snippet with the highest probability"),
    ForeignKeyConstraint(["event_id"], ["events.id"], ondelete="CASCADE", name="fk_detections_events"),
    Index("ix_detections_label_started", "label", "event_started_at", "event_id"),
    Index("ix_detections_camera_label_started", "camera", "label", "event_started_at", "event_id"),
    Index("ix_detections_started", "event_started_at"),
    comment="Accepted labels of an event, each once.",
    **MYSQL,
)

frame_probabilities = Table(
    "frame_probabilities",
    metadata,
    Column("event_id", uuid_type(), primary_key=True, comment="the event"),
    Column("snippet", Integer, primary_key=True, autoincrement=False, comment="number within the event"),
    Column("moment", Integer, primary_key=True, autoincrement=False, comment="number within the snippet"),
    Column("kind", String(10), primary_key=True, comment="target, background, or other (pooled distractors)"),
    Column("label", String(LABEL_CHARS), primary_key=True, comment="the words, or 'other'"),
    Column("captured_at", UtcMillis, nullable=False, comment="capture time of the moment, UTC"),
    Column("probability", Double, nullable=False, comment="softmax share, 0..1; all of a moment sum to 1"),
    Column("score", Double, comment="target: averaged score, 0..1, that decided; NULL: an older classifier"),
    Column("background", Double, comment="target: averaged background that the score had to exceed, 0..1"),
    ForeignKeyConstraint(
        ["event_id", "snippet"],
        ["snippets.event_id", "snippets.snippet"],
        ondelete="CASCADE",
        name="fk_frame_probabilities_snippets",
    ),
    comment="What the model said of each moment: shares before averaging, and the averages that decided.",
    **MYSQL,
)

frame_embeddings = Table(
    "frame_embeddings",
    metadata,
    Column("event_id", uuid_type(), primary_key=True, comment="the event"),
    Column("snippet", Integer, primary_key=True, autoincrement=False, comment="number within the event"),
    Column("picture", Integer, primary_key=True, autoincrement=False, comment="number within the snippet"),
    Column("moment", Integer, nullable=False, comment="moment that the picture shows"),
    Column("captured_at", UtcMillis, nullable=False, comment="capture time, UTC"),
    Column("kind", String(10), nullable=False, comment="frame (whole) or crop (of the moving box)"),
    Column("box_x", Double, comment="left edge, share of the frame's width; NULL: the whole frame"),
    Column("box_y", Double, comment="top edge, share of the frame's height"),
    Column("box_w", Double, comment="width, share of the frame's width"),
    Column("box_h", Double, comment="height, share of the frame's height"),
    Column("model", String(MODEL_CHARS), nullable=False, comment="model that made the embedding"),
    Column("dim", Integer, nullable=False, comment="numbers in the embedding"),
    Column("embedding", LargeBinary, nullable=False, comment="float16[dim], little-endian, unit length"),
    Column(
        "track", Integer, comment="crop: number of the object within the event; NULL: not known, or a frame"
    ),
    ForeignKeyConstraint(
        ["event_id", "snippet"],
        ["snippets.event_id", "snippets.snippet"],
        ondelete="CASCADE",
        name="fk_frame_embeddings_snippets",
    ),
    comment="Image embeddings of the classifier's pictures: for search and for labels in hindsight.",
    **MYSQL,
)

notices = Table(
    "notices",
    metadata,
    Column("target", String(TARGET_CHARS), primary_key=True, comment="name of the target in the notify file"),
    Column("event_id", uuid_type(), primary_key=True, comment="the event"),
    Column("version", Integer, nullable=False, comment="rises at each change of the event, from 1"),
    Column(
        "due_at", UtcMillis, comment="when it is to be looked at (again), UTC; NULL: nothing is to be done"
    ),
    Column("noted_at", UtcMillis, nullable=False, comment="when the event last changed, UTC"),
    Column("attempts", Integer, nullable=False, comment="failed attempts since it was last sent"),
    Column("said", String(64), comment="what was last sent, as a digest; NULL: nothing yet"),
    Column(
        "sent_at", UtcMillis, comment="when it was first sent, UTC: cooldowns count from here; NULL: never"
    ),
    Column("camera", String(CAMERA_CHARS), comment="camera of the event that was sent"),
    Column("label", String(LABEL_CHARS), comment="label that was sent"),
    ForeignKeyConstraint(["event_id"], ["events.id"], ondelete="CASCADE", name="fk_notices_events"),
    Index("ix_notices_due", "target", "due_at"),
    Index("ix_notices_event", "event_id"),
    Index("ix_notices_noted", "noted_at"),
    Index("ix_notices_sent", "target", "camera", "label", "sent_at"),
    comment="What is to be told to whom, and what was: written in the transaction that changes the event.",
    **MYSQL,
)

notice_holders = Table(
    "notice_holders",
    metadata,
    Column("target", String(TARGET_CHARS), primary_key=True, comment="name of the target"),
    Column("holder", String(64), nullable=False, comment="the recorder that tells it"),
    Column("held_until", UtcMillis, nullable=False, comment="another recorder may take over after this, UTC"),
    comment="Which of several recorders tells a target.",
    **MYSQL,
)

removals = Table(
    "removals",
    metadata,
    Column("name", String(MEDIA_NAME_CHARS), primary_key=True, comment="file below the media folder"),
    Column("decided_at", UtcMillis, nullable=False, comment="when its event's rows were removed, UTC"),
    comment="Files whose rows are gone and that are to be unlinked; empty but for moments.",
    **MYSQL,
)

past_answers = Table(
    "past_answers",
    metadata,
    Column("event_id", uuid_type(), primary_key=True, comment="the event"),
    Column("snippet", Integer, primary_key=True, autoincrement=False, comment="number within the event"),
    Column("labelled_at", UtcMillis, primary_key=True, comment="when this answer was decided, UTC"),
    Column("replaced_at", UtcMillis, nullable=False, comment="when labels in hindsight replaced it, UTC"),
    Column("model", String(MODEL_CHARS), nullable=False, comment="as in snippets, at that time"),
    Column("reason", Text, nullable=False, comment="as in snippets, at that time"),
    Column("label_set", json_type(), nullable=False, comment="as in snippets, at that time"),
    Column("decision", Text, nullable=False, comment="as in snippets, at that time"),
    Column("accepted", json_type(), nullable=False, comment="as in snippets, at that time"),
    Column("peaks", json_type(), nullable=False, comment="as in snippets, at that time"),
    Column("relabel_id", uuid_type(), comment="the change that replaced it; NULL: before changes were kept"),
    Column("replaced_by", UtcMillis, comment="labelled_at of the answer that took its place, UTC"),
    Column(
        "frames", packed_type(), comment="its rows of frame_probabilities, packed (record/packed_frames.py)"
    ),
    ForeignKeyConstraint(
        ["event_id", "snippet"],
        ["snippets.event_id", "snippets.snippet"],
        ondelete="CASCADE",
        name="fk_past_answers_snippets",
    ),
    Index("ix_past_answers_relabel", "relabel_id", "event_id"),
    comment="What was said of a snippet before labels in hindsight replaced it; kept to look up.",
    **MYSQL,
)

day_totals = Table(
    "day_totals",
    metadata,
    Column("day", Date, primary_key=True, comment="UTC day on which the events started"),
    Column("camera", String(CAMERA_CHARS), primary_key=True, comment="id of the camera in the camera file"),
    Column("n_events", BigInteger, nullable=False, comment="events"),
    Column("n_accepted", BigInteger, nullable=False, comment="events with an accepted label"),
    Column("n_snippets", BigInteger, nullable=False, comment="snippets of these events"),
    Column("n_lost", BigInteger, nullable=False, comment="snippets whose clip could not be kept"),
    Column("clip_bytes", BigInteger, nullable=False, comment="size of their clips, bytes"),
    comment="Sums by day and camera, changed in the transactions that change the rows they count.",
    **MYSQL,
)

cameras = Table(
    "cameras",
    metadata,
    Column("id", String(CAMERA_CHARS), primary_key=True, comment="id of the camera in the camera file"),
    Column("name", String(200), nullable=False, comment="its name for people; empty: none"),
    Column("owner", String(128), nullable=False, comment="data directory of the motion service that has it"),
    Column(
        "example_group",
        String(CAMERA_CHARS),
        nullable=False,
        server_default=text("''"),
        comment="cameras with the same one learn from each other's verdicts; empty: none",
    ),
    comment="The cameras that are configured: what motion services last said; a removed camera has no row.",
    **MYSQL,
)

gaps = Table(
    "gaps",
    metadata,
    Column("id", uuid_type(), primary_key=True, comment="UUIDv7, made by the recorder that saw it"),
    Column(
        "kind",
        String(32),
        nullable=False,
        comment="camera.away, motion.gone, classifier.gone, disk.full, recorder.unready or target.away",
    ),
    Column(
        "subject", String(128), nullable=False, comment="camera, service, disk or target that it is about"
    ),
    Column("camera", String(CAMERA_CHARS), comment="the camera; NULL: no single one"),
    Column("reason", String(500), nullable=False, comment="why, in words, as it was at the start"),
    Column("started_at", UtcMillis, nullable=False, comment="since when, UTC, recorder's clock"),
    Column("ended_at", UtcMillis, comment="until when, UTC; NULL: it lasts"),
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
    **MYSQL,
)

gap_notices = Table(
    "gap_notices",
    metadata,
    Column("target", String(TARGET_CHARS), primary_key=True, comment="name of the target in the notify file"),
    Column("gap_id", uuid_type(), primary_key=True, comment="the gap"),
    Column("due_at", UtcMillis, comment="when it is to be told (again), UTC; NULL: nothing is to be done"),
    Column("noted_at", UtcMillis, nullable=False, comment="when the gap began or ended, UTC"),
    Column("attempts", Integer, nullable=False, comment="failed attempts since it was last told"),
    Column("said", String(8), comment="what was told: began or ended; NULL: nothing yet"),
    ForeignKeyConstraint(["gap_id"], ["gaps.id"], ondelete="CASCADE", name="fk_gap_notices_gaps"),
    Index("ix_gap_notices_due", "target", "due_at"),
    Index("ix_gap_notices_gap", "gap_id"),
    comment="Which gaps are to be told to whom: written in the transaction that changes the gap.",
    **MYSQL,
)

installation = Table(
    "installation",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False, comment="1: there is one row"),
    Column(
        "id", String(16), nullable=False, comment="random, made once: tells installations on one broker apart"
    ),
    comment="What tells this installation from others.",
    **MYSQL,
)

announcements = Table(
    "announcements",
    metadata,
    Column("target", String(TARGET_CHARS), primary_key=True, comment="name of the target in the notify file"),
    Column(
        "camera", String(CAMERA_CHARS), primary_key=True, comment="the camera; empty: the installation itself"
    ),
    Column("topic", String(100), nullable=False, comment="topic below which its state is published"),
    Column("discovery", String(100), nullable=False, comment="discovery prefix; empty: none"),
    Column("node", String(200), nullable=False, comment="its node id in the discovery topics"),
    comment="What was announced to MQTT brokers, so that it can be taken back.",
    **MYSQL,
)
