"""Draws what a fixed camera's motion crops show of one event: a thing, a flag or a shadow, at one hour's light.

Crops are cut by motion's own rule for squares (services/motion/events/moments.py) around the box of what moves, whose
edges flicker as motion's do; frames are not coded and motion is not run: two cores would need hours for that.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import compose
import cv2
import numpy as np
from pictures import Array, Place, Thing

from services.motion.detection.values import Blob
from services.motion.events.moments import LARGEST_PX, square_around

WIDTH, HEIGHT = 640, 480
FLICKER = 0.12  # of the edges of a box, as a part of its side
MOMENTS_S = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0)  # of an event, when motion keeps a picture
Look = Callable[[np.random.Generator], Callable[[float], Array]]  # an event's; then RGBA at a time in it, s


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Where and how large something shows up before a camera; px of the frame. `spread_px`: 0 for what is fixed."""

    x: float
    y: float
    spread_px: float
    side_px: tuple[float, float]
    px_s: float  # how fast it goes, to either side


@dataclass(frozen=True, slots=True)
class Camera:
    """A view, uint8[HEIGHT,WIDTH,3] RGB, and what the lens and the coder do to it."""

    view: Array
    has_infrared: bool
    blur_px: float
    noise: float
    jpeg: int


def camera_at(place: Place, rng: np.random.Generator) -> Camera:
    """Point a camera at a part of a photograph."""
    height, width = place.picture.shape[:2]
    share = float(rng.uniform(0.6, 1.0))
    w = int(min(width, height * WIDTH / HEIGHT) * share)
    h = int(w * HEIGHT / WIDTH)
    x, y = int(rng.integers(0, width - w + 1)), int(rng.integers(0, height - h + 1))
    cut = place.picture[y : y + h, x : x + w]
    view = np.asarray(cv2.resize(cut, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA))
    return Camera(
        view,
        has_infrared=bool(rng.random() < 0.5),
        blur_px=float(rng.uniform(0.2, 0.9)),
        noise=float(rng.uniform(1, 4)),
        jpeg=int(rng.integers(60, 92)),
    )


def light_at(camera: Camera, hour: float, weather: float, rng: np.random.Generator) -> compose.Camera:
    """Return what an hour (0..24) and a day's weather (0 dull, 1 bright) make of the camera's pictures."""
    is_night = not 6.5 <= hour < 20
    if is_night and camera.has_infrared:
        gain, gamma, tint, gray = (
            float(rng.uniform(0.75, 1.1)),
            float(rng.uniform(0.8, 1.0)),
            (1.0,) * 3,
            True,
        )
    elif is_night:
        gain, gamma, tint, gray = float(rng.uniform(0.4, 0.6)), 1.1, (1.15, 1.0, 0.8), False
    else:
        height = math.sin(math.pi * (hour - 6) / 14.5)
        gain = 0.7 + 0.25 * height + 0.25 * weather
        warm = 0.12 * (1 - height)
        gamma, tint, gray = float(rng.uniform(0.9, 1.1)), (1 + warm, 1.0, 1 - warm), False
    return compose.Camera(
        side_px=0,
        gray=gray,
        rain=int(rng.integers(20, 60)) if weather < 0.1 else 0,
        blur_px=camera.blur_px,
        motion_px=int(rng.integers(2, 4)) if rng.random() < 0.2 else 0,
        noise=camera.noise + (4 if is_night else 0),
        jpeg=camera.jpeg,
        gain=gain,
        gamma=gamma,
        tint=(float(tint[0]), float(tint[1]), float(tint[2])),
        fill=0.0,
    )


def event_pictures(
    camera: Camera, look: Look, where: Whereabouts, light: compose.Camera, rng: np.random.Generator
) -> list[tuple[float, Array]]:
    """Return an event's moments: seconds since it began, and the crop as the model gets it, uint8[224,224,3]."""
    drawn = look(rng)
    side = float(rng.uniform(*where.side_px))
    sign = 1.0 if rng.random() < 0.5 else -1.0
    x = where.x + float(rng.normal(0, where.spread_px))
    y = where.y + float(rng.normal(0, where.spread_px * 0.3))
    lit = int(rng.integers(2**31))  # the same shadow and light on all pictures of the event
    n_moments = int(rng.integers(4, len(MOMENTS_S) + 1))
    made = []
    for t_s in MOMENTS_S[:n_moments]:
        shape = drawn(t_s)
        grown = side * (1 + 0.04 * t_s)
        scale = grown / max(shape.shape[:2])
        w, h = max(8, shape.shape[1] * scale), max(8, shape.shape[0] * scale)
        at_x = min(max(x + sign * where.px_s * (t_s - 1.5), w / 2), WIDTH - w / 2)
        at_y = min(max(y, h / 2), HEIGHT - h / 2)
        box = _flickering(at_x, at_y, w, h, rng)
        square = square_around(box, WIDTH, HEIGHT)
        ground = camera.view[square.y : square.y + square.h, square.x : square.x + square.w]
        centre = (at_x - square.x, at_y - square.y)
        crop = compose.pasted(ground, shape, centre, grown, np.random.default_rng(lit))
        seen = replace(light, side_px=min(LARGEST_PX, square.w))
        made.append((t_s, compose.seen_by(crop, seen, rng)))
    return made


