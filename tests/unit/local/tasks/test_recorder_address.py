"""A command finds the recorder of its configuration, and sends this machine's token to this machine only."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.local.config import database_of
from services.local.tasks.demo import DemoOptions, write_camera_file
from services.local.tasks.recorder_address import RecorderOptions, find_recorder
from services.recorder.record.database_url import sqlite_address
from shared.clock import now_utc
from shared.errors import ConfigError

LOCAL = "local-0123456789abcdef"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration whose clipwatch runs on port 8085."""
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "page-url").write_text("https://127.0.0.1:8085/clipwatch/\n")
    (tmp_path / "kept" / "local-token").write_text(f"{LOCAL}\n")
    file = tmp_path / "clipwatch.yml"
    file.write_text("settings: {data_dir: kept, tls_cert: c.pem, tls_key: k.pem}\ncameras: []\n")
    return file


def test_the_data_folder_says_where_the_recorder_is_and_opens_it(config: Path) -> None:
    found = find_recorder(RecorderOptions(config=config), {})
    assert (found.url, found.token) == ("https://127.0.0.1:8085/clipwatch/", LOCAL)
    assert found.certificate == config.parent / "c.pem"
    assert found.headers == {"authorization": f"Bearer {LOCAL}"}


def test_without_a_configuration_the_usual_address_is_asked(tmp_path: Path) -> None:
    found = find_recorder(RecorderOptions(config=tmp_path / "clipwatch.yml"), {})
    assert (found.url, found.token, found.certificate) == ("http://127.0.0.1:8080", None, None)
    (tmp_path / "clipwatch.yml").write_text("settings: {model: [}")
    assert find_recorder(RecorderOptions(config=tmp_path / "clipwatch.yml"), {}).token is None


def test_the_demos_cameras_are_a_configuration_that_leads_to_its_page_and_users(tmp_path: Path) -> None:
    file = tmp_path / "cameras.yml"
    write_camera_file(file, DemoOptions(), now_utc())
    (tmp_path / "page-url").write_text("http://127.0.0.1:8085/\n")
    (tmp_path / "local-token").write_text(f"{LOCAL}\n")
    found = find_recorder(RecorderOptions(config=file), {})
    assert (found.url, found.token) == ("http://127.0.0.1:8085/", LOCAL)
    assert database_of(file, {}) == sqlite_address(tmp_path / "clipwatch.db")


@pytest.mark.parametrize("url", ["http://192.0.2.7:8080", "https://cam.example", "http://127.0.0.1.example"])
def test_this_machines_token_goes_nowhere_else(config: Path, url: str) -> None:
    found = find_recorder(RecorderOptions(url, config=config), {})
    assert (found.url, found.token, found.certificate) == (url, None, None)


@pytest.mark.parametrize("url", ["http://localhost:1", "http://[::1]:1", "http://127.0.0.2:1"])
def test_another_address_of_this_machine_gets_its_token(config: Path, url: str) -> None:
    assert find_recorder(RecorderOptions(url, config=config), {}).token == LOCAL


def test_a_page_that_listens_in_the_network_only_gets_its_token(config: Path) -> None:
    (config.parent / "kept" / "page-url").write_text("https://192.0.2.7:8085/\n")
    found = find_recorder(RecorderOptions(config=config), {})
    assert (found.url, found.token) == ("https://192.0.2.7:8085/", LOCAL)
    assert found.certificate == config.parent / "c.pem"
    assert find_recorder(RecorderOptions("https://192.0.2.8:8085/", config=config), {}).token is None


def test_what_is_given_comes_before_what_is_found(config: Path, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("of-the-file\n")
    environment = {"CLIPWATCH_TOKEN": "of-the-variable", "API_TOKEN": "of-the-recorder"}
    assert find_recorder(RecorderOptions(config=config), environment).token == "of-the-variable"
    assert find_recorder(RecorderOptions(config=config), {"API_TOKEN": "old"}).token == "old"
    with_file = RecorderOptions(token_file=tmp_path / "token", config=config)
    assert find_recorder(with_file, environment).token == "of-the-file"


def test_every_fault_is_told_and_no_token_is_shown(tmp_path: Path) -> None:
    options = RecorderOptions("ftp://x", tmp_path / "none", tmp_path / "clipwatch.yml")
    with pytest.raises(ConfigError) as caught:
        find_recorder(options, {})
    assert ["--url" in caught.value.faults[0], "--token-file" in caught.value.faults[1]] == [True, True]
    with pytest.raises(ConfigError) as caught:
        find_recorder(RecorderOptions(config=tmp_path / "clipwatch.yml"), {"API_TOKEN": "hunter2 \n"})
    assert "hunter2" not in str(caught.value)
