"""Renders scenes with known truth for the motion bench: photo cut-outs on photo backgrounds, and what disturbs.

A scene is 640x480 luma at 10 frames a second, coded as H.264 like a camera's, and a list of the times in which
something moves in it. Everything follows from the scene's name and its plan's seed.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt

from bench.motion_score import Span
from bench.scenes_pictures import Gray, background, backgrounds, cut_out, cut_outs

Floats = npt.NDArray[np.float32]
WIDTH, HEIGHT, FPS = 640, 480, 10
SCENE_S = 32.0
VERSION = 1  # of what is drawn; cached scenes of another version are drawn again
SEEN_PX = 200  # an object is in view when this much of it (or half of it) is in the picture

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


@dataclass(slots=True)
class Actor:
    """A thing that moves: its picture and where its middle is at a time."""

    luma: Gray
    alpha: Floats
    starts_s: float
    ends_s: float
    at: Callable[[float], tuple[float, float]]
    scale: Callable[[float], float] = field(default=lambda _t: 1.0)


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


# -- the place, the light and the weather


class Stage:
    """The place of one scene with its disturbances; gives one frame after the other."""

    def __init__(
        self, ground: Floats, disturbances: tuple[str, ...], harsher: float, rng: np.random.Generator
    ) -> None:
        self._ground = ground
        self._on = frozenset(disturbances)
        self._rng = rng
        self._k = harsher
        sigma = float(rng.uniform(1.2, 2.5))
        if "noise" in self._on:
            sigma = float(rng.uniform(5, 9)) * harsher
        if "night" in self._on:
            sigma = float(rng.uniform(3, 5)) * harsher
        self._noise = [rng.normal(0, sigma, (HEIGHT + 64, WIDTH + 64)).astype(np.float32) for _ in range(3)]
        self._night = float(rng.uniform(0.14, 0.3))
        self._phase = float(rng.uniform(0, 6))
        self._turn_s = sorted(float(t) for t in rng.uniform((7, 18), (12, 26)))
        self._light = self._cone(float(rng.uniform(100, 540)), float(rng.uniform(80, 400)), 220.0)
        self._hz = float(rng.uniform(0.25, 1.6))
        self._n_drops = int(rng.integers(120, 320) * harsher)
        self._flakes = rng.uniform((0, 0, 1.0, 40), (WIDTH, HEIGHT, 3.4, 130), (int(110 * harsher), 4))
        self._bushes = [self._bush() for _ in range(2)]
        self._clock = (
            int(rng.integers(8, 300)),
            int(rng.choice([26, HEIGHT - 12])),
            float(rng.uniform(0.5, 0.9)),
        )
        self._swing = float(rng.uniform(0.8, 2.0)) * harsher
        self._last: Gray = np.zeros((HEIGHT, WIDTH), np.uint8)
        yy, xx = np.mgrid[0:HEIGHT, 0:WIDTH]
        self._xx, self._yy = xx.astype(np.float32), yy.astype(np.float32)
        self._banding = np.sin(np.arange(HEIGHT, dtype=np.float32) / float(rng.uniform(40, 160)))[:, None]
        self._infrared = np.clip(255 - cv2.GaussianBlur(ground, (0, 0), 1.0) * 0.7, 0, 255).astype(np.float32)
        self._cloud_px_s = float(rng.uniform(30, 110))

    @staticmethod
    def _cone(x: float, y: float, width: float) -> Floats:
        yy, xx = np.mgrid[0:HEIGHT, 0:WIDTH]
        cone: Floats = np.exp(-((xx - x) ** 2 + (yy - y) ** 2) / (2 * width**2)).astype(np.float32)
        return cone

    def _bush(self) -> tuple[int, int, int, int, float, float, float]:
        rng = self._rng
        w, h = int(rng.integers(60, 170)), int(rng.integers(60, 170))
        x, y = int(rng.integers(10, WIDTH - w - 10)), int(rng.integers(10, HEIGHT - h - 10))
        return (x, y, w, h, *(float(v) for v in rng.uniform((2, 0.3, 0), (6, 1.3, 6))))  # type: ignore[return-value]

    def frame(self, index: int, t_s: float, actors: list[Actor]) -> tuple[Gray, int]:
        """Return uint8[HEIGHT, WIDTH] at `t_s` and how many things move in view."""
        on = self._on
        is_infrared = "infrared" in on and self._turn_s[0] <= t_s < self._turn_s[1]
        picture = (self._infrared if is_infrared else self._ground).copy()
        if "sway" in on:
            self._sway(picture, t_s)
        n_in_view = sum(_paint(picture, actor, t_s) for actor in actors)
        picture = self._lit(picture, t_s)
        if "shake" in on:
            x = self._swing * (math.sin(5.1 * t_s + self._phase) + float(self._rng.normal(0, 0.4)))
            y = self._swing * (math.cos(3.7 * t_s) + float(self._rng.normal(0, 0.4)))
            move = np.array([[1, 0, x], [0, 1, y]], np.float32)
            picture = np.asarray(
                cv2.warpAffine(picture, move, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT), np.float32
            )
        if "rain" in on:
            self._rain(picture)
        if "snow" in on:
            self._snow(picture, t_s)
        noise = self._noise[index % 3]
        dx, dy = (int(v) for v in self._rng.integers(0, 64, 2))
        picture += noise[dy : dy + HEIGHT, dx : dx + WIDTH]
        luma = np.clip(picture, 0, 255).astype(np.uint8)
        if "clock" in on:
            seconds = int(t_s + self._phase * 10)
            text = f"2024-03-07 11:{seconds // 60:02d}:{seconds % 60:02d}"
            x, y, size = self._clock
            cv2.putText(luma, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, size, 0, 4, cv2.LINE_AA)
            cv2.putText(luma, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, size, 245, 2, cv2.LINE_AA)
        if "reconnect" in on:
            luma = self._reconnected(luma, t_s)
        self._last = luma
        return luma, n_in_view

    def _lit(self, picture: Floats, t_s: float) -> Floats:
        on = self._on
        if "night" in on:
            picture = picture * np.float32(self._night) + np.float32(8)
        if "headlights" in on:
            for turn_s in self._turn_s:
                if 0 <= t_s - turn_s < 4:
                    x = -150 + 230 * (t_s - turn_s)
                    glow = np.exp(-(((self._xx - x) / 110) ** 2 + ((self._yy - 260) / 80) ** 2))
                    picture = picture * (1 + 3 * glow).astype(np.float32)
        if "lamp" in on and self._turn_s[0] <= t_s < self._turn_s[1]:
            picture = picture * (1 + 0.5 * self._k * self._light) + 35 * self._light
        if "flicker" in on:
            gain = 0.1 * self._k * math.sin(2 * math.pi * (self._hz + 2.1) * t_s + self._phase)
            picture = picture * (1 + gain * (1 + 0.7 * self._banding)).astype(np.float32)
        if "exposure" in on:
            wave = sum(math.exp(-(((t_s - turn_s) / 1.5) ** 2)) for turn_s in self._turn_s)
            pump = 0.1 * math.sin(2 * math.pi * self._hz * 0.4 * t_s)
            picture = picture * np.float32(1 + self._k * (0.35 * wave + pump))
        if "cloud" in on:
            edge = (self._xx + 0.4 * self._yy - self._cloud_px_s * (t_s - 4)) / 60
            shade = 1 / (1 + np.exp(edge)) * (1 / (1 + np.exp(-edge - 9)))
            picture = picture * (1 - 0.4 * shade).astype(np.float32)
        return picture.astype(np.float32)

    def _sway(self, picture: Floats, t_s: float) -> None:
        for x, y, w, h, reach, hz, phase in self._bushes:
            gust = 0.6 + 0.4 * math.sin(0.5 * t_s + phase)
            inner = np.minimum(np.arange(w), np.arange(w)[::-1])[None, :] / (w / 2)
            inner = inner * (np.minimum(np.arange(h), np.arange(h)[::-1])[:, None] / (h / 2))
            wave = np.sin(2 * math.pi * hz * t_s + phase + np.arange(h)[:, None] / 30)
            dx = reach * self._k * gust * wave * np.minimum(1, 2 * inner)
            xx = (np.arange(w)[None, :] + x + dx).astype(np.float32)
            yy = np.broadcast_to((np.arange(h)[:, None] + y).astype(np.float32), xx.shape)
            picture[y : y + h, x : x + w] = cv2.remap(
                self._ground, xx, np.ascontiguousarray(yy), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
            )

    def _rain(self, picture: Floats) -> None:
        streaks = np.zeros((HEIGHT, WIDTH), np.uint8)
        drops = self._rng.integers((0, -20, 10, 18), (WIDTH, HEIGHT, 32, 70), (self._n_drops, 4))
        for x, y, length, level in drops.tolist():
            cv2.line(streaks, (x, y), (x + length // 8, y + length), level, 1)
        picture += streaks

    def _snow(self, picture: Floats, t_s: float) -> None:
        flakes = np.zeros((HEIGHT, WIDTH), np.uint8)
        for x, y, radius, px_s in self._flakes.tolist():
            at_x = (x + 12 * math.sin(t_s + x)) % WIDTH
            at_y = (y + px_s * radius * 0.5 * t_s) % HEIGHT
            cv2.circle(flakes, (round(at_x), round(at_y)), round(radius), 90, -1, cv2.LINE_AA)
        picture += flakes

    def _reconnected(self, luma: Gray, t_s: float) -> Gray:
        """Return the frame of a stream that breaks down at both turns: gray, then a damaged picture, then good ones."""
        for turn_s in self._turn_s:
            since_s = t_s - turn_s
            if 0 <= since_s < 0.5:
                return np.full_like(luma, 128)
            if 0.5 <= since_s < 1.2:
                broken = luma.copy()
                row = int(self._rng.integers(80, 400)) & ~15
                broken[row:] = 128
                for _ in range(25):
                    x, y = (int(v) & ~15 for v in self._rng.integers(0, (WIDTH - 48, HEIGHT - 16)))
                    broken[y : y + 16, x : x + 48] = int(self._rng.integers(0, 255))
                return broken
        return luma


def _paint(picture: Floats, actor: Actor, t_s: float) -> bool:
    """Lay the thing over the picture; return whether it moves in view."""
    if not actor.starts_s <= t_s <= actor.ends_s:
        return False
    luma, alpha, scale = actor.luma.astype(np.float32), actor.alpha, actor.scale(t_s)
    if scale != 1.0:
        size = (max(2, round(luma.shape[1] * scale)), max(2, round(luma.shape[0] * scale)))
        luma = np.asarray(cv2.resize(luma, size, interpolation=cv2.INTER_AREA), np.float32)
        alpha = np.asarray(cv2.resize(alpha, size, interpolation=cv2.INTER_AREA), np.float32)
    h, w = luma.shape
    x, y = actor.at(t_s)
    left, top = round(x - w / 2), round(y - h / 2)
    x0, y0, x1, y1 = max(0, left), max(0, top), min(WIDTH, left + w), min(HEIGHT, top + h)
    if x1 <= x0 or y1 <= y0:
        return False
    inside = np.s_[y0 - top : y1 - top, x0 - left : x1 - left]
    part = alpha[inside]
    place = picture[y0:y1, x0:x1]
    place += (luma[inside] - place) * part
    visible = float((part > 0.5).sum())
    return visible >= min(SEEN_PX, 0.5 * float((alpha > 0.5).sum()))
