"""A wall clock that is set is told and counted."""

from __future__ import annotations

from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from shared.clock import WallClock
from shared.metrics import ClockMetrics
from shared.runtime import tell_step


def test_a_step_is_told_once_and_counted_by_its_direction() -> None:
    registry = CollectorRegistry()
    metrics, wall = ClockMetrics(registry), [1_800_000_000.0]
    clock = WallClock(lambda: wall[0], lambda: 7.0)
    with capture_logs() as lines:
        for set_to in (0.0, 0.1, -3600.0, -3600.0, 1e9):
            wall[0] = 1_800_000_000.0 + set_to
            tell_step(clock, metrics)
    assert [(line["log_level"], line["by_s"]) for line in lines] == [
        ("warning", -3600.0),
        ("warning", 1_000_003_600.0),
    ]
    for direction in ("back", "forward"):
        assert registry.get_sample_value("clipwatch_clock_steps_total", {"direction": direction}) == 1.0
