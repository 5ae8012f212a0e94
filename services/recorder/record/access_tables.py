"""The tables of who may do what: users, their sessions in browsers, and API tokens. Knows no query.

No secret stands in them: passwords as argon2id, the random values of cookies and tokens as SHA-256.
"""

from __future__ import annotations

from sqlalchemy import Column, ForeignKeyConstraint, Index, String, Table, UniqueConstraint

from services.recorder.record.columns import MYSQL, UtcMillis, json_type, metadata, uuid_type

USER_NAME_CHARS = 64
NAME_KEY_CHARS = 200  # a letter may fold to three

users = Table(
    "users",
    metadata,
    Column("id", uuid_type(), primary_key=True, comment="UUIDv7, made by the recorder or the command line"),
    Column("name", String(USER_NAME_CHARS), nullable=False, comment="as it was typed when the user was made"),
    Column("name_key", String(NAME_KEY_CHARS), nullable=False, comment="the name without regard to case"),
    Column("role", String(16), nullable=False, comment="viewer, operator or admin"),
    Column("cameras", json_type(), comment="JSON: ids of the cameras that the user sees; NULL: all"),
    Column("password_hash", String(255), comment="argon2id with its parameters; NULL: no password"),
    Column("subject_hash", String(64), comment="SHA-256 of OIDC issuer and subject; NULL: no OIDC"),
    Column("created_at", UtcMillis, nullable=False, comment="when the user was made, UTC"),
    Column("seen_at", UtcMillis, comment="last login, UTC; NULL: never"),
    UniqueConstraint("name_key", name="uq_users_name_key"),
    UniqueConstraint("subject_hash", name="uq_users_subject_hash"),
    comment="Who may log in.",
    **MYSQL,
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", uuid_type(), primary_key=True, comment="UUIDv7, for lists; opens nothing"),
    Column("secret_hash", String(64), nullable=False, comment="SHA-256 of the cookie's random value"),
    Column("user_id", uuid_type(), nullable=False, comment="whose it is"),
    Column("created_at", UtcMillis, nullable=False, comment="when the user logged in, UTC"),
    Column("seen_at", UtcMillis, nullable=False, comment="last request, UTC, written once a minute at most"),
    Column("ends_at", UtcMillis, nullable=False, comment="it ends then at the latest, UTC"),
    Column(
        "address", String(64), nullable=False, comment="address of the client at the login; empty: unknown"
    ),
    Column("agent", String(120), nullable=False, comment="its User-Agent, shortened"),
    UniqueConstraint("secret_hash", name="uq_sessions_secret_hash"),
    ForeignKeyConstraint(["user_id"], ["users.id"], ondelete="CASCADE", name="fk_sessions_users"),
    Index("ix_sessions_user", "user_id"),
    Index("ix_sessions_ends", "ends_at"),
    comment="Logins in browsers that last.",
    **MYSQL,
)

api_tokens = Table(
    "api_tokens",
    metadata,
    Column("id", String(16), primary_key=True, comment="random, part of the token's text; opens nothing"),
    Column("name", String(USER_NAME_CHARS), nullable=False, comment="which program has it"),
    Column("secret_hash", String(64), nullable=False, comment="SHA-256 of its 256 random bits"),
    Column("scopes", String(64), nullable=False, comment="look, operate, admin, metrics: those that it has"),
    Column("cameras", json_type(), comment="JSON: ids of the cameras that it sees; NULL: all"),
    Column("created_at", UtcMillis, nullable=False, comment="when it was made, UTC"),
    Column("ends_at", UtcMillis, comment="it opens nothing after this, UTC; NULL: no end"),
    Column(
        "used_at", UtcMillis, comment="last request with it, UTC, written once a minute at most; NULL: never"
    ),
    comment="Tokens of programs.",
    **MYSQL,
)
