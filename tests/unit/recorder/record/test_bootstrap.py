"""The migrations form one line."""

from __future__ import annotations

from pathlib import Path

from alembic.config import Config
from alembic.script import ScriptDirectory

from services.recorder.record import bootstrap


def test_revisions_form_one_line() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(bootstrap.__file__).parent / "migrations"))
    assert len(ScriptDirectory.from_config(config).get_heads()) == 1
