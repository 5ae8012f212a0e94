"""Recorder and motion as processes, as they stand beside each other behind one address, for those who attack them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.integration.test_motion_service import Motion, Rig
from tests.integration.test_recorder_service import Recorder
from tests.servers import HOST, wait_until
from tests.unit.motion.videos import scene, write_video

MOTION_TOKEN = "motion-0123456789abcdef"
API_TOKEN = "site-0123456789abcdef0123"
WHIP_TOKEN = "whip-0123456789abcdef"
LONG = (pytest.mark.slow, pytest.mark.long_attack, pytest.mark.timeout(900))  # in `make test-attack` only


@dataclass(frozen=True, slots=True)
class Site:
    """Both services, and where they are."""

    recorder: Recorder
    motion: Motion

    @property
    def url(self) -> str:
        return self.recorder.url

    @property
    def motion_url(self) -> str:
        return f"http://{HOST}:{self.motion.port}"

    @property
    def ports(self) -> dict[str, tuple[int, str]]:
        """Port and token of each service."""
        return {"recorder": (self.recorder.port, API_TOKEN), "motion": (self.motion.port, MOTION_TOKEN)}

    def rss_mib(self, service: str) -> float:
        """Return the memory of a service's process."""
        process = self.recorder.process if service == "recorder" else self.motion.process
        assert process is not None
        assert process.poll() is None, f"{service} has ended"
        fields = Path(f"/proc/{process.pid}/statm").read_text(encoding="ascii").split()
        return int(fields[1]) * 4096 / 2**20


@contextlib.contextmanager
def running_site(folder: Path, redis_url: str, **recorder: str) -> Iterator[Site]:
    """Run both, with two recordings and a publisher as cameras; `recorder`: further settings of it."""
    video = write_video(folder / "square.mp4", scene(60, 320, 240, moves=range(24, 60)))
    urls = {"gate": str(video), "yard": str(video), "phone": f"whip:?token={WHIP_TOKEN}"}
    cameras = [{"id": name, "url": url, "labels": ["a square"]} for name, url in urls.items()]
    (folder / "cameras.yml").write_text(json.dumps({"cameras": cameras}), encoding="utf-8")
    rig = Rig(folder, redis_url)
    made = Recorder(folder / "recorder", redis_url, f"sqlite:///{folder}/record.db")
    made.folder.mkdir()
    try:
        motion = rig.start(is_waited_for=False, API_TOKEN=MOTION_TOKEN)
        made.environment = {
            "MOTION_URL": f"http://{HOST}:{motion.port}",
            "MOTION_TOKEN": MOTION_TOKEN,
            **recorder,
        }
        made.start()
        wait_until(lambda: _answers(motion), 60, "motion answers")
        yield Site(made, motion)
    finally:
        rig.stop_all()
        if made.process is not None and made.process.poll() is None:
            made.kill()


def _answers(motion: Motion) -> bool:
    headers = {"authorization": f"Bearer {MOTION_TOKEN}"}
    with contextlib.suppress(httpx.HTTPError):
        url = f"http://{HOST}:{motion.port}/api/cameras/gate/picture.jpg"
        return httpx.get(url, headers=headers, timeout=5, trust_env=False).status_code == 200
    return False
