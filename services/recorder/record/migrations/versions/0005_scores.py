"""The scores that decided, beside the shares: what a chart has to show for the threshold to mean anything.

A frozen copy of the columns as they were at this revision. May be run again after a crash in its middle. Rows that are
there keep NULL: what decided them was not kept.

Revision ID: 0005_scores
Revises: 0004_day_totals
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, Double, inspect

revision = "0005_scores"
down_revision = "0004_day_totals"
branch_labels = None
depends_on = None

COLUMNS = {
    "score": "target: averaged score, 0..1, that decided; NULL: an older classifier",
    "background": "target: averaged background that the score had to exceed, 0..1",
}


def upgrade() -> None:
    """Add the columns where they are missing."""
    known = {column["name"] for column in inspect(op.get_bind()).get_columns("frame_probabilities")}
    for name, comment in COLUMNS.items():
        if name not in known:
            op.add_column("frame_probabilities", Column(name, Double, comment=comment))
    if op.get_bind().dialect.supports_comments:
        op.create_table_comment(
            "frame_probabilities",
            "What the model said of each moment: shares before averaging, and the averages that decided.",
        )
