"""Packets decode to frames with their times."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.motion.media.decoding import decode
from tests.unit.motion.videos import read_packets, scene, write_video


def test_decoded_frames_carry_the_times_of_their_packets(tmp_path: Path) -> None:
    path = write_video(tmp_path / "in.mp4", scene(25), options={"bf": "3"})
    facts, packets = read_packets(path)
    times = [t for t, _ in decode(facts, packets)]
    assert times == pytest.approx(sorted(packet.t_s for packet in packets), abs=1e-3)
