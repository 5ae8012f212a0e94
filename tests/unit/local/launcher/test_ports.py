"""Ports that launchers choose: two that start at once must not be given the same."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.local.launcher.ports import PagePort, claimed_port, free_port, page_port
from services.local.run_settings import ListenAddress
from shared.errors import ConfigError

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


@contextlib.contextmanager
def listening(host: str = "127.0.0.1") -> Iterator[int]:
    """Another program on a port."""
    with socket.socket() as taken:
        taken.bind((host, 0))
        taken.listen()
        yield int(taken.getsockname()[1])


def chosen(address: ListenAddress, folder: Path) -> PagePort:
    with contextlib.ExitStack() as held:
        return page_port(address, folder, held)


def test_the_port_that_was_found_is_kept_for_the_next_start(tmp_path: Path) -> None:
    first = chosen(ListenAddress(), tmp_path)
    assert (tmp_path / "port").read_text() == f"{first.port}\n"
    kept = free_port()
    (tmp_path / "port").write_text(str(kept))
    assert chosen(ListenAddress(), tmp_path) == PagePort(kept)


def test_when_the_kept_port_is_taken_the_next_free_one_is_kept_and_told(tmp_path: Path) -> None:
    with listening() as taken:
        (tmp_path / "port").write_text(str(taken))
        found = chosen(ListenAddress(), tmp_path)
        assert found.taken == taken
        assert taken < found.port <= taken + 50
    assert chosen(ListenAddress(), tmp_path) == PagePort(found.port)


@pytest.mark.parametrize("text", ["", "x", "70000", "-1", "8080 8081"])
def test_a_file_that_holds_no_port_is_replaced(tmp_path: Path, text: str) -> None:
    (tmp_path / "port").write_text(text)
    found = chosen(ListenAddress(), tmp_path)
    assert (tmp_path / "port").read_text() == f"{found.port}\n"


def test_a_port_that_was_asked_for_is_not_kept(tmp_path: Path) -> None:
    with listening() as taken:
        assert chosen(ListenAddress(port=taken), tmp_path).taken == taken
    assert chosen(ListenAddress(port=0), tmp_path).port > 0
    assert not (tmp_path / "port").exists()


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_an_address_that_is_taken_is_no_other(tmp_path: Path, host: str) -> None:
    with listening() as taken, pytest.raises(ConfigError, match=rf"settings.listen={host}:{taken}: in use"):
        chosen(ListenAddress.parse(f"{host}:{taken}"), tmp_path)


def test_an_address_of_another_machine_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no address of this machine"):
        chosen(ListenAddress.parse("192.0.2.77:8080"), tmp_path)
