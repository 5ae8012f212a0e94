"""How many cameras one motion process reads in real time, and what each costs: `make bench-cameras`.

    python -m bench.cameras_at_once [--cameras 4,16,32,48,64] [--seconds 60] [--busy-every N] [--cache FOLDER]

Starts the motion service for each number of cameras, with the settings that it has when none are given (idle saving is
on), and Redis; every camera plays a 1080p recording of 25 frames a second at its own speed, again and again: the quiet
one of `make bench-capture`, and for every N-th camera the busy one. They are measured once all have settled: a start
costs ten times as much. Printed is one JSON object:

    most_in_real_time    the largest number of which no camera fell behind
    cameras              for each number: `speed`, seconds of recording a second, of all cameras and of the slowest;
                         `cores`, CPU time by the clock's; `cpu_ms_per_camera_second`; `rss_mb`, `rss_mb_per_camera`
                         (over what the first number has), `threads`; `decoded_share`; `snippets`
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from ruamel.yaml import YAML

from bench.capture_videos import lengthened, recordings
from bench.measuring import embedded_redis
from tests.servers import free_port, wait_until

BUSY_S, QUIET_S, BUSY_TIMES, QUIET_TIMES = 16, 60, 3, 14  # as in bench/capture.py, in the same folder
SETTLE_S = (
    30.0  # of each recording, in which all of it is decoded: what the empty place looks like is learned
)
LONGEST_SETTLING_S = 600.0
SLACK_S = 2.5  # a position is that of the group of pictures that was read last, which is 2 s long
COUNTED = (
    "clipwatch_camera_frames_total",
    "clipwatch_camera_skipped_frames_total",
    "clipwatch_motion_snippets_total",
)
Result = dict[str, Any]  # Any: JSON


@dataclass(frozen=True, slots=True)
class Reading:
    """What the process had done at a moment; of each camera, where in its recording it was."""

    at_s: float
    cpu_s: float
    positions_s: dict[str, float]
    duration_s: dict[str, float]
    n_decoded: int
    n_skipped: int
    n_snippets: int


class Motion:
    """A running motion service."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self._pid, self._port = process.pid, port

    def states(self) -> list[str]:
        try:
            return [camera["state"] for camera in self._cameras()]
        except OSError:
            return []  # it is still starting

    def first_position_s(self) -> float:
        """Return where the camera that is furthest behind is in its recording."""
        return min(float(camera["position_s"] or 0) for camera in self._cameras())

    def reading(self) -> Reading:
        at_s, cpu_s, cameras = time.monotonic(), self._cpu_s(), self._cameras()
        counts: Counter[str] = Counter()
        for family in text_string_to_metric_families(self._get("/metrics").decode()):
            for sample in family.samples:
                counts[sample.name] += int(sample.value) if sample.name in COUNTED else 0
        return Reading(
            at_s,
            cpu_s,
            {camera["id"]: float(camera["position_s"]) for camera in cameras},
            {camera["id"]: float(camera["duration_s"]) for camera in cameras},
            *(counts[name] for name in COUNTED),
        )

    def _cameras(self) -> list[Any]:  # Any: JSON
        found: list[Any] = json.loads(self._get("/api/cameras"))["cameras"]
        return found

    def rss_mb(self) -> float:
        return self._status("VmRSS") / 1024

    def threads(self) -> int:
        return int(self._status("Threads"))

    def _get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}{path}", timeout=30) as answer:
            found: bytes = answer.read()
        return found

    def _cpu_s(self) -> float:
        fields = Path(f"/proc/{self._pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _status(self, name: str) -> float:
        lines = Path(f"/proc/{self._pid}/status").read_text(encoding="utf-8").splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


@contextmanager
def motion_of(folder: Path, urls: Sequence[Path], redis_url: str) -> Iterator[Motion]:
    """Run the motion service with a camera for each recording, until the block ends."""
    cameras = [{"id": f"cam{i}", "url": str(url), "labels": ["a dog"]} for i, url in enumerate(urls)]
    with (folder / "cameras.yml").open("w", encoding="utf-8") as file:
        YAML().dump({"cameras": cameras}, file)
    port = free_port()
    environment = {
        **os.environ,
        "REDIS_URL": redis_url,
        "CAMERAS_FILE": str(folder / "cameras.yml"),
        "DATA_DIR": str(folder / "motion"),
        "HTTP_PORT": str(port),
        "LOG_LEVEL": "WARNING",
    }
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "services.motion"], env=environment, stdout=log, stderr=log
        )
        try:
            yield Motion(process, port)
        finally:
            process.terminate()
            process.wait(60)


