"""The simulation against what queueing theory says: M/M/c (Erlang C) and M/D/1 (Pollaczek-Khinchine)."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable
from dataclasses import replace

import pytest
import simpy

from bench.sim import Deployment, Stage, Step, replicas_gone, steady, storm


def mean_wait_s(rate: float, replicas: int, service_s: Callable[[random.Random], float], n: int) -> float:
    """Return the mean time from arrival to the start of service, by the simulation's own stage."""
    env, dice = simpy.Environment(), random.Random(7)
    waits: list[float] = []
    taken: list[float] = []  # service times, in the order in which they begin

    def drawn(_: int) -> float:
        taken.append(service_s(dice))
        return taken[-1]

    stage = Stage(env, 1, drawn, lambda arrived_s: waits.append(env.now - arrived_s))
    stage.scale(replicas)

    def arrivals() -> Step:
        for _ in range(n):
            yield env.timeout(dice.expovariate(rate))
            stage.put(env.now)

    env.process(arrivals())
    env.run()
    assert len(waits) == n
    return statistics.fmean(waits) - statistics.fmean(taken)


def erlang_c_wait_s(rate: float, replicas: int, mean_s: float) -> float:
    load = rate * mean_s
    full = load**replicas / math.factorial(replicas) * replicas / (replicas - load)
    waits = full / (sum(load**k / math.factorial(k) for k in range(replicas)) + full)
    return waits * mean_s / (replicas - load)


@pytest.mark.parametrize(("replicas", "load"), [(1, 0.5), (1, 0.8), (3, 0.7), (8, 0.85)])
def test_the_mean_wait_is_that_of_mmc(replicas: int, load: float) -> None:
    found = mean_wait_s(load * replicas, replicas, lambda dice: dice.expovariate(1.0), 100_000)
    assert found == pytest.approx(erlang_c_wait_s(load * replicas, replicas, 1.0), rel=0.1)


@pytest.mark.parametrize("load", [0.3, 0.7, 0.9])
def test_the_mean_wait_is_that_of_md1(load: float) -> None:
    found = mean_wait_s(load, 1, lambda _: 1.0, 100_000)
    assert found == pytest.approx(load / (2 * (1 - load)), rel=0.1)


THREE_CLASSIFIERS = Deployment(
    cameras=3600, snippets_per_camera_h=10, picture_s=0.01, batch_fixed_s=0.0
)  # 10 a second, 0.2 s each


def test_replicas_are_counted_so_that_both_stages_stay_at_the_load() -> None:
    sized = THREE_CLASSIFIERS.sized()
    assert (sized.rate_per_s, sized.classifiers, sized.recorders) == (10, 3, 1)
    assert sized.rate_per_s / (sized.classifiers * sized.classifier_per_s) <= 0.7


def test_a_backlog_grows_by_what_is_missing_and_goes_by_what_is_spare() -> None:
    # three carry 15 a second, two carry 10, and 12 come
    deployment = replace(THREE_CLASSIFIERS, classifiers=3, recorders=1, snippets_per_camera_h=12)
    found = replicas_gone(deployment, gone_s=600)
    assert found["backlog"] == pytest.approx((12 - 10) * 600, rel=0.15)
    assert found["catch_up_s"] == pytest.approx(found["backlog"] / (15 - 12), rel=0.25)


def test_in_a_storm_every_camera_waits_for_its_turn() -> None:
    found = storm(THREE_CLASSIFIERS.sized())
    assert found["backlog"] == pytest.approx(3600, rel=0.05)
    assert found["catch_up_s"] == pytest.approx(3600 / (15 - 10), rel=0.1)
    assert found["p95_ms"] == pytest.approx(1000 * 0.95 * 3600 / 15, rel=0.1)


def test_an_even_load_is_answered_in_little_more_than_the_work_takes() -> None:
    found = steady(THREE_CLASSIFIERS.sized(), seconds=1200)
    assert 200 + 1000 * THREE_CLASSIFIERS.row_s <= found["p50_ms"] < found["p95_ms"] < 2000
    assert found["rows"] == pytest.approx(10 * 1140, rel=0.1)
