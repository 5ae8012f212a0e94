"""What the routes of the recorder need. Everything but readiness is there once the service has it: before that, 503."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from services.recorder.access.links import EventLinks
from services.recorder.access.site import SiteAccess
from services.recorder.health.pipeline import Disk, Pipeline
from services.recorder.http.motion_client import MotionClient
from services.recorder.http.webrtc_views import WebrtcViews
from services.recorder.media.store import MediaAway, MediaStore
from services.recorder.record.database import Database
from services.recorder.record.feed import Feed
from services.recorder.record.retention import RetentionLimits
from services.recorder.search.explainer import Explainer
from services.recorder.search.hindsight import Hindsight
from services.recorder.search.label_trial import LabelTrial
from services.recorder.search.likeness import Likeness
from services.recorder.search.words import Search
from services.recorder.verdicts.teacher import Teacher
from shared.http_api import ApiFault


@dataclass(slots=True)
class ApiState:
    """What the routes need; `None` until the service has it."""

    is_ready: Callable[[], bool]
    database: Database | None = None
    media: MediaStore | None = None
    feed: Feed | None = None
    search: Search | None = None
    hindsight: Hindsight | None = None
    pipeline: Pipeline = field(default_factory=Pipeline)
    limits: RetentionLimits = field(default_factory=RetentionLimits)
    motion: MotionClient = field(default_factory=MotionClient)
    views: WebrtcViews | None = None
    access: SiteAccess | None = None
    links: EventLinks | None = None
    explainer: Explainer | None = None
    teacher: Teacher | None = None
    changed: Callable[[], None] = lambda: None
    likeness: Likeness | None = None
    label_trial: LabelTrial | None = None
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    def open_database(self) -> Database:
        """Return the database; raise a 503 while the recorder starts."""
        if self.database is None:
            raise starting()
        return self.database

    async def disk(self) -> Disk | None:
        """Return the media folder's disk; None when it cannot be looked at, and where clips are in a bucket."""
        if self.media is None:
            return None
        try:
            space = await self.media.space()
        except MediaAway:
            return None  # readiness says so
        return Disk(space.free_bytes, space.total_bytes, self.limits.free_bytes) if space else None


def starting() -> ApiFault:
    """Return the answer of a recorder that is not ready yet."""
    return ApiFault(503, "the recorder is starting", "a recorder that is ready", "try again in a moment")
