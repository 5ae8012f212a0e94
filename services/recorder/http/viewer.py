"""Whose cameras an answer is about: every route that shows something of cameras takes a `Viewer` or a `SeenCamera`."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from services.recorder.http.motion_client import no_camera
from services.recorder.record.camera_filter import CameraIds
from shared.http_access import identity_of


def cameras_of(request: Request) -> CameraIds:
    """Return the cameras that the caller may see; None: all."""
    return identity_of(request).cameras


def seen_camera(request: Request, camera_id: str) -> str:
    """Return the camera of a path; raise ApiFault (404) where the caller may not see it."""
    if not identity_of(request).sees(camera_id):
        raise no_camera(camera_id)
    return camera_id


Viewer = Annotated[CameraIds, Depends(cameras_of)]
SeenCamera = Annotated[str, Depends(seen_camera)]
