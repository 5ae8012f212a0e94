"""The record's page in headless Chromium: play and seek, filter and page, news as it happens, and every bad state.

Screenshots go to CLIPWATCH_SCREENSHOTS, or to the test's own folder.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from playwright.async_api import Browser, Locator, Page, Route, expect
from redis.asyncio import Redis

from shared.clock import now_utc
from shared.contract import LABELS
from tests.browser.accessible import MISNAMED
from tests.browser.test_record_page import opened
from tests.browser.test_search_page import browser, narrow, recorder, shot
from tests.integration.test_recorder_service import Recorder, settled
from tests.unit.classifier.makers import BLUE, RED, jpeg
from tests.unit.motion.videos import scene, write_video
from tests.unit.recorder.messages import Said, append, labels_message, send

__all__ = ["browser", "recorder"]  # fixtures

pytestmark = [pytest.mark.browser, pytest.mark.redis, pytest.mark.e2e]
CLIP_S = 12
PAGE = 48
CARDS = "#list .card:not(.ghost)"
NOW = "() => document.querySelector('#detail video').currentTime"
AHEAD_S = """() => {  // the cursor's place in an event that is shown from -3 to 19 s, less the first clip's time
    const { width } = document.querySelector('#detail .plot').getBoundingClientRect();
    const x = Number(document.querySelector('#detail line.cursor').getAttribute('x1'));
    return 22 * (x - 36) / (width - 44) - document.querySelector('#detail video').currentTime;
}"""
CURSOR = "() => Number(document.querySelector('#detail line.cursor').getAttribute('x1'))"


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A clip of 12 s as motion makes them: H.264, index in front."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    return write_video(path, scene(CLIP_S * 10), options={"movflags": "+faststart"}).read_bytes()


async def record(redis: Redis, said: Said, clip: bytes = b"") -> None:
    """Publish a snippet as motion and classifier do; without a clip its media is lost."""
    if clip:
        await send(redis, said, clip, jpeg(RED if said.event % 2 else BLUE, 320, 180))
    else:
        await append(redis, LABELS, labels_message(said).encode())


async def until(page: Page, script: str, fits: Callable[[float], bool], what: str) -> float:
    """Return what the script says as soon as it fits."""
    for _ in range(1200):
        value = float(await page.evaluate(script))
        if fits(value):
            return value
        await asyncio.sleep(0.05)
    raise AssertionError(f"{what}: {value}")


async def test_clips_play_one_after_the_other_and_the_cursor_follows_and_seeks(
    recorder: Recorder, redis_client: Redis, browser: Browser, tmp_path: Path, clip: bytes
) -> None:
    accepted = [("a dog", 0.9)]
    await record(redis_client, Said(snippet=0, accepted=accepted), clip)
    await record(redis_client, Said(snippet=1, accepted=accepted, is_last=True), clip)
    await record(redis_client, Said(event=1, accepted=accepted, is_last=True), b"no video at all")
    await settled(redis_client)
    faults: list[str] = []
    page = await opened(browser, recorder, faults)
    card = page.locator(CARDS).last.get_by_role("button", name="camera gate").first
    await card.click()
    clips = page.locator("#detail .strip button")
    await expect(clips).to_have_count(2)
    await expect(clips.first).to_have_attribute("aria-pressed", "true")
    await until(page, NOW, lambda at: at > 1, "it plays by itself")
    await until(page, AHEAD_S, lambda at: abs(at) < 0.2, "the cursor follows")
    assert float(await page.evaluate(NOW)) < 10  # and did so in the first clip
    legend = page.get_by_label("Values at the cursor")
    await expect(legend).to_contain_text("a dog 90%")  # as its chip says
    await expect(legend).to_contain_text("background beside a dog 6%")
    assert await page.evaluate(MISNAMED) == []

    await page.keyboard.press("Space")
    await until(page, "() => Number(document.querySelector('#detail video').paused)", bool, "it pauses")
    chart = page.get_by_role("img", name="Scores over time")
    box = await chart.bounding_box()
    assert box is not None
    left, across = box["x"] + 36, box["width"] - 44  # the plot without its edges: -3 s to 19 s of the event
    await page.mouse.click(left + across * 8 / 22, box["y"] + 60)
    await until(page, NOW, lambda at: abs(at - 8) < 0.3, "a click in the chart seeks")
    await shot(page, tmp_path, "event")
    reaches = "() => Math.min(...[...document.querySelectorAll('#detail circle.curve')].map(c => c.getAttribute('cy')))"
    threshold_y = await page.locator("#detail line.threshold").first.get_attribute("y1")
    assert await page.evaluate(reaches) < float(
        threshold_y or 0
    )  # what was accepted lies above the threshold
    await page.get_by_role("button", name="Show shares").click()
    await expect(legend).to_contain_text("an empty path 25%")
    await expect(page.locator("#detail line.threshold")).to_have_count(0)
    await page.get_by_role("button", name="Show scores").click()
    await page.mouse.click(left + across * 20 / 22, box["y"] + 60)  # only the second clip shows that time
    await expect(clips.last).to_have_attribute("aria-pressed", "true")
    await until(page, NOW, lambda at: abs(at - 10) < 0.3, "seeking goes to the clip that has the moment")
    cursor_x = await until(page, CURSOR, lambda at: at > across * 0.85, "so does the cursor")
    assert abs(cursor_x - 36 - across * 20 / 22) < across * 0.03

    await clips.first.click()
    await page.evaluate("() => { document.querySelector('#detail video').currentTime = 11.5 }")
    await expect(clips.last).to_have_attribute("aria-pressed", "true")  # the next clip follows by itself
    await narrow(page)
    await page.emulate_media(color_scheme="dark")
    await shot(page, tmp_path, "event-phone-dark")
    await page.keyboard.press("Escape")
    await expect(page.locator("#detail")).to_be_hidden()
    await expect(card).to_be_focused()

    await page.locator(CARDS).first.get_by_role("button", name="camera gate").first.click()
    await expect(page.locator("#detail").get_by_role("alert")).to_contain_text("This clip cannot be played")
    assert faults == []


async def test_events_are_paged_and_filtered_and_the_filters_are_in_the_address(
    recorder: Recorder, redis_client: Redis, browser: Browser, tmp_path: Path
) -> None:
    for number in range(60):
        label = [("a pedestrian", 0.8)] if number % 3 == 0 else [("a dog", 0.9)]
        accepted = [] if number == 59 else label
        camera = ("gate", "yard")[number % 2]
        await record(redis_client, Said(event=number, camera=camera, accepted=accepted, is_last=True))
    await settled(redis_client)
    faults: list[str] = []
    page = await opened(browser, recorder, faults)
    cards = page.locator(CARDS)
    await expect(cards).to_have_count(PAGE)
    await page.mouse.wheel(0, 20_000)
    await expect(cards).to_have_count(59)
    shown = await cards.evaluate_all("all => all.map((card) => card.dataset.at)")
    assert shown == sorted(shown, reverse=True)
    assert len(set(shown)) == 59

    by_camera, by_label = page.locator("#camera"), page.locator("#label")
    await by_camera.select_option("yard")
    await expect(cards).to_have_count(29)
    await by_label.select_option("a pedestrian")
    await expect(cards).to_have_count(10)
    assert page.url.endswith("?camera=yard&label=a+pedestrian")
    await page.reload()
    await expect(cards).to_have_count(10)
    await expect(by_camera).to_have_value("yard")
    await narrow(page)
    await shot(page, tmp_path, "filtered-phone")
    await page.get_by_role("button", name="Clear filters").click()
    await expect(cards).to_have_count(PAGE)
    await page.get_by_text("Show events without a label").click()
    await expect(cards.first).to_contain_text("no label")
    await page.goto(f"{recorder.url}/?camera=shed")
    await expect(page.locator("#notice")).to_contain_text("No event fits these filters")
    assert faults == []


async def test_an_event_appears_and_grows_while_the_page_is_open(
    recorder: Recorder, redis_client: Redis, browser: Browser, tmp_path: Path, clip: bytes
) -> None:
    faults: list[str] = []
    page = await opened(browser, recorder, faults)
    await expect(page.locator("#notice")).to_contain_text("Nothing recognised yet")
    await shot(page, tmp_path, "empty")
    said = Said(start=now_utc() - timedelta(seconds=5), accepted=[("a dog", 0.6)])
    await record(redis_client, said, clip)
    cards = page.locator(CARDS)
    await expect(cards).to_have_count(1)
    await expect(cards).to_contain_text("a dog60%")
    await expect(cards.locator(".now")).to_be_visible()
    await expect(page.locator("#notice")).to_be_hidden()
    await expect(page.locator("#announce")).to_have_text("New event: a dog, camera gate")
    await expect(page.locator("#totals")).to_contain_text("1 of 1 event labelled")
    await record(redis_client, replace(said, snippet=1, is_last=True, accepted=[("a dog", 0.9)]), clip)
    await expect(cards).to_contain_text("a dog90%")
    await expect(cards).to_contain_text("2 clips")
    await expect(cards.locator(".now")).to_have_count(0)
    await expect(cards).to_have_count(1)
    assert faults == []


async def test_loading_errors_and_a_recorder_that_goes_away_are_told_and_pass(
    recorder: Recorder, redis_client: Redis, browser: Browser, tmp_path: Path
) -> None:
    accepted = [("a dog", 0.9)]
    await record(redis_client, Said(accepted=accepted, is_last=True))
    await settled(redis_client)
    faults: list[str] = []
    page = await opened(browser, recorder, faults)
    cards, state, notice = page.locator(CARDS), page.locator("#state"), page.locator("#notice")
    await expect(cards).to_have_count(1)
    await expect(state).to_have_text("Live")

    held: list[Route] = []
    await page.route("**/api/events?*", lambda route: held.append(route))
    await page.reload()
    await expect(page.locator("#list .ghost")).to_have_count(8)
    await shot(page, tmp_path, "loading")
    refusal = '{"error": {"found": "no database", "wanted": "one", "do": "start it"}}'
    for route in held:
        await route.fulfill(status=503, body=refusal, content_type="application/json")
    await expect(notice).to_contain_text("The events cannot be read: no database: wanted one; start it")
    await record(redis_client, Said(event=9, accepted=accepted, is_last=True))
    await expect(cards.first).to_contain_text("a dog")  # news are shown, and the error stays
    await expect(notice).to_contain_text("The events cannot be read")
    await shot(page, tmp_path, "error")
    await page.unroute("**/api/events?*")
    await notice.get_by_role("button", name="Try again").click()
    await expect(cards).to_have_count(2)
    await expect(notice).to_be_hidden()

    recorder.kill()
    await expect(state).to_have_text("Reconnecting")
    await open_fails(cards)
    await shot(page, tmp_path, "away")
    await page.route("**/api/stream", lambda route: route.abort())
    recorder.start()
    await record(redis_client, Said(event=1, accepted=accepted, is_last=True))
    await settled(redis_client)
    with sqlite3.connect(
        recorder.folder / "clipwatch.db"
    ) as db:  # long ago: the stream tells the last seconds again
        db.execute("UPDATE events SET updated_at = datetime(updated_at, '-1 hour') || '.000000'")
    db.close()
    await expect(cards).to_have_count(2)
    await page.unroute("**/api/stream")
    await expect(state).to_have_text("Live")
    await expect(cards).to_have_count(3)  # what happened meanwhile
    assert faults == []


async def open_fails(cards: Locator) -> None:
    """Open an event that cannot be read now: the panel says so, and offers to try again."""
    await cards.first.get_by_role("button", name="camera gate").first.click()
    panel = cards.page.locator("#detail")
    await expect(panel).to_contain_text("This event cannot be shown")
    await expect(panel.get_by_role("button", name="Try again")).to_be_visible()
    await cards.page.keyboard.press("Escape")
