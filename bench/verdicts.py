"""From a click to its effect, JSON: `PYTHONPATH=. python -m bench.verdicts [--events N] [--examples K] [--dim D]`.

A SQLite record of N events of one camera in 7 days, three snippets each of 12 moments (one whole frame, one crop each)
of random unit embeddings; K of them are examples already. Measured: what one more verdict would change of all (the
preview), and from saying it to a classifier that has its examples. Redis is a server of its own; embedding the labels'
texts is left out (the classifier answers in milliseconds, from what it has).
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import statistics
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import numpy as np
from redis.asyncio import Redis
from sqlalchemy import insert

from bench.hindsight import MOMENTS, KnownEmbeddings, event_row, picture_rows, snippet_row
from services.classifier.examples import CameraExamples
from services.classifier.port import ModelFacts
from services.recorder.record.bootstrap import open_database
from services.recorder.record.database import Database
from services.recorder.record.schema import events, frame_embeddings, snippets
from services.recorder.search.hindsight import Hindsight
from services.recorder.verdicts import rows
from services.recorder.verdicts.preview import preview
from services.recorder.verdicts.teacher import Teacher
from services.recorder.verdicts.values import NewVerdict, Verdict
from shared.clock import now_utc, uuid7
from tests.servers import RedisServer

SNIPPETS = 3
DAYS = 7
REPEATS = 5


async def measure(redis: Redis, folder: Path, n: int, n_examples: int, dim: int) -> dict[str, object]:
    """Return the figures."""
    database = await open_database(f"sqlite:///{folder}/record.db", asyncio.Event(), 30, 600)
    texts = KnownEmbeddings(redis, dim=dim)
    teacher = Teacher(redis, database, texts)
    hindsight = Hindsight(texts, database, teacher.known, teacher.called_right)
    ids = iter(await _filled(database, n, dim))
    known = CameraExamples(redis, ModelFacts("bench", 224, dim, 100.0))
    while known.n_kept < n_examples:
        await _click(teacher, known, await _verdict(database, next(ids), is_kept=True))
    previews, effects = [], []
    for event in itertools.islice(ids, REPEATS):
        imagined, now = await _verdict(database, event, is_kept=False), now_utc()
        began = time.perf_counter()
        async for found in preview(hindsight, teacher, imagined, now - timedelta(days=DAYS), now):
            n_looked_at = found.outcome.n_events
        previews.append(time.perf_counter() - began)
        assert n_looked_at == n
        began = time.perf_counter()
        await _click(teacher, known, await _verdict(database, event, is_kept=True))
        effects.append(time.perf_counter() - began)
    await database.close()
    return {
        "events": n,
        "snippets": n * SNIPPETS,
        "pictures": n * SNIPPETS * 2 * MOMENTS,
        "examples": known.n_kept,
        "preview_s": round(statistics.median(previews), 2),
        "click_to_effect_s": round(statistics.median(effects), 3),
        "cores": os.cpu_count(),
        "load_1min": round(os.getloadavg()[0], 1),
    }


async def _filled(database: Database, n: int, dim: int) -> list[str]:
    """Write events of the last days, each with snippets; return their ids."""
    rng, now = np.random.default_rng(0), now_utc()
    ids = []
    for number in range(n):
        at = now - timedelta(days=DAYS) + timedelta(days=DAYS * (number + 0.5) / n)
        ids.append(uuid7(at, seed=str(number)))
        async with database.writing() as connection:
            await connection.execute(insert(events), [event_row(ids[-1], at, SNIPPETS)])
            for snippet in range(SNIPPETS):
                await connection.execute(insert(snippets), [snippet_row(ids[-1], snippet, at)])
                await connection.execute(
                    insert(frame_embeddings), picture_rows(ids[-1], snippet, at, rng, dim)
                )
    return ids


async def _verdict(database: Database, event: str, *, is_kept: bool) -> Verdict:
    new = NewVerdict("missed", "a fox", "future", "bench")
    write = rows.add_verdict if is_kept else rows.imagine_verdict
    async with database.writing() as connection:
        made = await write(connection, event, new, now_utc(), None)
    assert made is not None
    return made


async def _click(teacher: Teacher, known: CameraExamples, verdict: Verdict) -> None:
    """Learn a verdict, tell the classifiers, and let one of them ask, as it does before each batch."""
    await teacher.teach(verdict)
    await teacher.publish()
    await known.refresh({verdict.camera})


async def _run(folder: Path, redis_url: str, wanted: argparse.Namespace) -> dict[str, object]:
    async with Redis.from_url(redis_url) as redis:
        return await measure(redis, folder, wanted.events, wanted.examples, wanted.dim)


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=200)
    parser.add_argument("--examples", type=int, default=60)
    parser.add_argument("--dim", type=int, default=512)
    wanted = parser.parse_args()
    server = RedisServer()
    server.start()
    try:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(asyncio.run(_run(Path(folder), server.url, wanted)), indent=1))
    finally:
        server.stop()


if __name__ == "__main__":
    main()
