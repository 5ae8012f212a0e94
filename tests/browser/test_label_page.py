"""Labels of a camera on its page, in headless Chromium: written, previewed, saved, and brought back by one press.

Screenshots go to CLIPWATCH_SCREENSHOTS, or to the test's own folder.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from playwright.async_api import Browser, Page, Route, async_playwright, expect
from redis.asyncio import Redis

from services.classifier.words.prompts import LabelBank
from shared.cameras import Camera, load_cameras
from shared.clock import now_utc
from shared.contract import LABELS, MEDIA, LabelSet
from shared.decisions.labeller import EmbeddedSnippet, label
from tests.browser.accessible import MISNAMED
from tests.integration.live_rig import watched_service
from tests.integration.test_label_preview import looking
from tests.integration.test_motion_service import Motion, Rig
from tests.integration.test_recorder_service import Recorder, settled
from tests.integration.test_search_and_hindsight import seen
from tests.programs import ServerError, find_chromium
from tests.unit.classifier.makers import BLUE, GREEN, RED, Colour, ColourModel, jpeg
from tests.unit.recorder.messages import Said, append, media_message

pytestmark = [pytest.mark.browser, pytest.mark.redis, pytest.mark.e2e]
LIMIT_MS = 60_000
TOKEN = "0123456789abcdef-motion"  # motion's, which only the recorder knows


@dataclass
class Site:
    """The site of a recorder, with the motion service behind it."""

    recorder: Recorder
    motion: Motion

    @property
    def file(self) -> Path:
        return self.motion.log.parent / "cameras.yml"

    @property
    def camera(self) -> Camera:
        return load_cameras(self.file).cameras[0]

    def labels(self) -> tuple[str, ...]:
        return self.camera.labels


@pytest.fixture
def site(tmp_path: Path, redis_url: str) -> Iterator[Site]:
    with watched_service(tmp_path, redis_url, API_TOKEN=TOKEN) as motion:
        recorder = Recorder(tmp_path, redis_url, f"sqlite:///{tmp_path}/clipwatch.db")
        recorder.environment = {"MOTION_URL": f"http://127.0.0.1:{motion.port}", "MOTION_TOKEN": TOKEN}
        recorder.start()
        try:
            yield Site(recorder, motion)
        finally:
            recorder.stop()


@pytest.fixture
async def page(site: Site) -> AsyncIterator[Page]:
    try:
        chromium = find_chromium()
    except ServerError as exc:
        if os.environ.get("CLIPWATCH_TESTS_MAY_SKIP") == "1":
            pytest.skip(str(exc))
        pytest.fail(str(exc), pytrace=False)
    async with async_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--no-proxy-server"]
        browser: Browser = await playwright.chromium.launch(executable_path=str(chromium), args=arguments)
        page = await browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(LIMIT_MS)
        expect.set_options(timeout=LIMIT_MS)
        faults: list[str] = []
        page.on("pageerror", lambda fault: faults.append(str(fault)))
        yield page
        await browser.close()
    assert faults == []


async def record(redis: Redis, number: int, colour: Colour, *labels: str) -> None:
    """Publish a snippet of an hour ago, as motion and classifier do."""
    model = ColourModel()
    sent = seen(number, [colour] * 3, "cam", at=now_utc() - timedelta(hours=1))
    label_set = LabelSet(labels=labels, background=("an empty street",))
    sent = replace(sent, header=sent.header.model_copy(update={"label_set": label_set}))
    pixels = np.stack([np.full((3, 4, 4), np.array(colour)[:, None, None], np.uint8)] * 3)
    looked = EmbeddedSnippet(sent, model.embed_pictures(pixels), np.ones(3, dtype=np.bool_))
    said = label(looked, LabelBank(model, 1).get(label_set), model.facts, sent.header.ended_at)
    media = media_message(Said(event=number, camera="cam"), thumbnail=jpeg(colour, 320, 180))
    header = media.header.model_copy(update={"event_id": sent.header.event_id, "snippet": 0})
    media_id = await append(redis, MEDIA, replace(media, header=header).encode())
    said = replace(said, header=said.header.model_copy(update={"media_id": media_id}))
    await append(redis, LABELS, said.encode())


async def shot(page: Page, tmp_path: Path, name: str) -> None:
    folder = Path(os.environ.get("CLIPWATCH_SCREENSHOTS", str(tmp_path)))
    folder.mkdir(parents=True, exist_ok=True)
    await page.locator("#labels").screenshot(path=folder / f"{name}.png")


async def opened(page: Page, site: Site) -> None:
    await page.goto(f"{site.recorder.url}/cameras/cam")
    await expect(page.locator("#label-list")).to_contain_text("a square")


async def test_labels_are_written_previewed_saved_and_brought_back(
    site: Site, page: Page, redis_client: Redis, tmp_path: Path
) -> None:
    for number, colour in enumerate([RED, GREEN, RED, BLUE]):
        await record(redis_client, number, colour, "a person")
    await settled(redis_client)
    before = site.file.read_text()
    async with looking(redis_client, ColourModel()):
        await opened(page, site)
        await expect(page.locator("#label-preview")).to_be_hidden()
        await expect(page.locator("#label-history li")).to_have_count(1)  # what the snippets were made with
        await page.get_by_label("Another label").fill("a dog")
        await page.keyboard.press("Enter")
        await page.keyboard.type("an empty street")  # the field has the focus still; this is a label for now
        await page.keyboard.press("Enter")
        await page.get_by_role("button", name="Remove an empty street").click()
        await page.get_by_label("Another thing that is always in view").fill("an empty street")
        await page.get_by_role("button", name="Add what is always in view").click()
        await page.get_by_label("Another label").fill("A dog")
        await page.keyboard.press("Enter")
        await expect(page.locator("#label-said")).to_have_text("“A dog” is named already.")
        await page.get_by_label("Another label").fill("")
        await page.get_by_role("button", name="Remove a square").click()

        await expect(page.locator("#day .said")).to_have_text(
            "3 of 4 events would have other labels: 2 events on 1 camera lose 'a person', 1 gains 'a dog'."
        )
        rows = page.locator("#day tbody tr")
        await expect(rows).to_have_text(["a dog–11–", "a person2––2"])
        await expect(page.locator("#day .changes li")).to_have_count(3)
        await expect(page.locator("#day .changes img").first).to_be_visible()
        await expect(page.locator("#now .scores li")).to_have_count(1)
        await expect(page.locator("#now .hint")).to_contain_text("an empty street")
        assert site.file.read_text() == before
        await shot(page, tmp_path, "labels")
        await page.set_viewport_size({"width": 390, "height": 844})
        assert await page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
        await shot(page, tmp_path, "labels-phone")
        await page.emulate_media(color_scheme="dark")
        await shot(page, tmp_path, "labels-phone-dark")
        await page.emulate_media(color_scheme="light")
        await page.set_viewport_size({"width": 1280, "height": 900})

        await page.get_by_label("Threshold of labels, as a number").fill("0.6")
        await page.locator("#label-save").click()
        await expect(page.locator("#label-said")).to_contain_text("Saved to the camera file")
        await expect(page.locator("#label-preview")).to_be_hidden()
        saved = site.camera
        assert (saved.labels, saved.background, saved.threshold) == (("a dog",), ("an empty street",), 0.6)
        for comment in ("# the cameras of the house", "# by the door", "# what we look for"):
            assert comment in site.file.read_text()

        history = page.locator("#label-history li")
        await expect(history).to_have_count(3)
        await expect(history.first).to_contain_text("this machine")
        await expect(history.first).to_contain_text("in force")
        await expect(history.nth(1)).to_contain_text("a square")
        await history.nth(2).get_by_role("button", name="See what would change").press("Enter")
        await expect(page.locator("#label-list")).to_have_text("a person×")
        await expect(page.locator("#label-said")).to_contain_text("Nothing is saved yet")
        await expect(page.locator("#label-save")).to_be_focused()
        await expect(page.locator("#day .said")).to_have_text("None of 4 events would have other labels.")
        assert site.camera.labels == ("a dog",)
        await shot(page, tmp_path, "labels-back")
        await (
            history.nth(1).get_by_role("button", name="Back to this").press("Enter")
        )  # one press, and it is in force
        await expect(page.locator("#label-said")).to_contain_text("Saved to the camera file")
        await expect(page.locator("#label-preview")).to_be_hidden()
    assert (site.camera.labels, site.camera.background, site.camera.threshold) == (("a square",), (), 0.5)
    await expect(page.locator("#label-history li")).to_have_count(4)
    await expect(page.locator("#label-history li").first).to_contain_text("a square")
    await expect(page.locator("#labels-name")).to_be_focused()
    assert await page.evaluate(MISNAMED) == []


async def test_a_file_that_somebody_else_has_changed_is_not_overwritten_unseen(
    site: Site, page: Page
) -> None:
    await opened(page, site)
    await page.get_by_label("Another label").fill("a dog")
    await page.keyboard.press("Enter")
    site.file.write_text(site.file.read_text().replace("quiet_s: 1", "quiet_s: 2"))
    await page.locator("#label-save").click()
    await expect(page.locator("#label-said")).to_have_text(
        "The camera file has changed meanwhile, but not its labels. Save again."
    )
    await expect(page.locator("#label-list")).to_contain_text("a dog")
    await page.locator("#label-save").click()
    await expect(page.locator("#label-said")).to_contain_text("Saved to the camera file")
    assert site.camera.labels == ("a square", "a dog")
    assert site.camera.motion.quiet_s == 2


async def test_labels_that_somebody_else_has_saved_are_told_before_they_are_replaced(
    site: Site, page: Page
) -> None:
    await opened(page, site)
    await page.get_by_label("Another label").fill("a dog")
    await page.keyboard.press("Enter")
    site.file.write_text(site.file.read_text().replace("labels: [a square]", "labels: [a cat, a van]"))
    await page.locator("#label-save").click()
    await expect(page.locator("#label-said")).to_contain_text(
        "Somebody else has changed the labels meanwhile. Now they are: a cat, a van; threshold 0.5."
    )
    assert site.labels() == ("a cat", "a van")
    await expect(page.locator("#label-list li.fresh")).to_have_text(["a square×", "a dog×"])
    await page.locator("#label-undo").click()
    await expect(page.locator("#label-list li")).to_have_text(["a cat×", "a van×"])
    site.file.write_text(site.file.read_text().replace("labels: [a cat, a van]", "labels: [a fox]"))
    await expect(page.locator("#label-list li")).to_have_text(["a fox×"])  # with nothing on trial it follows
    assert site.labels() == ("a fox",)


async def test_a_file_that_cannot_be_written_is_told_in_words(site: Site, page: Page) -> None:
    """Motion's answer, word for word: root, which may run this, can write everything."""
    said = {
        "found": "cameras.yml: cannot be written: Read-only file system",
        "wanted": "a file that can be written",
        "do": "change its permissions",
    }

    async def refuse(route: Route) -> None:
        if route.request.method == "PATCH":
            await route.fulfill(status=409, json={"error": said, "errors": [said]})
        else:
            await route.continue_()

    await page.route("**/api/cameras/cam", refuse)
    await opened(page, site)
    await page.get_by_label("Another label").fill("a dog")
    await page.keyboard.press("Enter")
    await page.locator("#label-save").click()
    told = page.locator("#label-said")
    await expect(told).to_contain_text("cannot be written: Read-only file system")
    await expect(told).to_contain_text("Wanted: A file that can be written.")
    await expect(told).to_contain_text("What to do: Change its permissions.")
    await expect(page.locator("#label-list")).to_contain_text("a dog")
    await expect(page.locator("#label-save")).to_be_enabled()
    assert site.camera.labels == ("a square",)