def measure(urls: Sequence[Path], seconds: float) -> Result:
    """Let so many cameras run; return what they cost over so many seconds."""
    with (
        tempfile.TemporaryDirectory() as name,
        embedded_redis() as redis_url,
        motion_of(Path(name), urls, redis_url) as motion,
    ):
        wait_until(lambda: motion.states().count("running") == len(urls), 120, f"{len(urls)} cameras run")
        wait_until(
            lambda: motion.first_position_s() >= SETTLE_S, LONGEST_SETTLING_S, "all cameras have settled"
        )
        before = motion.reading()
        time.sleep(seconds)
        after = motion.reading()
        rss_mb, threads = motion.rss_mb(), motion.threads()
    length_s = after.at_s - before.at_s
    speeds = [
        (after.positions_s[camera] - at_s) % after.duration_s[camera] / length_s
        for camera, at_s in before.positions_s.items()
    ]
    cpu_s = after.cpu_s - before.cpu_s
    n_decoded = after.n_decoded - before.n_decoded
    return {
        "speed": round(sum(speeds) / len(speeds), 3),
        "speed_of_the_slowest": round(min(speeds), 3),
        "cores": round(cpu_s / length_s, 3),
        "cpu_ms_per_camera_second": round(1000 * cpu_s / length_s / len(urls), 1),
        "rss_mb": round(rss_mb),
        "threads": threads,
        "decoded_share": round(n_decoded / (n_decoded + after.n_skipped - before.n_skipped), 3),
        "snippets": after.n_snippets - before.n_snippets,
        "load_1min": round(os.getloadavg()[0], 1),
    }


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description="how many cameras one process reads in real time")
    parser.add_argument("--cameras", default="4,16,32,48,64", help="numbers of cameras, ascending")
    parser.add_argument("--seconds", type=float, default=QUIET_S, help="a multiple of the recording's 60")
    parser.add_argument("--busy-every", type=int, default=0, help="every N-th camera is busy; 0: none")
    parser.add_argument("--cache", type=Path, default=Path("data/bench"))
    wanted = parser.parse_args()
    made = recordings(wanted.cache / "capture", BUSY_S, QUIET_S)
    quiet = lengthened(
        made.quiet, QUIET_TIMES, 10, 2 / 3
    )  # as there: what a file costs once at its start is no cost
    busy = lengthened(made.busy, BUSY_TIMES)
    found: dict[int, Result] = {}
    for n in (int(number) for number in wanted.cameras.split(",")):
        urls = [
            (busy if wanted.busy_every and i % wanted.busy_every == 0 else quiet).absolute() for i in range(n)
        ]
        found[n] = measure(urls, wanted.seconds)
        print(f"{n} cameras: {found[n]}", file=sys.stderr, flush=True)
    first = min(found)
    for n in found:
        growth = found[n]["rss_mb"] - found[first]["rss_mb"]
        found[n]["rss_mb_per_camera"] = round(growth / (n - first), 1) if n > first else None
    least = 1 - SLACK_S / wanted.seconds
    in_time = [n for n, result in found.items() if result["speed_of_the_slowest"] >= least]
    print(
        json.dumps(
            {"most_in_real_time": max(in_time, default=None), "cameras": found, "host_cores": os.cpu_count()}
        )
    )


if __name__ == "__main__":
    main()
