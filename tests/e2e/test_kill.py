"""Kill -9 of any process at any moment loses no event and doubles no row."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from services.local.config import models_dir
from services.local.launcher.stack import Stack, StackPlan, running
from services.local.run_settings import ListenAddress
from tests.e2e.conftest import SAMPLES, cut, decoded_frames

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]
LIMIT_S = 150


@dataclass(frozen=True, slots=True)
class Record:
    """What the tables hold after a run; equal records mean that nothing was lost, doubled or changed."""

    events: tuple[tuple[object, ...], ...]
    snippets: tuple[tuple[object, ...], ...]
    n_probabilities: int
    clips: int


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("recordings")
    return [cut(SAMPLES / "people-walking.mp4", folder / "people.mp4", 40), SAMPLES / "street.mp4"]


def plan_for(folder: Path, recordings: Sequence[Path]) -> StackPlan:
    folder.mkdir()
    cameras = [
        {
            "id": path.stem, "url": str(path), "pace": "fast", "loop": False,
            "starts_at": "2026-01-01T00:00:00+00:00",
            "labels": ["a pedestrian", "a car"], "background": ["an empty street"],
        }
        for path in recordings
    ]  # fmt: skip
    with (folder / "cameras.yml").open("w") as file:
        YAML().dump({"cameras": cameras}, file)
    return StackPlan(
        data_dir=folder, cameras_file=folder / "cameras.yml", model="mini", models_dir=models_dir(),
        media_dir=folder / "media", listen=ListenAddress(port=0), weather="none", is_finite=True,
    )  # fmt: skip


async def run_to_the_end(plan: StackPlan, victims: Sequence[str] = (), seed: int = 0) -> Record:
    async with running(plan) as stack:
        killer = asyncio.create_task(kill_now_and_then(stack, victims, random.Random(seed)))
        ends_at = time.monotonic() + LIMIT_S
        while not (await stack.is_done() and killer.done()):
            assert not stack.failure.done(), stack.failure.result().last_lines
            assert time.monotonic() < ends_at, f"not done; backlog {await stack.backlog()}"
            await asyncio.sleep(0.1)
        await killer
        assert await stack.dead_letters() == 0
    return read_record(plan)


async def kill_now_and_then(stack: Stack, victims: Sequence[str], rng: random.Random) -> None:
    """Kill each victim once, at a moment between its start and its end of work that `rng` picks."""
    for victim in victims:
        child = stack.children[victim]
        while not child.is_running or not await _has_begun(stack):
            if child.is_finished:
                return
            await asyncio.sleep(0.02)
        await asyncio.sleep(rng.uniform(0.0, 2.0))
        if child.is_running and child.process:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.process.pid, signal.SIGKILL)


async def _has_begun(stack: Stack) -> bool:
    return any((camera.get("position_s") or 0) > 0 for camera in await stack.cameras()) or bool(
        await stack.backlog()
    )


def read_record(plan: StackPlan) -> Record:
    with sqlite3.connect(plan.data_dir / "clipwatch.db") as db:
        events = db.execute(
            "SELECT id, camera, started_at, ended_at, is_open, label FROM events ORDER BY id"
        ).fetchall()
        snippets = db.execute(
            "SELECT event_id, snippet, started_at, ended_at FROM snippets ORDER BY 1, 2"
        ).fetchall()
        (n_probabilities,) = db.execute("SELECT count(*) FROM frame_probabilities").fetchone()
        names = [row[0] for row in db.execute("SELECT clip_name FROM snippets")]
    clips = sum(1 for name in names if name and decoded_frames(plan.media_dir / name) > 0)
    return Record(tuple(events), tuple(snippets), n_probabilities, clips)


@pytest.fixture(scope="module")
def undisturbed(recordings: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Record:
    return asyncio.run(run_to_the_end(plan_for(tmp_path_factory.mktemp("calm") / "d", recordings)))


@pytest.mark.slow  # shorter: each service is killed in its own test of tests/integration
def test_the_undisturbed_run_records_events(undisturbed: Record) -> None:
    assert len(undisturbed.events) >= 2
    assert undisturbed.clips == len(undisturbed.snippets) >= 4
    assert all(not is_open for *_, is_open, _ in undisturbed.events)


@pytest.mark.slow  # shorter: each service is killed in its own test of tests/integration
@pytest.mark.parametrize("victim", ["motion", "classifier", "recorder", "redis"])
async def test_one_killed_process_changes_nothing(
    victim: str, undisturbed: Record, recordings: list[Path], tmp_path: Path
) -> None:
    assert await run_to_the_end(plan_for(tmp_path / "d", recordings), [victim], seed=1) == undisturbed


@pytest.mark.slow  # shorter: each service is killed in its own test of tests/integration
async def test_all_killed_one_after_the_other_change_nothing(
    undisturbed: Record, recordings: list[Path], tmp_path: Path
) -> None:
    victims = ["classifier", "motion", "redis", "recorder", "motion", "classifier"]
    assert await run_to_the_end(plan_for(tmp_path / "d", recordings), victims, seed=2) == undisturbed
