"""Failed logins and tokens, by address and name."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.recorder.access.tries import KEYS_MAX, FailedTries, address_key


def tries_at(clock: list[float]) -> FailedTries:
    return FailedTries(limit=3, window_s=60, seconds=lambda: clock[0])


def test_the_next_try_waits_until_the_oldest_failure_is_past() -> None:
    clock = [0.0]
    tries = tries_at(clock)
    for at in (0.0, 10.0, 20.0):
        clock[0] = at
        assert tries.wait_s("a") == 0
        tries.count("a")
    assert tries.wait_s("a") == 40
    assert tries.wait_s("b") == 0
    clock[0] = 60.0
    assert tries.wait_s("a") == 0
    tries.count("a")
    assert tries.wait_s("a") == 10


def test_a_success_is_a_new_start() -> None:
    tries = tries_at([0.0])
    for _ in range(3):
        tries.count("a")
    tries.forget("a")
    assert tries.wait_s("a") == 0


@given(st.lists(st.tuples(st.floats(0, 100), st.booleans()), max_size=60))
def test_never_more_than_the_limit_within_the_window(steps: list[tuple[float, bool]]) -> None:
    clock = [0.0]
    tries = tries_at(clock)
    tried: list[float] = []
    for pause, _ in steps:
        clock[0] += pause
        if tries.wait_s("a") == 0:
            tries.count("a")
            tried.append(clock[0])
    for at in tried:
        assert len([one for one in tried if at - 60 < one <= at]) <= 3


def test_what_is_remembered_has_a_bound() -> None:
    tries = tries_at([0.0])
    for number in range(KEYS_MAX + 100):
        tries.count(str(number))
    assert len(tries._failures) == KEYS_MAX


def test_addresses_of_one_client_count_together() -> None:
    assert address_key("192.0.2.7") == "192.0.2.7"
    assert address_key("::ffff:192.0.2.7") == "192.0.2.7"
    assert address_key("2001:db8::1") == address_key("2001:db8::ffff:1") == "2001:db8::/64"
    assert address_key("fe80::1%eth0") == "fe80::/64"
    for text in (None, "", "unix:", "x" * 1000, "\ud800"):
        assert address_key(text) == "unknown"
