"""The pages of the cameras in a real Chromium: they play, try settings out, draw and save.

As on a home's machine: motion's API is behind the recorder, which serves the pages.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Page, ViewportSize, expect, sync_playwright

from shared.cameras import load_cameras
from tests.browser.accessible import MISNAMED
from tests.integration.live_rig import watched_service
from tests.integration.test_motion_service import Motion
from tests.integration.test_recorder_service import Recorder
from tests.programs import ServerError, find_chromium
from tests.servers import RedisServer, wait_until

LIMIT_MS = 90_000
TOKEN = "0123456789abcdef-motion"  # motion's, which only the recorder knows
DESKTOP = ViewportSize(width=1280, height=900)
PHONE = ViewportSize(width=390, height=800)
CSP_SAFE_NOW = (
    "() => [document.getElementById('video').currentTime, document.getElementById('video').videoWidth]"
)

# of so many frames with the square and a box: where the middle of each is, in shares of the width
PLACES = """async (enough) => {
  const video = document.getElementById('video'), overlay = document.getElementById('overlay');
  const copy = new OffscreenCanvas(320, 240).getContext('2d', { willReadFrequently: true });
  const middle = ({ data, width }, isIt) => {
    let low = Infinity, high = -Infinity;
    for (let at = 0; at < data.length; at += 4) {
      if (!isIt(data[at], data[at + 1], data[at + 2], data[at + 3])) continue;
      const x = (at / 4) % width;
      low = Math.min(low, x); high = Math.max(high, x);
    }
    return (low + high) / 2 / width;
  };
  const places = [];
  for (let n = 0; n < 150 && places.length < enough; n++) {
    await new Promise((shown) => video.requestVideoFrameCallback(shown));
    copy.drawImage(video, 0, 0, 320, 240);
    const square = middle(copy.getImageData(0, 0, 320, 240), (r) => r > 205);
    let isOver = false;
    video.requestVideoFrameCallback(() => { isOver = true; });
    await new Promise((later) => setTimeout(later, 40)); // what is said may come a little later, on a busy machine
    await new Promise(requestAnimationFrame);
    if (isOver) continue;
    const pen = overlay.getContext('2d');
    const box = middle(pen.getImageData(0, 0, overlay.width, overlay.height), (...rgba) => Math.min(...rgba) > 250);
    if (isFinite(square) && isFinite(box) && square > 0.1 && square < 0.9) places.push([square, box]);
  }
  return places;
}"""


@dataclass
class Site:
    """The site of a recorder, with the motion service behind it."""

    url: str
    motion: Motion


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer) -> Iterator[Site]:
    redis_server.start()
    folder = tmp_path_factory.mktemp("page")
    with watched_service(folder, redis_server.url, API_TOKEN=TOKEN) as motion:
        recorder = Recorder(folder, redis_server.url, f"sqlite:///{folder}/clipwatch.db")
        recorder.environment = {"MOTION_URL": f"http://127.0.0.1:{motion.port}", "MOTION_TOKEN": TOKEN}
        recorder.start()
        try:
            yield Site(recorder.url, motion)
        finally:
            recorder.stop()


@pytest.fixture(scope="module")
def tab() -> Iterator[Page]:
    try:
        chromium = find_chromium()
    except ServerError as exc:
        if os.environ.get("CLIPWATCH_TESTS_MAY_SKIP") == "1":
            pytest.skip(str(exc))
        pytest.fail(str(exc), pytrace=False)
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--no-proxy-server"]
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        page = browser.new_page(viewport=DESKTOP)
        page.set_default_timeout(LIMIT_MS)
        yield page
        browser.close()


@pytest.fixture
def page(tab: Page, site: Site) -> Iterator[Page]:
    faults: list[str] = []
    tab.on("pageerror", lambda error: faults.append(str(error)))
    tab.goto(f"{site.url}/cameras/cam")
    expect(tab.locator("#tuner")).to_be_visible(timeout=LIMIT_MS)
    yield tab
    assert faults == []


def file_of(site: Site) -> Path:
    return site.motion.log.parent / "cameras.yml"


@pytest.mark.redis
def test_the_camera_plays_and_moves_are_drawn_and_scored(page: Page) -> None:
    expect(page.locator("#badge")).to_have_text("Live", timeout=LIMIT_MS)
    began_s, width = page.evaluate(CSP_SAFE_NOW)
    assert width == 320
    wait_until(lambda: page.evaluate(CSP_SAFE_NOW)[0] > began_s + 1, 90, "that the video goes on")
    expect(page.locator("#outcome0")).to_contain_text("moving, score", timeout=LIMIT_MS)
    expect(page.locator("#other1")).to_be_visible()


@pytest.mark.redis
@pytest.mark.timeout(400)  # the square crosses for 3.6 s of 6, and a busy machine shows a few frames a second
def test_a_box_is_drawn_on_the_frame_that_it_is_of(page: Page) -> None:
    """The square goes 2.6 % of the width from frame to frame."""
    expect(page.locator("#badge")).to_have_text("Live", timeout=LIMIT_MS)
    page.evaluate(PLACES, 10)  # where what is said comes late, the video is held back from then on
    places = page.evaluate(PLACES, 40)
    apart = sorted(abs(square - box) for square, box in places)
    assert len(apart) >= 20
    assert apart[len(apart) // 2] < 0.003
    assert apart[int(0.8 * len(apart))] < 0.013


SYNCED = """async () => {
  const { Sync } = await import(new URL('../web/sync.js', document.baseURI));
  const shown = [], delays = [];
  let asked = 0;
  const sync = new Sync((t) => shown.push(t));
  const rtp = (t) => (t * 90000 + 4294967000) % 4294967296; // it starts to count anew within the first second
  const zero = async () => { asked += 1; return asked > 1 ? 4294967000 : 4000; }; // the clock was set at first
  sync.begin({ ask: zero, delay: (ms) => delays.push(ms) });
  await Promise.resolve();
  const said = [];
  const see = (t) => { sync.shown(rtp(t), performance.now()); said.push([t, shown.at(-1) ?? null]); };
  for (let t = 0; t < 4; t += 0.1) {
    sync.hear(t, {}, { isVideo: true });
    await new Promise((done) => setTimeout(done, 5));
    see(t);
  }
  const early = { last: said.at(-1), asked, delays: [...delays] };
  sync.shown(rtp(5), performance.now() - 80);
  sync.hear(5, {}, { isVideo: true });
  const late = shown.at(-1);
  for (const t of [5.1, 5.2]) sync.hear(t, {}, { isVideo: true });
  for (let n = 0; n < 15; n++) { // the video is behind by more than a second
    sync.shown(rtp(5), performance.now());
    await new Promise((done) => setTimeout(done, 100));
  }
  const whileBehind = shown.at(-1);
  sync.shown(rtp(5.15), performance.now()); // nothing was said of this frame
  const between = shown.at(-1), waiting = sync.waiting.length;
  sync.shown(rtp(5.2), performance.now());
  let again = 0;
  const passLater = sync.passLater.bind(sync);
  sync.passLater = (entry) => { again += 1; passLater(entry); };
  await new Promise((done) => setTimeout(done, 600)); // less than a second: frames are being shown
  return { early, late, delays, whileBehind, between, waiting, again };
}"""


@pytest.mark.redis
def test_what_is_said_late_is_shown_at_once_and_the_video_held_back(page: Page) -> None:
    found = page.evaluate(SYNCED)
    assert found["early"]["last"] == [pytest.approx(3.9), pytest.approx(3.9)]
    assert (found["early"]["asked"], found["early"]["delays"]) == (2, [])
    assert found["late"] == 5
    assert found["delays"] == [pytest.approx(130, abs=15)]
    assert (found["whileBehind"], found["between"], found["waiting"]) == (5, 5.1, 1), "it waits for its frame"
    assert found["again"] == 0, "what was shown is waited for no more"


@pytest.mark.redis
def test_a_threshold_is_tried_without_being_saved_and_taken_back(page: Page, site: Site) -> None:
    before = file_of(site).read_text()
    page.locator("#auto").uncheck()
    page.locator("#threshold").fill("254")
    expect(page.locator("#own")).to_have_text("Settings on trial, not saved")
    expect(page.locator("#outcome1")).to_contain_text("moving", timeout=LIMIT_MS)  # 10, beside it
    expect(page.locator("#outcome0")).to_have_text("still")
    page.locator("#undo").click()
    expect(page.locator("#save")).to_be_disabled()
    assert page.locator("#auto").is_checked()
    assert file_of(site).read_text() == before


@pytest.mark.redis
def test_a_mask_by_mouse_and_a_zone_by_keys_are_saved_with_the_files_comments(page: Page, site: Site) -> None:
    page.locator("#draw-mask").click()
    box = page.locator("#overlay").bounding_box()
    assert box is not None
    for x, y in ((0.1, 0.1), (0.4, 0.1), (0.4, 0.3), (0.1, 0.3), (0.1, 0.1)):
        page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])
    expect(page.locator("#shapes")).to_contain_text("Mask 1, 4 corners")
    page.locator("#draw-zone").press("Enter")
    for key in (
        "Space",
        "Shift+ArrowRight",
        "Shift+ArrowRight",
        "Space",
        "Shift+ArrowDown",
        "Space",
        "Enter",
    ):
        page.keyboard.press(key)
    expect(page.locator("#shapes")).to_contain_text("Zone 1, 3 corners")
    page.locator("#area").fill("350")
    page.locator("#save").click()
    expect(page.locator("#said")).to_have_text("Saved to the camera file, in force now", timeout=LIMIT_MS)
    text = file_of(site).read_text()
    for comment in (
        "# the cameras of the house",
        "# by the door",
        "# what we look for",
        "# follows the noise",
    ):
        assert comment in text
    saved = load_cameras(file_of(site)).cameras[0].motion
    assert saved.masks[0][0] == pytest.approx((0.1, 0.1), abs=0.01)
    assert saved.zones == (((0.5, 0.5), (0.6, 0.5), (0.6, 0.55)),)
    assert (saved.min_contour_area, saved.quiet_s, saved.threshold) == (350, 1, "auto")
    page.reload()
    expect(page.locator("#shapes")).to_contain_text("Zone 1, 3 corners")
    assert page.evaluate(MISNAMED) == []
    page.get_by_role("button", name="Remove mask 1").click()
    page.get_by_role("button", name="Remove zone 1").click()
    page.locator("#save").click()
    expect(page.locator("#said")).to_have_text("Saved to the camera file, in force now", timeout=LIMIT_MS)
    assert load_cameras(file_of(site)).cameras[0].motion.masks == ()


@pytest.mark.redis
def test_a_camera_is_paused_and_resumed(page: Page, site: Site) -> None:
    page.locator("#pause").click()
    expect(page.locator("#state-text")).to_have_text("Paused", timeout=LIMIT_MS)
    assert not load_cameras(file_of(site)).cameras[0].enabled
    page.get_by_role("button", name="Resume").click()
    expect(page.locator("#state-text")).to_have_text("Live", timeout=LIMIT_MS)


@pytest.mark.redis
def test_without_webrtc_single_pictures_are_shown(tab: Page, site: Site) -> None:
    tab.route("**/whep", lambda route: route.abort())
    try:
        tab.goto(f"{site.url}/cameras/cam")
        expect(tab.locator("#badge")).to_have_text("Single pictures", timeout=LIMIT_MS)
        width = tab.evaluate("() => document.getElementById('still').naturalWidth")
        assert width == 320
    finally:
        tab.unroute("**/whep")


@pytest.mark.redis
def test_nothing_is_drawn_before_there_is_a_picture(tab: Page, site: Site) -> None:
    for what in ("**/whep", "**/picture.jpg"):
        tab.route(what, lambda route: route.abort())
    try:
        tab.goto(f"{site.url}/cameras/cam")
        expect(tab.locator("#badge")).to_have_text("Waiting for the camera", timeout=LIMIT_MS)
        expect(tab.locator("#draw-mask")).to_be_disabled()
        tab.unroute("**/picture.jpg")
        expect(tab.locator("#draw-mask")).to_be_enabled(timeout=LIMIT_MS)
        expect(tab.locator("#draw-zone")).to_be_enabled()
    finally:
        for what in ("**/whep", "**/picture.jpg"):
            tab.unroute(what)


@pytest.mark.redis
def test_all_cameras_are_listed_with_a_picture_and_fit_a_phone(tab: Page, site: Site) -> None:
    tab.set_viewport_size(PHONE)
    try:
        tab.goto(f"{site.url}/cameras")
        expect(tab.get_by_alt_text("Picture of cam")).to_be_visible(timeout=LIMIT_MS)
        tab.get_by_role("link", name="cam", exact=False).last.click()
        expect(tab.locator("#tuner")).to_be_visible(timeout=LIMIT_MS)
        assert tab.evaluate("() => document.documentElement.scrollWidth") == PHONE["width"]
    finally:
        tab.set_viewport_size(DESKTOP)


@pytest.mark.redis
def test_what_was_seen_is_taken_back_when_nobody_answers(page: Page, site: Site) -> None:
    expect(page.locator("#outcome0")).to_contain_text("moving, score", timeout=LIMIT_MS)
    site.motion.process.send_signal(
        signal.SIGSTOP
    )  # it closes no connection: nothing tells but that nobody answers
    try:
        expect(page.locator("#state-text")).to_have_text("No answer", timeout=LIMIT_MS)
        for lane in (0, 1, 2):
            expect(page.locator(f"#outcome{lane}")).to_have_text("no answer")
            expect(page.locator(f"#outcome{lane}")).to_have_class("outcome")
    finally:
        site.motion.process.send_signal(signal.SIGCONT)
    expect(page.locator("#outcome0")).to_contain_text("moving, score", timeout=LIMIT_MS)
    expect(page.locator("#state-text")).to_have_text("Live", timeout=LIMIT_MS)


@pytest.mark.redis
def test_nothing_is_in_force_or_saved_while_a_zone_is_drawn(page: Page, site: Site) -> None:
    page.locator("#area").fill("360")
    page.locator("#save").click()
    expect(page.locator("#said")).to_have_text("Saved to the camera file, in force now", timeout=LIMIT_MS)
    expect(page.locator("#draw-zone")).to_be_enabled(
        timeout=LIMIT_MS
    )  # once there is a picture; press() does not wait
    page.locator("#draw-zone").press("Enter")
    expect(page.locator("#said")).to_have_text("", timeout=LIMIT_MS)
    page.locator("#area").fill("370")
    page.keyboard.press("Enter")
    expect(page.locator("#save")).to_be_disabled()
    page.locator("#cancel").click()
    expect(page.locator("#save")).to_be_enabled()
    assert load_cameras(file_of(site)).cameras[0].motion.min_contour_area == 360


@pytest.mark.redis
def test_the_list_says_what_is_away_and_comes_back_by_itself(tab: Page, site: Site) -> None:
    tab.goto(f"{site.url}/cameras")
    expect(tab.get_by_alt_text("Picture of cam")).to_be_visible(timeout=LIMIT_MS)
    tab.context.set_offline(True)
    try:
        expect(tab.locator("#notice")).to_contain_text("The recorder does not answer", timeout=LIMIT_MS)
    finally:
        tab.context.set_offline(False)
    expect(tab.locator("#notice")).to_be_hidden(timeout=LIMIT_MS)
