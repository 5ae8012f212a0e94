"""How fast the classifier is on a CUDA GPU: bare tower, adapter, whole worker; and the tests of GPUs on real ones.

    python -m bench.gpu [--minutes 8] [--device cuda:0] > gpu.jsonl
    python -m bench.gpu --dry-run            # on a CPU, with small towers: shows that the script works

Needs requirements/gpu.txt (for its last part test.txt as well), no network and no weights: they are random. Ends by
itself before --minutes are over. Each result is one JSON object on a line of stdout as soon as it is there, so an end
by force loses no earlier one; a table follows on stderr. What there was no time for, or what failed, has its line too.

    gemm_tflops          a product of two square matrices of GEMM_SIDE in the same number format, measured in turns
                         with the tower; tower_of_gemm: the tower's own operations a second against it
    tower_pictures_s     the bare image tower, input on the GPU in the right format
    adapter_pictures_s   embed_pictures: uint8 in the machine's memory to float32 there, copies and normalising included
    worker_pictures_s    the service's loop, all workers together: from snippets in Redis to labels in Redis;
                         worker_of_tower: against the bare tower at that batch size
    forward_share        share of the time in which a worker waited for embed_pictures: well below 1, and decoding,
                         Redis or Python holds the GPU up
    cores                CPU cores that a worker kept busy, on the mean; gpu_busy: the driver's figure
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from types import FrameType

import torch
from redis import Redis

from bench.gpu_tower import tower
from bench.gpu_worker import (
    GO,
    READY,
    RESULTS,
    STOP,
    GpuCase,
)
from bench.measuring import embedded_redis
from services.classifier.devices.choice import Dtype, usable_cores
from services.classifier.model.open_clip.gpus import gpu_busy, probe_hardware
from shared.contract import LABELS, SNIPPETS
from shared.logs import configure_logs

MODELS = ("ViT-B-32-256", "ViT-B-16-SigLIP2-256")
BATCHES = (8, 16, 32, 64, 128, 256)
CLEAN_UP_S = 15  # kept of --minutes for the table and for ending processes
START_LIMIT_S = 120  # of workers: importing torch, making the model, one forward
ROOT = Path(__file__).resolve().parents[1]
TESTS = ("tests/integration/test_real_gpus.py", "tests/integration/test_simulated_gpus.py")
Result = dict[str, object]


class TimeIsUp(BaseException):
    """The minutes are over; no Exception, so that nothing on the way takes it for its own."""


@dataclass(frozen=True, slots=True)
class Step:
    """One part of the bench: what it is called, how long it may take on a slow day, and what it gives, bit by bit."""

    name: str
    expected_s: float
    run: Callable[[], Iterator[Result]]


@dataclass(slots=True)
class Bench:
    """The state of a run: what is measured on, and what has been found."""

    device: str
    gpu_id: str
    is_dry: bool
    ends_at: float
    results: list[Result] = field(default_factory=list)

    def report(self, result: Result) -> None:
        """Print a result at once, and keep it for the table."""
        self.results.append(result)
        print(json.dumps(result), flush=True)

    def tower_pictures_s(self, case: GpuCase) -> float | None:
        """Return what the bare tower reached at the nearest batch size that it was measured with."""
        found = {
            int(str(one["batch"])): float(str(one["tower_pictures_s"]))
            for one in self.results
            if (one["part"], one.get("model"), one.get("dtype")) == ("tower", case.model, case.dtype)
        }
        return found[min(found, key=lambda batch: abs(batch - case.batch))] if found else None

    def left_s(self) -> float:
        return self.ends_at - time.monotonic()


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=8.0, help="ends by itself before these are over")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--dry-run", action="store_true", help="on the CPU, small towers, few cases")
    arguments = parser.parse_args()
    configure_logs("bench", "WARNING", "json")  # stderr: stdout is for figures
    limit_s = 60 * arguments.minutes - CLEAN_UP_S
    bench = Bench(
        "cpu" if arguments.dry_run else arguments.device, "", arguments.dry_run, time.monotonic() + limit_s
    )
    hardware = probe_hardware()
    chosen = [gpu for gpu in hardware.gpus if f"cuda:{gpu.index}" == bench.device]
    if not chosen and not bench.is_dry:
        print(
            f"bench: {bench.device}: not there ({hardware.why_no_gpu}); --dry-run works on a CPU",
            file=sys.stderr,
        )
        return 2
    bench.gpu_id = chosen[0].id if chosen else ""
    if bench.is_dry:
        torch.set_num_threads(1)  # two small layers are no work for several
    with deadline(limit_s):
        try:
            run_steps(bench, [Step("machine", 0, partial(machine, bench)), *plan(bench)])
        except TimeIsUp:
            bench.report({"part": "end", "why": f"{arguments.minutes:g} minutes are over"})
    print(table(bench.results), file=sys.stderr)
    return 0


@contextlib.contextmanager
def deadline(limit_s: float) -> Iterator[None]:
    """Raise TimeIsUp in the block after `limit_s`; end the process when a call to the GPU does not even return then."""

    def raise_it(_number: int, _frame: FrameType | None) -> None:
        raise TimeIsUp

    last_resort = threading.Timer(limit_s + CLEAN_UP_S, os._exit, [3])
    last_resort.daemon = True
    last_resort.start()
    signal.signal(signal.SIGALRM, raise_it)
    signal.setitimer(signal.ITIMER_REAL, max(0.001, limit_s))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        last_resort.cancel()


def run_steps(bench: Bench, steps: list[Step]) -> None:
    """Run the steps that there is time for; one that fails is reported, and the next one begins."""
    for step in steps:
        if bench.left_s() < step.expected_s:
            bench.report({"part": "skipped", "step": step.name, "why": f"{bench.left_s():.0f} s left"})
            continue
        started = time.monotonic()
        try:
            for result in step.run():
                bench.report(result)
        except Exception as exc:  # noqa: BLE001 - whatever a driver raises, the other steps still have their say
            said = " ".join(str(exc).split())[:300]
            bench.report({"part": "failed", "step": step.name, "why": f"{type(exc).__name__}: {said}"})
        if bench.device != "cpu":
            torch.cuda.empty_cache()
        print(f"{step.name}: {time.monotonic() - started:.1f} s", file=sys.stderr, flush=True)


def plan(bench: Bench) -> list[Step]:
    """Return the steps, those first whose results matter most; expected times are those of a slow host."""
    cases = [
        GpuCase(model, dtype, bench.device, bench.is_dry) for dtype in half_formats() for model in MODELS
    ]
    batches = BATCHES[:2] if bench.is_dry else BATCHES
    first, second = cases[: len(MODELS)], cases[len(MODELS) :]

    def towers(some: list[GpuCase]) -> list[Step]:
        return [Step(f"tower {case.model} {case.dtype}", 20, partial(tower, case, batches)) for case in some]

    def workers(case: GpuCase, *shapes: tuple[int, int, int]) -> list[Step]:
        steps = []
        for batch, n_feeders, n_workers in shapes:
            shaped = replace(case, batch=batch, n_feeders=n_feeders, n_workers=n_workers)
            name = f"worker {case.model} {case.dtype} batch {batch}, {n_feeders} feeders, {n_workers} workers"
            steps.append(Step(name, 25, partial(worker, bench, shaped)))
        return steps

    tests = Step("tests", 40, partial(real_tests, bench))
    if bench.is_dry:
        small = replace(first[0], batch=8, measured_s=2.0, snippets_ahead=8)
        return [*towers(cases[:1] + cases[-1:]), *workers(small, (8, 2, 2)), tests]
    return [
        *towers(first),
        *(step for case in first for step in workers(case, (32, 1, 1), (32, 4, 1), (32, 4, 2))),
        tests,
        *towers(second),
        *(step for case in first for step in workers(case, (128, 4, 1), (128, 4, 2), (32, 4, 4))),
        *(step for case in second for step in workers(case, (32, 4, 1))),
    ]


def half_formats() -> tuple[Dtype, Dtype]:
    return "float16", "bfloat16"


# -- the parts


def machine(bench: Bench) -> Iterator[Result]:
    """Say what it is measured on."""
    facts: Result = {
        "part": "machine",
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "cores": usable_cores(),
        "load": round(os.getloadavg()[0], 1),
        "is_dry_run": bench.is_dry,
    }
    if bench.device != "cpu":
        gpu = torch.cuda.get_device_properties(bench.device)
        facts |= {"gpu": gpu.name, "memory_gb": round(gpu.total_memory / 2**30, 1)}
        facts |= {
            "cuda": torch.version.cuda,
            "capability": f"{gpu.major}.{gpu.minor}",
            "sms": gpu.multi_processor_count,
        }
    yield facts


def worker(bench: Bench, case: GpuCase) -> Iterator[Result]:
    """Run feeders and workers as processes of their own on one Redis, and add up what the workers did."""
    with embedded_redis() as url:
        redis: Redis = Redis.from_url(url, decode_responses=True)
        redis.config_set("appendonly", "no")  # the disk is not under measurement
        workers = [start("label", url, number, case) for number in range(case.n_workers)]
        feeders = [start("feed", url, number, case) for number in range(case.n_feeders)]
        processes = [*workers, *feeders]
        n_ahead = case.snippets_ahead * case.n_workers
        limit_s = bench.left_s() if bench.is_dry else START_LIMIT_S  # no GPU waits meanwhile
        try:
            until(lambda: int(str(redis.get(READY) or 0)) == case.n_workers, processes, limit_s)
            until(lambda: redis.xlen(SNIPPETS) >= n_ahead, processes, limit_s)
            redis.set(GO, 1)
            busy: list[float] = []

            def is_over() -> bool:
                redis.delete(LABELS)  # as the recorder would: the stream has an end of memory
                if (share := gpu_busy(bench.gpu_id)) is not None:
                    busy.append(share)
                return redis.llen(RESULTS) == case.n_workers

            until(is_over, processes, limit_s)
            redis.set(STOP, 1)
            found = [json.loads(one) for one in redis.lrange(RESULTS, 0, -1)]
        finally:
            for process in processes:
                process.kill()
                process.wait()
            redis.close()
    pictures_s = sum(one["pictures_s"] for one in found)
    bare = bench.tower_pictures_s(case)
    yield {
        "part": "worker",
        "model": case.model,
        "dtype": case.dtype,
        "batch": case.batch,
        "feeders": case.n_feeders,
        "workers": case.n_workers,
        "worker_pictures_s": round(pictures_s, 1),
        "worker_of_tower": round(pictures_s / bare, 3) if bare else None,
        "forward_share": round(statistics.mean(one["forward_share"] for one in found), 3),
        "cores": round(statistics.mean(one["cores"] for one in found), 2),
        "gpu_busy": round(statistics.mean(busy), 2) if busy else None,
    }


def start(role: str, url: str, number: int, case: GpuCase) -> subprocess.Popen[bytes]:
    """Start a process of bench/gpu_worker.py."""
    command = [sys.executable, "-m", "bench.gpu_worker", role, url, str(number), json.dumps(asdict(case))]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)


def until(is_so: Callable[[], bool], processes: list[subprocess.Popen[bytes]], limit_s: float) -> None:
    """Wait until something is so; raise when a process that it depends on ends before, or after `limit_s`."""
    ends_at = time.monotonic() + limit_s
    while not is_so():
        if ended := [
            process.returncode for process in processes if process.poll()
        ]:  # not by 0, as after its work
            raise RuntimeError(f"a process ended with exit code {ended[0]}, see above")
        if time.monotonic() > ends_at:
            raise TimeoutError(f"not within {limit_s:g} s")
        time.sleep(0.1)


def real_tests(bench: Bench) -> Iterator[Result]:
    """Run the tests of GPUs, those that need a real one included."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        *(TESTS[:1] if bench.is_dry else TESTS),
    ]
    limit_s = max(1.0, bench.left_s() - 1)
    done = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=limit_s,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    lines = (done.stdout or done.stderr).strip().splitlines()
    if done.returncode:
        print(done.stdout, done.stderr, file=sys.stderr)
    yield {"part": "tests", "returncode": done.returncode, "summary": lines[-1] if lines else ""}


def table(results: list[Result]) -> str:
    """Return the figures as a table in Markdown."""
    columns = {
        "tower": (
            "model",
            "dtype",
            "batch",
            "tower_pictures_s",
            "adapter_pictures_s",
            "gemm_tflops",
            "tower_of_gemm",
        ),
        "worker": (
            "model",
            "dtype",
            "batch",
            "feeders",
            "workers",
            "worker_pictures_s",
            "worker_of_tower",
            "forward_share",
            "cores",
            "gpu_busy",
        ),
    }
    lines = []
    for part, names in columns.items():
        lines += ["", f"| {' | '.join(names)} |", "|" + "---|" * len(names)]
        lines += [
            f"| {' | '.join(str(result[name]) for name in names)} |"
            for result in results
            if result["part"] == part
        ]
    rest = [result for result in results if result["part"] not in columns]
    return "\n".join([*lines, "", *(json.dumps(result) for result in rest)])


if __name__ == "__main__":
    sys.exit(main())
