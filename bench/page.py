"""How fast the record's page is on many events, in a real Chromium, JSON: `python -m bench.page [--events 100000]`.

Fills a private MariaDB as bench/fill_record.py does, starts the recorder on it, and uses its page as a person does:
opens it, scrolls down for older events (48 at a time), chooses a label, opens an event. Times run from the action to
what is then seen, in ms; `api_ms` is what the page's request for the older events took of it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from bench.fill_record import count, fill
from services.recorder.record.bootstrap import open_database
from tests.integration.test_recorder_service import Recorder
from tests.programs import find_chromium
from tests.servers import MariaDBServer, RedisServer

CARDS = "document.querySelectorAll('#list .card[data-id]')"
API_MS = (
    "performance.getEntriesByType('resource').filter((one) => one.name.includes('before=')).at(-1).duration"
)


async def _fill(url: str, n: int) -> None:
    database = await open_database(url, asyncio.Event(), 30, 1800)
    await fill(database, n)
    await count(database)
    await database.close()


@contextlib.contextmanager
def filled(n: int) -> Iterator[str]:
    """Give the address of a recorder's page over `n` events."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        server, redis = MariaDBServer(["--innodb-buffer-pool-size=1G"]), RedisServer()
        for one in (server, redis):
            one.start()
            stack.callback(one.close)
        url = server.url(server.new_database())
        asyncio.run(_fill(url, n))
        recorder = Recorder(Path(folder), redis.url, url).start()
        stack.callback(recorder.kill)
        yield recorder.url


def _ms(page: Page, act: str, seen: str) -> float:
    """Do something in the page; return the milliseconds until `seen` holds in a drawn frame."""
    return float(
        page.evaluate(
            f"""async () => {{
                const began = performance.now();
                {act};
                while (!({seen})) await new Promise(requestAnimationFrame);
                return performance.now() - began;
            }}"""
        )
    )


def use(page: Page, url: str, n_pages: int) -> dict[str, object]:
    """Do what a person does; return the times."""
    began = time.perf_counter()
    page.goto(url)
    _ms(page, "", f"{CARDS}.length >= 48")
    opened_ms = 1000 * (time.perf_counter() - began)
    older, asked = [], []
    for number in range(2, n_pages + 1):
        older.append(_ms(page, "scrollTo(0, document.body.scrollHeight)", f"{CARDS}.length >= {48 * number}"))
        asked.append(float(page.evaluate(API_MS)))
    detail_ms = _ms(
        page,
        f"{CARDS}[{24 * n_pages}].querySelector('button').click()",
        "document.querySelector('#detail .facts dl')",
    )
    chosen = "Object.assign(document.getElementById('label'), {value: 'label 3'})"
    label_ms = _ms(
        page,
        f"{chosen}.dispatchEvent(new Event('change', {{bubbles: true}}))",
        f"{CARDS}.length == 48 && [...{CARDS}].every((one) => one.textContent.includes('label 3'))",
    )
    return {
        "opened_ms": round(opened_ms),
        "older_ms_median": round(statistics.median(older)),
        "older_ms_worst": round(max(older)),
        "older_ms_last_ten": round(statistics.median(older[-10:])),
        "api_ms_median": round(statistics.median(asked)),
        "detail_ms": round(detail_ms),
        "label_ms": round(label_ms),
    }


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--pages", type=int, default=60, help="how many times 48 events are scrolled through")
    wanted = parser.parse_args()
    with filled(wanted.events) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=find_chromium(), args=["--no-sandbox", "--disable-gpu"]
        )
        figures = use(browser.new_page(viewport={"width": 1280, "height": 900}), url, wanted.pages)
        browser.close()
    machine = {"cores": os.cpu_count(), "load_1min": round(os.getloadavg()[0], 1)}
    print(json.dumps({"events": wanted.events, "pages": wanted.pages, **figures, **machine}, indent=1))


if __name__ == "__main__":
    main()
