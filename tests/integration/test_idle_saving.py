"""Idle saving: a camera that is asleep between key frames misses nothing and begins no event later."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from services.motion.cameras.context import CameraContext
from services.motion.cameras.file_worker import FileWorker
from services.motion.cameras.pace import Pace
from services.motion.metrics import MotionMetrics
from services.motion.settings import MotionServiceSettings
from services.motion.spool.outbox import Outbox, OutboxEntry
from services.motion.spool.recordings import find_recording
from services.motion.status import CameraStatus
from shared.cameras import Camera
from shared.contract import SnippetHeader, SnippetMessage
from tests.integration.camera_rig import CameraRig, live_camera, n_frames_of
from tests.servers import RtspServer
from tests.unit.motion.videos import Plane, write_video

WIDTH, HEIGHT, FPS, GOP_S = 320, 240, 12, 2
LENGTH_S = 30
CROSSES = (26.4, 27.4)  # s: between the key frames at 26 and 28, after it fell asleep
CODERS = {
    "vbr": {"preset": "ultrafast", "crf": "23", "bf": "0"},
    "open groups": {"preset": "veryfast", "crf": "23", "x264-params": "open-gop=1:bframes=3"},
    "cbr": {
        "preset": "ultrafast",
        "b": "500k",
        "maxrate": "500k",
        "bufsize": "500k",
        "nal-hrd": "cbr",
        "bf": "0",
    },
}


def scene(
    light: float, noise: float, crosses: tuple[float, float] = CROSSES, length_s: int = LENGTH_S
) -> Iterator[Plane]:
    """Yield a place with fine structure; a thing of 30x48 px crosses it between two times, in seconds."""
    rng = np.random.default_rng(3)
    ground = rng.integers(60, 160, (HEIGHT // 4, WIDTH // 4)).repeat(4, 0).repeat(4, 1) * light
    thing = rng.integers(0, 255, (12, 6)).repeat(4, 0).repeat(5, 1) * light
    noises = [rng.normal(0, noise, ground.shape) for _ in range(8)]
    for index in range(length_s * FPS):
        share = (index / FPS - crosses[0]) / (crosses[1] - crosses[0])
        frame = ground
        if 0 <= share <= 1:
            frame = ground.copy()
            x = round(share * (WIDTH - thing.shape[1]))
            frame[100 : 100 + thing.shape[0], x : x + thing.shape[1]] = thing
        noisy = frame + np.roll(noises[int(rng.integers(8))], int(rng.integers(WIDTH)), axis=1)
        yield noisy.clip(0, 255).astype(np.uint8)


@dataclass
class Played:
    """What a recording became."""

    status: CameraStatus
    snippets: list[SnippetHeader]
    starts_s: float

    def begins_s(self) -> list[float]:
        events = dict.fromkeys(header.event_started_at.timestamp() for header in self.snippets)
        return [round(at - self.starts_s, 2) for at in events]

    def clips_s(self) -> list[tuple[float, float]]:
        return [
            (
                round(header.started_at.timestamp() - self.starts_s, 2),
                round(header.ended_at.timestamp() - self.starts_s, 2),
            )
            for header in self.snippets
        ]


def play(folder: Path, video: Path, idle: str, pace: str = "fast") -> Played:
    """Read a recording as the service does."""
    folder.mkdir()
    (folder / "journal").mkdir()
    metrics = MotionMetrics(CollectorRegistry())
    camera = Camera.model_validate(
        {
            "id": "cam",
            "labels": ["x"],
            "url": str(video),
            "pace": pace,
            "loop": False,
            "motion": {"idle": idle},
        }
    )
    outbox = Outbox(folder / "outbox", 64 * 1024 * 1024, metrics)
    recording = find_recording(folder / "recordings", camera)
    assert recording is not None
    status = CameraStatus("cam", camera.url, metrics)
    context = CameraContext(MotionServiceSettings(), outbox, b"s" * 32, folder / "journal")
    worker = FileWorker(camera, context, status, recording)
    worker.start()
    assert worker.join(240)
    assert status.state == "ended"
    paths = sorted((folder / "outbox").glob("*.snippet"))
    messages = [outbox.read(OutboxEntry(path.name, path.stat().st_size))[1] for path in paths]
    headers = [SnippetMessage.decode(message).header for message in messages]
    return Played(status, headers, recording.starts_s)


@pytest.mark.parametrize(
    ("coder", "light", "noise", "sleeps"),
    [
        ("vbr", 1.0, 1.0, True),
        ("open groups", 1.0, 1.0, True),
        ("cbr", 1.0, 1.5, False),
        ("vbr", 0.25, 3.5, False),
        ("cbr", 0.25, 3.5, False),
    ],
    ids=["variable rate", "open groups", "constant rate", "night", "night at a constant rate"],
)
def test_a_thing_that_crosses_between_two_key_frames_is_an_event_with_all_of_its_pre_roll(
    tmp_path: Path, coder: str, light: float, noise: float, sleeps: bool
) -> None:
    video = write_video(
        tmp_path / "in.mp4", scene(light, noise), fps=FPS, gop=GOP_S * FPS, options=CODERS[coder]
    )
    awake, idle = play(tmp_path / "off", video, "off"), play(tmp_path / "auto", video, "auto")
    assert awake.status.n_skipped == 0
    assert awake.begins_s() == [pytest.approx(CROSSES[0], abs=0.3)]
    assert idle.begins_s() == pytest.approx(awake.begins_s(), abs=0.11)
    assert idle.clips_s() == awake.clips_s()
    assert [len(header.pictures) for header in idle.snippets] == [
        len(header.pictures) for header in awake.snippets
    ]
    assert (idle.status.n_skipped > 0) is sleeps
    assert idle.status.decoded_share == pytest.approx(1.0 if not sleeps else 0.8, abs=0.15)


@pytest.mark.parametrize(
    "coder", [{"bf": "3"}, {"bf": "3", "x264-params": "b-pyramid=none"}], ids=["nested", "flat"]
)
def test_pictures_that_no_other_needs_are_not_decoded_between_two_looks(
    tmp_path: Path, coder: dict[str, str]
) -> None:
    """A busy recording at 24 frames a second, B-frames in it: half is decoded, the event is the same."""
    frames = (frame for frame in scene(1.0, 1.0, (3.0, 5.5), 10) for _ in range(2))
    options = {"preset": "veryfast", "crf": "23", **coder}
    video = write_video(tmp_path / "in.mp4", frames, fps=2 * FPS, gop=2 * FPS * GOP_S, options=options)
    awake, thinned = play(tmp_path / "off", video, "off"), play(tmp_path / "auto", video, "auto")
    assert awake.status.n_skipped == 0
    assert thinned.status.decoded_share <= 0.65
    assert thinned.begins_s() == pytest.approx(awake.begins_s(), abs=0.1)
    for one, other in zip(thinned.clips_s(), awake.clips_s(), strict=True):
        assert one == pytest.approx(other, abs=0.15)
    assert not thinned.status.is_truncated


@pytest.mark.parametrize(("gop_s", "most"), [(1, 0.95), (GOP_S, 0.9)])
def test_in_a_sure_event_the_rest_of_a_group_is_not_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gop_s: int, most: float
) -> None:
    """A thing crosses for 20 s of 26: of each group some of 12 or 24 pictures are left, the event and its clips are
    the same."""
    monkeypatch.setattr(Pace, "wait", lambda *_: None)
    frames = scene(1.0, 1.0, (4.0, 24.0), 26)
    video = write_video(tmp_path / "in.mp4", frames, fps=FPS, gop=gop_s * FPS, options=CODERS["vbr"])
    whole = play(tmp_path / "off", video, "off", "realtime")
    thinned = play(tmp_path / "auto", video, "auto", "realtime")
    assert whole.status.n_skipped == 0
    assert 0.6 <= thinned.status.decoded_share <= most
    assert thinned.begins_s() == whole.begins_s() != []
    assert len(thinned.snippets) == len(whole.snippets)
    for one, other in zip(thinned.clips_s(), whole.clips_s(), strict=True):
        assert one == pytest.approx(other, abs=0.61)
    for less, more in zip(thinned.snippets, whole.snippets, strict=True):
        assert len(less.pictures) == pytest.approx(len(more.pictures), abs=4)


def test_at_25_frames_a_second_it_dozes_and_falls_asleep_and_wakes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of most groups something is left after the last look; the camera sleeps all the same, and misses nothing."""
    monkeypatch.setattr(Pace, "wait", lambda *_: None)
    frames = (frame for frame in scene(1.0, 1.0, (36.4, 37.4), 41) for _ in range(2))
    video = write_video(tmp_path / "in.mp4", frames, fps=2 * FPS, gop=2 * GOP_S * FPS, options=CODERS["vbr"])
    awake = play(tmp_path / "off", video, "off", "realtime")
    idle = play(tmp_path / "auto", video, "auto", "realtime")
    assert awake.begins_s() == [pytest.approx(36.4, abs=0.3)]
    assert idle.begins_s() == pytest.approx(awake.begins_s(), abs=0.11)
    assert idle.clips_s() == awake.clips_s()
    assert idle.status.decoded_share <= 0.8


