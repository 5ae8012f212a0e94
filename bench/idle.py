"""What idle saving loses or delays on the scenes of `make bench-motion`, JSON: `python -m bench.idle [--plan …]`.

Each scene (H.264, key frames 2 s apart, shown twice in a row, since it takes 20 s to fall asleep) goes through the
whole camera with every frame decoded, and again with `motion.idle: auto`, as a live one would. An event of the first
is lost when none of the second begins within 2 s of it, and late by what lies between. `skipped`: the share of frames
not decoded.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
from pathlib import Path
from typing import Any

import av
import cv2
import structlog

from bench.scenes import PLANS, scenes_of
from bench.scenes_pictures import fetch
from services.motion.cameras.pace import Pace
from tests.integration.test_idle_saving import Played, play

NEAR_S = 2.0


def shown_twice(scene: Path, target: Path) -> Path:
    """Write the packets of a scene twice, one after the other."""
    with av.open(str(target), "w") as writer:
        copy: Any = None  # Any: PyAV's stream of a template
        shift = 0
        for _ in range(2):
            with av.open(str(scene)) as reader:
                source = reader.streams.video[0]
                copy = copy or writer.add_stream_from_template(source)
                ends = 0
                for packet in reader.demux(source):
                    if packet.dts is None or packet.pts is None:
                        continue
                    ends = max(ends, packet.pts + (packet.duration or 0))
                    packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, copy
                    writer.mux(packet)
                shift += ends
    return target


def compared(awake: Played, idle: Played) -> tuple[int, int, list[float]]:
    """Return how many events are lost and how many are new, and by how many seconds the others begin later."""
    left, late = idle.begins_s(), []
    for begin_s in awake.begins_s():
        nearest = min(left, key=lambda other: abs(other - begin_s), default=None)
        if nearest is not None and abs(nearest - begin_s) <= NEAR_S:
            left.remove(nearest)
            late.append(round(nearest - begin_s, 2))
    return len(awake.begins_s()) - len(late), len(left), late


def main() -> None:
    """Play all scenes, tell of each that differs on stderr, print the sums."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plan", choices=sorted(PLANS), default="held-out")
    parser.add_argument("--cache", type=Path, default=Path("data/bench"))
    wanted = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    cv2.setNumThreads(1)
    Pace.wait = lambda *_: None  # type: ignore[method-assign]  # nothing is to be learned of the waiting
    cache = wanted.cache.resolve()
    fetch(cache)
    n_scenes = n_events = n_lost = n_new = n_spared = 0
    late_s: list[float] = []
    skipped: list[float] = []
    for scene in scenes_of(PLANS[wanted.plan], cache, lambda line: print(line, file=sys.stderr, flush=True)):
        with tempfile.TemporaryDirectory() as folder:
            film = shown_twice(scene.path, Path(folder) / "scene.mp4")
            awake, idle = (play(Path(folder) / mode, film, mode, "realtime") for mode in ("off", "auto"))
        lost, new, late = compared(awake, idle)
        share = 1 - idle.status.decoded_share
        n_scenes, n_events = n_scenes + 1, n_events + len(awake.begins_s())
        n_lost, n_new, n_spared = n_lost + lost, n_new + new, n_spared + (idle.status.n_skipped > 0)
        late_s.extend(late)
        skipped.append(share)
        if lost or new or max(late, default=0.0) > 0.1:
            print(
                f"{scene.name}: awake {awake.begins_s()}, idle {idle.begins_s()}, skipped {share:.2f}",
                file=sys.stderr,
            )
    said = {
        "plan": wanted.plan,
        "scenes": n_scenes,
        "spared_in": n_spared,
        "skipped_mean": round(sum(skipped) / max(1, len(skipped)), 3),
        "events": n_events,
        "lost": n_lost,
        "new": n_new,
        "late_s_worst": max(late_s, default=0.0),
        "late_by_over_0.1_s": sum(one > 0.1 for one in late_s),
    }
    print(json.dumps(said, indent=1))


if __name__ == "__main__":
    main()
