"""One site in headless Chromium: logging in and out, roles, users and tokens, addresses, names, and a path prefix.

Screenshots go to CLIPWATCH_SCREENSHOTS, or to the test's own folder.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, BrowserContext, Page, Request, Route, expect
from redis.asyncio import Redis

from shared.presence import CameraReport, Presence, announce
from tests.browser.accessible import MISNAMED
from tests.browser.test_record_page import opened, record
from tests.browser.test_search_page import LIMIT_MS, browser, narrow, recorder, shot
from tests.integration.test_recorder_service import Recorder, settled

__all__ = ["browser", "recorder"]  # fixtures

pytestmark = [pytest.mark.browser, pytest.mark.redis, pytest.mark.e2e]
PASSWORD = "a long enough password"
CARDS = "#list .card:not(.ghost)"
NAMED = Presence(
    service="motion",
    name="m1",
    cameras=(
        CameraReport(id="gate", state="running", name="Front gate"),
        CameraReport(id="yard", state="disabled"),
    ),
)


async def new_page(browser: Browser | BrowserContext, faults: list[str]) -> Page:
    page = await browser.new_page()
    page.set_default_timeout(LIMIT_MS)
    expect.set_options(timeout=LIMIT_MS)
    page.on("pageerror", lambda fault: faults.append(str(fault)))
    return page


async def log_in(page: Page, name: str, password: str = PASSWORD) -> None:
    await page.get_by_label("Name").fill(name)
    await page.get_by_label("Password").fill(password)
    await page.get_by_role("button", name="Log in").click()


@contextlib.asynccontextmanager
async def motion_that_says(redis: Redis, presence: Presence) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(announce(redis, lambda: presence, stop))
    yield
    stop.set()
    await task


@pytest.mark.parametrize("page_path", ["/", "/cameras", "/cameras/gate", "/verdicts", "/users", "/login"])
async def test_nothing_can_be_set_before_the_page_hears_it(
    recorder: Recorder, browser: Browser, page_path: str
) -> None:
    page = await browser.new_page()
    await page.route("**/*.js", lambda route: route.abort())  # as long as they are on the way
    await page.goto(recorder.url + page_path)
    await expect(page.locator("h1")).to_be_visible()
    controls = await page.locator(
        ":is(input, select, textarea, button):visible:not(:disabled):not([inert] *)"
    ).all()
    assert [await control.get_attribute("id") for control in controls] == []


async def test_the_first_admin_is_made_on_the_page_and_then_everybody_logs_in(
    recorder: Recorder, redis_client: Redis, browser: Browser, tmp_path: Path
) -> None:
    await record(redis_client, 0)
    await record(redis_client, 1, "yard")
    await settled(redis_client)
    faults: list[str] = []
    admin = await new_page(browser, faults)
    await admin.goto(recorder.url)  # open: this machine, and nobody made a user
    await expect(admin.locator(CARDS)).to_have_count(2)
    await expect(admin.locator(".account")).to_have_count(0)
    await admin.get_by_role("link", name="Users").click()
    setup = admin.get_by_role("form", name="First admin")
    await expect(admin.get_by_text("Make a token")).to_have_count(0)  # alone it would lock the reader out
    await expect(admin.get_by_text("Add a user")).to_have_count(0)
    await shot(admin, tmp_path, "users-first")
    await setup.get_by_label("Name").fill("anna")
    await setup.get_by_label("Password").fill(PASSWORD)
    await setup.get_by_role("button", name="Make the admin").click()
    await expect(admin.locator(".account")).to_contain_text("anna")
    await expect(setup).to_have_count(0)

    await admin.get_by_text("Add a user").click()
    adding = admin.get_by_role("form", name="Add a user")
    await adding.get_by_label("Name").fill("vic")
    await adding.get_by_label("Password").fill(PASSWORD)
    await adding.get_by_label("Sees").select_option("some")
    await adding.get_by_role("checkbox", name="yard").check()
    await shot(admin, tmp_path, "users-add")
    await adding.get_by_role("button", name="Add").click()
    viewer_row = admin.locator("#users li", has_text="vic")
    await expect(viewer_row).to_contain_text("only yard")
    assert await admin.evaluate(MISNAMED) == []

    context = await browser.new_context(viewport={"width": 390, "height": 844})
    viewer = await new_page(context, faults)
    await viewer.goto(f"{recorder.url}/?camera=yard&all=1")
    await expect(viewer).to_have_url(re.compile(r"/login\?next="))
    await shot(viewer, tmp_path, "login-phone")
    await log_in(viewer, "vic", "a wrong password")
    await expect(viewer.locator("#told")).to_have_text("A wrong name or password. Try again.")
    await log_in(viewer, "vic")
    await expect(viewer).to_have_url(f"{recorder.url}/?camera=yard&all=1")  # the way back
    await expect(viewer.locator(CARDS)).to_have_count(1)
    await expect(viewer.get_by_role("link", name="Users")).to_have_count(0)
    await expect(viewer.locator("button.star")).to_have_count(0)
    await narrow(viewer)
    await viewer.locator(f"{CARDS} button").first.click()
    await expect(viewer.locator("#detail h2")).to_contain_text("yard")
    await expect(viewer.locator("#detail .sharing")).to_have_count(0)
    await viewer.goto(f"{recorder.url}/users")
    await expect(viewer.locator("#title")).to_have_text("Your account")
    await expect(viewer.locator("#users")).to_have_count(0)
    await narrow(viewer)
    await shot(viewer, tmp_path, "account-phone")

    await viewer.goto(recorder.url)
    await expect(viewer.locator(CARDS)).to_have_count(1)
    await admin.reload()
    session = admin.locator("#sessions li", has_text="vic")
    await session.get_by_role("button", name="End").click()
    await session.get_by_role("button", name="End this session").click()
    await expect(session).to_have_count(0)
    await expect(viewer).to_have_url(re.compile(r"/login"))  # by itself, as soon as it asks

    await admin.locator(".account summary").click()
    await admin.get_by_role("button", name="Log out").click()
    await expect(admin).to_have_url(f"{recorder.url}/login")
    assert not await admin.context.cookies()
    await admin.goto(f"{recorder.url}/cameras")
    await expect(admin).to_have_url(re.compile(r"/login\?next=cameras"))
    assert faults == []


async def test_a_token_is_shown_once_and_ended(recorder: Recorder, browser: Browser, tmp_path: Path) -> None:
    faults: list[str] = []
    page = await new_page(browser, faults)
    await page.goto(f"{recorder.url}/users")
    setup = page.get_by_role("form", name="First admin")
    await setup.get_by_label("Name").fill("anna")
    await setup.get_by_label("Password").fill(PASSWORD)
    await setup.get_by_role("button", name="Make the admin").click()
    await expect(page.locator(".account")).to_contain_text("anna")
    await page.get_by_text("Make a token").click()
    making = page.get_by_role("form", name="Make a token")
    await making.get_by_label("Name of the program").fill("grafana")
    await making.get_by_role("button", name="Make", exact=True).click()
    secret = page.locator("#tokens .secret code")
    await expect(secret).to_be_visible()
    text = await secret.inner_text()
    await shot(page, tmp_path, "token")
    answer = await page.request.get(
        f"{recorder.url}/api/events", headers={"authorization": f"Bearer {text}", "cookie": ""}
    )
    assert answer.status == 200
    await page.reload()
    row = page.locator("#tokens li", has_text="grafana")
    await expect(row).to_contain_text("look and search")
    await expect(page.locator("body")).not_to_contain_text(text)
    await page.emulate_media(color_scheme="dark")
    await narrow(page)
    await shot(page, tmp_path, "users-phone-dark")
    await row.get_by_role("button", name="End", exact=True).click()
    await row.get_by_role("button", name="End grafana").click()
    await expect(row).to_have_count(0)
    assert faults == []


async def test_a_link_to_an_event_is_made_listed_and_ended(
    recorder: Recorder, redis_client: Redis, browser: Browser, tmp_path: Path
) -> None:
    await record(redis_client, 0)
    await settled(redis_client)
    faults: list[str] = []
    page = await opened(browser, recorder, faults)
    await page.locator(f"{CARDS} button").first.click()
    await page.get_by_text("Share", exact=True).click()
    await page.get_by_role("button", name="Make a link").click()
    address = await page.locator("#detail .secret code").inner_text()
    await expect(page.locator("#detail .sharing")).to_contain_text("It opens on this machine only")
    stranger = await new_page(await browser.new_context(viewport={"width": 390, "height": 844}), faults)
    await stranger.goto(address)
    await expect(stranger.locator("video")).to_be_visible()
    await narrow(stranger)

    await page.get_by_role("link", name="Users").click()
    row = page.locator("#links li")
    await expect(row).to_contain_text("Made by this machine")
    await shot(page, tmp_path, "links")
    await row.get_by_role("button", name="End", exact=True).click()
    await row.get_by_role("button", name="End this link").click()
    await expect(row).to_have_count(0)
    await expect(page.locator("#links")).to_contain_text("No link is open.")
    await stranger.reload()
    await expect(stranger.locator("h1")).to_have_text("This link has ended")
    await narrow(stranger)
    await shot(stranger, tmp_path, "link-ended-phone")
    assert await stranger.evaluate("getComputedStyle(document.querySelector('main')).maxWidth") == "960px"
    assert faults == []


async def test_addresses_survive_reload_and_back_and_lead_from_event_to_camera(
    recorder: Recorder, redis_client: Redis, browser: Browser, tmp_path: Path
) -> None:
    await record(redis_client, 0)
    await record(redis_client, 1, "yard")
    await settled(redis_client)
    faults: list[str] = []
    async with motion_that_says(redis_client, NAMED):
        page = await opened(browser, recorder, faults)
        await expect(page.locator(CARDS)).to_have_count(2)
        await expect(page.locator(CARDS).last).to_contain_text("Front gate")  # the name of the camera file
        await expect(page.locator("#camera")).to_contain_text("Front gate")
        await page.locator("#camera").select_option("gate")
        await expect(page.locator(CARDS)).to_have_count(1)
        await page.locator(f"{CARDS} button").first.click()
        await expect(page.locator("#detail h2")).to_contain_text("Front gate")
        shared = page.url
        assert re.search(r"\?camera=gate#[0-9a-f-]{36}$", shared)
        await page.reload()
        await expect(page.locator("#detail h2")).to_contain_text("Front gate")
        await shot(page, tmp_path, "event-named")
        await page.go_back()
        await expect(page.locator("#detail")).to_be_hidden()
        await page.go_back()
        await expect(page.locator(CARDS)).to_have_count(2)
        await expect(page.locator("#camera")).to_have_value("")

        await page.get_by_role("searchbox").fill("a red umbrella")
        await page.get_by_role("button", name="Search", exact=True).click()
        await expect(page.get_by_role("alert")).to_contain_text("No classifier answers")
        assert page.url.endswith("?q=a+red+umbrella")
        await page.reload()
        await expect(page.get_by_role("searchbox")).to_have_value("a red umbrella")
        await expect(page.locator("#results h2").first).to_contain_text("a red umbrella")
        await page.get_by_role("button", name="Labels in hindsight").click()
        await page.get_by_label("Labels, one a line").fill("a fox\na cat")
        await page.get_by_role("button", name="Look back").click()
        await expect(page).to_have_url(re.compile(r"look=hindsight&labels=a\+fox&labels=a\+cat"))
        await page.reload()
        await expect(page.get_by_label("Labels, one a line")).to_have_value("a fox\na cat")
        await page.get_by_role("button", name="Back to all events").click()
        await expect(page.locator(CARDS)).to_have_count(2)

        await page.goto(shared)
        await page.locator("#detail h2 a").click()
        await expect(page).to_have_url(f"{recorder.url}/cameras/gate")
    assert faults == []


async def test_while_the_model_loads_the_page_says_so_and_asks_again(
    recorder: Recorder, redis_client: Redis, browser: Browser, tmp_path: Path
) -> None:
    faults: list[str] = []
    loading = Presence(service="classifier", name="c1", state="loading")
    async with motion_that_says(redis_client, NAMED), motion_that_says(redis_client, loading):
        page = await opened(browser, recorder, faults)
        await page.locator("#pipeline").click()
        await expect(page.locator("#health")).to_contain_text("The classifier is loading its model")
        await page.goto(f"{recorder.url}/?q=fox")
        await expect(page.get_by_role("alert")).to_contain_text("The model is still loading")
        await shot(page, tmp_path, "loading-model")
    await expect(page.get_by_role("alert")).to_contain_text("No classifier answers")  # it went, and was asked
    assert faults == []


async def test_every_page_works_below_a_path_of_a_proxy(
    recorder: Recorder, redis_client: Redis, browser: Browser
) -> None:
    await record(redis_client, 0)
    await settled(redis_client)
    faults: list[str] = []
    outside: list[str] = []
    page = await new_page(browser, faults)

    def note(sent: Request) -> None:
        if "/clipwatch/" not in sent.url:
            outside.append(sent.url)

    page.on("request", note)

    async def pass_on(route: Route) -> None:
        if route.request.url.endswith("/api/stream"):
            await route.abort()
            return
        answer = await route.fetch(url=route.request.url.replace("/clipwatch/", "/"))
        await route.fulfill(response=answer)

    await page.route("**/clipwatch/**", pass_on)
    site = f"{recorder.url}/clipwatch"
    await page.goto(f"{site}/")
    await expect(page.locator(CARDS)).to_have_count(1)
    await expect(page.locator(f"{CARDS} img")).to_have_js_property("complete", True)
    await page.locator(f"{CARDS} button").first.click()
    await page.locator("#detail h2 a").click()
    await expect(page).to_have_url(f"{site}/cameras/gate")
    await expect(page.locator("#notice")).to_be_visible()  # no motion service is passed on here
    await page.get_by_role("link", name="Users").click()
    await expect(page).to_have_url(f"{site}/users")
    await expect(page.get_by_role("form", name="First admin")).to_be_visible()
    await page.get_by_role("link", name="Cameras").click()
    await expect(page).to_have_url(f"{site}/cameras")
    await page.get_by_role("link", name="clipwatch, all events").click()
    await expect(page.locator(CARDS)).to_have_count(1)
    await page.goto(f"{site}/login?next=https%3A%2F%2Fevil.example%2F")
    await expect(page.get_by_role("link", name="Go on")).to_have_attribute("href", f"{site}/")
    assert outside == []
    assert faults == []