async def test_a_preview_waits_for_a_classifier_and_says_so(
    site: Site, page: Page, redis_client: Redis, tmp_path: Path
) -> None:
    await record(redis_client, 0, GREEN, "a person")
    await settled(redis_client)
    await opened(page, site)
    await page.get_by_label("Another label").fill("a dog")
    await page.keyboard.press("Enter")
    for box in ("#now", "#day"):
        await expect(page.locator(box)).to_contain_text("No classifier answered within")
        await expect(page.locator(box)).to_contain_text("What to do: Start the classifier")
    await shot(page, tmp_path, "labels-no-classifier")
    async with looking(redis_client, ColourModel()):
        await expect(page.locator("#day .said")).to_have_text(
            "1 of 1 event would have other labels: 1 event on 1 camera gains 'a dog'."
        )
        await expect(page.locator("#now .scores li")).to_have_count(2)


async def test_a_number_that_is_missing_is_asked_for(site: Site, page: Page) -> None:
    await opened(page, site)
    await page.get_by_label("Threshold of labels, as a number").fill("")
    await expect(page.locator("#label-said")).to_contain_text("Write a number")
    await expect(page.locator("#label-save")).to_be_disabled()
    await page.get_by_label("Threshold of labels, as a number").fill("0.7")
    await expect(page.locator("#label-said")).to_have_text("")
    await page.get_by_label("Threshold of labels, as a number").fill("7")
    await page.locator("#label-save").click()
    await expect(page.locator("#label-said")).to_contain_text("threshold=7")
    await page.get_by_label("Threshold of labels, as a number").fill("0.7")
    await page.keyboard.press("Enter")
    await expect(page.locator("#label-said")).to_contain_text("Saved to the camera file")
    assert site.camera.threshold == 0.7


