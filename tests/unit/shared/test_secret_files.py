"""NAME_FILE in the place of a secret NAME: read once, and every fault is told without a piece of the secret."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import SecretStr

from services.classifier.settings import ClassifierSettings
from services.local.config import load_run_config
from services.motion.settings import MotionServiceSettings
from services.recorder.notify.file import load_notify
from services.recorder.settings import RecorderSettings
from shared.cameras import parse_cameras
from shared.errors import ConfigError, redact
from shared.secret_files import MOST_BYTES, open_to_all, secret_of
from shared.settings import ServiceSettings, read_settings, secret_names

SECRET = "p%21@:/#\"'-S3cr3t-of-16"


def secret_file(folder: Path, content: str = f"{SECRET}\n") -> str:
    path = folder / "secret"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    path.chmod(0o600)
    return str(path)


@pytest.mark.parametrize(
    "kind", [ServiceSettings, MotionServiceSettings, RecorderSettings, ClassifierSettings]
)
def test_each_secret_of_each_service_may_lie_in_a_file(kind: type[ServiceSettings], tmp_path: Path) -> None:
    for name in secret_names(kind):
        content = "redis://:S3cr3t@h/0" if name.endswith("_URL") else SECRET
        settings, faults = read_settings(kind, {f"{name}_FILE": secret_file(tmp_path, f"{content}\n")})
        assert faults == []
        assert getattr(settings, name.lower()).get_secret_value() == content


def test_what_a_file_holds_is_known_as_a_secret(tmp_path: Path) -> None:
    read_settings(ServiceSettings, {"REDIS_PASSWORD_FILE": secret_file(tmp_path)})
    assert redact(f"wrong: {SECRET!r}") == "wrong: '***'"


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("a b ", "a b "),
        ("a\n", "a"),
        ("a\r\n", "a"),
        ("a\n\n", "a\n"),
        ("\ufeffa", "a"),
        (" a", " a"),
    ],
)
def test_one_newline_at_the_end_is_dropped(content: str, found: str, tmp_path: Path) -> None:
    assert secret_of("A", {"A_FILE": secret_file(tmp_path, content)}) == found


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is empty"),
        ("\n", "is empty"),
        ("a\0b", "holds a NUL"),
        ("\udcff", "is not UTF-8 text (byte 0)"),
        ("S3cr3t" * MOST_BYTES, f"holds more than {MOST_BYTES} bytes"),
    ],
)
def test_a_file_with_a_fault_is_told(content: str, said: str, tmp_path: Path) -> None:
    file = secret_file(tmp_path, content)
    _, faults = read_settings(ServiceSettings, {"REDIS_PASSWORD_FILE": file})
    assert len(faults) == 1
    assert faults[0].startswith(f"environment: REDIS_PASSWORD_FILE={file}: {said}")
    assert "S3cr3t" not in faults[0]


def test_a_file_that_is_none_or_cannot_be_read_is_told(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, said in (
        ("/no/such", "cannot be read: No such file"),
        (str(tmp_path), "cannot be read: Is a directory"),
        (str(tmp_path / "pipe"), "is no file"),
        ("/dev/zero", "is no file"),
    ):
        _, faults = read_settings(ServiceSettings, {"REDIS_PASSWORD_FILE": path})
        assert said in faults[0]


def test_a_secret_that_is_given_twice_is_told_and_shown_never(tmp_path: Path) -> None:
    both = {"REDIS_PASSWORD": "other-S3cr3t", "REDIS_PASSWORD_FILE": secret_file(tmp_path)}
    _, faults = read_settings(ServiceSettings, both)
    assert ": REDIS_PASSWORD is given too, wanted one of them; leave one out" in faults[0]
    assert "S3cr3t" not in faults[0]


def test_a_file_of_what_is_no_secret_is_not_left_out_in_silence() -> None:
    _, faults = read_settings(
        ServiceSettings, {"HTTP_PORT_FILE": "/x", "REDIS_PASWORD_FILE": "/x", "SSL_CERT_FILE": "/x"}
    )
    assert faults == [
        "environment: HTTP_PORT_FILE: is not known; HTTP_PORT is no secret, give it as HTTP_PORT",
        "environment: REDIS_PASWORD_FILE: is not known; did you mean 'REDIS_PASSWORD_FILE'?",
    ]


def test_a_file_that_everybody_may_read_is_named(tmp_path: Path) -> None:
    given = {"A_FILE": secret_file(tmp_path), "B_FILE": "/no/such", "C_FILE": "/run/secrets/c"}
    assert open_to_all("ABC", given) == []
    Path(given["A_FILE"]).chmod(0o644)
    assert open_to_all("ABC", given) == [given["A_FILE"]]


def test_names_of_the_camera_file_may_lie_in_files(tmp_path: Path) -> None:
    document = {"cameras": [{"id": "gate", "url": "rtsp://u:${GATE}@h/x", "labels": ["a dog"]}]}
    environment = {"GATE_FILE": secret_file(tmp_path, "a/b@c-S3cr3t\n")}
    loaded = parse_cameras(document, "c.yml", tmp_path, environment)
    assert loaded.cameras[0].url == "rtsp://u:a%2Fb%40c-S3cr3t@h/x"
    assert "S3cr3t" not in redact("a/b@c-S3cr3t")
    with pytest.raises(ConfigError, match=r"camera 'gate': \$\{GATE\}: GATE_FILE=/no/such: cannot be read"):
        parse_cameras(document, "c.yml", tmp_path, {"GATE_FILE": "/no/such"})
    with pytest.raises(ConfigError, match="GATE is given too"):
        parse_cameras(document, "c.yml", tmp_path, {**environment, "GATE": "x"})


def test_names_of_the_notify_file_may_lie_in_files(tmp_path: Path) -> None:
    file = tmp_path / "notify.yml"
    file.write_text("targets: [{name: a, webhook: {url: 'http://h/${HOOK}', secret: '${KEY}'}}]")
    given = {"HOOK_FILE": secret_file(tmp_path, "hook-S3cr3t"), "KEY": "0123456789-S3cr3t"}
    target = load_notify(file, given).targets[0].webhook
    assert target is not None
    assert target.url.get_secret_value() == "http://h/hook-S3cr3t"
    assert target.secret == SecretStr("0123456789-S3cr3t")
    assert redact("POST /hook-S3cr3t 0123456789-S3cr3t") == "POST /*** ***"


def test_clipwatch_run_reads_the_files_of_its_servers(tmp_path: Path) -> None:
    config = tmp_path / "clipwatch.yml"
    config.write_text("cameras: [{id: gate, url: 'rtsp://h/x', labels: [a dog]}]")
    environment = {
        "REDIS_URL": "redis://h:6379/0",
        "REDIS_PASSWORD_FILE": secret_file(tmp_path, "a/S3cr3t\n"),
    }
    assert load_run_config(config, environment).redis_url == "redis://:a%2FS3cr3t@h:6379/0"
    with pytest.raises(ConfigError, match="REDIS_PASSWORD_FILE=/no: cannot be read"):
        load_run_config(config, {**environment, "REDIS_PASSWORD_FILE": "/no"})