def test_a_recording_that_ends_while_it_sleeps_is_not_taken_for_cut_off(tmp_path: Path) -> None:
    frames = scene(1.0, 1.0, (90.0, 91.0))
    video = write_video(tmp_path / "in.mp4", frames, fps=FPS, gop=GOP_S * FPS, options=CODERS["vbr"])
    played = play(tmp_path / "auto", video, "auto")
    assert played.status.n_skipped > GOP_S * FPS
    assert not played.status.is_truncated
    assert played.snippets == []


OPEN_S = 20.0  # the stream is sent once: a camera that gives up opening it has missed it


@contextmanager
def side_by_side(
    rtsp_server: Callable[..., RtspServer], folder: Path, frames: Iterator[Plane]
) -> Iterator[tuple[CameraRig, CameraRig]]:
    """Let two cameras read one stream; only the second may leave anything undecoded."""
    video = write_video(folder / "in.mp4", frames, fps=FPS, gop=GOP_S * FPS, options=CODERS["vbr"])
    url = rtsp_server("--file", str(video)).url()
    (folder / "off").mkdir()
    (folder / "auto").mkdir()
    with (
        live_camera(folder / "off", deadline_s=OPEN_S, url=url, motion={"idle": "off"}) as awake,
        live_camera(folder / "auto", deadline_s=OPEN_S, url=url, motion={"idle": "auto"}) as idle,
    ):
        yield awake, idle


