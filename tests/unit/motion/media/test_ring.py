"""The ring keeps whole groups, within its bounds."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from services.motion.media.packets import Packet
from services.motion.media.ring import PacketRing
from tests.unit.motion.videos import packets_at

groups_s = st.lists(st.tuples(st.integers(1, 8), st.integers(1, 400)), min_size=1, max_size=30)


def filled(groups: list[tuple[int, int]], keep_s: float, max_bytes: int) -> tuple[PacketRing, list[Packet]]:
    ring = PacketRing(keep_s, max_bytes)
    packets: list[Packet] = []
    for length, size in groups:
        for index in range(length):
            packets.append(Packet(bytes(size), len(packets) / 10, index == 0))
            ring.append(packets[-1])
    return ring, packets


@settings(deadline=None)
@given(groups_s, st.floats(0, 3), st.integers(100, 5000))
def test_the_ring_never_holds_more_bytes_than_it_may(
    groups: list[tuple[int, int]], keep_s: float, max_bytes: int
) -> None:
    ring, _ = filled(groups, keep_s, max_bytes)
    held = ring.between(float("-inf"), float("inf"))
    assert ring.n_bytes <= max_bytes
    assert ring.n_bytes == sum(len(packet.data) for packet in held)
    assert len(ring) == len(held)


@settings(deadline=None)
@given(groups_s, st.floats(0, 3))
def test_the_ring_holds_the_last_seconds_from_a_key_frame_on(
    groups: list[tuple[int, int]], keep_s: float
) -> None:
    ring, packets = filled(groups, keep_s, 10**9)
    held = ring.between(float("-inf"), float("inf"))
    assert held[0].is_key
    assert held == packets[len(packets) - len(held) :]
    oldest_s = max(packets[-1].t_s - keep_s, 0.0)
    assert held[0].t_s <= oldest_s
    later_keys = [packet for packet in held[1:] if packet.is_key]
    assert not later_keys or later_keys[0].t_s > oldest_s


@settings(deadline=None)
@given(groups_s, st.floats(0, 10), st.floats(0, 10))
def test_a_stretch_begins_with_the_key_frame_at_or_before_it(
    groups: list[tuple[int, int]], a: float, b: float
) -> None:
    ring, packets = filled(groups, 1000, 10**9)
    starts_s, ends_s = min(a, b), max(a, b)
    taken = ring.between(starts_s, ends_s)
    keys = [packet.t_s for packet in packets if packet.is_key and packet.t_s <= starts_s]
    assert taken[0].t_s == max(keys)
    wanted = [packet for packet in packets if starts_s <= packet.t_s <= ends_s]
    assert set(map(id, wanted)) <= set(map(id, taken))


def test_an_open_event_keeps_its_beginning() -> None:
    ring = PacketRing(1.0, 10**9)
    ring.need_from(0.5)
    for packet in packets_at([i / 10 for i in range(100)], [i % 5 == 0 for i in range(100)]):
        ring.append(packet)
    assert ring.between(0.5, 10)[0].t_s == 0.5
    ring.need_from(None)
    ring.append(Packet(b"", 10.0, True))
    assert ring.between(0.5, 10)[0].t_s >= 8.5


def test_packets_after_a_lost_key_frame_are_not_kept() -> None:
    ring = PacketRing(10, 25)
    assert ring.append(Packet(bytes(10), 0, True)) == 0
    assert ring.append(Packet(bytes(20), 0.1, False)) == 2
    assert ring.append(Packet(bytes(5), 0.2, False)) == 1
    assert ring.append(Packet(bytes(5), 0.3, True)) == 0
