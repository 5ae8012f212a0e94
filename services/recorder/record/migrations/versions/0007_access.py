"""Users, their sessions, and API tokens.

A frozen copy; may be run again after a crash in its middle: it makes what is missing.

Revision ID: 0007_access
Revises: 0006_gaps
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
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    inspect,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeEngine

revision = "0007_access"
down_revision = "0006_gaps"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables and the indexes that are missing."""
    bind = op.get_bind()
    for name in ("users", "sessions", "api_tokens"):
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


def _json() -> TypeEngine[str]:
    return Text().with_variant(mysql.MEDIUMTEXT(), "mysql")


_MYSQL: dict[str, Any] = {  # Any: keyword arguments of every type
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
}
metadata = MetaData(naming_convention={"pk": "pk_%(table_name)s"})

Table(
    "users",
    metadata,
    Column("id", _id(), primary_key=True, comment="UUIDv7, made by the recorder or the command line"),
    Column("name", String(64), nullable=False, comment="as it was typed when the user was made"),
    Column("name_key", String(200), nullable=False, comment="the name without regard to case"),
    Column("role", String(16), nullable=False, comment="viewer, operator or admin"),
    Column("cameras", _json(), comment="JSON: ids of the cameras that the user sees; NULL: all"),
    Column("password_hash", String(255), comment="argon2id with its parameters; NULL: no password"),
    Column("subject_hash", String(64), comment="SHA-256 of OIDC issuer and subject; NULL: no OIDC"),
    Column("created_at", _time(), nullable=False, comment="when the user was made, UTC"),
    Column("seen_at", _time(), comment="last login, UTC; NULL: never"),
    UniqueConstraint("name_key", name="uq_users_name_key"),
    UniqueConstraint("subject_hash", name="uq_users_subject_hash"),
    comment="Who may log in.",
    **_MYSQL,
)

Table(
    "sessions",
    metadata,
    Column("id", _id(), primary_key=True, comment="UUIDv7, for lists; opens nothing"),
    Column("secret_hash", String(64), nullable=False, comment="SHA-256 of the cookie's random value"),
    Column("user_id", _id(), nullable=False, comment="whose it is"),
    Column("created_at", _time(), nullable=False, comment="when the user logged in, UTC"),
    Column("seen_at", _time(), nullable=False, comment="last request, UTC, written once a minute at most"),
    Column("ends_at", _time(), nullable=False, comment="it ends then at the latest, UTC"),
    Column(
        "address", String(64), nullable=False, comment="address of the client at the login; empty: unknown"
    ),
    Column("agent", String(120), nullable=False, comment="its User-Agent, shortened"),
    UniqueConstraint("secret_hash", name="uq_sessions_secret_hash"),
    ForeignKeyConstraint(["user_id"], ["users.id"], ondelete="CASCADE", name="fk_sessions_users"),
    Index("ix_sessions_user", "user_id"),
    Index("ix_sessions_ends", "ends_at"),
    comment="Logins in browsers that last.",
    **_MYSQL,
)

Table(
    "api_tokens",
    metadata,
    Column("id", String(16), primary_key=True, comment="random, part of the token's text; opens nothing"),
    Column("name", String(64), nullable=False, comment="which program has it"),
    Column("secret_hash", String(64), nullable=False, comment="SHA-256 of its 256 random bits"),
    Column("scopes", String(64), nullable=False, comment="look, operate, admin, metrics: those that it has"),
    Column("cameras", _json(), comment="JSON: ids of the cameras that it sees; NULL: all"),
    Column("created_at", _time(), nullable=False, comment="when it was made, UTC"),
    Column("ends_at", _time(), comment="it opens nothing after this, UTC; NULL: no end"),
    Column(
        "used_at", _time(), comment="last request with it, UTC, written once a minute at most; NULL: never"
    ),
    comment="Tokens of programs.",
    **_MYSQL,
)
