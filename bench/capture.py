"""What a camera costs, against the alternatives: `make bench-capture`.

    python -m bench.capture [--rounds 3] [--cache FOLDER] [--busy FILE] [--quiet FILE] [--cameras 1,4,16]

Each measurement is a process of its own; CPU is that of all of its threads, from after its imports to the end of the
file, by the frames of the file. Methods take turns, round after round; printed are medians, in one JSON object:

    floor_ms_per_frame, origin_ms_per_frame    busy file: decoding alone; cv2.VideoCapture and contours of BGR frames
    mog2_ms_per_frame                          busy file: OpenCV's mixture of Gaussians on gray frames, opened by 3x3,
                                               largest contour
    floor_quiet_ms_per_frame                   decoding alone, quiet file
    busy_ms_per_frame, quiet_ms_per_frame      the service's camera worker: ring, detector, clips, pictures, outbox;
                                               with the settings that it has when none are given
    motion_daemon_*_ms_per_frame               Debian's motion, playing the file in real time without writing any;
                                               null when it is not installed (MOTION_PROGRAM names another place)
    rss_mb_per_camera                          growth of a process's resident memory by camera, from 1 to the most
    cameras                                    for each number of cameras: CPU a frame, memory, threads
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from prometheus_client import CollectorRegistry

from bench.capture_videos import FPS, Recordings, lengthened, recordings
from services.motion.cameras.context import CameraContext
from services.motion.cameras.file_worker import FileWorker
from services.motion.cameras.pace import Pace
from services.motion.metrics import MotionMetrics
from services.motion.settings import MotionServiceSettings
from services.motion.spool.outbox import Outbox
from services.motion.spool.recordings import find_recording
from services.motion.status import CameraStatus
from shared.cameras import Camera

MIB = 1024 * 1024
BUSY_S, QUIET_S = 16, 60
BUSY_TIMES, QUIET_TIMES = 3, 14  # what a file costs once at its start is no part of a frame's cost
LIMIT_S = 1200.0
MOG2_FRAMES = 400
FILLED_FRAMES = 350  # of each camera: its ring is full (12.2 s)
Result = dict[str, Any]  # Any: JSON


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="what a camera costs")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cache", type=Path, default=Path("data/bench"))
    parser.add_argument("--busy", type=Path, help="1080p H.264; default: made of samples/people-walking.mp4")
    parser.add_argument("--quiet", type=Path)
    parser.add_argument(
        "--cameras", default="1,4,16", help="numbers of cameras in one process; empty: not measured"
    )
    parser.add_argument(
        "--one", choices=sorted(METHODS), help="measure in this process, and print that alone"
    )
    args = parser.parse_args()
    cv2.setNumThreads(1)
    if args.one:
        # a recording plays at its own speed, as a camera does, but nothing is to be measured of the waiting
        Pace.wait = lambda *_: None  # type: ignore[method-assign]
        print(json.dumps(METHODS[args.one](args.busy, int((args.cameras or "1").partition(",")[0]))))
        return 0
    is_given = args.busy and args.quiet
    made = (
        Recordings(args.busy, args.quiet, 0, 0)
        if is_given
        else recordings(args.cache / "capture", BUSY_S, QUIET_S)
    )
    busy = args.busy or lengthened(made.busy, BUSY_TIMES)
    quiet_once = args.quiet or made.quiet
    quiet = args.quiet or lengthened(quiet_once, QUIET_TIMES, 10, 2 / 3)
    print(json.dumps(measure(busy, quiet, quiet_once, args)), flush=True)
    return 0


def measure(busy: Path, quiet: Path, quiet_once: Path, args: argparse.Namespace) -> Result:
    """Let all methods take turns; `quiet_once`: a part of `quiet` that costs the same a frame."""
    plan: dict[str, Callable[[], Result]] = {
        "floor": lambda: apart("floor", busy),
        "origin": lambda: apart("origin", busy),
        "mog2": lambda: apart("mog2", busy),
        "busy": lambda: apart("ours", busy),
        "floor_quiet": lambda: apart("floor", quiet_once),
        "quiet": lambda: apart("ours", quiet),
    }
    program = os.environ.get("MOTION_PROGRAM") or shutil.which("motion")
    if program:
        plan["motion_daemon_busy"] = lambda: debian_motion(program, busy)
        plan["motion_daemon_quiet"] = lambda: debian_motion(program, quiet_once)
    else:
        tell("motion daemon: skipped, no program `motion` here (Debian: apt-get install motion)")
    found: dict[str, list[Result]] = {name: [] for name in plan}
    for number in range(args.rounds):
        for name, run in plan.items():
            result = run()
            found[name].append(result)
            tell(f"round {number + 1}, {name}: {result}")
    result = {"motion_daemon_busy_ms_per_frame": None, "motion_daemon_quiet_ms_per_frame": None}
    for name, results in found.items():
        result[f"{name}_ms_per_frame"] = round(statistics.median(ms(one) for one in results), 3)
    for name in ("busy", "quiet"):
        result[f"{name}_decoded_share"] = found[name][-1]["decoded_share"]
    result["busy_events"], result["quiet_events"] = (found[name][-1]["events"] for name in ("busy", "quiet"))
    numbers = [int(number) for number in filter(None, args.cameras.split(","))]
    cameras = {number: apart("many", busy, number) for number in numbers}
    result["cameras"] = cameras
    result["rss_mb_per_camera"] = slope(cameras, "rss_mb")
    result["threads_per_camera"] = slope(cameras, "threads")
    result["load_average"] = round(os.getloadavg()[0], 1)
    return result


def ms(result: Result) -> float:
    return 1000 * float(result["cpu_s"]) / int(result["frames"])


def slope(cameras: dict[int, Result], key: str) -> float | None:
    """Return by how much `key` grows with each camera more."""
    if len(cameras) < 2:
        return None
    first, last = min(cameras), max(cameras)
    return round((float(cameras[last][key]) - float(cameras[first][key])) / (last - first), 1)


def apart(method: str, path: Path, n_cameras: int = 1) -> Result:
    """Run one measurement in a process of its own."""
    command = [sys.executable, "-m", "bench.capture", "--one", method, "--busy", str(path)]
    done = subprocess.run(
        [*command, "--cameras", str(n_cameras)], capture_output=True, check=False, timeout=LIMIT_S, text=True
    )
    if done.returncode:
        raise SystemExit(f"{method}: {done.stderr}")
    result: Result = json.loads(done.stdout.splitlines()[-1])
    return result


def tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


# -- methods


def floor(path: Path, _n: int) -> Result:
    """Decode in one thread, which costs least, and no more."""
    began_s = time.process_time()
    n_frames = 0
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        for _frame in container.decode(stream):
            n_frames += 1
    return {"cpu_s": time.process_time() - began_s, "frames": n_frames}


def origin(path: Path, _n: int) -> Result:
    """The origin's loop: difference of two BGR frames, gray, blur, threshold 75, dilate x3, largest contour."""
    began_s = time.process_time()
    capture = cv2.VideoCapture(str(path))
    n_frames, n_moving = 0, 0
    is_read, last = capture.read()
    while is_read:
        n_frames += 1
        is_read, frame = capture.read()
        if not is_read:
            break
        gray = cv2.cvtColor(cv2.absdiff(last, frame), cv2.COLOR_BGR2GRAY)
        _, binary = cv2.threshold(cv2.GaussianBlur(gray, (5, 5), 0), 75, 255, cv2.THRESH_BINARY)
        dilated = cv2.dilate(binary, np.ones((3, 3), np.uint8), iterations=3)
        contours, _ = cv2.findContours(dilated, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
        n_moving += max((cv2.contourArea(contour) for contour in contours), default=0.0) > 0
        last = frame
    return {"cpu_s": time.process_time() - began_s, "frames": n_frames, "moving": n_moving}


def mog2(path: Path, _n: int) -> Result:
    """OpenCV's background subtraction as it comes, on whole gray frames; the first of a file are enough."""
    began_s = time.process_time()
    capture = cv2.VideoCapture(str(path))
    model = cv2.createBackgroundSubtractorMOG2(detectShadows=False)
    n_frames, n_moving = 0, 0
    is_read, frame = capture.read()
    while is_read and n_frames < MOG2_FRAMES:
        n_frames += 1
        foreground = model.apply(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY))
        opened = cv2.morphologyEx(foreground, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
        contours, _ = cv2.findContours(opened, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        n_moving += max((cv2.contourArea(contour) for contour in contours), default=0.0) > 0
        is_read, frame = capture.read()
    return {"cpu_s": time.process_time() - began_s, "frames": n_frames, "moving": n_moving}


def ours(path: Path, _n: int) -> Result:
    """The worker that the service runs for a recording, from its start to the end of the file, by its defaults."""
    with tempfile.TemporaryDirectory() as name:
        worker = _worker(Path(name), path, "cam", loop=False)
        began_s = time.process_time()
        worker.start()
        worker.join(LIMIT_S)
        cpu_s = time.process_time() - began_s
    status = worker.status
    assert status.state == "ended", status.as_json()
    return {
        "cpu_s": cpu_s,
        "frames": _frames(path),
        "decoded_share": round(status.decoded_share, 3),
        "events": status.n_events,
        "snippets": status.n_snippets,
        "rss_mb": _rss_mb(),
    }


def many(path: Path, n_cameras: int) -> Result:
    """`n_cameras` workers that loop the same recording as fast as they can, until the ring of each is full."""
    with tempfile.TemporaryDirectory() as name:
        workers = [_worker(Path(name) / str(i), path, f"cam{i}", loop=True) for i in range(n_cameras)]
        began_s = time.process_time()
        for worker in workers:
            worker.start()
        ends_s = time.monotonic() + LIMIT_S
        largest_mb, threads = 0.0, 0
        while time.monotonic() < ends_s and any(w.status.n_frames < FILLED_FRAMES for w in workers):
            largest_mb, threads = max(largest_mb, _rss_mb()), max(threads, threading.active_count())
            time.sleep(0.05)
        n_frames = sum(worker.status.n_frames for worker in workers)
        cpu_s = time.process_time() - began_s
        for worker in workers:
            worker.stop()
        for worker in workers:
            worker.join(30)
    return {
        "cpu_s": round(cpu_s, 2),
        "frames": n_frames,
        "ms_per_frame": round(1000 * cpu_s / max(1, n_frames), 2),
        "rss_mb": round(largest_mb, 1),
        "threads": threads,
    }


METHODS: dict[str, Callable[[Path, int], Result]] = {
    "floor": floor,
    "origin": origin,
    "mog2": mog2,
    "ours": ours,
    "many": many,
}


def _worker(folder: Path, path: Path, camera_id: str, *, loop: bool) -> FileWorker:
    (folder / "journal").mkdir(parents=True)
    metrics = MotionMetrics(CollectorRegistry())
    camera = Camera.model_validate(
        {
            "id": camera_id,
            "labels": ["x"],
            "url": str(path),
            "loop": loop,
        }
    )
    context = CameraContext(
        MotionServiceSettings(), Outbox(folder / "outbox", 4096 * MIB, metrics), b"s" * 32, folder / "journal"
    )
    recording = None if loop else find_recording(folder / "recordings", camera)
    return FileWorker(camera, context, CameraStatus(camera_id, camera.url, metrics), recording)


def _frames(path: Path) -> int:
    with av.open(str(path)) as container:
        return container.streams.video[0].frames


def _rss_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / MIB


def debian_motion(program: str, path: Path) -> Result:
    """Let Debian's motion watch the file at its own speed; it starts and ends with it."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        length_s, width, height = stream.frames / FPS, stream.width, stream.height
    with tempfile.TemporaryDirectory() as name:
        conf = Path(name) / "motion.conf"
        conf.write_text(
            f"daemon off\nsetup_mode off\nlog_level 3\ntarget_dir {name}\nnetcam_url file://{path.resolve()}\n"
            f"width {width}\nheight {height}\nframerate {FPS}\npicture_output off\nmovie_output off\n"
            "webcontrol_port 0\nstream_port 0\n"
        )
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        process = subprocess.Popen(
            [program, "-n", "-c", str(conf)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            process.wait(length_s)
        except subprocess.TimeoutExpired:
            process.terminate()
            process.wait(30)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"cpu_s": round(cpu_s, 3), "frames": round(length_s * FPS), "returncode": process.returncode}


if __name__ == "__main__":
    sys.exit(main())
