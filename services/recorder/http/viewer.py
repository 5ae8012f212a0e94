"""Whose cameras an answer is about: every route that shows something of cameras takes a `Viewer`."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from services.recorder.record.camera_filter import CameraIds
from shared.http_access import identity_of


def cameras_of(request: Request) -> CameraIds:
    """Return the cameras that the caller may see; None: all."""
    return identity_of(request).cameras


Viewer = Annotated[CameraIds, Depends(cameras_of)]
