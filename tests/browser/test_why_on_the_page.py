"""Why an event was accepted, in headless Chromium: the box on the video, the crops, the sentence, the table.

Screenshots go to CLIPWATCH_SCREENSHOTS, or to the test's own folder.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.async_api import Browser, Page, expect
from redis.asyncio import Redis

from services.classifier.words.prompts import LabelBank
from shared.contract import LABELS, MEDIA, Box, SnippetMessage
from shared.decisions.labeller import EmbeddedSnippet, label
from tests.browser.accessible import MISNAMED
from tests.browser.test_search_page import LIMIT_MS, browser, narrow, recorder, shot
from tests.integration.test_recorder_service import Recorder, settled
from tests.integration.test_search_and_hindsight import answering, seen
from tests.unit.classifier.makers import BLUE, GREEN, RED, Colour, ColourModel, jpeg
from tests.unit.motion.videos import scene, write_video
from tests.unit.recorder.messages import Said, append, media_message

__all__ = ["browser", "recorder"]  # fixtures

pytestmark = [pytest.mark.browser, pytest.mark.redis, pytest.mark.e2e]
WIDTH, HEIGHT, SQUARE, FPS, N_FRAMES = 160, 120, 24, 10, 80
MOMENTS_S = (1.0, 2.0, 3.0, 4.0, 5.0)
SHOWN = """() => {  // where the bright square is that the video shows, and the boxes over it, in pixels of the page
    const video = document.querySelector('#detail video');
    const canvas = document.createElement('canvas');
    [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
    const pen = canvas.getContext('2d', { willReadFrequently: true });
    pen.drawImage(video, 0, 0);
    const { data } = pen.getImageData(0, 0, canvas.width, canvas.height);
    let [left, top, right, bottom] = [1e9, 1e9, -1, -1];
    for (let y = 0; y < canvas.height; y += 1) for (let x = 0; x < canvas.width; x += 1) {
        if (data[4 * (y * canvas.width + x)] < 190) continue;
        [left, top] = [Math.min(left, x), Math.min(top, y)];
        [right, bottom] = [Math.max(right, x + 1), Math.max(bottom, y + 1)];
    }
    const frame = video.getBoundingClientRect();
    const scale = Math.min(frame.width / canvas.width, frame.height / canvas.height);
    const x0 = frame.left + (frame.width - scale * canvas.width) / 2;
    const y0 = frame.top + (frame.height - scale * canvas.height) / 2;
    const square = [x0 + scale * left, y0 + scale * top, x0 + scale * right, y0 + scale * bottom];
    const boxes = [...document.querySelectorAll('#detail .box')].map((one) => one.getBoundingClientRect())
        .map((one) => [one.left, one.top, one.right, one.bottom]);
    return { square, boxes, pixel: scale };
}"""
SEEK = """(second) => new Promise((done) => {
    const video = document.querySelector('#detail video');
    video.addEventListener('seeked', () => requestAnimationFrame(() => requestAnimationFrame(done)), { once: true });
    video.currentTime = second;
})"""
NOW = "() => document.querySelector('#detail video').currentTime"
BRIGHT = """() => [...document.querySelectorAll('#detail .crops canvas')].map((canvas) => {
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    return data.filter((_, index) => index % 4 === 0).reduce((a, b) => a + b, 0) / (data.length / 4);
})"""


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A clip of 8 s in which a bright square crosses the picture, higher than the page's stage is wide."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    frames = scene(N_FRAMES, WIDTH, HEIGHT, SQUARE)
    return write_video(path, frames, options={"movflags": "+faststart"}).read_bytes()


def place(second: float) -> Box:
    """Return where the square is at a second of the clip."""
    x = round(FPS * second / (N_FRAMES - 1) * (WIDTH - SQUARE))
    return Box(x=x / WIDTH, y=0.5, w=SQUARE / WIDTH, h=SQUARE / HEIGHT)


def watched(number: int, colours: list[Colour]) -> SnippetMessage:
    """Return a snippet with a crop of the square in each moment."""
    sent = seen(number, colours)
    header = sent.header
    pictures = tuple(
        one.model_copy(
            update={"captured_at": header.started_at + timedelta(seconds=second), "box": place(second)}
        )
        for one, second in zip(header.pictures, MOMENTS_S, strict=True)
    )
    ended_at = header.started_at + timedelta(seconds=N_FRAMES / FPS)
    header = header.model_copy(update={"pictures": pictures, "ended_at": ended_at})
    return SnippetMessage(header, sent.pictures)


async def record(redis: Redis, model: ColourModel, number: int, colours: list[Colour], clip: bytes) -> str:
    """Publish a snippet as motion and classifier do; return the event's id."""
    sent = watched(number, colours)
    pixels = np.stack([np.full((3, 4, 4), np.array(c)[:, None, None], np.uint8) for c in colours])
    looked = EmbeddedSnippet(sent, model.embed_pictures(pixels), np.ones(len(colours), dtype=np.bool_))
    said = label(looked, LabelBank(model, 1).get(sent.header.label_set), model.facts, sent.header.ended_at)
    media = media_message(Said(event=number), clip, thumbnail=jpeg(colours[0], 320, 180))
    header = media.header.model_copy(update={"event_id": sent.header.event_id, "snippet": 0})
    media_id = await append(redis, MEDIA, replace(media, header=header).encode())
    header_said = said.header.model_copy(update={"media_id": media_id})
    await append(redis, LABELS, replace(said, header=header_said).encode())
    return sent.header.event_id


async def opened(
    browser: Browser, recorder: Recorder, event_id: str, faults: list[str], width: int = 1280
) -> Page:
    """Open an event's page, with its clip at rest."""
    page = await browser.new_page(viewport={"width": width, "height": 844}, reduced_motion="reduce")
    page.set_default_timeout(LIMIT_MS)
    expect.set_options(timeout=LIMIT_MS)
    page.on("pageerror", lambda fault: faults.append(str(fault)))
    await page.goto(f"{recorder.url}/#{event_id}")
    await page.wait_for_function("() => document.querySelector('#detail video')?.readyState >= 2")
    return page


async def shown_at(page: Page, second: float) -> dict[str, Any]:  # Any: as SHOWN says
    await page.evaluate(SEEK, second)
    found: dict[str, Any] = await page.evaluate(SHOWN)
    return found


async def test_an_accepted_event_shows_the_box_the_crops_and_the_sentence(
    recorder: Recorder, redis_client: Redis, browser: Browser, tmp_path: Path, clip: bytes
) -> None:
    model = ColourModel()
    event_id = await record(redis_client, model, 0, [BLUE, GREEN, GREEN, GREEN, GREEN], clip)
    await settled(redis_client)
    faults: list[str] = []
    async with answering(redis_client, model):
        page = await opened(browser, recorder, event_id, faults)
        detail = page.locator("#detail")
        await expect(detail.locator(".reason")).to_contain_text("'a dog' was accepted: for ")
        await expect(detail.locator(".crops canvas[data-drawn]")).to_have_count(4)

        for second in (2.0, 2.5, 3.3, 4.9):  # at moments, and between them
            found = await shown_at(page, second)
            (box,) = found["boxes"]
            assert np.abs(np.array(box) - np.array(found["square"])).max() <= 3 * found["pixel"], second
        await expect(detail.locator(".box span")).to_have_text("a dog 100%")
        await shot(page, tmp_path, "why")
        assert (await shown_at(page, 7.0))["boxes"] == [], "nothing was looked at there"

        assert min(await page.evaluate(BRIGHT)) > 150, "the crops show the square"
        crops = detail.get_by_role("group", name="Moments that decided").get_by_role("button")
        await crops.nth(1).click()
        await page.wait_for_function(f"() => Math.abs(({NOW})() - 3) < 0.01")
        await crops.nth(2).focus()
        await page.keyboard.press("Enter")
        await page.wait_for_function(f"() => Math.abs(({NOW})() - 4) < 0.01")

        rows = detail.locator(".reasons tbody tr")
        await expect(rows).to_have_count(2)
        await expect(rows.first).to_contain_text("a dog")
        await expect(rows.first).to_contain_text("50%")
        await rows.last.get_by_role("button", name="a person").focus()
        await page.keyboard.press("Enter")
        await expect(detail.locator(".why h3")).to_have_text("What came nearest: a person")
        await expect(rows.last.get_by_role("button")).to_be_focused()

        plot = detail.locator(".plot svg")
        size = await plot.bounding_box()
        assert size is not None
        await plot.hover(position={"x": size["width"] * 0.4, "y": 50})
        await expect(detail.locator(".box.pointed")).to_have_count(1)
        await page.mouse.move(2, 2)
        await expect(detail.locator(".box.pointed")).to_have_count(0)

        assert await page.evaluate(MISNAMED) == []
        await narrow(page)
        found = await shown_at(page, 3.3)
        assert np.abs(np.array(found["boxes"][0]) - np.array(found["square"])).max() <= 3 * found["pixel"]
        await shot(page, tmp_path, "why-phone")
        await detail.locator(".why").scroll_into_view_if_needed()
        await page.emulate_media(color_scheme="dark")
        await shot(page, tmp_path, "why-phone-dark")
    assert faults == []


async def test_an_event_without_a_label_says_what_came_nearest_and_without_a_classifier_what_is_missing(
    recorder: Recorder, redis_client: Redis, browser: Browser, tmp_path: Path, clip: bytes
) -> None:
    model = ColourModel()
    event_id = await record(redis_client, model, 0, [BLUE] * 5, clip)
    lost = await record(redis_client, model, 1, [RED] * 5, b"no video at all")
    await settled(redis_client)
    faults: list[str] = []
    page = await opened(browser, recorder, event_id, faults)
    detail = page.locator("#detail")
    await expect(detail.locator(".reason")).to_contain_text("No label was accepted; '")
    await expect(detail.locator(".why .hint").last).to_contain_text("no classifier answered")
    await expect(detail.locator(".crops canvas[data-drawn]").first).to_be_visible()
    found = await shown_at(page, 3.3)
    assert len(found["boxes"]) == 1, "where it was is recorded"
    await shot(page, tmp_path, "why-no-label")

    await page.goto(f"{recorder.url}/#{lost}")
    await expect(detail.locator(".reason")).to_contain_text("'a person' was accepted")
    await expect(detail.locator(".crops .blank").first).to_have_text("no picture")
    assert faults == []
