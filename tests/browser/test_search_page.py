"""Search and labels in hindsight on the page, in headless Chromium: what a person does, at the desk and on a phone.

Screenshots go to CLIPWATCH_SCREENSHOTS, or to the test's own folder.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from playwright.async_api import Browser, Page, async_playwright, expect
from redis.asyncio import Redis

from services.classifier.words.prompts import LabelBank
from shared.contract import LABELS, MEDIA
from shared.decisions.labeller import EmbeddedSnippet, label
from tests.browser.accessible import MISNAMED
from tests.integration.test_picture_requests import embedding, png
from tests.integration.test_recorder_service import Recorder, settled
from tests.integration.test_search_and_hindsight import answering, seen
from tests.programs import ServerError, find_chromium
from tests.unit.classifier.makers import BLUE, GREEN, NOON, RED, Colour, ColourModel, jpeg
from tests.unit.recorder.messages import Said, append, media_message

pytestmark = [pytest.mark.browser, pytest.mark.redis, pytest.mark.e2e]
LIMIT_MS = 60_000


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    try:
        chromium = find_chromium()
    except ServerError as exc:
        if os.environ.get("CLIPWATCH_TESTS_MAY_SKIP") == "1":
            pytest.skip(str(exc))
        pytest.fail(str(exc), pytrace=False)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=str(chromium), args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        await browser.close()


@pytest.fixture
def recorder(tmp_path: Path, redis_url: str) -> Iterator[Recorder]:
    recorder = Recorder(tmp_path, redis_url, f"sqlite:///{tmp_path}/clipwatch.db").start()
    yield recorder
    if recorder.process is not None and recorder.process.poll() is None:
        recorder.kill()


async def record(
    redis: Redis, model: ColourModel, number: int, colour: Colour, camera: str = "gate", at: datetime = NOON
) -> str:
    """Publish a snippet of one colour as motion and classifier do; return the event's id."""
    sent = seen(number, [colour] * 3, camera, at)
    pixels = np.stack([np.full((3, 4, 4), np.array(colour)[:, None, None], np.uint8)] * 3)
    looked = EmbeddedSnippet(sent, model.embed_pictures(pixels), np.ones(3, dtype=np.bool_))
    said = label(looked, LabelBank(model, 1).get(sent.header.label_set), model.facts, sent.header.ended_at)
    media = media_message(Said(event=number, camera=camera), thumbnail=jpeg(colour, 320, 180))
    header = media.header.model_copy(update={"event_id": sent.header.event_id, "snippet": 0})
    media_id = await append(redis, MEDIA, replace(media, header=header).encode())
    header_said = said.header.model_copy(update={"media_id": media_id})
    await append(redis, LABELS, replace(said, header=header_said).encode())
    return sent.header.event_id


async def shot(page: Page, tmp_path: Path, name: str) -> None:
    folder = Path(os.environ.get("CLIPWATCH_SCREENSHOTS", str(tmp_path)))
    folder.mkdir(parents=True, exist_ok=True)
    await page.screenshot(path=folder / f"{name}.png")


async def narrow(page: Page) -> None:
    """Make the page as wide as a phone; it must fit."""
    await page.set_viewport_size({"width": 390, "height": 844})
    wide = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert int(wide) <= 0, "the page is wider than the phone"


