"""Ports that launchers choose: two that start at once must not be given the same."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from services.local.launcher.ports import claimed_port, free_port

CLAIM = """
import contextlib, sys
from services.local.launcher.ports import claimed_port
with contextlib.ExitStack() as held:
    print(claimed_port(int(sys.argv[1]), held), flush=True)
    sys.stdin.readline()
"""


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Claims of this test alone, also for the processes that it starts."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)  # where it keeps what it found
    return tmp_path / f"clipwatch-ports-{os.getuid()}"


def claim(port: int) -> int:
    with contextlib.ExitStack() as held:
        return claimed_port(port, held)


def test_the_usual_port_goes_to_the_first_until_it_ends() -> None:
    usual = free_port()
    with contextlib.ExitStack() as first:
        assert claimed_port(usual, first) == usual
        assert claim(usual) != usual
    assert claim(usual) == usual


def test_a_launcher_of_another_process_is_seen_and_its_end_too() -> None:
    usual = free_port()
    command = [sys.executable, "-c", CLAIM, str(usual)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert int(other.stdout.readline()) == usual
        assert claim(usual) != usual
        other.kill()
    assert claim(usual) == usual


def test_a_port_that_somebody_listens_on_is_neither_given_nor_claimed() -> None:
    with socket.socket() as taken, contextlib.ExitStack() as first:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        usual = int(taken.getsockname()[1])
        assert claimed_port(usual, first) != usual
        taken.close()
        assert claim(usual) == usual  # the first went elsewhere, so nothing is in the way


def test_any_port_is_claimed_by_nobody(own_folder: Path) -> None:
    assert claim(0) > 0
    assert not own_folder.exists()


def test_where_claims_cannot_be_kept_the_usual_port_is_given_all_the_same(own_folder: Path) -> None:
    usual = free_port()
    own_folder.symlink_to(own_folder.parent)
    assert claim(usual) == usual
    assert not (own_folder.parent / str(usual)).exists()  # nothing is written through a link
