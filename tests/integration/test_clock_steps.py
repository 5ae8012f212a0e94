"""A service, or Redis, whose wall clock is set while it runs: nothing is missed, nothing waits for the clock."""

from __future__ import annotations

import http.server
import io
import itertools
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import av
import pytest
from redis.asyncio import Redis

from shared.contract import SnippetHeader
from shared.streams.outcomes import Delivery, Outcome, Retry
from tests.integration.streams_rig import GROUP, STREAM, Handler, add, done, have, is_settled, running, until
from tests.integration.test_motion_service import Motion, Rig, received
from tests.servers import RedisServer, wait_until
from tests.unit.motion.videos import scene
from tests.wall_clock import SettableClock

FPS = 10
YEAR_S = 365 * 86_400.0
RETRIES = "clipwatch_stream_entries_settled_total"


def jpegs() -> list[bytes]:
    """Return 2 s in which a square crosses, and 3 s of nothing."""
    made = []
    for plane in scene(5 * FPS, 320, 240, 50, moves=range(2 * FPS)):
        data = io.BytesIO()
        with av.open(data, "w", format="mjpeg") as container:
            stream = container.add_stream("mjpeg", rate=FPS)
            stream.width, stream.height, stream.pix_fmt = plane.shape[1], plane.shape[0], "yuvj420p"
            frame = av.VideoFrame.from_ndarray(plane, format="gray").reformat(format="yuvj420p")
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        made.append(data.getvalue())
    return made


@pytest.fixture
def camera_url() -> Iterator[str]:
    """A camera that sends JPEGs in parts, 10 a second, for ever."""
    ends = threading.Event()
    pictures = jpegs()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            due_s = time.monotonic()
            for picture in itertools.cycle(pictures):
                self.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\n\r\n" + picture + b"\r\n")
                due_s += 1 / FPS
                if ends.wait(max(0.0, due_s - time.monotonic())):
                    return

        def log_message(self, *_: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/video"
    ends.set()
    server.shutdown()
    server.server_close()
    thread.join(10)


def headers_of(rig: Rig) -> list[SnippetHeader]:
    return [snippet.header for snippet, _ in received(rig.redis_url)]


def wait_for_open_event(motion: Motion) -> str:
    wait_until(lambda: motion.cameras()["cam"]["open_event"] is not None, 60, "an open event")
    return str(motion.cameras()["cam"]["open_event"])


@pytest.mark.slow  # shorter: test_watcher.py keeps the wall clock of an event
@pytest.mark.redis
def test_events_go_on_and_end_whole_however_the_wall_clock_is_set(
    tmp_path: Path, redis_url: str, settable_clock: SettableClock, camera_url: str
) -> None:
    rig = Rig(tmp_path, redis_url)
    rig.cameras({"url": camera_url, "motion": {"quiet_s": 1, "post_roll_s": 1, "first_snippet_s": 1}})
    offsets_s = [-3600.0, -3601.0, 10 * YEAR_S, -30 * YEAR_S]
    stepped: list[tuple[str, float]] = []  # the event that was open, and where the clock was set
    try:
        motion = rig.start(is_waited_for=True, **settable_clock.environment)
        for offset_s in offsets_s:
            event_id = wait_for_open_event(motion)
            settable_clock.set(offset_s)
            stepped.append((event_id, offset_s))
            n_frames = motion.cameras()["cam"]["frames"]
            wait_until(
                lambda e=event_id: any(h.is_last for h in headers_of(rig) if h.event_id == e),  # type: ignore[misc]  # a default argument binds the loop's value
                60,
                "the end of the event",
            )
            assert motion.cameras()["cam"]["frames"] > n_frames
            assert motion.cameras()["cam"]["drops"].keys() <= {"detector_busy"}
        wait_for_open_event(motion)
        found = headers_of(rig)
        lines = [line for line in motion.events() if "wall clock was set" in line["event"]]
    finally:
        rig.stop_all()
    told = [after - before for before, after in itertools.pairwise([0.0, *offsets_s])]
    assert [line["by_s"] for line in lines] == pytest.approx(told, abs=0.3)
    by_event = {header.event_id: [h for h in found if h.event_id == header.event_id] for header in found}
    for (event_id, _), offset_s in zip(stepped, [0.0, *offsets_s], strict=False):
        snippets = by_event[event_id]
        assert [one.snippet for one in snippets] == list(range(len(snippets)))
        assert [one.is_last for one in snippets] == [False] * (len(snippets) - 1) + [True]
        starts, last = snippets[0].event_started_at.timestamp(), snippets[-1]
        assert abs(starts - offset_s - time.time()) < 200  # what the clock said when it began
        assert last.event_ended_at is not None
        assert 0.5 < (last.event_ended_at - last.event_started_at).total_seconds() < 6
        for before, after in itertools.pairwise(snippets):
            assert abs((after.started_at - before.ended_at).total_seconds()) < 1.5
        assert all(one.started_at < one.ended_at for one in snippets)


@pytest.mark.redis
@pytest.mark.parametrize("step_s", [-3600.0, -30 * YEAR_S, 3600.0])
async def test_work_in_hand_does_not_wait_for_the_clock_of_redis(
    settable_clock: SettableClock, step_s: float
) -> None:
    server = RedisServer()
    server.environment = settable_clock.environment
    server.start()
    client: Redis = Redis.from_url(server.url)

    def later(delivery: Delivery) -> Outcome:
        return Retry("not yet") if delivery.attempts == 1 else done(delivery)

    try:
        await client.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
        await add(client, 1)
        await client.xreadgroup(GROUP, "dead", {STREAM: ">"})  # a replica that was killed with it in hand
        await add(client, 2)
        async with running(client, Handler(later)) as consumer:
            await until(lambda: consumer.counted(RETRIES, stream=STREAM, outcome="retry") >= 1)
            settable_clock.set(step_s)
            await until(lambda: have(client, 1, 2), 20)
            await until(lambda: is_settled(client))
    finally:
        await client.aclose()
        server.close()
