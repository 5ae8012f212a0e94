"""How fast labels in hindsight are, JSON: `PYTHONPATH=. python bench/hindsight.py [--snippets N] [--dim D]`.

A SQLite record of N snippets with 12 moments (one whole frame, one crop each) of random unit embeddings is looked back
on with four labels, one background and 22 others. Then the answer is applied, another one over it, and that is undone.
The classifier's part is left out.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from sqlalchemy import func, insert, select

from services.recorder.record.bootstrap import open_database
from services.recorder.record.schema import events, frame_embeddings, past_answers, snippets
from services.recorder.search.hindsight import Application, Hindsight
from services.recorder.search.hindsight_values import HindsightRequest, Outcome
from services.recorder.search.relabel_undo import undo_relabel
from services.recorder.search.text_requests import TextEmbedder
from shared.clock import uuid7
from shared.contract import Column, DecisionSettings, LabelSet
from shared.decisions.label_texts import EmbeddedLabelSet, LabelTexts

START = datetime(2026, 1, 1, tzinfo=UTC)
LABELS = ("a fox", "a dog", "a person", "a car")
MOMENTS = 12
OTHERS = 22
PORTION = 250


@dataclass(frozen=True, slots=True)
class KnownEmbeddings(TextEmbedder):
    """Random text embeddings at once: what the classifier would send."""

    dim: int = 512

    async def ask(self, label_set: LabelSet, with_others: bool) -> EmbeddedLabelSet:  # noqa: ARG002 - the port's
        t, b = len(label_set.labels), len(label_set.background)
        rows = _unit(np.random.default_rng(2), t + b + OTHERS, self.dim)
        texts = LabelTexts(
            columns=(
                *(Column(text=text, kind="target") for text in label_set.labels),
                *(Column(text=text, kind="background") for text in label_set.background),
                Column(text="other", kind="other"),
            ),
            embeddings=rows,
            n_targets=t,
            n_background=b,
            rivals=~np.eye(t, dtype=np.bool_),
            against=np.ones((t, OTHERS), dtype=np.bool_),
            shown=np.ones(OTHERS, dtype=np.bool_),
        )
        return EmbeddedLabelSet("bench", 100.0, self.dim, texts)


def _unit(rng: np.random.Generator, n: int, dim: int) -> np.ndarray:
    rows = rng.standard_normal((n, dim), dtype=np.float32)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


async def measure(folder: Path, n: int, dim: int) -> dict[str, object]:
    """Return the figures."""
    database = await open_database(f"sqlite:///{folder}/record.db", asyncio.Event(), 30, 600)
    rng = np.random.default_rng(0)
    began = time.perf_counter()
    for first in range(0, n, PORTION):
        numbers = range(first, min(first + PORTION, n))
        ids = {number: uuid7(START + timedelta(minutes=number), seed=str(number)) for number in numbers}
        async with database.writing() as connection:
            at = {number: START + timedelta(minutes=number) for number in numbers}
            await connection.execute(insert(events), [event_row(ids[one], at[one]) for one in numbers])
            await connection.execute(insert(snippets), [snippet_row(ids[one], 0, at[one]) for one in numbers])
            await connection.execute(
                insert(frame_embeddings),
                [row for one in numbers for row in picture_rows(ids[one], 0, at[one], rng, dim)],
            )
    filled_s = time.perf_counter() - began
    hindsight = Hindsight(KnownEmbeddings(None, dim=dim), database)  # type: ignore[arg-type]  # no Redis is asked
    wish = HindsightRequest(
        LABELS, ("an empty street",), 0.5, START, START + timedelta(minutes=n), adds=False
    )
    figures: dict[str, object] = {"snippets": n, "pictures": 2 * MOMENTS * n, "dim": dim}
    outcome = Outcome()
    for name, request, application in (
        ("dry_run", wish, None),
        ("apply", wish, Application("bench")),
        ("apply_again", replace(wish, threshold=0.6), Application("bench")),  # what it replaces has frames
    ):
        began = time.perf_counter()
        outcome = [said async for said in hindsight.run(request, application)][-1]
        took_s = time.perf_counter() - began
        figures |= {
            f"{name}_s": round(took_s, 1),
            f"{name}_snippets_per_s": round(outcome.n_snippets / took_s),
            f"{name}_written": outcome.n_written,
        }
    assert outcome.relabel_id is not None
    kept = select(func.sum(func.length(past_answers.c.frames)))
    async with database.reading() as connection:
        of_last = past_answers.c.relabel_id == outcome.relabel_id
        kept_bytes = await connection.scalar(kept.where(of_last))
    began = time.perf_counter()
    undone = [said async for said in undo_relabel(database, outcome.relabel_id, "bench")][-1]
    took_s = time.perf_counter() - began
    figures |= {
        "kept_frames_bytes_per_snippet": round(int(kept_bytes or 0) / max(outcome.n_written, 1)),
        "undo_s": round(took_s, 1),
        "undo_snippets_per_s": round(undone.n_restored / took_s),
    }
    await database.close()
    load = {
        "filled_s": round(filled_s, 1),
        "cores": os.cpu_count(),
        "load_1min": round(os.getloadavg()[0], 1),
    }
    return {**figures, **load}


def event_row(event_id: str, at: datetime, n_snippets: int = 1) -> dict[str, object]:
    """Return a row of `events`."""
    return {
        "id": event_id,
        "camera": "bench",
        "started_at": at,
        "ended_at": at + timedelta(seconds=10),
        "is_open": False,
        "is_accepted": False,
        "n_snippets": n_snippets,
        "motion_peak": 0.5,
        "created_at": at,
        "updated_at": at,
    }


def snippet_row(event_id: str, snippet: int, at: datetime) -> dict[str, object]:
    """Return a row of `snippets`, asked for a dog."""
    return {
        "event_id": event_id,
        "snippet": snippet,
        "started_at": at,
        "ended_at": at + timedelta(seconds=10),
        "event_started_at": at,
        "event_ended_at": at + timedelta(seconds=10),
        "is_last": True,
        "motion_peak": 0.5,
        "clip_bytes": 0,
        "is_media_lost": True,
        "model": "bench",
        "reason": "",
        "label_set": LabelSet(labels=("a dog",)).model_dump_json(),
        "decision": DecisionSettings().model_dump_json(),
        "accepted": "[]",
        "peaks": "{}",
        "labelled_at": at,
        "recorded_at": at,
    }


def picture_rows(
    event_id: str, snippet: int, at: datetime, rng: np.random.Generator, dim: int
) -> list[dict[str, object]]:
    """Return rows of `frame_embeddings`: of each moment a whole frame and a crop."""
    rows = _unit(rng, 2 * MOMENTS, dim).astype("<f2")
    return [
        {
            "event_id": event_id,
            "snippet": snippet,
            "picture": index,
            "moment": index // 2,
            "captured_at": at + timedelta(seconds=0.8 * (index // 2)),
            "kind": "crop" if index % 2 else "frame",
            "model": "bench",
            "dim": dim,
            "embedding": row.tobytes(),
        }
        for index, row in enumerate(rows)
    ]


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--snippets", type=int, default=10_000)
    parser.add_argument("--dim", type=int, default=512)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(asyncio.run(measure(Path(folder), wanted.snippets, wanted.dim)), indent=1))


if __name__ == "__main__":
    main()
