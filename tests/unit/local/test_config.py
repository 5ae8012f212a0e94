"""The configuration of a one-machine run: every fault at once, with file, camera and field."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.local.config import database_of, load_run_config, models_dir
from services.recorder import users
from shared.errors import ConfigError

ROOT = Path(__file__).resolve().parents[3]
SAMPLE = ROOT / "samples" / "street.mp4"


@pytest.fixture(autouse=True)
def a_model_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that is named like a model; its contents are only looked at when it is loaded."""
    folder = tmp_path / "models" / "mini"
    folder.mkdir(parents=True)
    (folder / "open_clip_config.json").write_text("{}")
    (folder / "open_clip_model.safetensors").write_bytes(b"")
    monkeypatch.setenv("MODELS_DIR", str(tmp_path / "models"))


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "clipwatch.yml"
    path.write_text(text)
    return path


def faults_of(path: Path, environment: dict[str, str] | None = None) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        load_run_config(path, environment or {})
    return caught.value.faults


def test_a_whole_configuration_is_read(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        f"settings: {{model: mini, data_dir: kept, page_port: 9000, weather: none}}\n"
        f"cameras: [{{id: street, url: '{SAMPLE}', labels: [a car]}}]\n",
    )
    config = load_run_config(path, {"REDIS_URL": "redis://127.0.0.1:1/0"})
    assert config.data_dir == tmp_path / "kept"
    assert config.settings.page_port == 9000
    assert config.redis_url == "redis://127.0.0.1:1/0"
    assert config.database_url is None
    assert [camera.id for camera in config.cameras.cameras] == ["street"]


def test_the_example_has_no_fault_but_the_password_it_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    example = ROOT / "clipwatch.example.yml"
    assert faults_of(example) == (
        "clipwatch.example.yml: camera 'gate': ${GATE_PASSWORD} is not set in the environment",
    )
    assert load_run_config(example, {"GATE_PASSWORD": "secret"}).cameras.cameras[0].id == "gate"


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "settings: {model: nothing-like-it, page_port: 70000}\n"
        "cameras:\n"
        "  - {id: gate, url: 'rtsp://user:hunter2@192.0.2.1/a', labels: [a dog], motion: {threshold: 300}}\n"
        "  - {id: yard, url: missing.mp4, labels: [a dog]}\n",
    )
    faults = faults_of(path, {"DATABASE_URL": "postgres://user:hunter2@db/x"})
    text = "\n".join(faults)
    assert "clipwatch.yml: settings.page_port=70000" in text
    assert "camera 'gate': motion.threshold=300" in text
    assert "environment: DATABASE_URL=postgres://***@db/x: 'postgres' is not known; wanted" in text
    assert "hunter2" not in text
    assert "camera 'yard': url: " in text
    assert "missing.mp4: no such file" in text
    assert "settings.model=nothing-like-it" in text
    assert len(faults) == 5, text


def test_an_unknown_model_and_a_missing_file_are_told_together(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "settings: {model: nothing-like-it}\ncameras: [{id: yard, url: missing.mp4, labels: [a dog]}]\n",
    )
    faults = faults_of(path)
    assert len(faults) == 2
    assert faults[0].startswith("clipwatch.yml: settings.model=nothing-like-it: ")
    assert faults[1].startswith("clipwatch.yml: camera 'yard': url: ")


def test_a_missing_file_and_a_file_that_is_no_yaml_are_faults(tmp_path: Path) -> None:
    assert faults_of(tmp_path / "none.yml") == (f"{tmp_path / 'none.yml'}: no such file",)
    assert "not YAML" in faults_of(written(tmp_path, "cameras: [\n"))[0]


def test_models_lie_in_the_virtual_environment_unless_told_otherwise(tmp_path: Path) -> None:
    assert models_dir({}).parts[-3:] == ("share", "clipwatch", "models")
    assert models_dir({"MODELS_DIR": str(tmp_path)}) == tmp_path


def network_faults(tmp_path: Path, settings: str, environment: dict[str, str] | None = None) -> list[str]:
    path = written(
        tmp_path, f"settings: {{{settings}}}\ncameras: [{{id: street, url: '{SAMPLE}', labels: [a car]}}]\n"
    )
    given = {"REDIS_URL": "redis://127.0.0.1:1/0", **(environment or {})}
    try:
        load_run_config(path, given)
    except ConfigError as exc:
        return list(exc.faults)
    return []


@pytest.mark.parametrize("listen", ["0.0.0.0:8080", "'[::]:8080'", "192.168.1.5:8080"])
def test_the_network_gets_no_page_without_a_login(tmp_path: Path, listen: str) -> None:
    for token in ("", "x", "fifteen-letters"):
        faults = network_faults(tmp_path, f"listen: {listen}", {"API_TOKEN": token})
        assert any("settings.listen=" in fault and "no login" in fault for fault in faults), token
    assert not network_faults(tmp_path, f"listen: {listen}", {"API_TOKEN": "a" * 16})


def test_a_user_of_the_site_is_login_enough(tmp_path: Path) -> None:
    listen = "listen: 0.0.0.0:8080"
    assert network_faults(tmp_path, listen)
    assert not (tmp_path / "data").exists(), "a look makes no database"
    assert not network_faults(tmp_path, listen, {"ADMIN_PASSWORD": "correct horse"})
    users.add_user(
        database_of(tmp_path / "clipwatch.yml", {}), users.UserOptions("ada", "admin"), "correct horse"
    )
    assert not network_faults(tmp_path, listen)
    assert not network_faults(tmp_path, listen, {"API_TOKEN": "sixteen-letters!"})


@pytest.mark.parametrize("listen", ["127.0.0.1:9000", "localhost:9000", "'[::1]:9000'"])
def test_this_machine_needs_no_login(tmp_path: Path, listen: str) -> None:
    assert not network_faults(tmp_path, f"listen: {listen}")


@pytest.mark.parametrize(
    "listen", ["8080", "cam.example:8080", "0.0.0.0", "1.2.3:80", "0.0.0.0:99999", "'[::'"]
)
def test_what_is_no_address_is_told_with_what_is_wanted(tmp_path: Path, listen: str) -> None:
    (fault,) = network_faults(tmp_path, f"listen: {listen}")
    assert fault.startswith("clipwatch.yml: settings.listen=")


def test_settings_of_the_network_are_the_recorders(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "settings: {listen: '127.0.0.1:1', allowed_hosts: [cam.example, b.example], path_prefix: /cw,\n"
        "  trusted_proxies: [192.0.2.1], tls_cert: c.pem, tls_key: k.pem}\n"
        f"cameras: [{{id: street, url: '{SAMPLE}', labels: [a car]}}]\n",
    )
    (tmp_path / "c.pem").touch()
    (tmp_path / "k.pem").touch()
    environment = {"REDIS_URL": "redis://127.0.0.1:1/0", "TRUSTED_PROXIES": "192.0.2.9"}
    assert load_run_config(path, environment).site == {
        "ALLOWED_HOSTS": "cam.example,b.example",
        "TRUSTED_PROXIES": "192.0.2.1",
        "PATH_PREFIX": "/cw",
        "TLS_CERT_FILE": str(tmp_path / "c.pem"),
        "TLS_KEY_FILE": str(tmp_path / "k.pem"),
    }


def test_one_half_of_a_certificate_is_told(tmp_path: Path) -> None:
    assert "wanted both" in network_faults(tmp_path, "tls_cert: c.pem")[0]
