"""Verdicts on the page, in headless Chromium: a key, what it would change, keeping it, the list, and taking it back.

Screenshots go to CLIPWATCH_SCREENSHOTS, or to the test's own folder.
"""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Route, expect
from redis.asyncio import Redis

from shared.clock import now_utc
from shared.contract import examples_key
from tests.browser.accessible import MISNAMED
from tests.browser.test_search_page import LIMIT_MS, browser, narrow, record, recorder, shot
from tests.integration.test_recorder_service import Recorder, settled
from tests.integration.test_search_and_hindsight import answering
from tests.unit.classifier.makers import GREEN, RED, ColourModel

__all__ = ["browser", "recorder"]  # fixtures

pytestmark = [pytest.mark.browser, pytest.mark.redis, pytest.mark.e2e]
OLIVE = (180, 220, 20)  # taken for a dog


async def test_a_wrong_label_is_put_right_by_a_key_and_taken_back(
    recorder: Recorder, redis_client: Redis, browser: Browser, tmp_path: Path
) -> None:
    model = ColourModel()
    flag = await record(redis_client, model, 2, OLIVE)
    for number, colour in ((0, GREEN), (1, RED)):
        await record(redis_client, model, number, colour)
    await settled(redis_client)
    page = await browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(LIMIT_MS)
    expect.set_options(timeout=LIMIT_MS)
    faults: list[str] = []
    page.on("pageerror", lambda fault: faults.append(str(fault)))
    await page.goto(f"{recorder.url}/#{flag}")
    panel = page.get_by_role("region", name="Is that right?")
    await expect(panel).to_be_visible()
    async with answering(redis_client, model):
        await page.keyboard.press("w")
        await expect(panel.get_by_role("button", name="From now on")).to_be_focused()
        await expect(panel).to_contain_text("last 7 days")
        await shot(page, tmp_path, "verdict-preview")
        await narrow(page)
        await shot(page, tmp_path, "verdict-preview-phone")
        await page.set_viewport_size({"width": 1280, "height": 900})
        await page.keyboard.press("Enter")
        await expect(panel).to_contain_text("not a dog")
        assert await redis_client.hget(examples_key("gate", "colours"), "revision")
        assert await page.evaluate(MISNAMED) == []

        await panel.get_by_role("button", name="Something else").click()
        await page.keyboard.type("a fox")
        await page.keyboard.press("Enter")
        await expect(panel).to_contain_text("“a fox” is not among this camera's labels")
        await panel.get_by_role("button", name="Only count it").click()
        await expect(panel).to_contain_text("it is a fox")
        await expect(panel).to_contain_text("(only counted)")

    await page.get_by_role("link", name="Verdicts").click()
    cards = page.locator("#verdicts .card")
    await expect(cards).to_have_count(2)
    await expect(cards.first).to_contain_text("it is a fox")
    await expect(cards.last).to_contain_text("not a dog")
    await expect(cards.last).to_contain_text("learned from")
    await cards.last.get_by_text("What was learned").click()
    await expect(cards.last.get_by_role("figure").first).to_contain_text("not a dog")  # the other only counts
    await shot(page, tmp_path, "verdicts")
    await narrow(page)
    await shot(page, tmp_path, "verdicts-phone")
    await cards.last.get_by_role("button", name="Take it back").click()
    await expect(cards.last).to_contain_text("taken back by")
    await page.reload()
    await expect(cards.last).to_contain_text("taken back by")
    assert await page.evaluate(MISNAMED) == []
    assert faults == []


async def test_a_name_that_the_camera_is_not_asked_for_is_added_to_its_labels(
    recorder: Recorder, redis_client: Redis, browser: Browser
) -> None:
    model = ColourModel()
    flag = await record(redis_client, model, 0, OLIVE)
    await settled(redis_client)
    page = await browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(LIMIT_MS)
    expect.set_options(timeout=LIMIT_MS)
    camera: dict[str, Any] = {"settings": {"labels": ["a dog"]}}
    changes: list[Any] = []

    async def as_motion(route: Route) -> None:
        if route.request.method == "PATCH":
            wanted: dict[str, Any] = json.loads(route.request.post_data or "")
            changes.append((route.request.headers["if-match"], wanted))
            camera["settings"] |= wanted
        await route.fulfill(json=camera, headers={"etag": '"7"'})

    await page.route("**/api/cameras/gate", as_motion)  # no motion service runs here
    await page.goto(f"{recorder.url}/#{flag}")
    panel = page.get_by_role("region", name="Is that right?")
    async with answering(redis_client, model):
        for ticked in (False, True):
            await panel.get_by_role("button", name="Something else").click()
            await page.keyboard.type("a fox")
            await page.keyboard.press("Enter")
            await panel.get_by_label("look for it from now on").set_checked(ticked)
            await panel.get_by_role("button", name="From now on").click()
            await expect(panel.get_by_role("button", name="Take it back")).to_have_count(1 + ticked)
            await expect(panel.get_by_role("button", name="From now on")).to_have_count(0)
            assert changes == ([('"7"', {"labels": ["a dog", "a fox"]})] if ticked else [])


async def test_the_past_is_changed_with_it_and_put_back(
    recorder: Recorder, redis_client: Redis, browser: Browser
) -> None:
    model = ColourModel()
    today = now_utc() - timedelta(hours=9)
    flags = [await record(redis_client, model, number, OLIVE, at=today) for number in range(2)]
    await settled(redis_client)
    page = await browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(LIMIT_MS)
    expect.set_options(timeout=LIMIT_MS)
    await page.goto(f"{recorder.url}/#{flags[0]}")
    panel = page.get_by_role("region", name="Is that right?")
    await expect(panel).to_be_visible()
    async with answering(redis_client, model):
        await page.keyboard.press("w")
        await expect(panel).to_contain_text("2 would lose “a dog”, 0 of those that somebody called right.")
        await panel.get_by_role("button", name="Also to the past 7 days").click()
        await expect(panel).to_contain_text("not a dog")
        await expect(panel.get_by_role("progressbar")).to_have_count(0)
    for flag in flags:
        event = await (await page.request.get(f"{recorder.url}/api/events/{flag}")).json()
        assert event["detections"] == []
    await page.goto(f"{recorder.url}/verdicts")
    card = page.locator("#verdicts .card")
    await card.get_by_text("What was learned").click()
    learned = card.get_by_role("figure").first
    await expect(learned).to_contain_text("not a dog")
    await expect(learned).to_contain_text("no picture")  # what stands for its clip here is none
    await card.get_by_role("button", name="Take it back").click()
    await expect(card.get_by_role("button", name="Take it back")).to_have_count(0)
    for flag in flags:
        event = await (await page.request.get(f"{recorder.url}/api/events/{flag}")).json()
        assert [one["label"] for one in event["detections"]] == ["a dog"]


async def test_without_a_classifier_a_verdict_is_kept_all_the_same(
    recorder: Recorder, redis_client: Redis, browser: Browser
) -> None:
    model = ColourModel()
    event = await record(redis_client, model, 0, GREEN)
    await settled(redis_client)
    page = await browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(LIMIT_MS)
    expect.set_options(timeout=LIMIT_MS)
    await page.goto(f"{recorder.url}/#{event}")
    panel = page.get_by_role("region", name="Is that right?")
    await panel.get_by_role("button", name="Wrong").click()
    await expect(panel).to_contain_text("no classifier", ignore_case=True)
    await panel.get_by_role("button", name="Keep it").click()
    await expect(panel).to_contain_text("not learned yet")
    await panel.get_by_role("button", name="Take it back").click()
    await expect(panel.get_by_role("button", name="Take it back")).to_have_count(0)
