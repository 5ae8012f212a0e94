"""Cameras share the cores: none brings decoding threads of its own."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from services.motion.sources.file import open_file
from tests.unit.motion.videos import write_video

N_CAMERAS = 4


def n_threads() -> int:
    """Return the threads of this process, FFmpeg's too."""
    return len(list(Path("/proc/self/task").iterdir()))


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc of Linux")
def test_a_camera_decodes_in_the_thread_that_reads_it(tmp_path: Path) -> None:
    frames = (np.full((180, 320), 40 + 5 * number, np.uint8) for number in range(20))
    path = write_video(tmp_path / "camera.mp4", frames)
    before = n_threads()
    with ExitStack() as streams:
        for _ in range(N_CAMERAS):
            video = open_file(str(path), 0.0, lambda _reason: None)
            streams.callback(video.close)
            assert any(result.frames for result in video.read()), "nothing was decoded"
        assert n_threads() == before
