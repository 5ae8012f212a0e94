"""How a consumer reads its stream: names, bounds and times."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ConsumerSettings:
    """`consumer` is unique among the replicas of `group`; a stable name takes up its own unfinished work at once."""

    stream: str
    group: str
    consumer: str
    batch_max: int = 8
    block_ms: int = 1000
    min_idle_s: float = 15.0
    claim_every_s: float = 5.0
    max_attempts: int = 5
    dead_max: int = 1000  # dead letters kept, the oldest go first; each loss is counted and logged
    forget_after_s: float = 3600.0  # a consumer that has and asked for nothing this long is removed
    finish_s: float = 10.0  # after a stop: time for the batch in hand, which is then given back

    def __post_init__(self) -> None:
        if not (self.stream and self.group and self.consumer):
            raise ValueError("stream, group and consumer must have names")
        if min(self.batch_max, self.block_ms, self.max_attempts, self.dead_max) < 1:
            raise ValueError("batch_max, block_ms, max_attempts and dead_max must be at least 1")
