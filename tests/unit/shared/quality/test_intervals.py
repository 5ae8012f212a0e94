"""The interval against published values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.quality.intervals import wilson


def test_the_interval_is_wilsons() -> None:
    # Brown, Cai, DasGupta 2001, Interval Estimation for a Binomial Proportion: score interval of 0 of 10 and 5 of 10
    assert wilson(0.0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson(0.5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)


@given(st.floats(0, 1), st.floats(1e-3, 1e9))
def test_an_interval_holds_its_share_and_stays_in_bounds(share: float, n: float) -> None:
    low, high = wilson(share, n)
    assert 0 <= low <= share <= high <= 1
