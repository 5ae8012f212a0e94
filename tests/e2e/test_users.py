"""`clipwatch user` and `clipwatch token`, and the same in a container, on a database that nobody runs on."""

from __future__ import annotations

import json
import os
import pty
import select
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from services.recorder.access.token_text import parse_token
from tests.e2e.conftest import ROOT

pytestmark = pytest.mark.e2e
PASSWORD = "correct horse"
LIMIT_S = 60.0


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder with a configuration; one of its cameras is broken, which is no reason to stay locked out."""
    (tmp_path / "clipwatch.yml").write_text("settings: {data_dir: kept}\ncameras: [{id: 'a b'}]\n")
    return tmp_path


def call(
    folder: Path,
    *arguments: str,
    typed: str = "",
    module: str = "services.local.cli",
    environment: dict[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    own = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=folder,
        env={**own, "PYTHONPATH": str(ROOT), **(environment or {})},
        input=typed,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )


def test_users_are_made_listed_changed_and_removed(site: Path) -> None:
    made = call(site, "user", "add", "Ada", "--role", "admin", "--password-stdin", typed=f"{PASSWORD}\n")
    assert (made.returncode, made.stdout) == (0, "made the user 'Ada', admin\n")
    options = ("--camera", "gate", "--camera", "yard", "--password-stdin")
    assert call(site, "user", "add", "bob", *options, typed=f"{PASSWORD}\r\n").returncode == 0
    listed = json.loads(call(site, "user", "list", "--json").stdout)["users"]
    assert [(user["name"], user["role"], user["cameras"]) for user in listed] == [
        ("Ada", "admin", None),
        ("bob", "viewer", ["gate", "yard"]),
    ]
    changed = call(site, "user", "passwd", "ADA", "--password-stdin", typed="another horse\n")
    assert (changed.returncode, changed.stderr) == (0, "")
    assert call(site, "user", "rm", "bob").returncode == 0
    last = call(site, "user", "rm", "ada")
    assert last.returncode == 2
    assert "last admin" in last.stderr
    assert call(site, "user", "list").stdout.split() == [
        "NAME", "ROLE", "CAMERAS", "LAST", "LOGIN", "Ada", "admin", "all", "never",
    ]  # fmt: skip
    for secret in (PASSWORD, "another horse"):
        assert secret.encode() not in (site / "kept" / "clipwatch.db").read_bytes()


def test_what_is_made_belongs_to_this_account_alone(site: Path) -> None:
    call(site, "user", "add", "ada", "--role", "admin", "--password-stdin", typed=f"{PASSWORD}\n")
    assert stat.S_IMODE((site / "kept").stat().st_mode) == 0o700
    assert stat.S_IMODE((site / "kept" / "clipwatch.db").stat().st_mode) == 0o600


def test_a_token_is_printed_once_and_ended(site: Path) -> None:
    made = call(site, "token", "add", "grafana", "--scope", "look", "--scope", "metrics", "--days", "365")
    assert made.returncode == 0
    parts = parse_token(made.stdout.strip())
    assert parts is not None
    (listed,) = json.loads(call(site, "token", "list", "--json").stdout)["tokens"]
    assert (listed["id"], listed["scopes"]) == (parts.id, ["look", "metrics"])
    shown = call(site, "token", "list").stdout
    assert "grafana" in shown
    assert made.stdout.strip() not in shown
    assert call(site, "token", "rm", "grafana").returncode == 0
    gone = call(site, "token", "rm", "grafana")
    assert (gone.returncode, gone.stdout) == (2, "")


@pytest.mark.parametrize(
    ("arguments", "typed", "found"),
    [
        (("user", "add", "ada", "--password-stdin"), "short\n", "5 characters"),
        (("user", "add", "ada", "--password-stdin"), "", "0 characters"),
        (("user", "add", "a/b", "--password-stdin"), f"{PASSWORD}\n", "'a/b'"),
        (("user", "add", "ada", "--role", "king", "--password-stdin"), f"{PASSWORD}\n", "'king'"),
        (("user", "add", "ada"), f"{PASSWORD}\n", "no terminal"),
        (("user", "passwd", "ada", "--password-stdin"), f"{PASSWORD}\n", "no user 'ada'"),
        (("user", "rm", "ada"), "", "no user 'ada'"),
        (("token", "add", "grafana", "--scope", "all"), "", "'all'"),
        (("token", "add", "grafana", "--days", "-1"), "", "--days -1"),
        (("user", "list", "--config", "missing.yml"), "", "missing.yml"),
    ],
)
def test_bad_input_is_one_line_and_shows_no_password(
    site: Path, arguments: tuple[str, ...], typed: str, found: str
) -> None:
    answer = call(site, *arguments, typed=typed)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert len(answer.stderr.splitlines()) == 1
    assert found in answer.stderr
    assert PASSWORD not in answer.stderr
    assert "Traceback" not in answer.stderr


def test_the_password_is_asked_for_twice_and_not_shown(site: Path) -> None:
    def typed(*passwords: str) -> tuple[int, str]:
        controller, terminal = pty.openpty()
        command = [sys.executable, "-m", "services.local.cli", "user", "add", "ada", "--role", "admin"]
        process = subprocess.Popen(
            command,
            cwd=site,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
        )
        os.close(terminal)
        screen, ends_at = "", time.monotonic() + LIMIT_S
        waiting = list(passwords)
        while time.monotonic() < ends_at:
            if not select.select([controller], [], [], 0.1)[0]:
                continue
            try:
                part = os.read(controller, 4096).decode()
            except OSError:  # the program has ended
                break
            screen += part
            if part.rstrip(" ").endswith(":") and waiting:
                os.write(controller, f"{waiting.pop(0)}\n".encode())
        os.close(controller)
        return process.wait(LIMIT_S), screen

    code, screen = typed(PASSWORD, "another horse")
    assert code == 2
    assert "differ" in screen
    code, screen = typed(PASSWORD, PASSWORD)
    assert code == 0, screen
    assert "password: " in screen
    assert PASSWORD not in screen


def test_a_container_has_the_same_on_the_database_of_its_environment(site: Path) -> None:
    environment = {"DATABASE_URL": f"sqlite:///{site}/own.db"}

    def users(*arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        return call(site, *arguments, typed=typed, module="services.recorder.users", environment=environment)

    assert users("add", "ada", "--role", "admin", "--password-stdin", typed=f"{PASSWORD}\n").returncode == 0
    assert "ada   admin  all      never" in users("list").stdout
    assert users("passwd", "ada", "--password-stdin", typed="another horse\n").returncode == 0
    assert parse_token(users("token-add", "grafana", "--days", "1").stdout.strip()) is not None
    assert "grafana" in users("token-list").stdout
    assert users("token-rm", "grafana").returncode == 0
    last = users("rm", "ada")
    assert last.returncode == 2
    assert "last admin" in last.stderr
    assert not (site / "kept").exists()