async def test_words_are_searched_and_labels_looked_back_on_and_applied(
    recorder: Recorder, redis_client: Redis, browser: Browser, tmp_path: Path
) -> None:
    model = ColourModel()
    for number, colour in enumerate([RED, BLUE, RED, GREEN, BLUE]):
        await record(redis_client, model, number, colour)
    await settled(redis_client)
    page = await browser.new_page(viewport={"width": 1280, "height": 800})
    page.set_default_timeout(LIMIT_MS)
    expect.set_options(timeout=LIMIT_MS)
    faults: list[str] = []
    page.on("pageerror", lambda fault: faults.append(str(fault)))
    await page.goto(recorder.url)
    await expect(page.locator("#list .card:not(.ghost)")).to_have_count(3)

    await page.keyboard.press("/")
    await page.keyboard.type("a dog")
    async with answering(redis_client, model):
        await page.keyboard.press("Enter")
        await expect(page.locator("#results .card:not(.ghost)")).to_have_count(5)
        await expect(page.locator("#results .card").first).to_contain_text("a dog")
        await expect(page.locator("#list")).to_be_hidden()
        await shot(page, tmp_path, "search")

        await narrow(page)
        await shot(page, tmp_path, "search-phone")
        await page.set_viewport_size({"width": 1280, "height": 800})

        await page.get_by_role("searchbox").fill("a submarine")
        await page.keyboard.press("Enter")
        await expect(page.locator("#results .said")).to_contain_text("No good match.")
        await expect(page.get_by_role("heading", name="Nearest all the same")).to_be_visible()
        await expect(page.locator("#results .card:not(.ghost)")).to_have_count(5)
        assert await page.evaluate(MISNAMED) == []
        await shot(page, tmp_path, "no-good-match")
        await narrow(page)
        await shot(page, tmp_path, "no-good-match-phone")
        await page.set_viewport_size({"width": 1280, "height": 800})

        await page.get_by_role("button", name="Labels in hindsight").click()
        await page.get_by_label("Labels, one a line").fill("a blue wall\n")
        await page.get_by_label("Always in view").fill("nothing at all")
        await expect(page.locator("select[name=mode]")).to_have_value("add")
        await page.locator("select[name=mode]").select_option("replace")
        await page.get_by_label("Events of the").select_option("365")
        await page.get_by_role("button", name="Look back").click()
        said = page.locator(".results .said").first
        await expect(said).to_contain_text(
            "5 of 5 events would have other labels: 2 events on 1 camera lose 'a person', 1 loses 'a dog', "
            "2 gain 'a blue wall'."
        )
        changes = page.get_by_role("region", name="Changes on camera gate")
        await expect(changes).to_contain_text("gate: 5 of 5 events")
        await expect(changes.get_by_role("row", name="a blue wall – 2 2 –")).to_be_visible()
        await expect(changes.locator(".thumbs img")).to_have_count(5)
        await expect(page.locator(".pair")).to_have_count(5)
        await shot(page, tmp_path, "hindsight")
        await page.emulate_media(color_scheme="dark")
        await narrow(page)
        await shot(page, tmp_path, "hindsight-phone-dark")
        await page.set_viewport_size({"width": 1280, "height": 800})

        await page.get_by_role("button", name="Apply to the record").press("Enter")
        await expect(page.locator(".apply")).to_contain_text(
            "2 events on 1 camera lose 'a person', 1 loses 'a dog', 2 gain 'a blue wall'. You can undo it"
        )
        await page.get_by_role("button", name="Cancel").click()
        await page.get_by_role("button", name="Apply to the record").click()
        await page.keyboard.press("Enter")
        await expect(said).to_contain_text("Applied: 2 events on 1 camera lost 'a person', 1 lost 'a dog'")
        past = page.get_by_role("region", name="Changes of the past")
        await expect(past).to_contain_text("“a blue wall” instead of the labels of then")
        await expect(past).to_contain_text("5 events changed on all cameras. Applied by")
        assert await page.evaluate(MISNAMED) == []
        await page.get_by_role("button", name="Back to all events").click()
        await expect(page.locator("#list .card:not(.ghost)")).to_have_count(2)
        await expect(page.locator("#list .card").first).to_contain_text("a blue wall")
        await page.locator("#list .card button").first.click()
        changed = page.get_by_role("region", name="Changes of the labels")
        await expect(changed).to_contain_text("no label became a blue wall")
        await changed.scroll_into_view_if_needed()
        await shot(page, tmp_path, "event-changed")
        await page.keyboard.press("Escape")

        await page.get_by_role("button", name="Labels in hindsight").click()
        await narrow(page)
        await shot(page, tmp_path, "changes-of-the-past-phone")
        await past.get_by_role("button", name="Undo").press("Enter")
        await expect(past.get_by_role("status")).to_contain_text(
            "Undone: 5 events have their labels of before."
        )
        await expect(past.locator(".tag")).to_have_text("undone")
        await expect(past.get_by_role("button", name="Undo")).to_have_count(0)
        assert await page.evaluate(MISNAMED) == []
        await page.get_by_role("button", name="Back to all events").click()
        await expect(page.locator("#list .card:not(.ghost)")).to_have_count(3)
        await page.locator("#list .card button").first.click()
        await expect(page.locator("#detail .facts")).to_contain_text("Camera")
        await expect(changed).to_have_count(0)

    assert faults == []


