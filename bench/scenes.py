"""Renders scenes with known truth for the motion bench: photo cut-outs on photo backgrounds, and what disturbs.

A scene is 640x480 luma at 10 frames a second, coded as H.264 like a camera's, and a list of the times in which
something moves in it. Everything follows from the scene's name and its plan's seed.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from bench.motion_score import Span
from bench.scenes_pictures import Gray, background, backgrounds, cut_out, cut_outs
from bench.scenes_stage import FPS, HEIGHT, WIDTH, Actor, Floats, Stage

SCENE_S = 32.0
VERSION = 1  # of what is drawn; cached scenes of another version are drawn again

# name: (kind of objects or "", disturbances)
KINDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "quiet": ("", ()),
    "noise": ("", ("noise",)),
    "rain": ("", ("rain",)),
    "snow": ("", ("snow",)),
    "flicker": ("", ("flicker",)),
    "lamp": ("", ("lamp",)),
    "infrared": ("", ("infrared",)),
    "exposure": ("", ("exposure",)),
    "shake": ("", ("shake",)),
    "sway": ("", ("sway",)),
    "clock": ("", ("clock",)),
    "reconnect": ("", ("reconnect",)),
    "cloud": ("", ("cloud",)),
    "headlights": ("", ("night", "headlights")),
    "night": ("", ("night",)),
    "garden": ("", ("sway", "cloud", "clock")),
    "walk": ("walk", ()),
    "far": ("far", ()),
    "fast": ("fast", ()),
    "stop-and-go": ("stop", ()),
    "two": ("two", ()),
    "faint": ("faint", ()),
    "approach": ("approach", ()),
    "at-once": ("at-once", ()),
    "night-walk": ("walk", ("night",)),
    "night-far": ("far", ("night",)),
    "rain-walk": ("walk", ("rain",)),
    "snow-walk": ("walk", ("snow",)),
    "flicker-walk": ("walk", ("flicker",)),
    "lamp-walk": ("walk", ("lamp",)),
    "infrared-walk": ("walk", ("infrared",)),
    "exposure-walk": ("walk", ("exposure",)),
    "shake-walk": ("walk", ("shake",)),
    "sway-walk": ("walk", ("sway",)),
    "clock-walk": ("walk", ("clock",)),
    "cloud-walk": ("walk", ("cloud",)),
    "reconnect-walk": ("walk", ("reconnect",)),
}


@dataclass(frozen=True, slots=True)
class Plan:
    """A set of scenes: which pictures, which seeds, how many takes of each kind."""

    name: str
    seed: int
    takes: int
    held_out: bool
    harsher: float  # factor on the disturbances' size


PLANS = {
    "tuning": Plan("tuning", 4711, 1, held_out=False, harsher=1.0),
    # the tuning pictures in other scenes, with disturbances as large as the held-out plan's
    "again": Plan("again", 777, 4, held_out=False, harsher=1.1),
    "held-out": Plan("held-out", 90210, 2, held_out=True, harsher=1.1),
}


@dataclass(frozen=True, slots=True)
class Scene:
    """A coded scene and its truth: spans in which something moves, and spans that belong to no side."""

    name: str
    path: Path
    truth: tuple[Span, ...]
    length_s: float


def scenes_of(plan: Plan, cache: Path, log: Callable[[str], None]) -> Iterator[Scene]:
    """Give the scenes of a plan, drawing those that the cache lacks."""
    folder = cache / f"scenes-{VERSION}" / plan.name
    folder.mkdir(parents=True, exist_ok=True)
    pictures: tuple[list[Path], list[Path]] | None = None
    for take in range(plan.takes):
        for kind in KINDS:
            name = f"{kind}-{take}"
            path, facts = folder / f"{name}.mp4", folder / f"{name}.json"
            if not facts.is_file():
                pictures = pictures or (
                    backgrounds(cache, plan.held_out),
                    cut_outs(cache, plan.held_out),
                )
                log(f"{plan.name}: drawing {name}")
                rng = np.random.default_rng([plan.seed, take, zlib.crc32(kind.encode())])
                truth = _draw(path, kind, plan.harsher, rng, *pictures)
                facts.write_text(json.dumps(truth))
            spans = tuple(Span(start, end) for start, end in json.loads(facts.read_text()))
            yield Scene(name, path, spans, SCENE_S)


def _draw(
    path: Path,
    kind: str,
    harsher: float,
    rng: np.random.Generator,
    places: list[Path],
    things: list[Path],
) -> list[tuple[float, float]]:
    manner, disturbances = KINDS[kind]
    ground = background(places[int(rng.integers(len(places)))], WIDTH, HEIGHT, rng).astype(np.float32)
    ground = 20 + ground * np.float32(0.82)
    actors = _actors(manner, things, ground, rng)
    stage = Stage(ground, disturbances, harsher, rng)
    seen: list[float] = []
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "ultrafast", "crf": "21"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.gop_size = 2 * FPS
        chroma = np.full((HEIGHT // 2, WIDTH // 2), 128, np.uint8)
        for index in range(round(SCENE_S * FPS)):
            t_s = index / FPS
            luma, n_in_view = stage.frame(index, t_s, actors)
            if n_in_view:
                seen.append(t_s)
            frame = av.VideoFrame(WIDTH, HEIGHT, "yuv420p")
            for plane, values in zip(frame.planes, (luma, chroma, chroma), strict=True):
                rows = np.zeros((plane.height, plane.line_size), np.uint8)
                rows[:, : plane.width] = values
                plane.update(rows.tobytes())
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return _spans(seen)


def _spans(times: list[float], gap_s: float = 4.5) -> list[tuple[float, float]]:
    """Join times into spans; a thing that stands for less than `gap_s` is still the same event."""
    spans: list[tuple[float, float]] = []
    for t_s in times:
        if spans and t_s - spans[-1][1] <= gap_s:
            spans[-1] = (spans[-1][0], t_s)
        else:
            spans.append((t_s, t_s))
    return spans


# -- things that move


def _actors(manner: str, things: list[Path], ground: Floats, rng: np.random.Generator) -> list[Actor]:
    if not manner:
        return []
    if manner == "at-once":
        return [_walker(things, ground, rng, starts_s=-2.0, size=(60, 130), speed=(45, 80))]
    first = float(rng.uniform(4.5, 7.0))
    second = float(rng.uniform(20.0, 23.0))
    if manner == "far":
        return [
            _walker(things, ground, rng, at, size=(18, 28), speed=(24, 45), lasts=9.0)
            for at in (first, second)
        ]
    if manner == "fast":
        return [_walker(things, ground, rng, at, size=(70, 150), speed=(500, 800)) for at in (first, second)]
    if manner == "faint":
        return [
            _walker(things, ground, rng, at, size=(60, 120), speed=(60, 110), contrast=0.3, lasts=8.0)
            for at in (first, second)
        ]
    if manner == "approach":
        return [_approaching(things, ground, rng, at) for at in (first, second)]
    if manner == "stop":
        return [_stopping(things, ground, rng, first)]
    if manner == "two":
        return [
            _walker(things, ground, rng, first + delay, size=(60, 140), speed=(60, 110), lasts=9.0)
            for delay in (0.0, float(rng.uniform(0.5, 2.0)))
        ]
    return [
        _walker(things, ground, rng, at, size=(45, 150), speed=(50, 140), lasts=8.0) for at in (first, second)
    ]


def _thing(
    things: list[Path],
    ground: Floats,
    rng: np.random.Generator,
    longer_px: int,
    contrast: float | None = None,
) -> tuple[Gray, Floats]:
    """Draw a thing whose brightness is told from the place's; a thing that nobody could see is no ground truth."""
    while True:
        found = cut_out(things[int(rng.integers(len(things)))], longer_px)
        if found is None:
            continue
        luma, alpha = found
        behind = float(ground.mean())
        opaque = alpha > 0.5
        if opaque.sum() < 0.2 * alpha.size:
            continue
        if contrast is not None:
            mixed = behind + (luma.astype(np.float32) - behind) * contrast
            luma = np.clip(mixed, 0, 255).astype(np.uint8)
        if abs(float(luma[opaque].mean()) - behind) + float(luma[opaque].std()) < (12 if contrast else 35):
            continue
        return (luma[:, ::-1], alpha[:, ::-1]) if rng.random() < 0.5 else (luma, alpha)


