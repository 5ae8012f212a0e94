"""Who fails too often has to wait, alone, and in bounded memory."""

from __future__ import annotations

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from shared.logs import get_logger
from shared.rate_limit import KEYS_MAX, LOG_EVERY_S, FailureLimit, RefusalLog, address_key


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_a_key_that_failed_too_often_waits_and_no_other() -> None:
    clock = Clock()
    limit = FailureLimit(3, 60, clock)
    for _ in range(3):
        assert limit.wait_s("a") == 0
        limit.count("a")
        clock.now_s += 1
    assert limit.wait_s("a") == 57
    assert limit.wait_s("b") == 0
    clock.now_s += 57
    assert limit.wait_s("a") == 0  # the first is forgotten, the others are not
    limit.count("a")
    assert limit.wait_s("a") == 1


def test_who_succeeds_begins_anew() -> None:
    limit = FailureLimit(1, 60, Clock())
    limit.count("a")
    limit.forget("a")
    assert limit.wait_s("a") == 0


def test_any_number_of_keys_takes_bounded_memory() -> None:
    limit = FailureLimit(2, 60, Clock())
    for number in range(3 * KEYS_MAX):
        for _ in range(5):
            limit.count(str(number))
    assert len(limit._failures) == KEYS_MAX
    assert {len(one) for one in limit._failures.values()} == {2}


def test_what_is_refused_is_logged_once_a_minute_for_each_address_and_text() -> None:
    clock = Clock()
    refusals = RefusalLog(get_logger("test"), FailureLimit(1, LOG_EVERY_S, clock))
    with structlog.testing.capture_logs() as lines:
        for _ in range(50):
            refusals.warn("a token was refused", "192.0.2.7", status=401)
        refusals.warn("a token was refused", "192.0.2.8")
        refusals.warn("a login was refused", "192.0.2.7")
        clock.now_s += LOG_EVERY_S
        refusals.warn("a token was refused", "192.0.2.7", status=401)
    assert [(line["event"], line["address"]) for line in lines] == [
        ("a token was refused", "192.0.2.7"),
        ("a token was refused", "192.0.2.8"),
        ("a login was refused", "192.0.2.7"),
        ("a token was refused", "192.0.2.7"),
    ]


@given(st.lists(st.floats(0, 100), max_size=50))
def test_no_more_failures_are_looked_at_than_the_limit_in_any_window(pauses_s: list[float]) -> None:
    clock = Clock()
    limit = FailureLimit(4, 60, clock)
    looked_at: list[float] = []
    for pause_s in pauses_s:
        clock.now_s += pause_s
        if limit.wait_s("a") == 0:
            limit.count("a")
            looked_at.append(clock.now_s)
    for begin_s in looked_at:
        assert sum(begin_s <= one < begin_s + 60 - 1e-6 for one in looked_at) <= 4


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        (None, "unknown"),
        ("a" * 64_000, "unknown"),
        ("", "unknown"),
        ("unix:", "unknown"),
        ("\ud800", "unknown"),
    ],
)
def test_an_address_counts_with_its_network(address: str | None, key: str) -> None:
    assert address_key(address) == key
