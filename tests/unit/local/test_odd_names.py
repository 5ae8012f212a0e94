"""Files and folders with names that something on the way could take for more than a name."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import RedisError

from services.local.config import load_run_config
from services.local.evaluation.labelled_clips import read_folder
from services.local.launcher.redis_server import EmbeddedRedis, prepare_redis
from services.local.tasks.analysis import AnalyzeOptions, check_options
from services.local.tasks.analysis import _document as camera_file_of
from services.local.tasks.camera_calibration import CalibrateOptions, calibrate_camera
from services.motion.settings import MotionServiceSettings
from services.motion.sources.file import open_file
from services.motion.sources.probe import probe, probe_source
from services.motion.spool.recordings import find_recording
from services.recorder.notify.file import load_notify
from services.recorder.record.bootstrap import open_database
from services.recorder.record.database_url import sqlite_address
from shared.cameras import kind_of, load_cameras, parse_cameras
from shared.errors import ConfigError, redact
from shared.settings import load_settings
from tests.servers import wait_until
from tests.unit.motion.videos import scene, write_video

NAMES = [
    "2026-11-28T22:57:44",
    "gate:1",
    "concat:x",
    "rtsp:x",
    "100%41x %03d",
    "a#b?c&d",
    "-dash",
    "~nobody",
    " $HOME ${HOME} ",
    'it\'s "q" \\ `x`',
    "new\nline",
    "[*]{a,b}?",
    "u\u0308 :car: \u65e5\u672c",
    "n" * 240,
    os.fsdecode(b"not-utf8-\xff"),
]
TOO_LONG = "n" * 300
odd = pytest.mark.parametrize("name", NAMES, ids=ascii)


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "a.mp4", scene(12))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    model = tmp_path / "models" / "mini"
    model.mkdir(parents=True)
    (model / "open_clip_config.json").write_text("{}")
    (model / "open_clip_model.safetensors").write_bytes(b"")
    monkeypatch.setenv("MODELS_DIR", str(tmp_path / "models"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def options(*files: Path, out: Path = Path("out")) -> AnalyzeOptions:
    return AnalyzeOptions(files, ("a dog",), (), 0.5, "mini", out)


@odd
def test_a_recording_is_opened_by_its_relative_name(here: Path, video: Path, name: str) -> None:
    path = Path(f"{name}.mp4")
    shutil.copy(video, here / path)
    assert probe(path).width == 160
    open_file(str(path), 0.0, lambda _reason: None).close()


@odd
def test_analyze_finds_its_file_again_in_the_camera_file_that_it_writes(
    here: Path, video: Path, name: str
) -> None:
    path = Path(f"{name}.mp4")
    shutil.copy(video, here / path)
    recordings = check_options(options(path, out=Path(f"{name} out")))
    [camera] = parse_cameras(
        camera_file_of(options(path), recordings), "c.yml", here / "elsewhere", {}
    ).cameras
    assert camera.url == str(path.resolve())
    assert find_recording(here, camera).event_id(1.0) != find_recording(here, camera).event_id(2.0)
    redact(camera.url).encode()


@pytest.mark.parametrize("name", [name for name in NAMES if name.isprintable()], ids=ascii)
def test_a_camera_file_names_files_and_folders_as_they_are(here: Path, video: Path, name: str) -> None:
    folder = here / name
    folder.mkdir()
    shutil.copy(video, folder / f"{name}.mp4")
    relative = f"./{name}" if name == "rtsp:x" else name  # what stands before a colon may be a scheme
    quoted = relative.replace("'", "''")
    (folder / "c.yml").write_text(
        f"cameras: [{{id: a, url: '../{quoted}', labels: [x]}}, {{id: b, url: '{quoted}.mp4', labels: [x]}}]"
    )
    environment = {} if "$" not in name else {"HOME": "${HOME}"}
    cameras = load_cameras(folder / "c.yml", environment).cameras
    assert [camera.url for camera in cameras] == [str(folder), str(folder / f"{name}.mp4")]
    for camera in cameras:
        probe_source(Path(camera.url))


def test_what_stands_before_a_colon_is_a_scheme_only_when_it_is_one_of_ours() -> None:
    assert kind_of("2026-11-28T22:57:44.mp4") == "file"
    assert kind_of("gate:1.mp4") == "file"
    assert kind_of("./rtsp:1.mp4") == "file"
    assert kind_of("RTSP://gate/1") == "rtsp"
    for url, said in (("rtsp:gate/1", "wanted rtsp://"), ("rtps://gate/1", "'rtps' is not known")):
        with pytest.raises(ValueError, match=said):
            kind_of(url)


@odd
def test_a_folder_of_labelled_clips_has_any_name(here: Path, name: str) -> None:
    clip = here / name / "a dog" / f"{name}.mp4"
    clip.parent.mkdir(parents=True)
    clip.write_bytes(b"x")
    [found] = read_folder(Path(name), ("a dog",))
    assert found.path.samefile(clip)


@odd
def test_the_database_lies_where_the_data_directory_is(here: Path, name: str) -> None:
    file = here / name / "clipwatch.db"

    async def made() -> None:
        database = await open_database(sqlite_address(file), asyncio.Event(), 30, 30)
        await database.close()

    asyncio.run(made())
    assert file.stat().st_size > 0
    assert {path.name for path in here.iterdir()} == {"models", name}


@pytest.mark.parametrize("name", ['it\'s "q" \\', "new\nline", "[*]?", os.fsdecode(b"\xff #")], ids=ascii)
def test_the_embedded_redis_keeps_its_file_there(here: Path, name: str) -> None:
    folder = here / name / "redis"
    with contextlib.ExitStack() as held:
        embedded = prepare_redis(folder, held)
        _keeps_its_file(embedded, folder)
    assert embedded.socket.parent == folder or not embedded.socket.parent.exists()


def _answers(client: Redis) -> bool:
    try:
        return bool(client.ping())
    except (RedisError, OSError):
        return False


def _keeps_its_file(embedded: EmbeddedRedis, folder: Path) -> None:
    process = subprocess.Popen(embedded.argv, stdout=subprocess.DEVNULL)
    try:
        client = Redis.from_url(embedded.url)
        wait_until(lambda: _answers(client) and embedded.pid_file.exists(), 60, "redis answers")
        client.set("a", 1)
        assert any(path.name.startswith("appendonly") for path in folder.iterdir())
    finally:
        process.terminate()
        process.wait(10)


@odd
def test_settings_name_folders_as_they_are(here: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA_DIR", name)
    assert load_settings(MotionServiceSettings).data_dir == Path(name)
    shutil.move(here / "models", here / name)
    monkeypatch.setenv("MODELS_DIR", name)
    config = here / f"{name}.yml"
    config.write_text("settings: {data_dir: ~x}\ncameras: [{id: a, url: 'rtsp://a/1', labels: [x]}]")
    assert load_run_config(config).data_dir == here / "~x"


@pytest.mark.parametrize("name", ["2026-11-28T22:57:44", "rtsp:x", "new\nline", NAMES[-1]], ids=ascii)
def test_calibrate_takes_any_file_and_draws_into_any(here: Path, name: str) -> None:
    write_video(here / f"{name}.mp4", scene(60))
    picture = Path(f"{name}.png")
    calibrate_camera(
        CalibrateOptions(f"{name}.mp4", 5, picture, Path("clipwatch.yml")),
        asyncio.Event(),
        lambda _s, _x: None,
    )
    assert picture.stat().st_size > 0


def test_a_name_that_is_too_long_is_a_fault_and_no_bug(here: Path) -> None:
    with pytest.raises(ConfigError, match="File name too long"):
        probe(Path(TOO_LONG))
    with pytest.raises(ConfigError, match="File name too long"):
        read_folder(Path(TOO_LONG), ())
    with pytest.raises(ConfigError, match=r"--out .*File name too long"):
        check_options(options(here / "nothing.mp4", out=Path(TOO_LONG)))
    for load in (load_cameras, load_notify, load_run_config):
        with pytest.raises(ConfigError, match="File name too long"):
            load(Path(TOO_LONG))
