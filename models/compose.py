"""Pictures as a camera's motion crops show them: a thing on a place, small, blurred, noisy, compressed.

Pure but for the random generator that is passed in. Pictures are uint8[H,W,3] RGB; what the tower sees is 224 x 224.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from pictures import Place, Thing

Array = np.ndarray[Any, np.dtype[Any]]
INPUT_PX = 224
CANVAS_PX = 256


@dataclass(frozen=True, slots=True)
class Camera:
    """What one camera does to every picture of an event."""

    side_px: int  # of the crop, before it is brought to the tower's size
    gray: bool
    rain: int  # streaks
    blur_px: float
    motion_px: int
    noise: float
    jpeg: int
    gain: float
    gamma: float
    tint: tuple[float, float, float]
    fill: float  # share of the crop's side that the thing takes


@dataclass(frozen=True, slots=True)
class Plan:
    """How many events of each sort a split has, and how many pictures an event."""

    n_label: int  # per label of the bar
    n_other: int  # over all other things
    n_nothing: int
    n_pictures: int
    crops_only: bool  # no whole frames
    is_clean: bool = False  # without a camera: pictures stay as they were composed, CANVAS_PX a side


def any_camera(rng: np.random.Generator, crops_only: bool = False) -> Camera:
    """Draw a camera: crops of 32 to 240 px, most of them small; one in eight is a whole frame, unless not wanted."""
    is_frame = not crops_only and rng.random() < 0.12
    side = int(rng.uniform(160, 240)) if is_frame else int(np.exp(rng.uniform(np.log(32), np.log(240))))
    dark = rng.random() < 0.1
    tint = rng.normal(1, 0.05, 3)
    return Camera(
        side_px=side,
        gray=rng.random() < 0.1,
        rain=int(rng.integers(20, 80)) if rng.random() < 0.06 else 0,
        blur_px=float(rng.uniform(0, 1.2)) if rng.random() < 0.6 else 0.0,
        motion_px=int(rng.integers(2, 5)) if rng.random() < 0.2 else 0,
        noise=float(rng.exponential(3)) + (4 if dark else 0),
        jpeg=int(rng.integers(40, 95)),
        gain=float(rng.uniform(0.4, 0.75) if dark else rng.uniform(0.8, 1.2)),
        gamma=float(rng.uniform(0.8, 1.25)),
        tint=(float(tint[0]), float(tint[1]), float(tint[2])),
        # a padded crop of the moving box is 20 % wider on each side; boxes are too large or too small by some
        fill=float(rng.uniform(0.2, 0.45) if is_frame else rng.uniform(0.55, 0.92)),
    )


def seen_by(picture: Array, camera: Camera | None, rng: np.random.Generator) -> Array:
    """Degrade a picture as the camera would and bring it to the tower's size; None: the latter only."""
    if camera is None:
        return cv2.resize(picture, (INPUT_PX, INPUT_PX), interpolation=cv2.INTER_AREA)
    size = (camera.side_px, camera.side_px)
    work: Array = cv2.resize(picture, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    if camera.motion_px:
        kernel: Array = np.zeros((camera.motion_px * 2 + 1,) * 2, np.float32)
        kernel[camera.motion_px, :] = 1
        turn = cv2.getRotationMatrix2D((camera.motion_px, camera.motion_px), float(rng.uniform(-30, 30)), 1)
        kernel = cv2.warpAffine(kernel, turn, kernel.shape[::-1])
        work = cv2.filter2D(work, -1, kernel / max(kernel.sum(), 1e-6)) if camera.side_px > 40 else work
    if camera.blur_px:
        work = cv2.GaussianBlur(work, (0, 0), max(camera.blur_px * camera.side_px / 120, 0.2))
    work = 255 * (np.clip(work / 255, 0, 1) ** camera.gamma) * camera.gain * np.array(camera.tint, np.float32)
    if camera.gray:
        work[:] = work.mean(axis=2, keepdims=True)
    for _ in range(camera.rain * camera.side_px // 200):
        x, y = rng.integers(0, camera.side_px, 2)
        length = int(rng.integers(4, max(5, camera.side_px // 6)))
        cv2.line(
            work, (int(x), int(y)), (int(x) + length // 5, int(y) + length), (200, 200, 205), 1, cv2.LINE_AA
        )
    work += rng.normal(0, camera.noise, work.shape[:2] + ((1,) if camera.gray else (3,))).astype(np.float32)
    small = np.clip(work, 0, 255).astype(np.uint8)
    _, code = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, camera.jpeg])
    decoded = np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR))[..., ::-1]
    mode = cv2.INTER_AREA if camera.side_px > INPUT_PX else cv2.INTER_CUBIC
    return np.ascontiguousarray(cv2.resize(decoded, (INPUT_PX, INPUT_PX), interpolation=mode))


def patch(place: Place, rng: np.random.Generator) -> Array:
    """Cut a random square of a place: uint8[CANVAS,CANVAS,3]."""
    height, width = place.picture.shape[:2]
    side = int(min(height, width) * rng.uniform(0.2, 1.0))
    y, x = int(rng.integers(0, height - side + 1)), int(rng.integers(0, width - side + 1))
    cut = place.picture[y : y + side, x : x + side]
    out = cv2.resize(
        cut, (CANVAS_PX, CANVAS_PX), interpolation=cv2.INTER_AREA if side > CANVAS_PX else cv2.INTER_LINEAR
    )
    return np.ascontiguousarray(out[:, ::-1] if rng.random() < 0.5 else out)


def scene(places: list[Place], rng: np.random.Generator) -> tuple[Array, str | None]:
    """Give a background of twice the canvas and the kind of place it is: a photograph's part, or ground seen aslant."""
    if rng.random() < 0.3:
        grounds = [
            p
            for p in places
            if p.kind in ("grass", "street", "ground", "railway") and p.identity.startswith("texture")
        ]
        return aslant(grounds[int(rng.integers(len(grounds)))], places[int(rng.integers(len(places)))], rng)
    place = places[int(rng.integers(len(places)))]
    return cv2.resize(patch(place, rng), (2 * CANVAS_PX, 2 * CANVAS_PX)), place.kind


def aslant(ground: Place, behind: Place, rng: np.random.Generator) -> tuple[Array, str | None]:
    """Lay a ground texture flat before a backdrop, sometimes with a road's lines or a railway's tracks on it."""
    side = 2 * CANVAS_PX
    kind = ground.kind
    flat = cv2.resize(patch(ground, rng), (side, side))
    if kind in ("ground", "street") and rng.random() < 0.35:
        kind = "railway"
        for x in range(0, side, 160):
            for y in range(0, side, 24):
                cv2.rectangle(
                    flat, (x + 30, y), (x + 130, y + 9), [int(v) for v in rng.integers(50, 110, 3)], -1
                )
            for rail in (50, 110):
                cv2.line(flat, (x + rail, 0), (x + rail, side), (150, 140, 135), 5)
    elif kind == "street" and rng.random() < 0.6:
        for y in range(0, side, 90):
            cv2.rectangle(flat, (side // 2 - 5, y), (side // 2 + 5, y + 50), (225, 225, 220), -1)
        if rng.random() < 0.5:
            cv2.rectangle(flat, (0, 0), (90, side), [int(v) for v in rng.integers(120, 190, 3)], -1)
    if rng.random() < 0.5:
        flat = np.ascontiguousarray(np.rot90(flat)) if rng.random() < 0.3 else flat
    horizon = int(side * rng.uniform(-0.6, 0.4))
    near = rng.uniform(0.3, 2.0) * side
    corners = np.array(
        [
            [side * rng.uniform(0.2, 0.45), horizon],
            [side * rng.uniform(0.55, 0.8), horizon],
            [side / 2 + near, side],
            [side / 2 - near, side],
        ],
        np.float32,
    )
    square = np.array([[0, 0], [side, 0], [side, side], [0, side]], np.float32)
    matrix = cv2.getPerspectiveTransform(square, corners)
    laid = cv2.warpPerspective(flat, matrix, (side, side), borderMode=cv2.BORDER_REFLECT)
    if horizon > 0:
        laid[:horizon] = cv2.resize(patch(behind, rng), (side, side))[-horizon:]
    return laid, kind


def pasted(
    background: Array, cutout: Array, centre: tuple[float, float], side: float, rng: np.random.Generator
) -> Array:
    """Put a cut-out on a background, with its long side `side` px and its light mixed with the background's."""
    scale = side / max(cutout.shape[:2])
    size = (max(2, round(cutout.shape[1] * scale)), max(2, round(cutout.shape[0] * scale)))
    small = cv2.resize(cutout, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    x, y = int(centre[0] - size[0] / 2), int(centre[1] - size[1] / 2)
    left, top, right, bottom = (
        max(0, x),
        max(0, y),
        min(background.shape[1], x + size[0]),
        min(background.shape[0], y + size[1]),
    )
    if right <= left or bottom <= top:
        return background
    out = background.astype(np.float32)
    if rng.random() < 0.5:
        shadow = np.zeros(background.shape[:2], np.float32)
        axes = (max(1, int(size[0] * 0.5)), max(1, int(size[1] * 0.08)))
        cv2.ellipse(shadow, (int(centre[0]), min(y + size[1], background.shape[0])), axes, 0, 0, 360, 1.0, -1)
        out *= 1 - 0.45 * cv2.GaussianBlur(shadow, (0, 0), max(1.0, size[0] * 0.05))[..., None]
    part = small[top - y : bottom - y, left - x : right - x]
    alpha = cv2.GaussianBlur(part[..., 3].astype(np.float32) / 255, (0, 0), 0.7)[..., None]
    rgb = part[..., :3].astype(np.float32)
    solid = part[..., 3] > 128
    if solid.any():
        share = rng.uniform(0, 0.35)
        mean = rgb[solid].mean()
        rgb *= (1 - share) + share * out[top:bottom, left:right].mean() / max(mean, 20)
    out[top:bottom, left:right] = alpha * rgb + (1 - alpha) * out[top:bottom, left:right]
    return np.clip(out, 0, 255).astype(np.uint8)


def event(thing: Thing, places: list[Place], plan: Plan, rng: np.random.Generator) -> list[Array]:
    """Give pictures of one event: one thing, one place, one camera, the thing moving between pictures."""
    camera, n_pictures = any_camera(rng, plan.crops_only), plan.n_pictures
    picture = thing.pictures[int(rng.integers(len(thing.pictures)))]
    flip = rng.random() < 0.5
    if picture.shape[2] == 3:
        closes = [close_up(picture, flip, rng) for _ in range(n_pictures)]
        return closes if plan.is_clean else [seen_by(close, camera, rng) for close in closes]
    background, _ = scene(places, rng)
    cutout = np.ascontiguousarray(picture[:, ::-1]) if flip else picture
    hue = rng.normal(1, 0.08, 3)
    cutout = np.dstack([np.clip(cutout[..., :3] * hue, 0, 255), cutout[..., 3]]).astype(np.uint8)
    cutout = turned(cutout, float(rng.normal(0, 4)))
    at = rng.uniform(0.3, 0.7, 2) * CANVAS_PX
    step = rng.normal(0, 0.06, 2) * CANVAS_PX
    pictures = []
    for number in range(n_pictures):
        x, y = np.clip(at + number * step, 0, CANVAS_PX - 1).astype(int)
        ground = background[y : y + CANVAS_PX, x : x + CANVAS_PX]
        side = camera.fill * CANVAS_PX * rng.uniform(0.92, 1.08)
        slack = max(0.04, (1 - camera.fill) / 2) * CANVAS_PX
        centre = (CANVAS_PX / 2 + rng.uniform(-slack, slack), CANVAS_PX / 2 + rng.uniform(-slack, slack))
        composed = pasted(ground, cutout, centre, side, rng)
        pictures.append(composed if plan.is_clean else seen_by(composed, camera, rng))
    return pictures


def turned(cutout: Array, angle: float) -> Array:
    """Rotate a cut-out about its centre."""
    height, width = cutout.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1)
    return np.asarray(cv2.warpAffine(cutout, matrix, (width, height)))


def close_up(picture: Array, flip: bool, rng: np.random.Generator) -> Array:
    """Cut most of a photograph, off its centre, as a square or squashed to one."""
    height, width = picture.shape[:2]
    if rng.random() < 0.7:
        side = int(min(height, width) * rng.uniform(0.85, 1.0))
        size = (side, side)
    else:
        size = (int(width * rng.uniform(0.8, 1.0)), int(height * rng.uniform(0.8, 1.0)))
    x = int((width - size[0]) * np.clip(rng.normal(0.5, 0.15), 0, 1))
    y = int((height - size[1]) * np.clip(rng.normal(0.5, 0.15), 0, 1))
    cut = picture[y : y + size[1], x : x + size[0]]
    out = cv2.resize(cut, (CANVAS_PX, CANVAS_PX), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(out[:, ::-1] if flip else out)


def empty_event(places: list[Place], plan: Plan, rng: np.random.Generator) -> tuple[list[Array], str | None]:
    """Give pictures of a place where nothing is (a branch, a shadow or the light moved), and its kind."""
    camera, n_pictures = any_camera(rng, plan.crops_only), plan.n_pictures
    background, kind = scene(places, rng)
    pictures = []
    for _ in range(n_pictures):
        x, y = rng.integers(0, CANVAS_PX, 2)
        ground = background[y : y + CANVAS_PX, x : x + CANVAS_PX].astype(np.float32)
        if rng.random() < 0.3:
            shade = np.zeros((CANVAS_PX, CANVAS_PX), np.float32)
            points = rng.integers(0, CANVAS_PX, (int(rng.integers(3, 6)), 2)).astype(np.int32)
            cv2.fillPoly(shade, [points], 1.0)
            ground *= 1 - float(rng.uniform(0.2, 0.5)) * cv2.GaussianBlur(shade, (0, 0), 4)[..., None]
        composed = ground.astype(np.uint8)
        pictures.append(composed if plan.is_clean else seen_by(composed, camera, rng))
    return pictures, kind


def ridden(bicycle: Array, rider: Array, rng: np.random.Generator) -> Array:
    """Seat a standing person's cut-out on a bicycle's: a cyclist, from far away."""
    side = 320
    out = np.zeros((side, side, 4), np.uint8)
    wheel = cv2.resize(bicycle, (int(side * 0.8), int(side * 0.8 * bicycle.shape[0] / bicycle.shape[1])))[
        : side // 2
    ]
    height = int(side * rng.uniform(0.75, 0.85))
    person = cv2.resize(rider, (max(8, int(rider.shape[1] * height / rider.shape[0])), height))[
        :, : side // 2
    ]
    x, y = (side - wheel.shape[1]) // 2, side - wheel.shape[0]
    out[y:, x : x + wheel.shape[1]] = wheel
    x = int(side * rng.uniform(0.4, 0.5)) - person.shape[1] // 2
    spot = out[: person.shape[0], x : x + person.shape[1]]
    spot[...] = np.where(person[..., 3:] > 128, person, spot)
    return out
