"""Alembic's entry: runs on the connection that database.migrate() hands over. Not for use by itself."""

from __future__ import annotations

from alembic import context

from services.recorder.record.schema import metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    transactional_ddl=connection.dialect.name == "sqlite",
)
context.run_migrations()
