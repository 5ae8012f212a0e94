"""Quality and a check of ten in headless Chromium: by keys at the desk, by one thumb on a phone.

Screenshots go to CLIPWATCH_SCREENSHOTS, or to the test's own folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, Request, expect
from redis.asyncio import Redis

from shared.clock import now_utc
from shared.contract import LABELS, MEDIA
from tests.browser.accessible import MISNAMED
from tests.browser.test_search_page import LIMIT_MS, browser, narrow, recorder, shot
from tests.integration.test_recorder_service import Recorder, settled
from tests.unit.classifier.makers import BLUE, GREEN, RED, jpeg
from tests.unit.recorder.messages import Said, append, labels_message, media_message

__all__ = ["browser", "recorder"]  # fixtures

pytestmark = [pytest.mark.browser, pytest.mark.redis, pytest.mark.e2e]
EVENTS = 14


async def fill(redis: Redis, labels: Sequence[str] = ("a dog", "a pedestrian")) -> None:
    """Record events of the last hours, for which these labels were asked: ten with a dog, four without a label."""
    for number in range(EVENTS):
        accepted = [("a dog", 0.55 + 0.04 * number)] if number < 10 else []
        said = Said(
            event=number,
            is_last=True,
            accepted=accepted,
            labels=labels,
            start=now_utc() - timedelta(hours=3),
            peaks={"a dog": accepted[0][1] if accepted else 0.3, "a pedestrian": 0.2, "an empty path": 0.1},
        )
        media_id = await append(
            redis,
            MEDIA,
            media_message(said, thumbnail=jpeg([RED, GREEN, BLUE][number % 3], 320, 180)).encode(),
        )
        await append(redis, LABELS, labels_message(said, media_id).encode())
    await settled(redis)


async def opened(
    recorder: Recorder, browser: Browser, faults: list[str], **options: Any
) -> tuple[Page, list[dict[str, Any]]]:
    """Return the page, and what it will send of verdicts."""
    page = await browser.new_page(**options)
    page.set_default_timeout(LIMIT_MS)
    expect.set_options(timeout=LIMIT_MS)
    page.on("pageerror", lambda fault: faults.append(str(fault)))
    sent: list[dict[str, Any]] = []

    def note(request: Request) -> None:
        if request.url.endswith("/verdicts"):
            sent.append(request.post_data_json or {})

    page.on("request", note)
    await page.goto(f"{recorder.url}/quality")
    await expect(page.locator("#overall")).to_contain_text("Nobody was asked yet")
    return page, sent


async def kept(recorder: Recorder, page: Page) -> list[dict[str, Any]]:
    """Return the verdicts that the recorder has, newest first."""
    answer = await page.request.get(f"{recorder.url}/api/verdicts?limit=200")
    found: list[dict[str, Any]] = (await answer.json())["verdicts"]
    return found


async def test_ten_are_checked_by_keys_and_the_page_states_precision(
    recorder: Recorder, redis_client: Redis, browser: Browser, tmp_path: Path
) -> None:
    await fill(redis_client)
    faults: list[str] = []
    page, sent = await opened(recorder, browser, faults, viewport={"width": 1280, "height": 800})
    await page.get_by_role("button", name="Check ten").click()
    checking = page.locator("#checking")
    for number in range(10):
        await expect(checking.locator(".steps")).to_contain_text(f"{number + 1} of 10")
        claims = "Is this" in await checking.locator("h2").inner_text()
        if number == 0:
            await shot(page, tmp_path, "check-desk")
            assert await page.evaluate(MISNAMED) == []
            await page.keyboard.press("n")
            await page.keyboard.press("u")
            await expect(checking.locator(".steps")).to_contain_text("1 of 10")
        await page.keyboard.press("y" if claims else "1")
    await expect(checking).to_contain_text("10 answers kept")
    verdicts = await kept(recorder, page)
    assert [one["undone_at"] is not None for one in verdicts] == [False] * 10 + [True]
    kinds = [one["kind"] for one in verdicts[:10]]
    assert (kinds.count("right"), kinds.count("missed")) == (8, 2)
    assert {one["label"] for one in verdicts[:10]} == {"a dog"}
    assert {one["effect"] for one in verdicts} == {"none"}
    assert all(0 < one["drawn_with"] <= 1 for one in sent)
    assert len({one["drawn_at"] for one in sent}) == 1
    await page.get_by_role("button", name="Done").click()
    await expect(page.locator("#overall")).to_contain_text("of the labels since")
    pair = page.locator("#pairs > li", has_text="a dog")
    await expect(pair).to_contain_text("10 events, 8 judged, 8 of them in a check")
    await expect(pair).to_contain_text("Missed: about")
    await pair.get_by_text("Threshold for a dog").click()
    await expect(pair.locator(".thresholds svg")).to_be_visible()
    await shot(page, tmp_path, "quality-desk")
    await narrow(page)
    await page.emulate_media(color_scheme="dark")
    await shot(page, tmp_path, "quality-phone-dark")
    assert faults == []


async def test_a_held_key_answers_one_question_and_the_last_answer_can_be_taken_back(
    recorder: Recorder, redis_client: Redis, browser: Browser
) -> None:
    await fill(redis_client)
    faults: list[str] = []
    page, _ = await opened(recorder, browser, faults)
    await page.get_by_role("button", name="Check ten").click()
    checking = page.locator("#checking")
    await expect(checking.locator(".steps")).to_contain_text("1 of 10")
    for _ in range(3):
        await page.keyboard.down("n")  # the second and third say that it repeats
    await page.keyboard.up("n")
    await expect(checking.locator(".steps")).to_contain_text("2 of 10")
    for number in range(1, 10):
        await expect(checking.locator(".steps")).to_contain_text(f"{number + 1} of 10")
        await page.keyboard.press("n")
    await expect(checking).to_contain_text("10 answers kept")
    await page.keyboard.press("u")
    await expect(checking.locator(".steps")).to_contain_text("10 of 10")
    await page.keyboard.press("s")
    await expect(checking).to_contain_text("9 answers kept")
    await checking.get_by_role("button", name="Undo").click()
    await expect(checking.locator(".steps")).to_contain_text("10 of 10")
    await page.keyboard.press("n")
    await expect(checking).to_contain_text("10 answers kept")
    stands = [one["undone_at"] is None for one in await kept(recorder, page)]
    assert (stands.count(True), stands.count(False)) == (10, 1)
    assert faults == []


async def test_every_label_can_be_named_as_missed(
    recorder: Recorder, redis_client: Redis, browser: Browser, tmp_path: Path
) -> None:
    labels = ["a dog", *(f"a thing of kind {number}" for number in range(2, 31))]
    await fill(redis_client, labels)
    faults: list[str] = []
    page, sent = await opened(recorder, browser, faults, viewport={"width": 390, "height": 844})
    await page.get_by_role("button", name="Check ten").click()
    checking = page.locator("#checking")
    for number in range(10):
        await expect(checking.locator(".steps")).to_contain_text(f"{number + 1} of 10")
        if "Is this" in await checking.locator("h2").inner_text():
            await page.keyboard.press("s")
            continue
        assert await checking.locator(".answers kbd").all_inner_texts() == [*"123456789", "s", "n"]
        await narrow(page)
        await shot(page, tmp_path, "check-labels")
        await checking.get_by_role("button", name=labels[-1]).click()
    await expect(checking).to_contain_text("2 answers kept")
    assert [one["label"] for one in sent] == [labels[-1]] * 2
    assert faults == []


async def test_one_thumb_answers_on_a_phone(
    recorder: Recorder, redis_client: Redis, browser: Browser, tmp_path: Path
) -> None:
    await fill(redis_client)
    faults: list[str] = []
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True}
    page, _ = await opened(recorder, browser, faults, **phone)
    await page.get_by_role("button", name="Check ten").tap()
    checking = page.locator("#checking")
    for number in range(10):
        await expect(checking.locator(".steps")).to_contain_text(f"{number + 1} of 10")
        button = checking.locator(".answers button.no")
        box = await button.bounding_box()
        assert box is not None
        assert box["height"] >= 60
        assert box["y"] > 844 / 2  # where the thumb is
        if number in (0, 9):
            await narrow(page)
            await shot(page, tmp_path, f"check-phone-{number}")
        await button.tap()
    await expect(checking).to_contain_text("10 answers kept")
    kinds = [one["kind"] for one in await kept(recorder, page)]
    assert (kinds.count("wrong"), kinds.count("nothing")) == (8, 2)
    await page.get_by_role("button", name="Check ten more").tap()
    await expect(checking.locator(".steps")).to_contain_text("1 of 4")
    await page.get_by_role("button", name="End the check").tap()
    await expect(checking).to_be_hidden()
    assert faults == []


async def test_an_answer_that_is_not_kept_is_said(
    recorder: Recorder, redis_client: Redis, browser: Browser
) -> None:
    await fill(redis_client)
    faults: list[str] = []
    page, _ = await opened(recorder, browser, faults)
    await page.unroute("**/verdicts")
    await page.route("**/verdicts", lambda route: route.abort())
    await page.get_by_role("button", name="Check ten").click()
    await expect(page.locator("#checking .steps")).to_contain_text("1 of 10")
    await page.keyboard.press("n")
    await expect(page.locator("#toast")).to_contain_text("An answer was not kept")
    for _ in range(9):
        await page.keyboard.press("s")
    await expect(page.locator("#checking")).to_contain_text("0 answers kept")
    assert faults == []