async def test_more_like_this_from_an_event_an_answer_and_a_file(
    recorder: Recorder, redis_client: Redis, browser: Browser, tmp_path: Path
) -> None:
    model = ColourModel()
    for number, colour in enumerate([RED, BLUE, RED, GREEN, BLUE, RED]):
        await record(redis_client, model, number, colour, "yard" if number == 5 else "gate")
    await settled(redis_client)
    page = await browser.new_page(viewport={"width": 1280, "height": 800})
    page.set_default_timeout(LIMIT_MS)
    expect.set_options(timeout=LIMIT_MS)
    faults: list[str] = []
    page.on("pageerror", lambda fault: faults.append(str(fault)))
    await page.goto(recorder.url)
    results, list_cards = page.locator("#results .card:not(.ghost)"), page.locator("#list .card:not(.ghost)")
    await expect(list_cards).to_have_count(4)

    await list_cards.filter(has_text="a dog").first.get_by_role("button").first.click()
    await page.locator("#detail").get_by_role("button", name="More like this").click()
    await expect(results).to_have_count(5)
    await expect(page.locator("#detail")).to_be_hidden()
    await expect(page.locator(".sought")).to_contain_text("a dog")
    await shot(page, tmp_path, "more-like-this")
    assert await page.evaluate(MISNAMED) == []
    await page.reload()
    await expect(results).to_have_count(5)
    await expect(page.get_by_role("heading", name="More like this")).to_be_visible()
    await narrow(page)
    await shot(page, tmp_path, "more-like-this-phone")
    await page.set_viewport_size({"width": 1280, "height": 800})

    red = results.filter(has_text="a person").first
    await red.get_by_role("button").first.focus()
    await page.keyboard.press("l")
    await expect(page.locator(".sought")).to_contain_text("a person")
    await expect(results.first).to_contain_text("a person")
    assert page.url.endswith(".0.0")
    await page.locator("#camera").select_option("yard")
    await expect(results).to_have_count(1)
    await page.go_back()
    await expect(results).to_have_count(5)
    await page.go_back()
    await expect(page.locator(".sought")).to_contain_text("a dog")

    async with embedding(redis_client, model):
        picture = {"name": "mine.png", "mimeType": "image/png", "buffer": png(GREEN)}
        await page.get_by_label("By picture").set_input_files(cast("Any", picture))
        await expect(page.get_by_role("heading", name="Like your picture")).to_be_visible()
        await expect(results).to_have_count(6)
        await expect(results.first).to_contain_text("a dog")
        await expect(page.locator(".sought img")).to_be_visible()
        await shot(page, tmp_path, "like-a-file")
        held = await page.evaluate_handle(
            """(bytes) => {
                const held = new DataTransfer();
                held.items.add(new File([new Uint8Array(bytes)], "dropped.png", { type: "image/png" }));
                return held;
            }""",
            list(png(RED)),
        )
        await page.dispatch_event("#ask", "drop", {"dataTransfer": held})
        await expect(page.locator(".sought")).to_contain_text("dropped.png")
        await expect(results.first).to_contain_text("a person")
        await narrow(page)
        await shot(page, tmp_path, "like-a-file-phone")
    nothing = {"name": "a.png", "mimeType": "image/png", "buffer": b"no picture"}
    await page.get_by_label("By picture").set_input_files(cast("Any", nothing))
    await expect(page.get_by_role("alert")).to_contain_text("This picture cannot be read")
    await page.get_by_role("button", name="Back to all events").click()
    await expect(list_cards).to_have_count(4)
    assert "like" not in page.url
    assert faults == []


async def test_without_a_classifier_the_page_says_what_to_do(
    recorder: Recorder, browser: Browser, tmp_path: Path
) -> None:
    page = await browser.new_page(viewport={"width": 390, "height": 844})
    page.set_default_timeout(LIMIT_MS)
    answers: list[Any] = []  # Any: playwright's responses
    page.on("response", lambda answer: answers.append((answer.url, answer.status)))
    await page.goto(recorder.url)
    await page.get_by_role("searchbox").fill("a fox")
    await page.get_by_role("button", name="Search", exact=True).click()
    notice = page.get_by_role("alert")
    await expect(notice).to_contain_text("No classifier answers", timeout=LIMIT_MS)
    await expect(notice).to_contain_text("What to do: Start the classifier")
    await shot(page, tmp_path, "no-classifier")
    assert any("/api/search" in url and status == 503 for url, status in answers)
