"""`python -m services.recorder.migrate`: bring the tables up to date, and end.

With it the recorder that serves the page need not hold the password of a user who may change tables: compose runs this
before (docker-compose.yml, `migration`). Reads DATABASE_URL or MIGRATION_DATABASE_URL, and DASHBOARD_DATABASE_USER.
"""

from __future__ import annotations

import asyncio
import sys

from services.recorder.record.bootstrap import migrate_apart, open_database
from services.recorder.settings import RecorderSettings
from shared.errors import ConfigError
from shared.logs import configure_logs
from shared.settings import load_settings
from shared.terminal_text import say
from shared.uncaught import redact_uncaught


async def migrate(settings: RecorderSettings) -> None:
    """Bring the tables up to date; raise ConfigError when that cannot be."""
    if settings.migration is not None:
        await migrate_apart(settings.migration, settings.transaction_s, settings.connect_s)
        return
    database = await open_database(
        settings.database_address, asyncio.Event(), settings.connect_s, settings.transaction_s
    )
    await database.close()


def main() -> int:
    """Return the exit code: 0 the tables are as this version needs them, 2 they could not be made so."""
    redact_uncaught()
    try:
        settings = load_settings(RecorderSettings)
        configure_logs("recorder", settings.log_level, settings.log_format)
        asyncio.run(migrate(settings))
    except ConfigError as exc:
        say(*exc.faults, is_error=True)
        return 2
    except KeyboardInterrupt:
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
