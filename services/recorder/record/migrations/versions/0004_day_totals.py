"""Sums by day and camera, counted once from what is recorded.

A frozen copy of the table as it was at this revision. May be run again after a crash in its middle: it counts anew.

Revision ID: 0004_day_totals
Revises: 0003_past_answers
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, Date, PrimaryKeyConstraint, String, inspect, text

revision = "0004_day_totals"
down_revision = "0003_past_answers"
branch_labels = None
depends_on = None

COUNTED = """
INSERT INTO day_totals (day, camera, n_events, n_accepted, n_snippets, n_lost, clip_bytes)
SELECT e.day, e.camera, COUNT(*), SUM(e.is_accepted), SUM(e.n), SUM(e.lost), SUM(e.size) FROM (
  SELECT DATE(events.started_at) AS day, events.camera AS camera, events.is_accepted AS is_accepted,
    COUNT(snippets.event_id) AS n, COALESCE(SUM(snippets.is_media_lost), 0) AS lost,
    COALESCE(SUM(snippets.clip_bytes), 0) AS size
  FROM events LEFT JOIN snippets ON snippets.event_id = events.id
  GROUP BY events.id, events.started_at, events.camera, events.is_accepted
) AS e GROUP BY e.day, e.camera"""


def upgrade() -> None:
    """Make the table where it is missing, and fill it."""
    if "day_totals" not in inspect(op.get_bind()).get_table_names():
        op.create_table(
            "day_totals",
            Column("day", Date, nullable=False, comment="UTC day on which the events started"),
            Column("camera", String(64), nullable=False, comment="id of the camera in the camera file"),
            Column("n_events", BigInteger, nullable=False, comment="events"),
            Column("n_accepted", BigInteger, nullable=False, comment="events with an accepted label"),
            Column("n_snippets", BigInteger, nullable=False, comment="snippets of these events"),
            Column("n_lost", BigInteger, nullable=False, comment="snippets whose clip could not be kept"),
            Column("clip_bytes", BigInteger, nullable=False, comment="size of their clips, bytes"),
            PrimaryKeyConstraint("day", "camera", name="pk_day_totals"),
            comment="Sums by day and camera, changed in the transactions that change the rows they count.",
            mysql_engine="InnoDB",
            mysql_charset="utf8mb4",
            mysql_collate="utf8mb4_bin",
        )
    op.execute(text("DELETE FROM day_totals"))
    op.execute(text(COUNTED))
