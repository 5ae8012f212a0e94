"""The record's page in headless Chromium: the star, and the health of the pipeline, at the desk and on a phone.

Screenshots go to CLIPWATCH_SCREENSHOTS, or to the test's own folder.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect
from redis.asyncio import Redis

from shared.contract import LABELS
from shared.presence import CameraReport, Presence, announce
from tests.browser.test_search_page import LIMIT_MS, browser, narrow, recorder, shot
from tests.integration.test_recorder_service import Recorder, settled
from tests.unit.classifier.makers import BLUE, RED, jpeg
from tests.unit.recorder.messages import Said, append, send

__all__ = ["browser", "recorder"]  # fixtures

pytestmark = [pytest.mark.browser, pytest.mark.redis, pytest.mark.e2e]
CLASSIFIER = Presence(service="classifier", name="c1", about="mini on cpu")
MOTION = Presence(
    service="motion",
    name="m1",
    cameras=(CameraReport(id="gate", state="running"), CameraReport(id="yard", state="running")),
)
AWAY = MOTION.cameras[1].model_copy(update={"state": "away", "message": "no route to host"})


async def record(redis: Redis, number: int, camera: str = "gate") -> None:
    said = Said(event=number, camera=camera, is_last=True, accepted=[("a dog", 0.9)])
    await send(redis, said, thumbnail=jpeg(RED if number % 2 else BLUE, 320, 180))


async def opened(browser: Browser, recorder: Recorder, faults: list[str], width: int = 1280) -> Page:
    page = await browser.new_page(viewport={"width": width, "height": 844})
    page.set_default_timeout(LIMIT_MS)
    expect.set_options(timeout=LIMIT_MS)
    page.on("pageerror", lambda fault: faults.append(str(fault)))
    await page.goto(recorder.url)
    return page


async def test_an_event_is_kept_by_mouse_and_keyboard(
    recorder: Recorder, redis_client: Redis, browser: Browser, tmp_path: Path
) -> None:
    for number in range(3):
        await record(redis_client, number)
    await settled(redis_client)
    faults: list[str] = []
    page = await opened(browser, recorder, faults)
    other = await opened(browser, recorder, faults, 390)
    cards = page.locator("#list .card:not(.ghost)")
    await expect(cards).to_have_count(3)
    star = cards.first.get_by_role("button", name="Keep for good: a dog, camera gate")
    await expect(star).to_have_attribute("aria-pressed", "false")

    await star.click()
    await expect(star).to_have_attribute("aria-pressed", "true")
    elsewhere = other.locator("#list .card .star").first
    await expect(elsewhere).to_have_attribute("aria-pressed", "true")  # told by the stream
    await expect(page.locator("#detail")).to_be_hidden()

    await cards.nth(1).get_by_role("button", name="camera gate").first.focus()
    await page.keyboard.press("s")
    await expect(cards.nth(1).locator(".star")).to_have_attribute("aria-pressed", "true")
    await page.keyboard.press("Enter")
    kept = page.locator("#detail .star")
    await expect(kept).to_have_attribute("aria-pressed", "true")
    await shot(page, tmp_path, "star")
    await kept.focus()
    await page.keyboard.press("Space")
    await expect(kept).to_have_attribute("aria-pressed", "false")
    await expect(cards.nth(1).locator(".star")).to_have_attribute("aria-pressed", "false")
    await expect(kept).to_be_focused()

    await page.reload()  # the record has it
    await expect(cards.first.locator(".star")).to_have_attribute("aria-pressed", "true")
    await other.emulate_media(color_scheme="dark")
    await shot(other, tmp_path, "star-phone-dark")

    await page.route("**/protected", lambda route: route.abort())
    await cards.nth(2).locator(".star").click()
    await expect(page.locator("#toast")).to_contain_text("The star could not be changed")
    await expect(cards.nth(2).locator(".star")).to_have_attribute("aria-pressed", "false")
    assert faults == []


async def test_the_pipeline_s_health_is_shown_as_it_changes(
    recorder: Recorder, redis_client: Redis, browser: Browser, tmp_path: Path
) -> None:
    faults: list[str] = []
    page = await opened(browser, recorder, faults)
    lamp, panel = page.locator("#pipeline"), page.locator("#health")
    await expect(lamp).to_have_attribute("data-state", "off")
    await expect(panel).to_be_hidden()
    await lamp.focus()
    await page.keyboard.press("Enter")
    await expect(panel).to_contain_text("No motion service is there")
    await expect(panel).to_contain_text("No classifier is there")
    await expect(panel).to_contain_text("No camera is known")
    await expect(panel.get_by_label("Latest gaps")).to_contain_text("Nothing was missed")
    await shot(page, tmp_path, "health-nobody")

    stop = asyncio.Event()
    motion = MOTION
    told = [
        asyncio.create_task(announce(redis_client, lambda: motion, stop)),
        asyncio.create_task(announce(redis_client, lambda: CLASSIFIER, stop)),
    ]
    await expect(lamp).to_contain_text("All well")
    await expect(lamp).to_have_attribute("aria-label", "Pipeline: All well")
    await expect(panel.get_by_label("Cameras")).to_contain_text("yard")
    await expect(panel.get_by_label("Services")).to_contain_text("mini on cpu")
    await shot(page, tmp_path, "health-well")

    motion = replace_camera(MOTION, AWAY)
    await append(redis_client, f"{LABELS}:dead", {b"dead": b"{}"})
    await expect(panel).to_contain_text("Camera 'yard' is away: no route to host")
    await expect(panel).to_contain_text("1 entry of labels.v1 could not be handled")
    await expect(lamp).to_contain_text("2 problems")
    await expect(panel.get_by_label("Latest gaps")).to_contain_text("yardaway lasts")
    await narrow(page)
    await page.emulate_media(color_scheme="dark")
    await shot(page, tmp_path, "health-problems-phone-dark")

    recorder.kill()
    await expect(lamp).to_contain_text("Recorder does not answer")
    await expect(panel.get_by_role("alert")).to_contain_text("the page keeps trying")
    await expect(panel.get_by_label("Cameras")).to_contain_text("yard")  # what was known stays
    await shot(page, tmp_path, "health-no-recorder")
    recorder.start()
    await expect(lamp).to_contain_text("2 problems")
    await panel.get_by_role("button", name="Close").focus()
    await page.keyboard.press("Escape")
    await expect(panel).to_be_hidden()
    await expect(lamp).to_be_focused()
    stop.set()
    await asyncio.gather(*told)
    assert faults == []


def replace_camera(motion: Presence, camera: CameraReport) -> Presence:
    return motion.model_copy(
        update={"cameras": tuple(camera if one.id == camera.id else one for one in motion.cameras)}
    )
