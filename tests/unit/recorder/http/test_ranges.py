"""Ranges of bytes, as RFC 9110 has them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.recorder.http.ranges import ByteRange, OutOfRange, parse_range


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("bytes=0-0", ByteRange(0, 1)),
        ("bytes=0-", ByteRange(0, 100)),
        ("bytes=99-", ByteRange(99, 100)),
        ("bytes=10-19", ByteRange(10, 20)),
        ("bytes=10-1000000", ByteRange(10, 100)),
        ("bytes=-1", ByteRange(99, 100)),
        ("bytes=-1000", ByteRange(0, 100)),
        (None, None),
        ("", None),
        ("bytes=-", None),
        ("bytes=5-4", None),
        ("bytes=0-1,3-4", None),
        ("items=0-1", None),
        ("bytes=a-b", None),
        ("bytes=٣-", None),
        ("bytes=" + "9" * 5000 + "-", None),
    ],
)
def test_one_range_is_taken_and_all_else_asks_for_the_whole(
    header: str | None, wanted: ByteRange | None
) -> None:
    assert parse_range(header, 100) == wanted


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", "bytes=-0"])
def test_a_range_outside_the_file_is_refused(header: str) -> None:
    with pytest.raises(OutOfRange):
        parse_range(header, 100)


@given(
    st.text(max_size=40) | st.from_regex(r"bytes=[0-9]{0,4}-[0-9]{0,4}", fullmatch=True), st.integers(0, 5000)
)
def test_a_range_lies_inside_the_file(header: str, n_bytes: int) -> None:
    try:
        found = parse_range(header, n_bytes)
    except OutOfRange:
        return
    assert found is None or 0 <= found.start < found.stop <= n_bytes
