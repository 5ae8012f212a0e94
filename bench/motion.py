"""How well the motion service finds events, against other methods: `make bench-motion`.

    python -m bench.motion [--plan tuning|again|held-out] [--methods NAME,…] [--cache FOLDER] [--only KIND,…] [--scenes]

Scenes are drawn once into the cache (bench/scenes.py); their truth is known, bench/motion_score.py counts. Prints one
JSON object a method on stdout, then a table; `--scenes` tells what each method missed and made up, on stderr.

    recall, false_per_hour, covered, fragments, start_error_s (median), mean_start_error_s    see motion_score
    ms_per_frame    CPU time of the method's own work on a 640x480 frame, without decoding, one thread
    yardstick_ms    the same of cv2.absdiff + GaussianBlur of that frame: what a busy machine does to the figure above
    vtest           on OpenCV's vtest.avi (people walk in every frame): events, and the share of time that lies in them
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import av
import cv2
import numpy as np

from bench.motion_score import Span, Tally, tally, total
from bench.scenes import PLANS, Scene, scenes_of
from bench.scenes_pictures import Gray, fetch
from services.motion.detection import detector
from services.motion.detection.planes import plane_size
from services.motion.detection.values import DetectorSettings, DetectorState, Motion
from services.motion.events import segmenter
from services.motion.events.segmenter import EventEnd, Segmenter
from services.motion.media.rendering import plane_view
from shared.cameras import MotionSettings

VTEST = "opencv-doc/usr/share/doc/opencv-doc/examples/data/vtest.avi"
BAR = {"recall": 0.95, "false_per_hour": 10, "covered": 0.01, "fragments": 1.1, "start_error_s": 0.3}


class Method(Protocol):
    """Finds motion in the frames of one scene, in order."""

    def look(self, luma: Gray, t_s: float, /) -> Motion: ...


class Ours:
    """The service's detector with its default settings, started cold as for a camera."""

    def __init__(self) -> None:
        self._state: DetectorState | None = None
        self._settings: DetectorSettings | None = None

    def look(self, luma: Gray, t_s: float) -> Motion:
        height, width = luma.shape
        size = plane_size(width, height)
        plane = np.asarray(cv2.resize(luma, size, interpolation=cv2.INTER_AREA), np.uint8)
        settings = self._settings or DetectorSettings.of(MotionSettings(), size[0], width, height)
        self._settings = settings
        self._state, motion = detector.step(self._state, plane, t_s, settings)
        return motion


class Origin:
    """The origin's method: difference of two frames, blur, threshold, dilate x3, largest contour."""

    def __init__(self, threshold: int) -> None:
        self._threshold = threshold
        self._last: Gray | None = None

    def look(self, luma: Gray, _t_s: float) -> Motion:
        last, self._last = self._last, luma
        if last is None:
            return Motion(0.0, is_active=False)
        change = cv2.GaussianBlur(cv2.absdiff(last, luma), (5, 5), 0)
        _, binary = cv2.threshold(change, self._threshold, 255, cv2.THRESH_BINARY)
        return _largest(cv2.dilate(binary, np.ones((3, 3), np.uint8), iterations=3))


class Mog2:
    """OpenCV's mixture of Gaussians with its defaults, opened by 3x3."""

    def __init__(self) -> None:
        self._model = cv2.createBackgroundSubtractorMOG2(detectShadows=False)

    def look(self, luma: Gray, _t_s: float) -> Motion:
        foreground = self._model.apply(luma)
        return _largest(cv2.morphologyEx(foreground, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)))