def _flickering(x: float, y: float, w: float, h: float, rng: np.random.Generator) -> Blob:
    left, right = x - w / 2 + w * rng.normal(0, FLICKER / 2), x + w / 2 + w * rng.normal(0, FLICKER / 2)
    top, bottom = y - h / 2 + h * rng.normal(0, FLICKER / 2), y + h / 2 + h * rng.normal(0, FLICKER / 2)
    return Blob(round(left), round(top), max(4, round(right - left)), max(4, round(bottom - top)))


# -- what moves


def thing_look(thing: Thing, hues: float) -> Look:
    """A thing from one of its sides; `hues`: how much its colours differ from event to event (clothes, paint)."""

    def of_event(rng: np.random.Generator) -> Callable[[float], Array]:
        picture = thing.pictures[int(rng.integers(len(thing.pictures)))]
        cut = np.ascontiguousarray(picture[:, ::-1]) if rng.random() < 0.5 else picture
        colours = np.clip(rng.normal(1, hues, 3), 0.4, 1.8)
        cut = np.dstack([np.clip(cut[..., :3] * colours, 0, 255), cut[..., 3]]).astype(np.uint8)
        lean, sway = float(rng.normal(0, 4)), float(rng.uniform(1, 4))
        return lambda t_s: compose.turned(cut, lean + sway * math.sin(5 * t_s))

    return of_event


def any_flag(rng: np.random.Generator) -> Look:
    """A flag with stripes or a cross in colours of its own, in wind of the event."""
    n, is_upright, has_cross = int(rng.integers(2, 5)), bool(rng.random() < 0.5), bool(rng.random() < 0.3)
    colours = rng.integers(20, 245, (n + 1, 3))
    cloth = np.zeros((96, 150, 3), np.uint8)
    for number in range(n):
        if is_upright:
            cloth[:, number * 150 // n : (number + 1) * 150 // n] = colours[number]
        else:
            cloth[number * 96 // n : (number + 1) * 96 // n] = colours[number]
    if has_cross:
        cloth[38:58] = colours[n]
        cloth[:, 45:65] = colours[n]

    def of_event(event_rng: np.random.Generator) -> Callable[[float], Array]:
        wind, phase = float(event_rng.uniform(0.2, 1.0)), float(event_rng.uniform(0, 6))
        side = 1 if event_rng.random() < 0.5 else -1

        def at(t_s: float) -> Array:
            xx, yy = np.meshgrid(np.arange(170, dtype=np.float32), np.arange(150, dtype=np.float32))
            along = xx / 150
            wave = np.sin(7 * along - 6 * t_s - phase) * 10 * along
            droop = (1 - wind) * 60 * along**1.5
            source_y = yy - 20 - wave - droop
            flat = cv2.remap(
                np.dstack([cloth, np.full((96, 150), 255, np.uint8)]),
                (xx / (0.55 + 0.45 * wind)).astype(np.float32),
                source_y.astype(np.float32),
                cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_CONSTANT,
                borderValue=(0, 0, 0, 0),
            )
            shade = 1 + 0.22 * np.cos(7 * along - 6 * t_s - phase)
            flat = np.asarray(flat).astype(np.float32)
            flat[..., :3] = flat[..., :3] * shade[..., None]
            whole = np.clip(flat, 0, 255).astype(np.uint8)[:, ::side]
            return _trimmed(np.ascontiguousarray(whole))

        return at

    return of_event


def any_shadow(rng: np.random.Generator) -> Look:
    """The shadow of a tree or a pole: dark patches that lean with the hour and tremble."""
    n = int(rng.integers(2, 7))
    spots = rng.uniform((0.2, 0.2, 0.08, 0.08, 0), (0.8, 0.8, 0.3, 0.25, 180), (n, 5))
    dark = float(rng.uniform(0.35, 0.65))

    def of_event(event_rng: np.random.Generator) -> Callable[[float], Array]:
        lean, soft = float(event_rng.uniform(-0.5, 0.5)), float(event_rng.uniform(2, 6))
        trembles = event_rng.uniform(0, 6, n)

        def at(t_s: float) -> Array:
            mask = np.zeros((160, 160), np.float32)
            for (x, y, a, b, angle), phase in zip(spots, trembles, strict=True):
                dx = 0.02 * math.sin(3 * t_s + phase)
                centre = (int(160 * (x + dx + lean * (y - 0.5) * 0.5)), int(160 * y))
                cv2.ellipse(mask, centre, (int(160 * a), int(160 * b)), float(angle), 0, 360, 1.0, -1)
            soft_mask = cv2.GaussianBlur(mask, (0, 0), soft)
            return _trimmed(
                np.dstack([np.zeros((160, 160, 3), np.uint8), (255 * dark * soft_mask).astype(np.uint8)])
            )

        return at

    return of_event


def _trimmed(picture: Array) -> Array:
    rows, columns = np.where(picture[..., 3] > 30)
    if not rows.size:
        return picture
    return np.ascontiguousarray(picture[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1])
