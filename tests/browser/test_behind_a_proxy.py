"""The site in headless Chromium, below a path of a real nginx with TLS: login, reload, live, logout."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import Request, async_playwright, expect
from redis.asyncio import Redis

from tests.browser.test_record_page import record
from tests.browser.test_search_page import LIMIT_MS
from tests.integration.test_recorder_service import Recorder, settled
from tests.integration.test_reverse_proxies import PASSWORD, motion, nginx, nginx_site
from tests.programs import find_chromium
from tests.servers import RedisServer, free_port

pytestmark = [pytest.mark.browser, pytest.mark.redis, pytest.mark.e2e]


@pytest.fixture
def recorder(tmp_path: Path, redis_server: RedisServer, redis_client: Redis) -> Iterator[Recorder]:
    assert redis_client  # it empties the server
    with motion() as address:
        made = Recorder(tmp_path, redis_server.url, f"sqlite+aiosqlite:///{tmp_path}/record.db")
        made.environment = {
            "ADMIN_PASSWORD": PASSWORD,
            "TRUSTED_PROXIES": "127.0.0.1",
            "ALLOWED_HOSTS": "cam.example.org",
            "PATH_PREFIX": "/clipwatch",
            "MOTION_URL": address,
        }
        made.start()
        yield made
        made.stop()


async def test_a_browser_logs_in_watches_and_logs_out_below_a_path(
    recorder: Recorder, redis_client: Redis, tmp_path: Path
) -> None:
    await record(redis_client, 0)
    await settled(redis_client)
    port = free_port()
    site = f"https://cam.example.org:{port}/clipwatch"
    outside: list[str] = []

    def note(sent: Request) -> None:
        if sent.url.startswith("http") and not sent.url.startswith(f"{site}/"):
            outside.append(sent.url)

    arguments = ["--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP cam.example.org 127.0.0.1"]
    with nginx(nginx_site(recorder, tmp_path, port), tmp_path):
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=str(find_chromium()), args=arguments)
            context = await browser.new_context(ignore_https_errors=True)
            page = await context.new_page()
            page.set_default_timeout(LIMIT_MS)
            expect.set_options(timeout=LIMIT_MS)
            page.on("request", note)
            await page.goto(f"{site}/cameras")
            await expect(page).to_have_url(f"{site}/login?next=cameras")
            await page.get_by_label("Name").fill("admin")
            await page.get_by_label("Password").fill(PASSWORD)
            await page.get_by_role("button", name="Log in").click()
            await expect(page).to_have_url(f"{site}/cameras")
            await expect(page.locator("#cameras img")).to_be_visible()  # motion's picture
            await page.reload()
            await expect(page.locator("#cameras img")).to_be_visible()
            [cookie] = await context.cookies()
            assert (cookie["path"], cookie["secure"], cookie["httpOnly"]) == ("/clipwatch", True, True)
            await page.get_by_role("link", name="Events", exact=True).click()
            card = page.locator("#list .card:not(.ghost)")
            await expect(card).to_have_count(1)
            await expect(page.locator("#state")).to_have_attribute("data-state", "live")
            await record(redis_client, 1)
            await expect(card).to_have_count(2)  # through nginx at once
            await card.first.locator("button").first.click()
            await expect(page.locator("#detail video")).to_be_visible()
            await page.get_by_text("Share", exact=True).click()
            await page.get_by_role("button", name="Make a link").click()
            link = await page.locator("#detail .secret code").inner_text()
            assert link.startswith(f"{site}/shared/"), link
            await page.locator(".account summary").click()
            await page.get_by_role("button", name="Log out").click()
            await expect(page).to_have_url(re.compile(r"/clipwatch/login"))
            assert await context.cookies() == []
            await page.goto(f"{site}/")
            await expect(page).to_have_url(re.compile(r"/clipwatch/login"))
            await page.goto(link)
            await expect(page.locator("video")).to_be_visible()
            await page.goto(f"{site}/nothing")
            await page.get_by_role("link", name="To the first page").click()
            await expect(page).to_have_url(re.compile(r"/clipwatch/login"))
            await browser.close()
    assert outside == []
