"""The place of one scene: its light, weather and disturbances, and the things that are painted into its frames."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

from bench.scenes_pictures import Gray

Floats = npt.NDArray[np.float32]
WIDTH, HEIGHT, FPS = 640, 480, 10
SEEN_PX = 200  # an object is in view when this much of it (or half of it) is in the picture


@dataclass(slots=True)
class Actor:
    """A thing that moves: its picture and where its middle is at a time."""

    luma: Gray
    alpha: Floats
    starts_s: float
    ends_s: float
    at: Callable[[float], tuple[float, float]]
    scale: Callable[[float], float] = field(default=lambda _t: 1.0)


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
        n_in_view = sum(paint(picture, actor, t_s) for actor in actors)
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


def paint(picture: Floats, actor: Actor, t_s: float) -> bool:
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
