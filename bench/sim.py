"""The queue between motion and the record as a discrete-event simulation, JSON: `python -m bench.sim [--cameras N]`.

Snippets of all cameras come to one queue; a classifier replica takes what waits, up to its batch, for a fixed time a
batch and one a picture; then a recorder writes its row. Three questions, each on its own run: how long from motion to
the row at 70 % load, what a third of the classifiers gone for ten minutes does, and what happens when every camera
fires at once. The defaults are what the benches measured (docs/design/scale.md says which); Redis is a delay.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import simpy

SETTLED_S = 10.0  # after nothing waits: what is in hand is recorded by then
Step = Generator[simpy.Event, Any, None]  # Any: what an event gives back


@dataclass(frozen=True, slots=True)
class Deployment:
    """What there is, and how fast; times in seconds."""

    cameras: int = 1000
    snippets_per_camera_h: float = 50  # 1,000 pictures a camera and hour, 20 a snippet
    pictures: int = 20
    classifiers: int = 0  # 0: as many as `load` asks for
    recorders: int = 0
    load: float = 0.7  # of the slower stage, where replicas are counted by it
    batch_snippets: int = 16
    batch_fixed_s: float = 0.005
    picture_s: float = 1 / 9000  # one GPU
    row_s: float = 0.0133  # one recorder, one snippet
    queue_s: float = 0.005  # Redis, both streams together

    @property
    def rate_per_s(self) -> float:
        """Snippets a second of all cameras."""
        return self.cameras * self.snippets_per_camera_h / 3600

    @property
    def classifier_per_s(self) -> float:
        """Snippets a second that one replica carries with full batches."""
        return 1 / (self.batch_fixed_s / self.batch_snippets + self.pictures * self.picture_s)

    def sized(self) -> Deployment:
        """Return it with the fewest replicas that keep both stages at `load` or below."""
        return replace(
            self,
            classifiers=self.classifiers or _fewest(self.rate_per_s, self.classifier_per_s, self.load),
            recorders=self.recorders or _fewest(self.rate_per_s, 1 / self.row_s, self.load),
        )


def _fewest(rate_per_s: float, each_per_s: float, load: float) -> int:
    return max(1, -int(-rate_per_s // (each_per_s * load)))


@dataclass
class Stage:
    """Replicas that take from one queue. `service_s` gives the time for a batch of so many."""

    env: simpy.Environment
    batch: int
    service_s: Callable[[int], float]
    done: Callable[[float], None]  # called with each item's time of arrival
    waiting: deque[float] = field(default_factory=deque)
    longest: int = 0
    _wake: simpy.Event | None = None
    _running: int = 0
    _wanted: int = 0

    def scale(self, replicas: int) -> None:
        """Have so many replicas from now on; one that goes finishes its batch first."""
        self._wanted = replicas
        while self._running < self._wanted:
            self._running += 1
            self.env.process(self._replica())
        self._call()

    def put(self, arrived_s: float) -> None:
        self.waiting.append(arrived_s)
        self.longest = max(self.longest, len(self.waiting))
        self._call()

    def _call(self) -> None:
        if self._wake is not None and not self._wake.triggered:
            self._wake.succeed()

    def _replica(self) -> Step:
        while self._running <= self._wanted:
            if not self.waiting:
                if self._wake is None or self._wake.triggered:
                    self._wake = self.env.event()
                yield self._wake
                continue
            taken = [self.waiting.popleft() for _ in range(min(self.batch, len(self.waiting)))]
            yield self.env.timeout(self.service_s(len(taken)))
            for arrived_s in taken:
                self.done(arrived_s)
        self._running -= 1


class Pipeline:
    """Both stages, and what became of the snippets: when each came and how long its row took."""

    def __init__(self, deployment: Deployment, seed: int = 0) -> None:
        self.deployment = deployment
        self.env = simpy.Environment()
        self.random = random.Random(seed)  # noqa: S311 - a simulation
        self.rows: list[tuple[float, float]] = []  # time of the row, seconds since motion's snippet
        self.recorder = Stage(self.env, 1, lambda n: deployment.row_s * n, self._recorded)
        self.classifier = Stage(
            self.env,
            deployment.batch_snippets,
            lambda n: deployment.batch_fixed_s + n * deployment.pictures * deployment.picture_s,
            self.recorder.put,
        )
        self.classifier.scale(deployment.classifiers)
        self.recorder.scale(deployment.recorders)

    def _recorded(self, arrived_s: float) -> None:
        self.rows.append((self.env.now, self.env.now - arrived_s + self.deployment.queue_s))

    def arrivals(self, until_s: float) -> Step:
        """Let snippets come at random, as many cameras that know nothing of each other make them (Poisson)."""
        while self.env.now < until_s:
            yield self.env.timeout(self.random.expovariate(self.deployment.rate_per_s))
            self.classifier.put(self.env.now)

    def delays_ms(self, from_s: float, until_s: float) -> list[float]:
        """Return how long the rows took of the snippets that came within these seconds, as far as they are there."""
        return [1000 * delay_s for at_s, delay_s in self.rows if from_s < at_s - delay_s <= until_s]

    @property
    def backlog(self) -> int:
        return len(self.classifier.waiting) + len(self.recorder.waiting)


def steady(deployment: Deployment, seconds: float = 0, seed: int = 0) -> dict[str, float]:
    """Return how long rows take under an even load, without its first minute; 0: as long as half a million snippets."""
    seconds = seconds or max(300.0, min(86400.0, 500_000 / deployment.rate_per_s))
    pipeline = Pipeline(deployment, seed)
    pipeline.env.process(pipeline.arrivals(seconds))
    pipeline.env.run(seconds)
    delays = pipeline.delays_ms(60, seconds)
    return {"rows": len(delays), **_percentiles_ms(delays)}


def replicas_gone(deployment: Deployment, gone_s: float = 600, seed: int = 0) -> dict[str, float]:
    """Return what a third of the classifiers (at least one) gone for `gone_s` does.

    `catch_up_s`: from their return until nothing waits; the delays are of what came meanwhile.
    """
    pipeline = Pipeline(deployment, seed)
    left = deployment.classifiers - max(1, round(deployment.classifiers / 3))
    ends_s = 60 + gone_s
    pipeline.env.process(pipeline.arrivals(100 * (60 + gone_s)))
    pipeline.env.run(60)
    pipeline.classifier.scale(left)
    pipeline.env.run(ends_s)
    backlog = pipeline.backlog
    pipeline.classifier.scale(deployment.classifiers)
    caught_up_s = _until_caught_up(pipeline, 99 * ends_s)
    pipeline.env.run(caught_up_s + SETTLED_S)
    delays = pipeline.delays_ms(60, ends_s)
    return {
        "replicas": deployment.classifiers,
        "gone": deployment.classifiers - left,
        "backlog": backlog,
        "catch_up_s": round(caught_up_s - ends_s, 1),
        **_percentiles_ms(delays),
    }


def storm(deployment: Deployment, seed: int = 0) -> dict[str, float]:
    """Return what one snippet of every camera within a second does, on top of the even load."""
    pipeline = Pipeline(deployment, seed)
    pipeline.env.process(pipeline.arrivals(100_000))
    pipeline.env.run(60)

    def burst() -> Step:
        for _ in range(deployment.cameras):
            yield pipeline.env.timeout(1 / deployment.cameras)
            pipeline.classifier.put(pipeline.env.now)

    pipeline.env.process(burst())
    pipeline.env.run(61)
    most = pipeline.backlog
    caught_up_s = _until_caught_up(pipeline, 100_000)
    pipeline.env.run(caught_up_s + SETTLED_S)
    delays = pipeline.delays_ms(60, 61)
    return {"backlog": most, "catch_up_s": round(caught_up_s - 61, 1), **_percentiles_ms(delays)}


def _until_caught_up(pipeline: Pipeline, limit_s: float) -> float:
    """Run until nothing waits, looking every tenth of a second; return when; raise RuntimeError at `limit_s`."""
    while pipeline.backlog:
        if pipeline.env.now >= limit_s:
            raise RuntimeError(
                f"{pipeline.backlog} snippets wait after {limit_s:g} s: the load is more than is carried"
            )
        pipeline.env.run(pipeline.env.now + 0.1)
    return float(pipeline.env.now)


def _percentiles_ms(delays: list[float]) -> dict[str, float]:
    if len(delays) < 2:
        return {}
    percentiles = statistics.quantiles(delays, n=100, method="inclusive")
    return {
        "p50_ms": round(percentiles[49], 1),
        "p95_ms": round(percentiles[94], 1),
        "worst_ms": round(max(delays), 1),
    }


def _arguments() -> Iterator[tuple[str, type, object]]:
    for name, value in asdict(Deployment()).items():
        yield name, type(value), value


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, kind, usual in _arguments():
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, default=usual)
    deployment = Deployment(**vars(parser.parse_args())).sized()
    found: dict[str, object] = {
        "deployment": {name: round(value, 6) for name, value in asdict(deployment).items()},
        "snippets_per_s": round(deployment.rate_per_s, 2),
        "steady": steady(deployment),
        "third_gone": replicas_gone(deployment),
        "storm": storm(deployment),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
