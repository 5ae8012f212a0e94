"""When sessions end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.recorder.access.session_ends import SessionLimits

LOGIN = datetime(2026, 5, 4, 12, tzinfo=UTC)
LIMITS = SessionLimits(idle=timedelta(days=7), longest=timedelta(days=30))
A_SECOND = timedelta(seconds=1)
spans = st.timedeltas(timedelta(0), timedelta(days=60))


@pytest.mark.parametrize(
    ("seen", "now", "is_over"),
    [
        (timedelta(0), timedelta(0), False),
        (timedelta(0), timedelta(days=7) - A_SECOND, False),
        (timedelta(0), timedelta(days=7), True),
        (timedelta(days=29), timedelta(days=30) - A_SECOND, False),
        (timedelta(days=29, hours=23), timedelta(days=30), True),
    ],
)
def test_a_session_ends_idle_and_at_the_latest(seen: timedelta, now: timedelta, is_over: bool) -> None:
    assert LIMITS.is_over(LOGIN, LOGIN + seen, LIMITS.ends_at(LOGIN), LOGIN + now) is is_over


@given(spans, spans, spans)
def test_what_is_over_stays_over(seen: timedelta, now: timedelta, later: timedelta) -> None:
    ends_at = LIMITS.ends_at(LOGIN)
    if LIMITS.is_over(LOGIN, LOGIN + seen, ends_at, LOGIN + now):
        assert LIMITS.is_over(LOGIN, LOGIN + seen, ends_at, LOGIN + now + later)


@given(spans)
def test_no_session_is_longer_than_both_limits(used: timedelta) -> None:
    shorter = SessionLimits(idle=timedelta(days=7), longest=timedelta(days=1))
    if used >= timedelta(days=1):
        assert shorter.is_over(LOGIN, LOGIN + used, LIMITS.ends_at(LOGIN), LOGIN + used)