async def test_who_may_only_look_sees_the_labels_and_changes_nothing(site: Site, page: Page) -> None:
    async def only_look(route: Route) -> None:
        answer = await route.fetch()
        await route.fulfill(response=answer, json={**await answer.json(), "permissions": ["look"]})

    await page.route("**/api/me", only_look)
    await opened(page, site)
    for name in ("#label-save", "#label-new", "#label-preview"):
        await expect(page.locator(name)).to_be_hidden()
    await expect(page.get_by_label("Threshold of labels, as a number")).to_be_disabled()
    await expect(page.get_by_role("button", name="Remove a square")).to_have_count(0)
    await expect(page.get_by_role("button", name="Back to this")).to_have_count(0)


async def test_saving_waits_for_a_motion_service_that_restarts(site: Site, page: Page) -> None:
    await opened(page, site)
    await page.get_by_label("Another label").fill("a dog")
    await page.keyboard.press("Enter")
    site.motion.process.kill()
    site.motion.process.wait(10)
    await page.locator("#label-save").click()
    await expect(page.locator("#label-said")).to_have_text("The motion service does not answer. Trying again")
    again = Rig(site.file.parent, site.recorder.redis_url)
    try:
        again.start(is_waited_for=False, API_TOKEN=TOKEN, HTTP_PORT=str(site.motion.port))
        await expect(page.locator("#label-said")).to_contain_text("Saved to the camera file")
        assert site.camera.labels == ("a square", "a dog")
    finally:
        again.stop_all()


async def test_without_a_label_nothing_can_be_saved(site: Site, page: Page) -> None:
    await opened(page, site)
    await page.get_by_role("button", name="Remove a square").click()
    await expect(page.locator("#label-said")).to_contain_text("Name at least one label")
    await expect(page.locator("#label-save")).to_be_disabled()
    await page.locator("#label-undo").click()
    await expect(page.locator("#label-list")).to_contain_text("a square")
    await expect(page.locator("#label-said")).to_have_text("")
