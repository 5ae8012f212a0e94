"""What the commands print of a record full of hostile texts: no control character of it reaches the terminal.

Older clipwatch took such labels and names, and a database or a recorder can hold what it likes.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from services.local.commands import token, user
from services.local.commands.command_line import fail
from services.local.commands.labels import labels
from services.local.launcher.stack import terminal_sink
from services.local.records import EventRow, SnippetRow
from services.local.tasks.analysis import RecordingFile
from services.local.tasks.screen import (
    events_table,
    print_analysis,
    print_relabel,
    print_relabels,
    print_search,
    wide_console,
)
from services.local.tasks.service_runs import Screen
from services.local.tasks.why_screen import print_why
from services.motion.sources.probe import FileFacts
from services.recorder import users
from shared.errors import ConfigError
from shared.terminal_text import say_json

HOSTILE = "\x1b[2J\x9b31m\u202e\r\x07\x00\x7f\u2028\x85"
CONTROLS = {letter for letter in HOSTILE if not letter.isprintable()}
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LABEL, CAMERA = f"dog{HOSTILE}", f"gate{HOSTILE}"
CLIP = SnippetRow(0, AT, AT, Path(f"/kept/a{HOSTILE}\n.mp4"), None, f"mini{HOSTILE}")
ROW = EventRow(
    id=f"e{HOSTILE}", camera=CAMERA, started_at=AT, ended_at=AT, is_open=False, label=LABEL, probability=0.8,
    accepted=(LABEL, f"[bold]cat{HOSTILE}"), peaks={LABEL: 0.8}, weather=f"rain{HOSTILE}", snippets=(CLIP,),
)  # fmt: skip
FACTS = FileFacts(Path("/a.mp4"), 1.0, 320, 240, "h264", 25.0, None, is_truncated=False)
EVENT = {"id": ROW.id, "camera": CAMERA, "label": LABEL, "started_at": AT.isoformat()}
HIT = {"similarity": 0.3, "is_good": True, "captured_at": AT.isoformat(), "offset_s": 1.0, "event": EVENT}
FOUND = {"label": LABEL, "probability": 0.5}
RIVAL = {"name": LABEL, "kind": "target", "took": 0.1}
MOMENT = {"offset_s": 1.0, "score": 0.5, "own_score": 0.5, "own_background": 0.1, "rival": RIVAL, "box": None}
REASON = {
    "label": LABEL, "is_accepted": True, "sentence": f"'{LABEL}' was accepted.", "peak": 0.5, "threshold": 0.5,
    "background": 0.1, "run": None, "rival": RIVAL, "moments": [MOMENT], "snippet": 0,
}  # fmt: skip
ANSWERS: dict[str, Any] = {
    "search": {"results": [HIT], "searched": 1, "took_s": 0.1, "left_out": 0, "is_complete": True},
    "relabel": {
        "cameras": [
            {
                "camera": CAMERA,
                "events": 1,
                "changed": 1,
                "labels": [{"label": LABEL, "recorded": 1, "hindsight": 0, "gained": 0, "lost": 1}],
            }
        ],
        "shown": [
            {
                "event_id": ROW.id,
                "started_at": AT.isoformat(),
                "camera": CAMERA,
                "recorded": [FOUND],
                "hindsight": [],
            }
        ],
        "changed": 1,
        "events": 1,
        "applied": False,
        "left_out": 0,
    },
    "relabels": [
        {
            "id": ROW.id,
            "kind": "words",
            "asked": {"labels": [LABEL], "mode": "add", "threshold": 0.5, "cameras": [CAMERA]},
            "made_by": f"ada{HOSTILE}",
            "made_at": AT.isoformat(),
            "events": 1,
            "snippets": 1,
            "undone_by": f"bob{HOSTILE}",
            "undone_at": AT.isoformat(),
            "unfinished": 1,
        }
    ],
    "why": {
        "event_id": ROW.id,
        "camera": CAMERA,
        "started_at": AT.isoformat(),
        "sentence": f"'{LABEL}' was accepted.",
        "labels": [REASON],
        "missing": [f"The model is {CAMERA}.\nclipwatch: all is well"],
    },
}


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A configuration whose database holds a user and a token with hostile names."""
    config = tmp_path / "clipwatch.yml"
    camera = {"id": "gate", "url": "rtsp://h/x", "labels": ["a dog"]}
    config.write_text(json.dumps({"settings": {"data_dir": str(tmp_path)}, "cameras": [camera]}))
    address = f"sqlite+aiosqlite:///{tmp_path / 'clipwatch.db'}"
    users.add_user(address, users.UserOptions("ada", "admin"), "correct horse battery")
    users.add_token(address, users.TokenOptions("grafana"))
    with closing(sqlite3.connect(tmp_path / "clipwatch.db")) as database:
        for table in ("users", "api_tokens"):
            database.execute(f"UPDATE {table} SET name = ?", (CAMERA,))  # noqa: S608 - names of tables
            database.execute(f"UPDATE {table} SET cameras = ?", (json.dumps([CAMERA]),))  # noqa: S608 - as above
        database.commit()
    return config


def _screen_lines() -> None:
    screen = Screen(wide_console(), 0.0)
    with screen.showing([]):
        screen.say_if_ready((CAMERA,))
        screen.show([ROW], 1)


PRINTED: dict[str, Callable[[Path], object]] = {
    "events as lines": lambda _config: _screen_lines(),
    "events as a table": lambda _config: wide_console().print(events_table([ROW], f"events{HOSTILE}")),
    "analyze": lambda config: print_analysis(
        [replace(ROW, camera="x")], {"x": RecordingFile("x", f"a{HOSTILE}\n", config, AT, FACTS)}, config
    ),
    "search": lambda _config: print_search(ANSWERS["search"]),
    "search --json": lambda _config: say_json(ANSWERS["search"]),
    "relabel": lambda _config: print_relabel(ANSWERS["relabel"]),
    "relabel --list": lambda _config: print_relabels(ANSWERS["relabels"]),
    "why": lambda _config: print_why(ANSWERS["why"]),
    "user list": lambda config: user.list_users(config=config),
    "user list --json": lambda config: user.list_users(as_json=True, config=config),
    "token list": lambda config: token.list_tokens(config=config),
    "token list --json": lambda config: token.list_tokens(as_json=True, config=config),
    "user add": lambda config: user.remove(CAMERA, config=config),
    "labels": lambda config: labels(CAMERA, config=config),
    "labels --label": lambda config: labels("gate", label=[LABEL], config=config),
    "faults": lambda _config: fail([f"camera: {CAMERA}\nclipwatch: all is well"], 2),
    "logs of services": lambda _config: terminal_sink()("motion", f"lost {CAMERA}\n2026 [info] all is well"),
}


@pytest.mark.parametrize("command", PRINTED)
def test_no_control_character_of_the_record_reaches_the_terminal(
    command: str, site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        PRINTED[command](site)
    except ConfigError as exc:  # as services/local/cli.py ends
        with pytest.raises(SystemExit):
            fail(exc.faults, 2)
    except SystemExit:
        pass
    said = capsys.readouterr()
    text = said.out + said.err
    assert "1b" in text, text
    assert not set(text) & CONTROLS
    assert not any(line.startswith(("clipwatch: all is well", "2026 [info]")) for line in text.splitlines())


def test_a_command_on_the_database_leaves_the_mode_of_other_files_alone(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        users.list_users(f"sqlite+aiosqlite:///{tmp_path / 'own.db'}")
        (tmp_path / "later").touch()
    finally:
        os.umask(before)
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("own.db", "later")] == [0o600, 0o644]
