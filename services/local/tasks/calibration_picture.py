"""Draws what `clipwatch calibrate` saw: masks, noise, where things moved, and how far each look reached."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from services.motion.detection.calibration import Proposal, Survey, restless, still_levels
from services.motion.media.frame import Frame
from services.motion.media.rendering import Renderer

PANEL_W = 640
EDGE, HEAD, FOOT = 16, 64, 26
INK, SOFT, GROUND, PANEL = (20, 33, 43), (86, 103, 115), (244, 246, 247), (255, 255, 255)
STILL, MOVING, CHOSEN, MASK = (110, 126, 137), (15, 118, 110), (190, 24, 93), (239, 68, 68)
LEVELS = 120  # the histogram's width, grey levels
BINS = 60
ORIGIN_THRESHOLDS = (10, 75)
Picture = npt.NDArray[np.uint8]


def draw(path: Path, camera: str, last: Frame, survey: Survey, proposal: Proposal) -> None:
    """Write the picture; raises OSError."""
    image = np.ascontiguousarray(Renderer().bgr(last)[..., ::-1])
    panel_h = round(PANEL_W * image.shape[0] / image.shape[1])
    size = (2 * PANEL_W + 3 * EDGE, HEAD + 2 * (panel_h + FOOT + EDGE) + 22 * len(proposal.reasons) + EDGE)
    sheet = Image.new("RGB", size, GROUND)
    pen = ImageDraw.Draw(sheet)
    pen.text((EDGE, 14), f"clipwatch calibrate: {camera}", INK, _font(22))
    watched_s = survey.reaches[-1].t_s - survey.began_s if survey.reaches else 0.0
    pen.text((EDGE, 40), f"{watched_s:.0f} s watched, {len(survey.reaches)} looks", SOFT, _font(14))
    panels = (
        (
            _scene(image, survey, proposal, panel_h),
            "the camera now; red: proposed masks; outlined: masks it has",
        ),
        (*_noise(survey, panel_h),),
        (_movement(image, survey, panel_h), "where it changed: green travelled, red never stops"),
        (
            _histogram(survey, proposal, panel_h),
            "looks by reach, the highest threshold that still finds something",
        ),
    )
    for index, (panel, caption) in enumerate(panels):
        x = EDGE + (index % 2) * (PANEL_W + EDGE)
        y = HEAD + (index // 2) * (panel_h + FOOT + EDGE)
        sheet.paste(panel, (x, y))
        pen.text((x, y + panel_h + 5), caption, SOFT, _font(14))
    y = HEAD + 2 * (panel_h + FOOT + EDGE)
    for number, reason in enumerate(proposal.reasons):
        pen.text((EDGE, y + 22 * number), reason, INK, _font(14))
    sheet.save(path)


def _scene(image: Picture, survey: Survey, proposal: Proposal, height: int) -> Image.Image:
    panel = Image.fromarray(image).resize((PANEL_W, height))
    shade = Image.new("RGBA", panel.size, (0, 0, 0, 0))
    pen = ImageDraw.Draw(shade)
    for polygons, fill in ((survey.settings.masks, None), (proposal.masks, (*MASK, 90))):
        for polygon in polygons:
            corners = [(x * (PANEL_W - 1), y * (height - 1)) for x, y in polygon]
            pen.polygon(corners, fill=fill, outline=(*MASK, 255), width=2)
    return Image.alpha_composite(panel.convert("RGBA"), shade).convert("RGB")


def _noise(survey: Survey, height: int) -> tuple[Image.Image, str]:
    if survey.scene is None:
        return Image.new("RGB", (PANEL_W, height), PANEL), "no noise was measured"
    spread = np.sqrt(survey.scene.variance)
    top = max(3.0, float(np.percentile(spread, 99.5)))
    levels = np.clip(spread / top * 255, 0, 255).astype(np.uint8)
    coloured = cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_VIRIDIS), cv2.COLOR_BGR2RGB)
    caption = (
        f"noise of each point: dark 0, yellow {top:.1f} grey levels; a still one {survey.scene.noise:.1f}"
    )
    return _fitted(coloured, height), caption


def _movement(image: Picture, survey: Survey, height: int) -> Image.Image:
    gray = np.asarray(Image.fromarray(image).convert("L").resize((PANEL_W, height)), np.float32)
    canvas = np.repeat((0.55 * gray + 60)[..., None], 3, axis=2)
    if survey.travelled is not None:
        total = np.sum(survey.changed, axis=0)
        n_frames = max(1, sum(survey.n_frames))
        often = np.clip(np.sqrt(total / n_frames) * 2.0, 0, 0.85)
        never_stops = restless(survey)
        red = np.zeros_like(often) if never_stops is None else never_stops.astype(np.float32) * 0.8
        for strength, colour in ((often, MOVING), (red, MASK)):
            share = cv2.resize(strength.astype(np.float32), (PANEL_W, height))[..., None]
            canvas = canvas * (1 - share) + np.array(colour, np.float32) * share
    return Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8))


def _histogram(survey: Survey, proposal: Proposal, height: int) -> Image.Image:
    panel = Image.new("RGB", (PANEL_W, height), PANEL)
    pen = ImageDraw.Draw(panel)
    left, foot, top = 16, 40, 74
    wide, high = PANEL_W - 2 * left, height - foot - top

    def at(level: float) -> float:
        return left + min(level, LEVELS) / LEVELS * wide

    kinds = [still_levels(survey), [reach.levels for reach in survey.reaches if reach.is_moving]]
    counts = [np.histogram(np.clip(levels, 0, LEVELS - 0.01), BINS, (0, LEVELS))[0] for levels in kinds]
    most = max(1.0, float(np.sqrt(max(int(count.max()) for count in counts))))
    for count, colour, shift in zip(counts, (STILL, MOVING), (0.0, 0.5), strict=True):
        for number, n in enumerate(count.tolist()):
            if n:
                x = left + (number + shift) * wide / BINS
                box = (x, top + high - np.sqrt(n) / most * high, x + wide / BINS / 2 - 1, top + high)
                pen.rectangle(box, fill=colour)
    pen.line((left, top + high, left + wide, top + high), SOFT)
    for level in range(0, LEVELS + 1, 20):
        pen.text((at(level), top + high + 4), str(level), SOFT, _font(12), anchor="ma")
    pen.text(
        (left + wide, height - 16),
        "grey levels; height: root of the looks",
        SOFT,
        _font(12),
        anchor="ra",
    )
    chosen = proposal.auto_levels if proposal.threshold == "auto" else float(proposal.threshold)
    marks: list[tuple[float, str, Any]] = [  # Any: Pillow's colours
        *((float(level), f"origin {level}", SOFT) for level in ORIGIN_THRESHOLDS),
        (chosen, "auto" if proposal.threshold == "auto" else f"proposed {proposal.threshold}", CHOSEN),
    ]
    for row, (mark, name, colour) in enumerate(marks):
        x = at(mark)
        pen.line((x, 30 + 14 * row, x, top + high), colour, 2)
        pen.text((x + 5, 24 + 14 * row), name, colour, _font(12))
    pen.text((left, 6), f"still frames: {len(kinds[0])}", STILL, _font(13))
    pen.text((left + 150, 6), f"looks with something that travelled: {len(kinds[1])}", MOVING, _font(13))
    return panel


def _fitted(picture: Any, height: int) -> Image.Image:  # Any: OpenCV's stubs say MatLike
    return Image.fromarray(np.asarray(picture, np.uint8)).resize((PANEL_W, height))


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
