"""Keeps the metrics of quality as the verdicts of the last days say."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from services.recorder.metrics import RecorderMetrics
from services.recorder.quality.rows import recorded_units
from services.recorder.quality.values import Quality, quality_of
from services.recorder.record.database import Database
from services.recorder.record.retention import RetentionLimits
from shared.clock import now_utc
from shared.errors import Transient
from shared.logs import get_logger
from shared.waits import pause

log = get_logger(__name__)

DAYS = 30
EVERY_S = 300.0


@dataclass(slots=True)
class QualityWatch:
    """Estimates the quality of all cameras now and then."""

    database: Database
    metrics: RecorderMetrics
    limits: RetentionLimits

    async def run(self, stop: asyncio.Event, beat: Callable[[], None]) -> None:
        """Estimate every EVERY_S, until `stop`."""
        while not stop.is_set():
            try:
                await self.estimate(now_utc())
            except Transient as exc:
                log.debug("the estimates of quality wait for the database", error=exc)
            except Exception as exc:
                # A row that cannot be read (edited by hand, or by a newer version) stays so: raised, it would end the
                # recorder at each start. Only these metrics stand still, and the error says why.
                log.error("quality cannot be estimated: its metrics stay as they were", exc_info=exc)
            beat()
            await pause(EVERY_S, stop)

    async def estimate(self, now: datetime) -> None:
        """Estimate once, and set the metrics."""
        async with self.database.reading() as connection:
            recorded = await recorded_units(connection, self.limits, now, DAYS, None)
        self._show(await asyncio.to_thread(quality_of, recorded))

    def _show(self, quality: Quality) -> None:
        metrics = self.metrics
        metrics.precision.clear()
        metrics.missed_events.clear()
        for pair in quality.pairs:
            for bound in ("low", "estimate", "high"):
                name = "share" if bound == "estimate" else bound
                if pair.precision is not None:
                    metrics.precision.labels(pair.camera, pair.label, bound).set(
                        getattr(pair.precision, name)
                    )
                if pair.missed is not None:
                    n = getattr(pair.missed, name) * pair.missed.n
                    metrics.missed_events.labels(pair.camera, pair.label, bound).set(n)
