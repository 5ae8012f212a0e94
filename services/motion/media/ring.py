"""Remembers the last seconds of a camera's packets, so that a clip can begin before its event was noticed."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field

from services.motion.media.packets import Packet


@dataclass(slots=True)
class _Group:
    packets: list[Packet] = field(default_factory=list)
    n_bytes: int = 0


class PacketRing:
    """The last seconds of a camera as whole groups of pictures. Bounded by bytes always, by seconds while no event
    needs more. Safe between the thread that reads and the thread that cuts.
    """

    def __init__(self, keep_s: float, max_bytes: int) -> None:
        self._groups: deque[_Group] = deque()
        self._keep_s = keep_s
        self._max_bytes = max_bytes
        self._needed_s: float | None = None
        self._n_bytes = 0
        self._lock = threading.Lock()

    @property
    def n_bytes(self) -> int:
        return self._n_bytes

    def __len__(self) -> int:
        with self._lock:
            return sum(len(group.packets) for group in self._groups)

    def set_keep(self, keep_s: float) -> None:
        """Remember `keep_s` seconds from now on."""
        self._keep_s = keep_s

    def need_from(self, t_s: float | None) -> None:
        """Keep everything from `t_s` on (an event is open), as far as the bytes allow; None: nothing special."""
        self._needed_s = t_s

    def append(self, packet: Packet) -> int:
        """Take `packet`; return how many packets had to go or could not be taken for want of bytes."""
        with self._lock:
            if packet.is_key or not self._groups:
                if not packet.is_key:
                    return 1  # what follows a lost key frame cannot be decoded
                self._groups.append(_Group())
            self._groups[-1].packets.append(packet)
            self._groups[-1].n_bytes += len(packet.data)
            self._n_bytes += len(packet.data)
            self._forget(packet.t_s)
            return self._squeeze()

    def between(self, starts_s: float, ends_s: float) -> list[Packet]:
        """Return the packets from the key frame at or before `starts_s` (or the first one) to `ends_s`, in order.

        Packets beyond `ends_s` that are needed to decode earlier ones are in it.
        """
        with self._lock:
            groups = list(self._groups)
            first = 0
            for index, group in enumerate(groups):
                if group.packets[0].t_s <= starts_s:
                    first = index
            packets = [packet for group in groups[first:] for packet in group.packets]
        end = max((i for i, packet in enumerate(packets) if packet.t_s <= ends_s), default=0)
        return packets[: end + 1]

    def drop_before(self, t_s: float) -> None:
        """Forget the groups before the one that shows `t_s` (the stream changed there)."""
        with self._lock:
            while len(self._groups) > 1 and self._groups[1].packets[0].t_s <= t_s:
                self._n_bytes -= self._groups.popleft().n_bytes

    def clear(self) -> None:
        with self._lock:
            self._groups.clear()
            self._n_bytes = 0

    def _forget(self, now_s: float) -> None:
        oldest_s = now_s - self._keep_s
        if self._needed_s is not None:
            oldest_s = min(oldest_s, self._needed_s)
        while len(self._groups) > 1 and self._groups[1].packets[0].t_s <= oldest_s:
            self._n_bytes -= self._groups.popleft().n_bytes

    def _squeeze(self) -> int:
        lost = 0
        while self._n_bytes > self._max_bytes and self._groups:
            group = self._groups.popleft()
            self._n_bytes -= group.n_bytes
            lost += len(group.packets)
        return lost
