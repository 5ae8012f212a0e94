"""What all cameras of the process share."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from services.motion.live.latest import LiveViews
from services.motion.settings import MotionServiceSettings
from services.motion.spool.outbox import Outbox


@dataclass(frozen=True, slots=True)
class CameraContext:
    """What all cameras of the process share."""

    settings: MotionServiceSettings
    outbox: Outbox
    secret: bytes
    journals: Path
    views: LiveViews = field(default_factory=LiveViews)
