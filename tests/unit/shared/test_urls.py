"""URLs with logins: what a variable's value becomes, what is found to be wrong, and that no text holds a secret."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from pydantic import SecretStr

from services.local.config import load_run_config
from services.local.tasks.recorder_address import url_faults
from services.motion.sources.http_mjpeg import open_mjpeg
from services.motion.sources.stream import SourceAway
from services.motion.sources.webrtc.whep import open_whep
from services.recorder.notify.file import WebhookTarget, load_notify
from services.recorder.record.database_url import parse_url, sqlite_address
from services.recorder.settings import RecorderSettings
from shared.cameras import parse_cameras
from shared.errors import ConfigError
from shared.redis_client import make_redis, redis_faults
from shared.urls import SecretUrl, fill_in, shown_url, url_fault, with_password

NASTY = [
    "a#b",
    "a?b",
    "a/b",
    "a@b",
    "a:b",
    "100%41x",
    "50%",
    "p w",
    'it\'s "q"',
    "pässwörd",
    "[::1]",
    "a&b=c+d",
    "$x",
]
# literal passwords that end user information too early; the pieces that must be in no text
BROKEN = [
    "hunter2#x",
    "hunter2?x",
    "hunter2/x",
    "12#hunter2",
    "12?hunter2",
    "12/hunter2",
    "hunter2 x",
    "hunter2[x",
]


@pytest.mark.parametrize("password", NASTY)
def test_a_password_by_variable_is_taken_literally(password: str) -> None:
    filled = fill_in("rtsp://viewer:${PASSWORD}@gate:554/stream1?x=1", {"PASSWORD": password})
    parts = urlsplit(filled)
    assert url_fault(filled) is None
    assert (parts.hostname, parts.port, parts.path, parts.query) == ("gate", 554, "/stream1", "x=1")
    assert unquote(parts.password or "") == password


@pytest.mark.parametrize("password", NASTY)
def test_a_login_by_one_variable_is_a_user_and_a_password(password: str) -> None:
    parts = urlsplit(fill_in("whep://${LOGIN}@gate/cam", {"LOGIN": f"viewer:{password}"}))
    assert (parts.username, unquote(parts.password or "")) == ("viewer", password)


def test_each_place_of_a_url_is_quoted_in_its_own_way() -> None:
    known = {
        "URL": "rtsp://u:p%40q@h/s?a=b",
        "HOST": "10.0.0.7:8554",
        "PATH": "live/é #1",
        "QUERY": "a=1&b=x y",
    }
    assert fill_in("${URL}", known) == known["URL"]
    assert fill_in("${URL}&c=1", known) == known["URL"] + "&c=1"
    assert (
        fill_in("http://${HOST}/${PATH}?${QUERY}", known)
        == "http://10.0.0.7:8554/live/%C3%A9%20%231?a=1&b=x%20y"
    )
    assert fill_in("http://h/s?token=${QUERY}", known) == "http://h/s?token=a%3D1%26b%3Dx%20y"
    assert fill_in("rtsp://u:${NOPE}@h/s", known) == "rtsp://u:${NOPE}@h/s"
    assert fill_in("whip:?token=${T}", {"T": "abc+/=~.-_abcdefgh"}) == "whip:?token=abc+/=~.-_abcdefgh"


@pytest.mark.parametrize("password", NASTY)
def test_a_camera_file_quotes_urls_and_nothing_else(password: str) -> None:
    camera = {
        "id": "gate",
        "url": "http://u:${P}@h/v",
        "detect_url": "rtsp://u:${P}@h/v",
        "labels": ["a dog"],
    }
    document = {"cameras": [{**camera, "name": "${P}"}]}
    [found] = parse_cameras(document, "cameras.yml", Path("/x"), {"P": password}).cameras
    for url in (found.url, found.detect_url or ""):
        assert unquote(urlsplit(url).password or "") == password
    assert found.name == password


@pytest.mark.parametrize("password", NASTY)
def test_redis_and_the_database_get_the_password_that_was_set(password: str) -> None:
    redis = with_password("redis://redis:6379/0", password)
    assert redis_faults(redis) == []
    assert make_redis(redis).connection_pool.connection_kwargs["password"] == password
    settings = RecorderSettings(
        redis_password=SecretStr(password),
        database_url=SecretUrl("mysql://clipwatch@mysql:3306/clipwatch"),
        database_password=SecretStr(password),
    )
    assert parse_url(settings.database_address).password == password
    assert make_redis(settings.redis_address).connection_pool.connection_kwargs["password"] == password


def test_a_password_in_the_url_counts_and_files_have_none() -> None:
    assert with_password("redis://:own@h/0", "other") == "redis://:own@h/0"
    assert with_password("redis://h/0", "") == "redis://h/0"
    assert with_password("sqlite:///data/c.db", "other") == "sqlite:///data/c.db"
    assert with_password("unix:///run/redis.sock?db=1", "p#w") == "unix://:p%23w@/run/redis.sock?db=1"


@pytest.mark.parametrize("password", BROKEN)
@pytest.mark.parametrize("scheme", ["rtsp", "http", "whep", "redis", "https"])
def test_a_password_that_ends_its_url_is_found_and_not_shown(scheme: str, password: str) -> None:
    url = f"{scheme}://viewer:{password}@gate/stream1"
    fault = url_fault(url)
    assert fault is not None
    assert "%23" in fault or "%20" in fault
    assert "hunter2" not in fault + shown_url(url)


@pytest.mark.parametrize(
    "url", ["rtsp://gate:hunter2", "rtsp:/u:hunter2@gate/s", "rtsp:u:hunter2@gate", "rtps://u:hunter2@gate/s"]
)
def test_a_url_that_is_none_is_told_without_its_password(url: str) -> None:
    document = {"cameras": [{"id": "gate", "url": url, "labels": ["a dog"]}]}
    with pytest.raises(ConfigError) as refused:
        parse_cameras(document, "cameras.yml", Path("/x"), {})
    assert "camera 'gate': url=" in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_usual_urls_have_no_fault() -> None:
    for url in (
        "rtsp://10.0.0.7:554/user@home",
        "rtsp://u:p@ss@gate/cam?channel=1&subtype=0",
        "rtsp://[fe80::1]:554/s",
        "http://gate/video.mjpg",
        "rtsp://admin:@gate/s",
        "https://hooks.example.org/a/b?c=d",
    ):
        assert url_fault(url) is None, url


def test_a_login_longer_than_ffmpeg_keeps_is_told() -> None:
    document = {"cameras": [{"id": "gate", "url": "rtsp://u:${P}@gate/s", "labels": ["a dog"]}]}
    with pytest.raises(ConfigError, match="more than 127 bytes"):
        parse_cameras(document, "cameras.yml", Path("/x"), {"P": "#" * 50})
    assert parse_cameras(document, "cameras.yml", Path("/x"), {"P": "#" * 40}).cameras


@pytest.mark.parametrize("password", [*BROKEN, "hunter2@x"])
def test_servers_are_refused_before_they_are_asked(password: str) -> None:
    urls = {"REDIS_URL": f"redis://:{password}@redis:6379/0", "DATABASE_URL": f"mysql://u:{password}@mysql/c"}
    with pytest.raises(ConfigError) as refused:
        parse_url(urls["DATABASE_URL"])
    told = [*refused.value.faults, *redis_faults(urls["REDIS_URL"])]
    assert "DATABASE_PASSWORD" in told[0]
    if password != "hunter2@x":  # of Redis the last @ ends the login
        assert "REDIS_PASSWORD" in told[1]
    assert "hunter2" not in " ".join(told)


def test_a_run_tells_faults_of_both_urls_at_once(tmp_path: Path) -> None:
    config = tmp_path / "clipwatch.yml"
    config.write_text("cameras: [{id: gate, url: 'rtsp://gate/s', labels: [a dog]}]")
    environment = {"REDIS_URL": "redis://u:hunter2", "DATABASE_URL": "mysql://u:hunter2#x@h/c"}
    with pytest.raises(ConfigError) as refused:
        load_run_config(config, environment)
    told = [fault for fault in refused.value.faults if fault.startswith("environment: ")]
    assert [fault.partition("=")[0] for fault in told] == [
        "environment: REDIS_URL",
        "environment: DATABASE_URL",
    ]
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("password", BROKEN)
def test_sources_and_hooks_quote_no_piece_of_a_url(password: str, tmp_path: Path) -> None:
    texts = []
    for open_source, scheme in ((open_mjpeg, "http"), (open_whep, "whep")):
        with pytest.raises(SourceAway) as away:
            open_source(f"{scheme}://viewer:{password}@127.0.0.1:1/v", 1, 1, lambda _reason: None)
        texts.append(str(away.value))
        texts.append(str(away.value.__cause__))
    file = tmp_path / "notify.yml"
    file.write_text(
        "targets: [{name: hook, webhook: {url: 'https://u:" + password + "@h/x', secret: 0123456789abcdef}}]"
    )
    with pytest.raises(ConfigError) as refused:
        load_notify(file, {})
    assert "webhook.url" in str(refused.value)
    texts += [str(refused.value), *url_faults(f"http://u:{password}@h:8080")]
    assert "hunter2" not in " ".join(texts)


def test_a_hook_by_variables_is_quoted_and_its_secret_is_not(tmp_path: Path) -> None:
    file = tmp_path / "notify.yml"
    file.write_text(
        "targets: [{name: hook, webhook: {url: 'https://u:${P}@h/${T}', secret: '${S}'}}, "
        "{name: home, mqtt: {host: broker, password: '${S}'}}]"
    )
    found = load_notify(file, {"P": "a#b@c", "T": "x y", "S": "0123456789abcde#"})
    hook, home = (target.webhook or target.mqtt for target in found.targets)
    assert isinstance(hook, WebhookTarget)
    assert hook.url.get_secret_value() == "https://u:a%23b%40c@h/x%20y"
    assert hook.secret.get_secret_value() == "0123456789abcde#"
    assert home is not None
    assert not isinstance(home, WebhookTarget)
    assert home.password.get_secret_value() == "0123456789abcde#"


@pytest.mark.parametrize("name", ["a?b", "a%3Fb", "100%41x", "a#b", "a@b:c", "it's", "%25", "x%3"])
def test_a_database_file_may_have_any_name(name: str) -> None:
    assert parse_url(sqlite_address(Path(f"/x/{name}/c.db"))).database == f"/x/{name}/c.db"
