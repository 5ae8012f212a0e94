"""How soon a moving thing is in the record, JSON: `python -m bench.growing [--seconds 90]`.

Starts the demo (motion, classifier, recorder, their queue; sample videos in real time), follows the page's stream of
changes, and compares when each snippet was told with when the classifier had decided (`snippets.labelled_at`), both on
this machine's clock. The first snippet of an event counts by itself as well: it makes the row. `first_snippet_to_row`:
from the last frame with motion of a first snippet that was cut while its event went on (the first such frame after
`first_snippet_s`) to the event's row; motion, classifier and recorder are in it.

`--answers N` leaves motion and model out: N answers are put into the queue as a classifier does, three to an event, two
a second, each decided at that moment. What is measured is the record alone: queue, recorder, database, page.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from redis.asyncio import Redis

from tests.integration.test_recorder_service import Recorder
from tests.servers import RedisServer
from tests.unit.recorder.messages import Said, send

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Told:
    """A change of an event as the page gets it; `at` is when, UTC."""

    at: datetime
    event: dict[str, Any]  # Any: JSON


@dataclass(frozen=True, slots=True)
class Appearance:
    """A snippet: when the classifier decided, when the page was told; UTC."""

    event_id: str
    snippet: int
    labelled_at: datetime
    told_at: datetime
    is_open: bool

    @property
    def delay_s(self) -> float:
        return (self.told_at - self.labelled_at).total_seconds()


def follow(page: str, seconds: float) -> Iterator[Told]:
    """Yield the changes of events for so long."""
    ends_at = time.monotonic() + seconds
    with httpx.stream("GET", f"{page}api/stream", timeout=60, trust_env=False) as answer:
        name = ""
        for line in answer.iter_lines():
            if time.monotonic() > ends_at:
                return
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: ") and name == "event":
                yield Told(datetime.now(UTC), json.loads(line.removeprefix("data: ")))


def appearances(told: Sequence[Told], database: Path) -> list[Appearance]:
    """Return the snippets whose first telling was seen, in the order of their telling."""
    with sqlite3.connect(database) as db:
        rows = db.execute(
            "SELECT event_id, snippet, labelled_at FROM snippets ORDER BY event_id, labelled_at"
        )
        decided: dict[str, list[tuple[int, datetime]]] = {}
        for event_id, snippet, at in rows:
            decided.setdefault(event_id, []).append((snippet, datetime.fromisoformat(at).replace(tzinfo=UTC)))
    found: list[Appearance] = []
    known: dict[str, int] = {}
    for one in told:
        event_id, n = one.event["id"], one.event["n_snippets"]
        before = known.get(event_id)
        known[event_id] = max(n, before or 0)
        if before is None and n > 1:
            continue  # it was there before somebody looked
        for snippet, labelled_at in decided.get(event_id, [])[before or 0 : n]:
            found.append(Appearance(event_id, snippet, labelled_at, one.at, one.event["is_open"]))
    return found


def start_demo(data_dir: Path) -> tuple[subprocess.Popen[str], str]:
    """Start the demo; return it with its page's address once it is ready."""
    process = subprocess.Popen(
        # the usual port is left to whoever wants to look at a demo meanwhile
        [sys.executable, "-m", "services.local.cli", "demo", "--port", "0", "--data-dir", str(data_dir)],
        cwd=data_dir.parent,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if found := re.search(r"^page +(http://\S+)", line):
            return process, found.group(1)
    raise SystemExit("".join(said))


def wait_for_classifier(page: str, limit_s: float) -> None:
    """Return when a classifier says that it is there: its model may take a while."""
    ends_at = time.monotonic() + limit_s
    while time.monotonic() < ends_at:
        services = httpx.get(f"{page}api/health", timeout=30, trust_env=False).json()["services"]
        if any(one["service"] == "classifier" for one in services):
            return
        time.sleep(0.5)
    raise SystemExit(f"no classifier within {limit_s:g} s")


def _figures(delays_s: Sequence[float]) -> dict[str, float]:
    ordered = sorted(delays_s)
    return {
        "n": len(ordered),
        "p50_s": round(ordered[len(ordered) // 2], 3),
        "p95_s": round(ordered[min(int(0.95 * len(ordered)), len(ordered) - 1)], 3),
        "worst_s": round(ordered[-1], 3),
    }


def measure(seconds: float) -> dict[str, object]:
    """Run the demo for so long; return the figures."""
    with tempfile.TemporaryDirectory() as folder:
        data_dir = Path(folder) / "kept"
        process, page = start_demo(data_dir)
        try:
            wait_for_classifier(page, 300)
            told = list(follow(page, seconds))
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)
        found = appearances(told, data_dir / "clipwatch.db")
        rows = _first_rows(data_dir / "clipwatch.db")
        with sqlite3.connect(data_dir / "clipwatch.db") as db:
            ends = dict(db.execute("SELECT id, ended_at FROM events").fetchall())
    if not found:
        raise SystemExit("nothing was recorded: let it run longer (--seconds)")
    first = [one for one in found if one.snippet == 0]
    moving = [
        one for one in first if one.told_at < datetime.fromisoformat(ends[one.event_id]).replace(tzinfo=UTC)
    ]
    return {
        "snippets": _figures([one.delay_s for one in found]),
        "first_snippets": _figures([one.delay_s for one in first]) if first else None,
        "first_snippet_to_row": _figures(rows) if rows else None,
        "events_told_while_moving": f"{len(moving)} of {len(first)}",
        "seconds": seconds,
        "cores": os.cpu_count(),
        "load_1min": round(os.getloadavg()[0], 1),
    }


def measure_answers(n: int) -> dict[str, object]:
    """Put answers into the queue of a recorder and follow its page; return the figures."""
    redis = RedisServer()
    redis.start()
    with tempfile.TemporaryDirectory() as folder:
        recorder = Recorder(Path(folder), redis.url, f"sqlite:///{folder}/clipwatch.db").start()
        try:
            with ThreadPoolExecutor(1) as pool:
                following = pool.submit(lambda: list(follow(f"{recorder.url}/", n / 2 + 12)))
                time.sleep(3)  # the page is there first
                asyncio.run(_send_answers(redis.url, n))
                told = following.result()
            found = appearances(told, Path(folder) / "clipwatch.db")
            begun = _begun(Path(folder) / "clipwatch.db")
        finally:
            recorder.stop()
            redis.close()
    first = [one.delay_s for one in found if one.snippet == 0]
    return {
        "snippets": _figures([one.delay_s for one in found]),
        "first_snippets": _figures(first),
        "of_which_before_the_transaction": _figures(begun),
        "answers": n,
        "cores": os.cpu_count(),
        "load_1min": round(os.getloadavg()[0], 1),
    }


def _begun(database: Path) -> list[float]:
    """Return for each snippet the seconds from the decision to its transaction: queue, and keeping the clip."""
    with sqlite3.connect(database) as db:
        rows = db.execute("SELECT labelled_at, recorded_at FROM snippets").fetchall()
    times = [tuple(datetime.fromisoformat(at) for at in row) for row in rows]
    return [(recorded - labelled).total_seconds() for labelled, recorded in times]


def _first_rows(database: Path) -> list[float]:
    """Return the seconds from the last frame of each first snippet to its row, of events that then went on."""
    with sqlite3.connect(database) as db:
        query = "SELECT event_ended_at, recorded_at FROM snippets WHERE snippet = 0 AND NOT is_last"
        rows = db.execute(query).fetchall()
    times = [tuple(datetime.fromisoformat(at) for at in row) for row in rows]
    return [(recorded - cut).total_seconds() for cut, recorded in times]


async def _send_answers(url: str, n: int) -> None:
    redis: Redis = Redis.from_url(url)
    base = datetime.now(UTC) - timedelta(minutes=n)
    for number in range(n):
        event, snippet = divmod(number, 3)
        clip_start = base + timedelta(minutes=event, seconds=10 * snippet - 3)
        said = Said(
            event=event,
            snippet=snippet,
            is_last=snippet == 2,
            accepted=[("a dog", 0.5 + snippet / 10)],
            start=base,
            n_moments=12,
            labelled_after_s=(datetime.now(UTC) - clip_start).total_seconds(),  # decided now
        )
        await send(redis, said, bytes(1_000_000))
        await asyncio.sleep(0.5)
    await redis.aclose()


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=90)
    parser.add_argument("--answers", type=int, default=0)
    wanted = parser.parse_args()
    figures = measure_answers(wanted.answers) if wanted.answers else measure(wanted.seconds)
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