def _walker(
    things: list[Path],
    ground: Floats,
    rng: np.random.Generator,
    starts_s: float,
    size: tuple[int, int],
    speed: tuple[int, int],
    contrast: float | None = None,
    lasts: float = 30.0,
) -> Actor:
    """Return a thing that comes in at one side and leaves at the other, or behind something after `lasts`."""
    luma, alpha = _thing(things, ground, rng, int(rng.integers(*size)), contrast)
    px_s = float(rng.uniform(*speed))
    half = luma.shape[1] / 2
    sign = 1.0 if rng.random() < 0.5 else -1.0
    y = float(rng.uniform(luma.shape[0] / 2 + 40, HEIGHT - luma.shape[0] / 2 - 10))
    slope = float(rng.uniform(-0.15, 0.15))
    bob, step_hz = float(rng.uniform(0, 3)), float(rng.uniform(1.2, 2.2))
    edge = -half if sign > 0 else WIDTH + half

    def at(t_s: float) -> tuple[float, float]:
        way = px_s * (t_s - starts_s)
        return edge + sign * way, y + slope * way + bob * math.sin(2 * math.pi * step_hz * t_s)

    return Actor(luma, alpha, starts_s, min(starts_s + (WIDTH + 2 * half) / px_s, starts_s + lasts), at)


def _approaching(things: list[Path], ground: Floats, rng: np.random.Generator, starts_s: float) -> Actor:
    luma, alpha = _thing(things, ground, rng, 200)
    x, y = float(rng.uniform(220, 420)), float(rng.uniform(180, 300))
    drift = float(rng.uniform(-12, 12))
    return Actor(
        luma,
        alpha,
        starts_s,
        starts_s + 8.0,
        lambda t_s: (x + drift * (t_s - starts_s), y + 10 * (t_s - starts_s)),
        lambda t_s: 0.2 + 0.1 * (t_s - starts_s),
    )


def _stopping(things: list[Path], ground: Floats, rng: np.random.Generator, starts_s: float) -> Actor:
    luma, alpha = _thing(things, ground, rng, int(rng.integers(60, 140)))
    y = float(rng.uniform(120, 340))
    half = luma.shape[1] / 2
    px_s, pause_s = float(rng.uniform(80, 120)), float(rng.uniform(1.5, 3.0))
    stops_s = starts_s + 3.0

    def at(t_s: float) -> tuple[float, float]:
        moved_s = min(t_s, stops_s) - starts_s + max(0.0, t_s - stops_s - pause_s)
        return -half + px_s * moved_s, y

    return Actor(luma, alpha, starts_s, starts_s + pause_s + (WIDTH + 2 * half) / px_s, at)
