"""A camera that no deadline of a library ends: its readers are left behind, and there are never many of them."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.motion.cameras.live_worker import MOST_LEFT_BEHIND
from shared.runtime import Health
from tests.integration.camera_rig import live_camera


class Trickler:
    """Answers HTTP with a header that never ends, a byte at a time: no wait on the socket is ever too long."""

    def __init__(self) -> None:
        self.n_clients = 0
        self._ends = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                client, _ = self._socket.accept()
                self.n_clients += 1
                threading.Thread(target=self._trickle, args=(client,), daemon=True).start()

    def _trickle(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            client.sendall(b"HTTP/1.1 200 OK\r\nX-Wait: ")
            while not self._ends.wait(0.05):
                client.sendall(b"x")

    def release(self) -> None:
        """Hang up on everybody, now and later."""
        self._ends.set()

    def close(self) -> None:
        self.release()
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(10)


@pytest.fixture
def trickler() -> Iterator[Trickler]:
    made = Trickler()
    yield made
    made.close()


@pytest.mark.slow  # shorter: a silent camera in test_rtsp_sources.py
def test_readers_that_hang_are_left_behind_and_bounded(trickler: Trickler, tmp_path: Path) -> None:
    with live_camera(tmp_path, deadline_s=0.1, url=f"http://127.0.0.1:{trickler.port}/video") as camera:
        left = camera.status.drops
        camera.wait_for(
            lambda: left["reader_left_behind"] == MOST_LEFT_BEHIND, "that readers are left behind", 60
        )
        assert camera.status.state == "away"
        assert camera.status.last_error == "no answer in time"
        assert camera.told("warning") == ["the camera is away, trying again"]
        waiting = [thread for thread in threading.enumerate() if thread.name == "read cam"]
        assert len(waiting) == MOST_LEFT_BEHIND == trickler.n_clients
        health = Health()
        camera.status.beat = health.expect("camera", 2.0)
        camera.wait_for(lambda: bool(health.stalled()), "that it shows as standing still", 30)
        trickler.release()
        camera.wait_for(lambda: trickler.n_clients > MOST_LEFT_BEHIND, "another try", 30)
