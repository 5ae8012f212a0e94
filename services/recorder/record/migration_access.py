"""The user who changes tables, apart from the one who works with them, and what a dashboard's user may read."""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy import Connection, text

# What Grafana's dashboards and alert rules ask for. Never users, sessions, tokens, links or notices.
DASHBOARD_TABLES = (
    "events",
    "snippets",
    "detections",
    "frame_probabilities",
    "weather_reports",
    "day_totals",
    "cameras",
    "gaps",
)


@dataclass(frozen=True, slots=True)
class MigrationAccess:
    """`address`: the database's URL with the user who may change tables, a secret. `reader`: the dashboard's user, or
    '' for none.
    """

    address: str = field(repr=False)
    reader: str = ""


def let_read(connection: Connection, reader: str) -> None:
    """Let a dashboard's user read its tables; granting again changes nothing. Such users come from any host."""
    quote = connection.dialect.identifier_preparer.quote_identifier
    user = reader.replace("'", "''")
    for table in DASHBOARD_TABLES:
        connection.execute(text(f"GRANT SELECT ON {quote(table)} TO '{user}'@'%'"))