def _largest(binary: Any) -> Motion:  # Any: OpenCV's stubs
    contours, _ = cv2.findContours(binary, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    area = max((cv2.contourArea(contour) for contour in contours), default=0.0)
    return Motion(0.5, is_active=area >= MotionSettings().min_contour_area)


METHODS: dict[str, tuple[Callable[[], Method], MotionSettings]] = {
    "clipwatch": (Ours, MotionSettings()),
    "origin-75": (lambda: Origin(75), MotionSettings(min_frames=1)),
    "origin-10": (lambda: Origin(10), MotionSettings(min_frames=1)),
    "mog2": (Mog2, MotionSettings()),
}
DEBIAN_MOTION = "debian-motion"


def frames_of(path: Path) -> Iterator[tuple[float, Gray]]:
    """Give time and luma of each frame of a video."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for frame in container.decode(stream):
            t_s = frame.time or 0.0
            if frame.format.name.startswith("yuv"):
                yield t_s, np.ascontiguousarray(plane_view(frame.planes[0]))
            else:
                yield t_s, np.asarray(frame.to_ndarray(format="gray"), np.uint8)


class Run:
    """One method on one scene: frames go in, events come out."""

    def __init__(self, method: Method, settings: MotionSettings) -> None:
        self._method = method
        self._settings = settings
        self._segmenter = Segmenter()
        self._spans: list[Span] = []
        self._rests = False
        self.cpu_s = 0.0
        self.n_frames = 0

    def see(self, luma: Gray, t_s: float) -> None:
        if self._rests:  # as the service does: the bench's frames come as often as it looks
            self._rests = False
            return
        began_s = time.thread_time()
        motion = self._method.look(luma, t_s)
        self.cpu_s += time.thread_time() - began_s
        self.n_frames += 1
        self._segmenter, actions = segmenter.step(self._segmenter, t_s, motion, self._settings)
        self._note(actions)
        self._rests = segmenter.may_skip(self._segmenter, t_s, motion.is_sure)

    def finish(self, t_s: float) -> list[Span]:
        self._segmenter, actions = segmenter.finish(self._segmenter, t_s, self._settings)
        self._note(actions)
        return self._spans

    def _note(self, actions: tuple[segmenter.Action, ...]) -> None:
        self._spans += [
            Span(action.span.event_started_s, action.span.last_motion_s)
            for action in actions
            if isinstance(action, EventEnd)
        ]


def measure(scene: Scene, names: list[str], yardstick: list[float]) -> dict[str, tuple[list[Span], Run]]:
    """Let every method look at a scene, in one pass."""
    runs = {name: Run(METHODS[name][0](), METHODS[name][1]) for name in names}
    last: Gray | None = None
    t_s = 0.0
    for t_s, luma in frames_of(scene.path):
        began_s = time.thread_time()
        cv2.GaussianBlur(cv2.absdiff(luma, luma if last is None else last), (5, 5), 0)
        yardstick.append(time.thread_time() - began_s)
        last = luma
        for run in runs.values():
            run.see(luma, t_s)
    return {name: (run.finish(t_s), run) for name, run in runs.items()}


# -- Debian's motion, a program of its own


def debian_motion(scenes: list[Scene], program: str) -> dict[str, list[Span]]:
    """Let the program play each scene as a file camera, in real time, four at a time."""
    found: dict[str, list[Span]] = {}
    for first in range(0, len(scenes), 4):
        batch = scenes[first : first + 4]
        with tempfile.TemporaryDirectory() as name:
            running = [(scene, *_start_motion(scene, program, Path(name))) for scene in batch]
            ends_s = time.monotonic() + max(scene.length_s for scene in batch) + 8
            for scene, process, notes in running:
                try:
                    process.wait(max(0.1, ends_s - time.monotonic()))
                except subprocess.TimeoutExpired:
                    process.terminate()
                    process.wait(10)
                found[scene.name] = motion_spans(notes, scene.length_s)
    return found


def _start_motion(scene: Scene, program: str, folder: Path) -> tuple[subprocess.Popen[bytes], Path]:
    notes = folder / f"{scene.name}.txt"
    conf = folder / f"{scene.name}.conf"
    conf.write_text(
        f"daemon off\nsetup_mode off\nlog_level 3\ntarget_dir {folder}\nnetcam_url file://{scene.path}\n"
        "width 640\nheight 480\nframerate 10\nevent_gap 4\nminimum_motion_frames 3\n"
        "picture_output off\nmovie_output off\nwebcontrol_port 0\nstream_port 0\n"
        f"on_event_start echo start $(date +%s.%N) >> {notes}\n"
        f"on_event_end echo end $(date +%s.%N) >> {notes}\n"
    )
    notes.write_text(f"open {time.time()}\n")
    process = subprocess.Popen(
        [program, "-n", "-c", str(conf)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    return process, notes


def motion_spans(notes: Path, length_s: float) -> list[Span]:
    """Return the events of the first time that the scene was played: the program begins it again at its end."""
    opened_s = 0.0
    starts: list[float] = []
    spans: list[Span] = []
    for line in notes.read_text().splitlines():
        word, _, at = line.partition(" ")
        if word == "open":
            opened_s = float(at)
        elif word == "start":
            starts.append(float(at) - opened_s)
        elif starts:
            spans.append(Span(starts.pop(), float(at) - opened_s - 4.0))
    spans += [Span(start, length_s) for start in starts]
    return [Span(span.start_s, min(span.end_s, length_s)) for span in spans if span.start_s < length_s]


# -- report


def facts_of(name: str, tallied: Tally, **more: object) -> dict[str, object]:
    """Return what is printed of a method."""
    facts: dict[str, object] = {
        "method": name,
        "recall": tallied.recall,
        "false_per_hour": tallied.false_per_hour,
        "covered": tallied.covered,
        "fragments": tallied.fragments,
        "start_error_s": tallied.start_error_s,
        "mean_start_error_s": tallied.mean_start_error_s,
        "n_true": tallied.n_true,
        "n_false": tallied.n_false,
        "free_s": tallied.free_s,
        **more,
    }
    return {key: round(value, 3) if isinstance(value, float) else value for key, value in facts.items()}


def table_of(rows: list[dict[str, object]]) -> str:
    """Return a Markdown table of the methods, the bar below them."""
    columns = (*BAR, "ms_per_frame")
    lines = ["| method | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for row in [*rows, {"method": "bar", **BAR}]:
        cells = ["-" if row.get(column) is None else f"{row[column]}" for column in columns]
        lines.append(f"| {row['method']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def vtest(path: Path, names: list[str]) -> dict[str, dict[str, object]]:
    """Return what each method makes of a street in which somebody always walks."""
    if not path.is_file():
        return {}
    scene = Scene("vtest", path, (), 79.5)
    found: dict[str, dict[str, object]] = {}
    for name, (spans, _) in measure(scene, names, []).items():
        inside_s = sum(span.end_s - span.start_s for span in spans)
        found[name] = {"events": len(spans), "in_events": round(inside_s / scene.length_s, 3)}
    return found


def main() -> int:
    """Draw, measure, print."""
    parser = argparse.ArgumentParser(description="how well motion is found, on scenes whose truth is known")
    parser.add_argument("--plan", choices=sorted(PLANS), default="held-out")
    parser.add_argument("--methods", default=",".join([*METHODS, DEBIAN_MOTION]))
    parser.add_argument("--cache", type=Path, default=Path("data/bench"))
    parser.add_argument("--only", default="", help="kinds of scenes, separated by commas")
    parser.add_argument("--scenes", action="store_true", help="tell of each scene what went wrong")
    args = parser.parse_args()
    strange = [name for name in args.methods.split(",") if name not in (*METHODS, DEBIAN_MOTION)]
    if strange:
        parser.error(f"--methods {','.join(strange)}: choose from {', '.join([*METHODS, DEBIAN_MOTION])}")
    cv2.setNumThreads(1)
    cache = args.cache.resolve()
    fetch(cache)
    wanted = set(filter(None, args.only.split(",")))
    plan = PLANS[args.plan]
    all_scenes = scenes_of(plan, cache, lambda line: print(line, file=sys.stderr, flush=True))
    scenes = [scene for scene in all_scenes if not wanted or scene.name.rpartition("-")[0] in wanted]
    names = [name for name in args.methods.split(",") if name in METHODS]
    tallies: dict[str, list[Tally]] = {name: [] for name in names}
    cpu = {name: [0.0, 0] for name in names}
    yardstick: list[float] = []
    for scene in scenes:
        for name, (spans, run) in measure(scene, names, yardstick).items():
            _count(scene, name, spans, tallies[name], args.scenes)
            cpu[name] = [cpu[name][0] + run.cpu_s, cpu[name][1] + run.n_frames]
    walks = {} if wanted else vtest(cache / VTEST, names)
    rows = [
        facts_of(
            name,
            total(tallies[name]),
            plan=plan.name,
            ms_per_frame=1000 * cpu[name][0] / max(1, cpu[name][1]),
            yardstick_ms=1000 * float(np.median(yardstick)),
            vtest=walks.get(name),
        )
        for name in names
    ]
    if DEBIAN_MOTION in args.methods.split(","):
        program = os.environ.get("MOTION_PROGRAM") or shutil.which("motion")
        if program:
            counts: list[Tally] = []
            found = debian_motion(scenes, program)
            for scene in scenes:
                _count(scene, DEBIAN_MOTION, found[scene.name], counts, args.scenes)
            rows.append(facts_of(DEBIAN_MOTION, total(counts), plan=plan.name))
        else:
            print(
                "debian-motion: skipped, no program `motion` here (Debian: apt-get install motion)",
                file=sys.stderr,
            )
    for row in rows:
        print(json.dumps(row), flush=True)
    print(table_of(rows))
    return 0


def _count(scene: Scene, name: str, spans: list[Span], tallies: list[Tally], tells: bool) -> None:
    counted = tally(scene.truth, spans, scene.length_s)
    tallies.append(counted)
    is_clean = counted.n_false == 0 and counted.n_hit == counted.n_true == counted.n_fragments
    if tells and not (is_clean and max(counted.start_errors_s, default=0.0) <= 0.5):
        truth = " ".join(f"{span.start_s:.1f}-{span.end_s:.1f}" for span in scene.truth)
        found = " ".join(f"{span.start_s:.1f}-{span.end_s:.1f}" for span in spans)
        print(f"{name:12} {scene.name:18} true [{truth}] found [{found}]", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
