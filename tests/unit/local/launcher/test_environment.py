"""What children are given: what they use, and no other's secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.local.launcher.environment import server_environment, service_environment

SERVICES = ("motion", "classifier", "recorder")
MACHINE = {
    "PATH": "/bin",
    "HOME": "/home/a",
    "LC_ALL": "C",
    "https_proxy": "http://proxy",
    "NO_PROXY": "localhost",
    "SSL_CERT_FILE": "/ca.pem",
}
# (name, who is given it); nobody: the launcher alone
NAMES = [
    ("GATE_PASSWORD", ("motion",)),
    ("DOORBELL_URL", ("motion",)),
    ("HOOK_TOKEN", ("recorder",)),
    ("BROKER_PASSWORD", ("recorder",)),
    ("LIVE_ICE_PASSWORD", ("motion",)),
    ("LIVE_ICE_PASSWORD_FILE", ("motion",)),
    ("OPENWEATHER_KEY", ("recorder",)),
    ("OPENWEATHER_KEY_FILE", ("recorder",)),
    ("RETENTION_DAYS", ("recorder",)),
    ("API_TOKEN", ("recorder",)),
    ("API_TOKEN_FILE", ("recorder",)),
    ("HF_TOKEN", ("classifier",)),
    ("HF_HOME", ("classifier",)),
    ("CUDA_VISIBLE_DEVICES", ("classifier",)),
    ("BATCH_PICTURES", ("classifier",)),
    ("LOG_LEVEL", SERVICES),
    ("REDIS_PASSWORD", ()),
    ("REDIS_URL", ()),
    ("DATABASE_PASSWORD", ()),
    ("DATABASE_PASSWORD_FILE", ()),
    ("AWS_SECRET_ACCESS_KEY", ()),
    ("SSH_AUTH_SOCK", ()),
    ("GITHUB_TOKEN", ()),
]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A launcher's environment with a secret for everybody, and the file of `NOTIFY_FILE`."""
    notify = tmp_path / "notify.yml"
    notify.write_text("targets: [{webhook: {url: 'http://h/${HOOK_TOKEN}'}, password: '${BROKER_PASSWORD}'}]")
    return {**MACHINE, **{name: f"value of {name}" for name, _ in NAMES}, "NOTIFY_FILE": str(notify)}


@pytest.fixture
def cameras(tmp_path: Path) -> Path:
    """A camera file that names two variables."""
    path = tmp_path / "cameras.yml"
    path.write_text("cameras: [{url: 'rtsp://a:${GATE_PASSWORD}@b/', detect_url: '${DOORBELL_URL}'}]")
    return path


@pytest.mark.parametrize(("name", "wanted"), NAMES, ids=[name for name, _ in NAMES])
def test_a_variable_reaches_those_that_use_it_and_nobody_else(
    name: str, wanted: tuple[str, ...], environment: dict[str, str], cameras: Path
) -> None:
    given = tuple(one for one in SERVICES if name in service_environment(one, environment, cameras))
    assert given == wanted
    assert name not in server_environment(environment)


@pytest.mark.parametrize("service", SERVICES)
def test_everybody_has_what_belongs_to_the_machine(
    service: str, environment: dict[str, str], cameras: Path
) -> None:
    assert MACHINE.items() <= service_environment(service, environment, cameras).items()


def test_redis_has_its_path_and_no_proxy(environment: dict[str, str]) -> None:
    assert server_environment(environment) == {"PATH": "/bin", "HOME": "/home/a", "LC_ALL": "C"}


def test_a_file_that_cannot_be_read_names_nothing(environment: dict[str, str], tmp_path: Path) -> None:
    environment["NOTIFY_FILE"] = str(tmp_path / "none.yml")
    for service in ("motion", "recorder"):
        assert "HOOK_TOKEN" not in service_environment(service, environment, tmp_path / "none.yml")
