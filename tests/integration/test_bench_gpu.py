"""bench/gpu.py where there is no GPU: its dry run, and that it ends in time with what it has."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.gpu import Bench, Step, TimeIsUp, deadline, run_steps, table

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.redis, pytest.mark.e2e]


def run(*arguments: str) -> tuple[int, list[dict[str, Any]], str]:  # Any: a result's fields
    command = [sys.executable, "-m", "bench.gpu", *arguments]
    hidden = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        command, cwd=ROOT, env=hidden, capture_output=True, text=True, timeout=560, check=False
    )
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)  # it imports torch six times, from a cold disk where nothing did before
def test_a_dry_run_gives_every_part() -> None:
    code, results, said = run("--dry-run")
    assert code == 0, said
    assert [result["part"] for result in results] == ["machine", *["tower"] * 4, "worker", "tests"], said
    for result in results[1:5]:
        assert min(result["tower_pictures_s"], result["adapter_pictures_s"], result["tower_of_gemm"]) > 0
    (worker,) = (result for result in results if result["part"] == "worker")
    assert (worker["feeders"], worker["workers"]) == (2, 2)
    assert worker["worker_pictures_s"] > 0
    assert worker["worker_of_tower"] > 0
    assert worker["forward_share"] > 0
    assert results[-1]["returncode"] == 0, said
    assert "skipped" in results[-1]["summary"]
    assert f"| {worker['worker_pictures_s']} |" in said


def test_steps_that_there_is_no_time_for_are_named() -> None:
    code, results, _ = run("--dry-run", "--minutes", "0.35")
    assert code == 0
    assert {result["part"] for result in results} == {"machine", "skipped"}


def test_without_a_gpu_it_says_why_and_what_works() -> None:
    code, results, said = run()
    assert (code, results) == (2, [])
    assert said.splitlines()[-1].startswith("bench: cuda:0: not there (")
    assert "--dry-run" in said


def test_a_step_that_fails_is_reported_and_the_next_one_runs(capsys: pytest.CaptureFixture[str]) -> None:
    def fails() -> Iterator[dict[str, object]]:
        yield {"part": "first"}
        raise RuntimeError("CUDA error: out of luck")

    bench = Bench("cpu", "", is_dry=True, ends_at=time.monotonic() + 60)
    run_steps(bench, [Step("one", 0, fails), Step("two", 0, lambda: iter([{"part": "second"}]))])
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert printed == bench.results
    assert [one["part"] for one in printed] == ["first", "failed", "second"]
    assert printed[1]["why"] == "RuntimeError: CUDA error: out of luck"
    assert "out of luck" in table(bench.results)


def test_the_deadline_ends_a_step_and_keeps_what_was_found() -> None:
    def endless() -> Iterator[dict[str, object]]:
        yield {"part": "first"}
        time.sleep(60)

    bench = Bench("cpu", "", is_dry=True, ends_at=time.monotonic() + 60)
    with pytest.raises(TimeIsUp), deadline(0.3):
        run_steps(bench, [Step("one", 0, endless)])
    assert bench.results == [{"part": "first"}]
