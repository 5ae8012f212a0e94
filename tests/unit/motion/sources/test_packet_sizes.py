"""What packet sizes tell, with sizes whose meaning is known."""

from __future__ import annotations

import numpy as np
import pytest

from services.motion.sources.packet_sizes import SEPARATES, PacketSize, SizeStatistics, size_of

GROUP = 50


def seen(
    sizes: SizeStatistics, n_groups: int, usual: float, spread: float, extra: int = 0, key: int = 200_000
) -> list[float]:
    """Show groups of a quiet scene (`extra` bytes more in each picture of it); return the surprises."""
    rng = np.random.default_rng(n_groups)
    found = []
    for _ in range(n_groups):
        sizes.see(PacketSize(key, is_key=True, place=0), is_calm=False)
        for place in range(1, GROUP):
            n_bytes = max(1, round(usual * (1 + 3 * (place == 1)) + spread * rng.normal())) + extra
            found.append(sizes.see(PacketSize(n_bytes, is_key=False, place=place), is_calm=extra == 0))
    return found


def test_nothing_is_said_before_the_usual_sizes_are_known() -> None:
    sizes = SizeStatistics()
    assert seen(sizes, 2, 2000, 300) == [0.0] * 98
    assert sizes.separation == 0.0


def test_a_thing_of_a_hundredth_of_the_picture_is_a_hint_within_half_a_second() -> None:
    sizes = SizeStatistics()
    seen(sizes, 15, 2000, 400)
    assert sizes.separation >= SEPARATES
    assert max(seen(sizes, 20, 2000, 400)) < 1.0
    surprises = seen(sizes, 1, 2000, 400, extra=1600)
    assert next(index for index, surprise in enumerate(surprises) if surprise >= 1.0) <= 12


def test_sizes_that_scatter_as_much_as_a_thing_costs_are_not_trusted() -> None:
    sizes = SizeStatistics()
    seen(sizes, 15, 20_000, 4000)
    assert 0.0 < sizes.separation < SEPARATES


def test_equal_sizes_are_no_proof_of_exactness() -> None:
    sizes = SizeStatistics()
    seen(sizes, 15, 20_000, 0)
    assert sizes.separation < 40


@pytest.mark.parametrize("length_size", [0, 4])
def test_filler_and_parameter_sets_do_not_count(length_size: int) -> None:
    units = [b"\x67" + bytes(20), b"\x41" + b"\x9a" * 99, b"\x0c" + b"\xff" * 500]
    if length_size:
        data = b"".join(len(unit).to_bytes(4) + unit for unit in units)
    else:
        data = b"".join(b"\x00\x00\x01" + unit for unit in units)
    assert size_of(data, False, 3, "h264", length_size) == PacketSize(
        100, is_key=False, place=3, is_disposable=False
    )


def test_a_picture_that_no_other_needs_is_told_apart() -> None:
    assert size_of(b"\x00\x00\x01\x01abc", False, 1, "h264", 0).is_disposable
    assert not size_of(b"\x00\x00\x01\x61abc", False, 1, "h264", 0).is_disposable


def test_only_an_idr_picture_needs_nothing_of_what_came_before() -> None:
    assert size_of(b"\x00\x00\x01\x67ab\x00\x00\x01\x65abc", True, 0, "h264", 0).is_fresh
    assert not size_of(
        b"\x00\x00\x01\x06ab\x00\x00\x01\x61abc", True, 0, "h264", 0
    ).is_fresh  # a recovery point
    assert not size_of(b"\x00\x00\x01\x26abc", True, 0, "hevc", 0).is_fresh  # not known


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x00\x00\x01", b"\xff\xff\xff\xff\x41", bytes(40)])
def test_broken_packets_are_measured_all_the_same(data: bytes) -> None:
    for length_size in (0, 4):
        assert size_of(data, False, 1, "h264", length_size).n_bytes == len(data) or len(data) == 5
