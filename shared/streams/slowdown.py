"""Slows a consumer down while nothing can be done for any entry, for a reason outside of the entries."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from shared.logs import get_logger
from shared.streams.outcomes import Outcome, Retry

log = get_logger(__name__)

_FIRST_PAUSE_S = 0.5


@dataclass(slots=True)
class Slowdown:
    """How long to pause between batches, and why; judged by the outcomes of the last batch."""

    stream: str
    longest_pause_s: float
    pause_s: float = 0.0
    _reason: str = ""
    _since_s: float | None = None  # every outcome since then was an uncharged Retry
    _judged_at_s: float = 0.0

    @property
    def is_active(self) -> bool:
        return self._since_s is not None

    def reason(self, within_s: float) -> str:
        """Return why nothing could be done; '' when something could, or nothing was tried for `within_s`."""
        is_recent = time.monotonic() - self._judged_at_s < within_s
        return self._reason if self.is_active and is_recent else ""

    def judge(self, outcomes: Sequence[Outcome]) -> bool:
        """Take the outcomes of a batch; return whether the slowdown is over with it. Logged once each way."""
        hindrances = [o.reason for o in outcomes if isinstance(o, Retry) and not (o.is_charged or o.is_alone)]
        now_s = time.monotonic()
        if outcomes and len(hindrances) == len(outcomes):
            self._judged_at_s, self._reason = now_s, hindrances[-1]
            self.pause_s = min(max(_FIRST_PAUSE_S, self.pause_s * 2), self.longest_pause_s)
            if self._since_s is None:
                self._since_s = now_s
                log.warning("hindered, going slowly", stream=self.stream, reason=self._reason)
            return False
        if self._since_s is None:
            return False
        log.info("no longer hindered", stream=self.stream, hindered_s=round(now_s - self._since_s, 1))
        self._since_s, self.pause_s = None, 0.0
        return True
