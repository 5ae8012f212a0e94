"""The tables of signed links: who has one may look at one event without a login. Knows no query."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKeyConstraint, Index, Integer, String, Table, UniqueConstraint

from services.recorder.record.columns import MYSQL, UtcMillis, metadata, uuid_type

MADE_BY_CHARS = 80
NOTE_CHARS = 200

links = Table(
    "links",
    metadata,
    Column(
        "id", String(32), primary_key=True, comment="128 random bits, hexadecimal; alone it opens nothing"
    ),
    Column("event_id", uuid_type(), nullable=False, comment="the event that it shows"),
    Column("target", String(64), comment="target of the notify file that was sent it; NULL: none"),
    Column("made_by", String(MADE_BY_CHARS), nullable=False, comment="name of the user, token or target"),
    Column("note", String(NOTE_CHARS), nullable=False, comment="what it is for, in words; empty: not said"),
    Column("made_at", UtcMillis, nullable=False, comment="when it was made, UTC"),
    Column("ends_at", UtcMillis, nullable=False, comment="it opens nothing after this, UTC"),
    Column("revoked_at", UtcMillis, comment="when it was taken back, UTC; NULL: it was not"),
    ForeignKeyConstraint(["event_id"], ["events.id"], ondelete="CASCADE", name="fk_links_events"),
    UniqueConstraint("event_id", "target", name="uq_links_event_target"),
    Index("ix_links_ends", "ends_at"),
    comment="Signed links to events; a link without a row opens nothing.",
    **MYSQL,
)

link_keys = Table(
    "link_keys",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False, comment="1: there is one row"),
    Column("secret", String(64), nullable=False, comment="256 random bits, hexadecimal, made once"),
    comment="What links are signed with: a secret.",
    **MYSQL,
)
