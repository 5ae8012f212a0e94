"""NAME_FILE in the environment of the command line: each secret works so, and each fault ends the command, with 2."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from services.classifier.settings import ClassifierSettings
from services.local.config import database_of, load_run_config
from services.local.tasks.recorder_address import RecorderOptions, find_recorder
from services.motion.settings import MotionServiceSettings
from services.recorder.settings import RecorderSettings
from shared.errors import ConfigError, redact
from shared.settings import secret_names

NAMES = sorted(
    {
        name
        for kind in (MotionServiceSettings, ClassifierSettings, RecorderSettings)
        for name in secret_names(kind)
    }
)
OWN = ("MOTION_TOKEN",)  # the launcher makes it for each start, and hands on no other
TOKEN = "0123456789-S3cr3t-abc"
VALUES = {
    "REDIS_URL": "redis://u:S3cr3t@127.0.0.1:1/0",
    "DATABASE_URL": "mysql://u:S3cr3t@127.0.0.1:1/x",
    "MIGRATION_DATABASE_URL": "mysql://m:S3cr3t@127.0.0.1:1/x",
}


def config(folder: Path, listen: str = "127.0.0.1:0") -> Path:
    path = folder / "clipwatch.yml"
    camera = {"id": "gate", "url": "rtsp://u:${GATE}@h/x", "labels": ["a dog"]}
    settings = {"data_dir": str(folder / "data"), "listen": listen, "weather": "none"}
    path.write_text(json.dumps({"settings": settings, "cameras": [camera]}))
    return path


def filed(folder: Path, *names: str) -> dict[str, str]:
    """Return an environment in which each of `names` lies in a file."""
    environment = {}
    for name in names:
        path = folder / f"file-{name}"
        path.write_text(VALUES.get(name, TOKEN) + "\n")
        environment[f"{name}_FILE"] = str(path)
    return environment


def faults(path: Path, environment: dict[str, str]) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        load_run_config(path, environment)
    return list(raised.value.faults)


def test_all_secrets_of_a_run_may_lie_in_files(tmp_path: Path) -> None:
    loaded = load_run_config(config(tmp_path), filed(tmp_path, "GATE", *NAMES))
    assert (loaded.redis_url, loaded.database_url) == (VALUES["REDIS_URL"], VALUES["DATABASE_URL"])
    assert loaded.cameras.cameras[0].url == f"rtsp://u:{TOKEN}@h/x"
    assert "S3cr3t" not in redact(f"{loaded}")


def test_a_token_in_a_file_opens_the_page_to_the_network(tmp_path: Path) -> None:
    path = config(tmp_path, "0.0.0.0:0")
    assert "there is no login" in faults(path, {"GATE": TOKEN})[0]
    load_run_config(path, filed(tmp_path, "API_TOKEN", "GATE"))


def test_every_file_that_cannot_be_used_is_told_at_once(tmp_path: Path) -> None:
    names = [name for name in NAMES if name not in OWN]
    missing = {f"{name}_FILE": "/no/such" for name in (*names, "GATE")}
    told = faults(config(tmp_path), missing)
    for name in (*names, "GATE"):
        assert [one for one in told if f"{name}_FILE=/no/such: cannot be read" in one], name
    twice = {
        **filed(tmp_path, *names, "GATE"),
        **{name: VALUES.get(name, TOKEN) for name in (*names, "GATE")},
    }
    told = faults(config(tmp_path), twice)
    for name in (*names, "GATE"):
        assert [one for one in told if f": {name} is given too" in one], name
    assert "S3cr3t" not in "".join(told)


def test_commands_on_the_database_never_take_another_one_for_a_file_that_cannot_be_read(
    tmp_path: Path,
) -> None:
    path = config(tmp_path)
    assert database_of(path, filed(tmp_path, "DATABASE_URL")) == VALUES["DATABASE_URL"]
    for name in ("DATABASE_URL", "DATABASE_PASSWORD"):
        with pytest.raises(ConfigError, match=f"{name}_FILE=/no/such: cannot be read"):
            database_of(path, {f"{name}_FILE": "/no/such"})


@pytest.mark.parametrize("name", ["CLIPWATCH_TOKEN", "API_TOKEN"])
def test_the_token_of_a_command_may_lie_in_a_file(name: str, tmp_path: Path) -> None:
    options = RecorderOptions("http://127.0.0.1:1", None, tmp_path / "none.yml")
    assert find_recorder(options, filed(tmp_path, name)).token == TOKEN
    assert redact(TOKEN) == "***"
    with pytest.raises(ConfigError, match="cannot be read"):
        find_recorder(options, {f"{name}_FILE": "/no/such"})
