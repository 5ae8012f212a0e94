"""The simulated months of bench/quality_months.py: few of them here, so that a bias or a narrow interval shows."""

from __future__ import annotations

import pytest

from bench.quality_months import run

MONTHS = 30


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "one camera, 0.8",
        "one camera, 0.99",
        "it gets worse, 0.9 to 0.5",
        "clicks on half of what is wrong",
        "two checks a day, a minute apart",
        "half an hour's pause in each check",
    ],
)
def test_the_interval_holds_the_truth(name: str) -> None:
    found = run(name, MONTHS, seed=2)["pair"]
    assert found["holds"] >= 0.83  # of 30 months whose true rate is 0.95, 998 of 1,000 times
    assert abs(found["bias"]) <= 0.012
    assert found["half_width_within"] >= 0.7
