"""What headless Chromium shows of clips: right levels and colours, right shape, upright."""

from __future__ import annotations

import base64
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from playwright.async_api import Browser

from services.motion.media.clips import make_clip
from tests.browser.test_search_page import browser
from tests.unit.motion.known_pictures import FIELDS, Case, fields_of, jpeg_pixels, write_case
from tests.unit.motion.media.test_shown_pictures import FINE, TALL, X264, X265, read

__all__ = ["browser"]  # a fixture

pytestmark = [pytest.mark.browser, pytest.mark.e2e]
DRAW = """async (url) => {
    const video = document.createElement('video');
    video.muted = true;
    video.src = url;
    document.body.append(video);
    await new Promise((done, fail) => {
        video.requestVideoFrameCallback(done);
        video.onerror = () => fail(new Error(video.error.message));
        video.onloadeddata = () => { video.currentTime = 0.35; };
    });
    const canvas = document.createElement('canvas');
    [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
    canvas.getContext('2d', { willReadFrequently: true }).drawImage(video, 0, 0);
    return canvas.toDataURL('image/png').split(',')[1];
}"""
CASES = [
    Case("limited 709", matrix=1, primaries=1, transfer=1, options=X264),
    Case("full H.264", full=True, pixels="yuvj420p", options=X264),
    Case("large and untagged", is_tagged=False, matrix=1, coded=(1280, 720), shown=(1280, 720), options=X264),
    Case("full HEVC", "libx265", full=True, is_tagged=False, options=X265),
    Case("full 709 HEVC", "libx265", full=True, matrix=1, primaries=1, transfer=1, options=X265),
    Case("MJPEG", "mjpeg", "avi", "yuvj420p", full=True, options=FINE),
    Case("PQ", "libx265", "mp4", "yuv420p10le", False, 9, 9, 16, options=X265),
    Case("anamorphic H.264", coded=(220, 180), aspect=Fraction(16, 11), options=X264),
    Case("anamorphic HEVC", "libx265", coded=(220, 180), aspect=Fraction(16, 11), options=X265),
    Case("on its left side", coded=TALL, turn=90, options=X264),
    Case("on its head", turn=180, options=X264),
    Case("mirrored", flip="h", options=X264),
    Case("upside down", flip="v", options=X264),
    Case("mirrored and turned", coded=TALL, turn=90, flip="h", options=X264),
    Case("turned HEVC", "libx265", coded=TALL, turn=90, options=X265),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_a_browser_shows_a_clip_as_it_is_to_be_shown(
    browser: Browser, tmp_path: Path, case: Case
) -> None:
    facts, packets, _ = read(write_case(tmp_path / f"in.{case.container}", case))
    url = "data:video/mp4;base64," + base64.b64encode(make_clip(facts, packets).mp4).decode()
    page = await browser.new_page()
    try:
        drawn = await page.evaluate(DRAW, url)
    finally:
        await page.close()
    picture = jpeg_pixels(base64.b64decode(drawn))
    assert (picture.shape[1], picture.shape[0]) == pytest.approx(case.shown, abs=1)
    # Chromium's own conversion of BT.709 is up to 8 levels off
    assert np.abs(fields_of(picture) - FIELDS).max() <= (14 if case.primaries == 9 else 9), (
        fields_of(picture).round().tolist()
    )
