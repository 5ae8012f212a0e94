"""NAL units are told apart by start codes and by lengths."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.motion.media.h264 import (
    START_CODE,
    has_sps,
    is_key,
    length_size,
    nal_units,
    parameter_sets,
    to_annexb,
)

SPS, PPS, IDR, SLICE = b"\x67\x64", b"\x68\xee", b"\x65\x88\x84", b"\x41\x9a"
AVCC = b"\x01\x64\x00\x1f\xff\xe1\x00\x02" + SPS + b"\x01\x00\x02" + PPS
units_of = st.lists(st.binary(min_size=1, max_size=30).map(lambda data: b"\x41" + data.replace(b"\0", b"\1")))


def with_lengths(units: list[bytes], size: int) -> bytes:
    return b"".join(len(unit).to_bytes(size) + unit for unit in units)


@given(units_of, st.sampled_from([1, 2, 4]))
def test_both_layouts_give_the_same_units(units: list[bytes], size: int) -> None:
    lengths = with_lengths(units, size)
    annexb = to_annexb(lengths, size)
    assert annexb == b"".join(START_CODE + unit for unit in units)
    assert [lengths[at:end] for at, end in nal_units(lengths, size)] == units
    assert [annexb[at:end].rstrip(b"\0") for at, end in nal_units(annexb)] == units


def test_a_unit_longer_than_its_packet_is_refused_but_can_be_walked() -> None:
    data = with_lengths([SLICE], 4) + b"\x00\x00\x00\x09\x41"
    assert [data[at:end] for at, end in nal_units(data, 4)] == [SLICE, b"\x41"]
    with pytest.raises(ValueError, match="longer than its packet"):
        to_annexb(data, 4)


def test_a_key_picture_is_one_whose_first_slice_is_an_idr() -> None:
    assert is_key(b"".join(START_CODE + unit for unit in (SPS, PPS, IDR)))
    assert not is_key(START_CODE + SLICE + START_CODE + IDR)
    assert not is_key(b"")
    assert has_sps(START_CODE + SPS)
    assert not has_sps(START_CODE + PPS + START_CODE + IDR)


def test_parameter_sets_are_read_from_both_layouts() -> None:
    annexb = START_CODE + SPS + START_CODE + PPS
    assert parameter_sets(AVCC) == annexb == parameter_sets(annexb)
    assert (length_size(AVCC), length_size(annexb), length_size(b"")) == (4, 0, 0)


@pytest.mark.parametrize("n_bytes", range(5, 13))
def test_extradata_that_are_cut_off_raise(n_bytes: int) -> None:
    with pytest.raises((IndexError, struct.error)):
        parameter_sets(AVCC[:n_bytes])
