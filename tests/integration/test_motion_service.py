"""The motion service as a process, against a real Redis: files to streams, Redis away and back, kill -9, cameras."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import pytest
import redis

from shared.contract import MEDIA, SNIPPETS, MediaMessage, SnippetMessage
from tests.servers import RedisServer, RtspServer, free_port, wait_until
from tests.unit.motion.videos import scene, write_video

ROOT = Path(__file__).parents[2]
STARTS_AT = "2026-01-01T12:00:00+00:00"


@dataclass
class Motion:
    """A running `python -m services.motion`."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path
    token: str = ""

    def cameras(self) -> dict[str, Any]:  # Any: JSON
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/api/cameras")
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        with urllib.request.urlopen(request, timeout=5) as answer:
            return {camera["id"]: camera for camera in json.load(answer)["cameras"]}

    def state(self, camera: str = "cam") -> str | None:
        with contextlib.suppress(OSError, KeyError):
            return str(self.cameras()[camera]["state"])
        return None

    def snippets(self, camera: str = "cam") -> int:
        with contextlib.suppress(OSError, KeyError):
            return int(self.cameras()[camera]["snippets"])
        return 0

    def events(self) -> list[dict[str, Any]]:  # Any: JSON
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]


class Rig:
    """A folder with a camera file, and the processes that a test starts in it."""

    def __init__(self, folder: Path, redis_url: str) -> None:
        self.folder = folder
        self.redis_url = redis_url
        self._running: list[Motion] = []

    def start(self, *, is_waited_for: bool = True, **environment: str) -> Motion:
        port = free_port()
        log = self.folder / f"motion-{len(self._running)}.log"
        settings = {
            **os.environ,
            "REDIS_URL": self.redis_url,
            "DATA_DIR": str(self.folder / "data"),
            "CAMERAS_FILE": str(self.folder / "cameras.yml"),
            "HTTP_PORT": str(port),
            "LOG_FORMAT": "json",
            "READ_S": "3",
            "OPEN_S": "3",
            "RECONNECT_MAX_S": "1",
            **environment,
        }
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "services.motion"],
                cwd=ROOT,
                env=settings,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        motion = Motion(process, port, log, environment.get("API_TOKEN", ""))
        self._running.append(motion)
        if is_waited_for:
            wait_until(
                lambda: motion.state() is not None or process.poll() is not None, 60, "the first answer"
            )
        return motion

    def cameras(self, *entries: dict[str, object]) -> None:
        """Write the camera file (JSON is YAML)."""
        cameras = [
            {"id": "cam", "labels": ["a square"], "background": ["a wall"], **entry} for entry in entries
        ]
        temporary = self.folder / "cameras.tmp"
        temporary.write_text(json.dumps({"cameras": cameras}))
        temporary.replace(self.folder / "cameras.yml")

    def stop_all(self) -> None:
        for motion in self._running:
            if motion.process.poll() is None:
                motion.process.send_signal(signal.SIGCONT)
                motion.process.kill()
            motion.process.wait(10)


