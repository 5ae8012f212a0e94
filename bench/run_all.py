"""Runs the benches one after another and keeps what each printed: `make bench`.

    python -m bench.run_all [--only NAME,NAME] [--keep] [--list]

Each bench is a process of its own with its usual arguments; nothing else should run meanwhile. What it printed goes to
build/bench/NAME.json with the machine, the commit, the load before it and the seconds it took; --keep also puts it into
docs/reference/benches and writes docs/reference/performance.md anew (bench/report.py). A bench that fails is told at
the end (exit code 1), and what was kept of an earlier run of it stays.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.report import KEPT, write_report

ROOT = Path(__file__).resolve().parents[1]
MADE = ROOT / "build" / "bench"


@dataclass(frozen=True, slots=True)
class Bench:
    """A bench, its command after `python`, and about how many minutes it takes on two cores."""

    name: str
    command: tuple[str, ...]
    minutes: int


BENCHES = (
    Bench("capture", ("-m", "bench.capture"), 10),
    Bench("cameras", ("-m", "bench.cameras_at_once"), 9),
    Bench("growing", ("-m", "bench.growing"), 3),
    Bench("classifier", ("bench/classifier.py",), 3),
    Bench("motion", ("-m", "bench.motion"), 30),
    Bench("idle", ("-m", "bench.idle"), 30),
    Bench("streams", ("-m", "bench.streams"), 2),
    Bench("redis-entries", ("-m", "bench.redis_entries"), 2),
    Bench("replicas", ("-m", "bench.replicas"), 3),
    Bench("failover", ("-m", "bench.failover"), 3),
    Bench("takeover", ("-m", "bench.takeover"), 3),
    Bench("verdicts", ("-m", "bench.verdicts"), 3),
    Bench("feedback", ("-m", "bench.feedback"), 60),
    Bench("quality", ("-m", "bench.quality_months"), 20),
    Bench("search", ("bench/search.py",), 5),
    Bench("hindsight", ("bench/hindsight.py",), 5),
    Bench("search-floor", ("bench/search_floor.py",), 15),
    Bench("record", ("-m", "bench.fill_record"), 20),
    Bench("page", ("-m", "bench.page"), 5),
)


def main() -> int:
    """Run the benches that are asked for; return the exit code."""
    parser = argparse.ArgumentParser(description="run the benches, and keep what they print")
    parser.add_argument("--only", default="", help="names, separated by commas; default: all")
    parser.add_argument("--keep", action="store_true", help="write docs/reference/performance.md")
    parser.add_argument("--list", action="store_true", help="say what there is, and end")
    wanted = parser.parse_args()
    names = [name for name in wanted.only.split(",") if name] or [bench.name for bench in BENCHES]
    if unknown := sorted(set(names) - {bench.name for bench in BENCHES}):
        known = ", ".join(bench.name for bench in BENCHES)
        print(f"found no bench named {', '.join(unknown)}, wanted any of {known}", file=sys.stderr)
        return 2
    chosen = [bench for bench in BENCHES if bench.name in names]
    if wanted.list:
        for bench in chosen:
            print(f"{bench.name:14} {bench.minutes:3} min  python {' '.join(bench.command)}")
        return 0
    failed = [bench.name for bench in chosen if not run(bench, keep=wanted.keep)]
    if wanted.keep:
        write_report()
    if failed:
        print(f"failed: {', '.join(failed)}; what they said is above", file=sys.stderr)
    return 1 if failed else 0


def run(bench: Bench, *, keep: bool) -> bool:
    """Run one bench and write what it printed; return whether it succeeded."""
    print(f"{bench.name}: python {' '.join(bench.command)}, about {bench.minutes} min", file=sys.stderr)
    load, began = round(os.getloadavg()[0], 1), time.monotonic()
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'models'}"}
    done = subprocess.run(
        [sys.executable, *bench.command], cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=False
    )
    results = list(documents(done.stdout.decode(errors="replace")))
    if done.returncode or not results:
        print(f"{bench.name}: exit code {done.returncode}, {len(results)} results", file=sys.stderr)
        return False
    told = {
        "bench": bench.name,
        "command": f"python {' '.join(bench.command)}",
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": machine(),
        "load_before": load,
        "seconds": round(time.monotonic() - began),
        "results": results,
    }
    for folder in (MADE, KEPT) if keep else (MADE,):
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{bench.name}.json"
        path.write_text(json.dumps(told, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        print(f"{bench.name}: {path.relative_to(ROOT)}", file=sys.stderr)
    return True


def documents(text: str) -> Iterator[Any]:
    """Yield the JSON objects of a bench's output, in their order; tables and words between them are left out."""
    decoder, at = json.JSONDecoder(), 0
    while (at := text.find("{", at)) >= 0:
        try:
            found, at = decoder.raw_decode(text, at)
        except ValueError:
            at += 1
        else:
            yield found


def commit() -> str:
    """Return the commit that was measured, with '+' when files differ from it; 'unknown' outside git."""
    try:
        head = _git("rev-parse", "--short=10", "HEAD")
        return f"{head}+" if _git("status", "--porcelain", "--untracked-files=no") else head
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=True, text=True)
    return done.stdout.strip()


def machine() -> dict[str, Any]:
    """Return what figures depend on, without names."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


if __name__ == "__main__":
    sys.exit(main())
