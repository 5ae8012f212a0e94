"""What a consumer's handler is given, and what it answers. Knows no Redis and no message."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

_ENTRY_ID = re.compile(r"[0-9]{1,19}-[0-9]{1,19}")


@dataclass(frozen=True, slots=True)
class Delivery:
    """One entry handed to this consumer; `attempts` counts deliveries, this one included."""

    stream: str
    id: str
    fields: Mapping[bytes, bytes]
    attempts: int


@dataclass(frozen=True, slots=True)
class Output:
    """An entry to append when the delivery is settled; `longest`: of the stream, the oldest go first (0: unbounded)."""

    stream: str
    fields: Mapping[bytes, bytes]
    longest: int = 0

    def __post_init__(self) -> None:
        if not self.stream or not self.fields:
            raise ValueError("an output needs a stream and at least one field")


@dataclass(frozen=True, slots=True)
class Done:
    """Handled: write `outputs`, acknowledge and delete the entry, and delete `deletions` (stream, id)."""

    outputs: tuple[Output, ...] = ()
    deletions: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        # here, where it counts as the handler's fault, and not in the script, which cannot be undone half-way
        for stream, entry_id in self.deletions:
            if not stream or not _ENTRY_ID.fullmatch(entry_id):
                raise ValueError(f"not an entry of a stream: {stream!r}, {entry_id!r}")


@dataclass(frozen=True, slots=True)
class Retry:
    """Not now: leave it pending; it comes back after `min_idle_s`, to whichever replica is free.

    With `is_charged` the attempt counts towards `max_attempts`: the fault may be the item's. Without, it waits for
    as long as it takes: the fault is surely elsewhere (what raising Transient means). `is_alone`: the next entry may
    fare better, so the loop does not slow down.
    """

    reason: str
    is_charged: bool = True
    is_alone: bool = False


@dataclass(frozen=True, slots=True)
class Dead:
    """Never: move it to the dead letters with `reason`."""

    reason: str


Outcome = Done | Retry | Dead
Handler = Callable[[Sequence[Delivery]], Awaitable[Sequence[Outcome]]]
