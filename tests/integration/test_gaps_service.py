"""Motion and the recorder as processes, with a real Mosquitto: what Home Assistant is shown of cameras and silence."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.test_motion_service import Rig, rig, video
from tests.integration.test_notifications import Listener, ended, listening
from tests.integration.test_recorder_service import Recorder
from tests.servers import MosquittoServer

__all__ = ["rig", "video"]  # fixtures

pytestmark = [pytest.mark.redis]
LIMIT_S = 120.0


@pytest.fixture
def recorder(tmp_path: Path, redis_url: str, broker: MosquittoServer) -> Iterator[Recorder]:
    (tmp_path / "notify.yml").write_text(
        f"targets: [{{name: home, mqtt: {{host: 127.0.0.1, port: {broker.port}}}}}]"
    )
    environment = {"NOTIFY_FILE": str(tmp_path / "notify.yml"), "GAP_AFTER_S": "1"}
    made = Recorder(tmp_path / "recorder", redis_url, f"sqlite:///{tmp_path}/clipwatch.db", environment)
    yield made
    if made.process is not None and made.process.poll() is None:
        made.kill()


async def holds(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not condition():
            await asyncio.sleep(0.02)


def told(listener: Listener) -> list[str]:
    """Return the types of what was said of motion and the camera, in order."""
    types = [json.loads(payload)["type"] for topic, payload in listener.all if topic == "clipwatch/gaps"]
    return [kind for kind in types if kind.startswith(("motion", "camera"))]


@pytest.mark.slow  # shorter: test_gaps.py, in one process
async def test_a_killed_motion_service_is_told_once_each_way_and_a_removed_camera_leaves(
    rig: Rig, video: Path, recorder: Recorder, broker: MosquittoServer
) -> None:
    looping = {"url": str(video), "loop": True, "pace": "realtime", "name": "Front gate"}
    rig.cameras(looping, {**looping, "id": "yard", "enabled": False})
    (rig.folder / "recorder").mkdir()
    listener, task = await listening(broker)
    recorder.start()
    motion = rig.start()
    await listener.has("clipwatch/cam/availability", b"online", LIMIT_S)
    await listener.has("clipwatch/yard/availability", b"offline", LIMIT_S)  # configured, and disabled
    await listener.has("clipwatch/cam/motion", b"ON", LIMIT_S)  # no classifier is there: nothing is recorded
    configs = [topic for topic in listener.last if topic.startswith("homeassistant/sensor/")]
    assert {json.loads(listener.last[topic])["device"]["name"] for topic in configs} == {"Front gate"}
    motion.process.kill()
    motion.process.wait(10)
    await listener.has("clipwatch/cam/availability", b"offline", LIMIT_S)
    await holds(lambda: told(listener) == ["motion.gone"])
    again = rig.start()
    await listener.has("clipwatch/cam/availability", b"online", LIMIT_S)
    await holds(lambda: told(listener) == ["motion.gone", "motion.back"])
    yard = [topic for topic, payload in listener.last.items() if "_yard/" in topic and payload]
    assert len(yard) == 4
    rig.cameras(looping)
    await listener.has("clipwatch/yard/availability", b"", LIMIT_S)
    await holds(lambda: not any(listener.last[topic] for topic in yard))
    again.process.send_signal(signal.SIGTERM)
    assert recorder.stop() == 0
    await listener.has("clipwatch/status", b"offline", LIMIT_S)
    await ended(task)