@pytest.mark.slow  # shorter: the same on recordings above
@pytest.mark.rtsp
@pytest.mark.timeout(240)
def test_a_network_camera_that_sleeps_sees_what_one_that_is_awake_sees(
    rtsp_server: Callable[..., RtspServer], tmp_path: Path
) -> None:
    """The second may sleep."""
    with side_by_side(rtsp_server, tmp_path, scene(1.0, 1.0, (36.4, 37.4), 44)) as (awake, idle):
        idle.wait_for(lambda: idle.status.n_skipped > 4 * FPS, "it sleeps", 60)
        assert idle.status.n_events == 0
        for camera in (awake, idle):
            camera.wait_for(lambda camera=camera: bool(camera.snippets()), "the crossing", 60)  # type: ignore[misc]
        seen = [camera.snippets()[0] for camera in (awake, idle)]
    assert awake.status.n_skipped == 0
    (awake_media, awake_said), (idle_media, idle_said) = seen
    assert len({said.header.event_id for _, said in idle.snippets()}) == 1
    for name in ("event_started_at", "started_at", "ended_at"):
        apart = getattr(idle_said.header, name) - getattr(awake_said.header, name)
        assert abs(apart.total_seconds()) <= 0.25, name
    assert n_frames_of(idle_media)[1] == pytest.approx(n_frames_of(awake_media)[1], abs=2)
    assert len(idle_said.header.pictures) == pytest.approx(len(awake_said.header.pictures), abs=2)


@pytest.mark.slow  # shorter: the same on recordings above
@pytest.mark.rtsp
@pytest.mark.timeout(180)
def test_a_network_camera_leaves_the_rest_of_groups_in_a_sure_event(
    rtsp_server: Callable[..., RtspServer], tmp_path: Path
) -> None:
    """A thing takes 20 s to cross: time for several groups, also where a busy machine makes it sure late."""
    with side_by_side(rtsp_server, tmp_path, scene(1.0, 1.0, (10.0, 30.0), 36)) as (awake, thinned):
        for camera in (awake, thinned):
            camera.wait_for(
                lambda camera=camera: any(said.header.is_last for _, said in camera.snippets()),  # type: ignore[misc]
                "the end of the crossing",
                80,
            )
        assert awake.status.n_skipped == 0
        assert thinned.status.n_skipped >= 2 * FPS
        whole, less = ([said.header for _, said in camera.snippets()] for camera in (awake, thinned))
        assert "reader_left_behind" not in thinned.status.as_json()["drops"]
    assert len({header.event_id for header in less}) == len({header.event_id for header in whole}) == 1
    assert abs((less[0].event_started_at - whole[0].event_started_at).total_seconds()) <= 0.25
    assert abs((less[-1].ended_at - whole[-1].ended_at).total_seconds()) <= 0.75
    assert all(len(header.pictures) >= 8 for header in less)