@pytest.fixture
def rig(tmp_path: Path, redis_url: str) -> Iterator[Rig]:
    made = Rig(tmp_path, redis_url)
    yield made
    made.stop_all()


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty seconds with motion in 5..15 and 25..37 s."""
    moving = {*range(50, 150), *range(250, 370)}
    first = list(scene(150, 320, 240, 50, moves=range(50, 150)))
    second = list(scene(400, 320, 240, 50, moves=range(250, 370)))[150:]
    assert len(moving) == 220
    return write_video(tmp_path_factory.mktemp("video") / "in.mp4", [*first, *second], gop=20)


def received(url: str) -> list[tuple[SnippetMessage, MediaMessage]]:
    """Return all snippets in Redis with their clips."""
    client: Any = redis.Redis.from_url(url)  # Any: redis-py types sync and async answers as one
    found = []
    for _, fields in client.xrange(SNIPPETS):
        snippet = SnippetMessage.decode(fields)
        ((_, media),) = client.xrange(MEDIA, snippet.media_id, snippet.media_id)
        found.append((snippet, MediaMessage.decode(media)))
    client.close()
    return found


def keys_of(url: str) -> list[tuple[str, int, bool]]:
    return [(s.header.event_id, s.header.snippet, s.header.is_last) for s, _ in received(url)]


def finite(video: Path, **more: object) -> dict[str, object]:
    return {"url": str(video), "loop": False, "pace": "fast", "starts_at": STARTS_AT, **more}


@pytest.mark.redis
def test_a_file_becomes_events_and_the_service_ends_by_itself(rig: Rig, video: Path) -> None:
    rig.cameras(finite(video))
    motion = rig.start(is_waited_for=False)
    assert motion.process.wait(120) == 0
    found = received(rig.redis_url)
    events = list(dict.fromkeys(snippet.header.event_id for snippet, _ in found))
    assert len(events) == 2
    for event_id, starts_s, ends_s in zip(events, (5.0, 25.0), (14.9, 36.9), strict=True):
        mine = [(s, m) for s, m in found if s.header.event_id == event_id]
        assert [s.header.snippet for s, _ in mine] == list(range(len(mine)))
        assert [s.header.is_last for s, _ in mine] == [False] * (len(mine) - 1) + [True]
        header = mine[-1][0].header
        noon = header.event_started_at.replace(hour=12, minute=0, second=0, microsecond=0)
        assert (header.event_started_at - noon).total_seconds() == pytest.approx(starts_s, abs=0.3)
        assert header.event_ended_at is not None
        assert (header.event_ended_at - noon).total_seconds() == pytest.approx(ends_s, abs=0.5)
        for snippet, media in mine:
            assert media.thumbnail[:2] == b"\xff\xd8"
            assert all(picture[:2] == b"\xff\xd8" for picture in snippet.pictures)
            with av.open(io.BytesIO(media.clip), "r") as clip:
                n_frames = len(list(clip.decode(video=0)))
            length_s = (snippet.header.ended_at - snippet.header.started_at).total_seconds()
            assert n_frames == pytest.approx(length_s * 10, abs=1.5)
        assert any(picture.kind == "crop" for picture in mine[0][0].header.pictures)
    assert not list((rig.folder / "data" / "outbox").glob("*.snippet"))


@pytest.mark.slow  # shorter: a service that stays reads a recording once
@pytest.mark.redis
def test_a_finished_file_is_not_read_again(rig: Rig, video: Path) -> None:
    rig.cameras(finite(video))
    assert rig.start(is_waited_for=False).process.wait(120) == 0
    before = keys_of(rig.redis_url)
    assert rig.start(is_waited_for=False).process.wait(60) == 0
    assert keys_of(rig.redis_url) == before


@pytest.mark.redis
def test_a_service_that_stays_reads_a_recording_once_also_when_it_is_started_again(
    rig: Rig, video: Path
) -> None:
    rig.cameras({"url": str(video), "loop": False, "pace": "fast"})
    keys: list[list[tuple[str, int, bool]]] = []
    for _ in range(2):
        motion = rig.start(EXIT_WHEN_DONE="false")
        wait_until(lambda log=motion.log: "the service stays up" in log.read_text(), 120, "the end")  # type: ignore[misc]  # a default argument binds the loop's value
        assert motion.state() == "ended"
        keys.append(keys_of(rig.redis_url))
        motion.process.send_signal(signal.SIGTERM)
        assert motion.process.wait(20) == 0
    assert len(keys[0]) >= 4
    assert keys[1] == keys[0]


@pytest.mark.slow  # shorter: kill -9 with an open event
@pytest.mark.redis
def test_kill_9_in_the_middle_of_a_file_loses_and_doubles_nothing(
    rig: Rig, video: Path, own_redis: RedisServer
) -> None:
    rig.cameras(finite(video))
    assert rig.start(is_waited_for=False).process.wait(120) == 0
    wanted = keys_of(rig.redis_url)
    shutil.rmtree(rig.folder / "data")
    rig.redis_url = own_redis.url
    for n_snippets in (1, 3):
        motion = rig.start()
        wait_until(lambda n=n_snippets, m=motion: m.snippets() >= n or m.process.poll() is not None, 60)  # type: ignore[misc]  # default arguments bind the loop's values
        motion.process.kill()
        motion.process.wait(10)
    assert rig.start(is_waited_for=False).process.wait(120) == 0
    found = keys_of(own_redis.url)
    assert sorted(found) == sorted(wanted)


@pytest.mark.redis
def test_kill_9_with_an_open_event_of_a_camera_ends_it_at_the_next_start(rig: Rig, video: Path) -> None:
    rig.cameras({"url": str(video), "loop": True, "pace": "realtime"})
    motion = rig.start()
    wait_until(lambda: motion.snippets() >= 1, 60, "the first snippet")
    (event_id,) = {key[0] for key in keys_of(rig.redis_url)} or {motion.cameras()["cam"]["open_event"]}
    motion.process.kill()
    motion.process.wait(10)
    again = rig.start()
    wait_until(
        lambda: any(key[0] == event_id and key[2] for key in keys_of(rig.redis_url)), 30, "the event's end"
    )
    mine = sorted(key[1:] for key in keys_of(rig.redis_url) if key[0] == event_id)
    assert [number for number, _ in mine] == list(range(len(mine)))
    assert [is_last for _, is_last in mine] == [False] * (len(mine) - 1) + [True]
    again.process.terminate()
    assert again.process.wait(15) == 0


@pytest.mark.redis
def test_what_is_cut_while_redis_is_away_waits_on_disk(rig: Rig, video: Path, own_redis: RedisServer) -> None:
    rig.redis_url = own_redis.url
    own_redis.kill()
    rig.cameras(finite(video))
    motion = rig.start()
    outbox = rig.folder / "data" / "outbox"
    wait_until(lambda: motion.state() == "ended", 60, "the end of the file")
    n_waiting = len(list(outbox.glob("*.snippet")))
    assert n_waiting >= 4
    assert motion.process.poll() is None
    own_redis.start()
    assert motion.process.wait(60) == 0
    assert len(keys_of(own_redis.url)) == n_waiting
    warnings = [event["event"] for event in motion.events() if event["level"] == "warning"]
    assert warnings == ["Redis does not take snippets, they wait on disk"]


@pytest.mark.redis
def test_no_more_than_the_backlog_waits_in_redis(rig: Rig, video: Path) -> None:
    rig.cameras(finite(video))
    motion = rig.start(BACKLOG_MAX="2")
    wait_until(lambda: motion.state() == "ended", 60, "the end of the file")
    client = redis.Redis.from_url(rig.redis_url)
    taken = set()
    ends_at = time.monotonic() + 60
    while motion.process.poll() is None:
        assert time.monotonic() < ends_at
        entries: Any = client.xrange(SNIPPETS)  # Any: redis-py types sync and async as one
        assert len(entries) <= 2
        for entry_id, fields in entries:
            taken.add(SnippetMessage.decode(fields).header.snippet)
            client.xdel(SNIPPETS, entry_id)
        motion.process.poll()
    assert motion.process.returncode == 0
    assert len(taken) >= 2


@pytest.mark.slow  # shorter: test_recording_folders.py
@pytest.mark.redis
def test_bad_files_fail_alone_and_all_bad_files_fail_the_service(rig: Rig, video: Path) -> None:
    text = rig.folder / "notes.mp4"
    text.write_text("no video")
    rig.cameras(finite(video), finite(text, id="text"), finite(rig.folder / "missing.mp4", id="missing"))
    motion = rig.start(is_waited_for=False)
    assert motion.process.wait(120) == 0
    assert len(keys_of(rig.redis_url)) >= 4
    (last,) = rig.folder.glob("data/status.json")
    states = {camera["id"]: camera["state"] for camera in json.loads(last.read_text())["cameras"]}
    assert states == {"cam": "ended", "text": "failed", "missing": "failed"}
    rig.cameras(finite(text, id="text"))
    motion = rig.start(is_waited_for=False)
    assert motion.process.wait(60) == 1
    assert "notes.mp4" in motion.log.read_text()


@pytest.mark.slow  # shorter: test_recording_folders.py, in one process
@pytest.mark.redis
def test_a_folder_is_read_file_after_file_and_once(rig: Rig, video: Path) -> None:
    folder = rig.folder / "recordings"
    folder.mkdir()
    for name in ("b.mp4", "a.mp4"):
        shutil.copy(video, folder / name)
    (folder / "c.mp4").write_text("no video")
    (folder / "notes.txt").write_text("no video")
    rig.cameras(finite(folder))
    motion = rig.start(is_waited_for=False)
    assert motion.process.wait(120) == 0
    headers = [snippet.header for snippet, _ in received(rig.redis_url)]
    begun = sorted({header.event_started_at for header in headers})
    noon = begun[0].replace(hour=12, minute=0, second=0, microsecond=0)
    assert [(at - noon).total_seconds() for at in begun] == pytest.approx([5, 25, 45, 65], abs=0.3)
    (camera,) = json.loads((rig.folder / "data" / "status.json").read_text())["cameras"]
    assert (camera["state"], camera["message"]) == ("ended", "1 of 3 files could not be used")
    before = keys_of(rig.redis_url)
    assert rig.start(is_waited_for=False).process.wait(60) == 0
    assert keys_of(rig.redis_url) == before


@pytest.mark.slow  # shorter: the unit tests of http/cameras.py
@pytest.mark.redis
def test_an_edited_camera_file_takes_effect_and_a_broken_edit_does_not(rig: Rig, video: Path) -> None:
    camera: dict[str, object] = {"url": str(video), "loop": True, "pace": "realtime"}
    rig.cameras(camera)
    motion = rig.start()
    (rig.folder / "cameras.yml").write_text("cameras: [")
    wait_until(lambda: any("has faults" in event["event"] for event in motion.events()), 60, "the complaint")
    rig.cameras({**camera, "labels": ["a white square"]}, {**camera, "id": "other"})
    wait_until(lambda: motion.state("other") == "running", 60, "the added camera")
    wait_until(lambda: len(received(rig.redis_url)) >= 1, 60, "a snippet")
    (snippet, _), *_ = received(rig.redis_url)
    assert snippet.header.label_set.labels == ("a white square",)
    rig.cameras({**camera, "labels": ["a white square"]})
    wait_until(lambda: motion.state("other") is None, 60, "the removed camera")
    motion.process.terminate()
    assert motion.process.wait(15) == 0
    assert [key[2] for key in keys_of(rig.redis_url) if key[0] == snippet.header.event_id][-1]


@pytest.mark.slow  # shorter: test_rtsp_sources.py, in one process
@pytest.mark.redis
@pytest.mark.rtsp
def test_a_camera_that_freezes_and_dies_is_away_and_comes_back(
    rig: Rig, rtsp_server: Callable[..., RtspServer]
) -> None:
    camera = rtsp_server("--login", "user:very-secret")
    rig.cameras({"url": camera.url("user:very-secret")})
    motion = rig.start()
    wait_until(lambda: motion.snippets() >= 1, 60, "the first snippet")
    camera.freeze()
    wait_until(lambda: motion.state() == "away", 20, "the frozen camera")
    camera.thaw()
    wait_until(lambda: motion.state() == "running", 60, "the thawed camera")
    camera.kill()
    wait_until(lambda: motion.state() == "away", 20, "the dead camera")
    with urllib.request.urlopen(f"http://127.0.0.1:{motion.port}/healthz", timeout=5) as answer:
        assert answer.status == 200
    camera.start()
    wait_until(lambda: motion.state() == "running", 60, "the restarted camera")
    wait_until(lambda: motion.cameras()["cam"]["open_event"] is not None, 60, "another event")
    began_s = time.monotonic()
    motion.process.terminate()
    assert motion.process.wait(15) == 0
    assert time.monotonic() - began_s < 10
    assert "very-secret" not in motion.log.read_text()
    by_event: dict[str, list[bool]] = {}
    for event_id, _, is_last in keys_of(rig.redis_url):
        by_event.setdefault(event_id, []).append(is_last)
    assert len(by_event) >= 2
    assert all(ends[-1] and not any(ends[:-1]) for ends in by_event.values())


@pytest.mark.slow  # shorter: the unit tests of http/cameras.py
@pytest.mark.redis
def test_labels_changed_by_http_are_in_the_next_snippet_of_an_open_event_and_last(
    rig: Rig, video: Path
) -> None:
    text = (
        "# ours\ncameras:\n  - id: cam\n"
        f"    url: {video}\n    labels: [a square]   # seen\n    motion: {{first_snippet_s: 1, longest_snippet_s: 2}}\n"
    )
    (rig.folder / "cameras.yml").write_text(text)
    motion = rig.start()
    wait_until(lambda: motion.snippets() >= 1, 60, "the first snippet")
    request = urllib.request.Request(
        f"http://127.0.0.1:{motion.port}/api/cameras/cam/labels",
        json.dumps({"labels": ["a circle"]}).encode(),
        {"Content-Type": "application/json"},
        method="PUT",
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert json.load(answer)["settings"]["labels"] == ["a circle"]

    def labels() -> list[tuple[str, tuple[str, ...]]]:
        return [(s.header.event_id, s.header.label_set.labels) for s, _ in received(rig.redis_url)]

    wait_until(lambda: any(texts == ("a circle",) for _, texts in labels()), 60, "the new labels")
    found = labels()
    assert found[0][1] == ("a square",)
    assert found[-1] == (found[0][0], ("a circle",))
    assert (rig.folder / "cameras.yml").read_text() == text.replace("[a square]", "[a circle]")
    assert motion.process.poll() is None
    motion.process.terminate()
    assert motion.process.wait(20) == 0
    again = rig.start()
    with urllib.request.urlopen(f"http://127.0.0.1:{again.port}/api/cameras/cam", timeout=5) as answer:
        assert json.load(answer)["settings"]["labels"] == ["a circle"]
    assert not any("the camera file" in event.get("event", "") for event in motion.events())


@pytest.mark.redis
def test_the_only_camera_can_be_paused_and_resumed(rig: Rig, video: Path) -> None:
    rig.cameras({"url": str(video)})
    motion = rig.start()

    def post(what: str) -> str:
        request = urllib.request.Request(
            f"http://127.0.0.1:{motion.port}/api/cameras/cam/{what}",
            b"",
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=15) as answer:
            return str(json.load(answer)["state"])

    wait_until(lambda: motion.state() == "running", 60, "the camera to run")
    assert post("pause") == "paused"
    assert motion.cameras() == {}
    assert json.loads((rig.folder / "cameras.yml").read_text())["cameras"][0]["enabled"] is False
    post("resume")
    wait_until(lambda: motion.state() == "running", 60, "the camera to run again")
    assert motion.process.poll() is None
