"""How the pipeline is: cameras, services, queues, disk, and what is wrong."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Response

from services.recorder.health.pipeline import Disk, Pipeline, problems, reports_of
from services.recorder.http.models import ApiModel
from services.recorder.http.state import ApiState
from services.recorder.http.viewer import Viewer
from services.recorder.record.camera_filter import CameraIds


class CameraOut(ApiModel):
    """A camera as motion says it is: connecting, running, away, ended, failed or disabled; `name` is for people."""

    id: str
    name: str
    state: str
    message: str
    motion: str


class ServiceOut(ApiModel):
    """A process of the pipeline: ready, or loading its model; silent: it has said nothing for a while."""

    service: str
    name: str
    about: str
    state: str
    is_silent: bool
    age_s: float


class QueueOut(ApiModel):
    stream: str
    waiting: int
    oldest_s: float
    dead: int


class DiskOut(ApiModel):
    free_bytes: int
    total_bytes: int
    wanted_bytes: int


class ProblemOut(ApiModel):
    severity: Literal["bad", "warn"]
    text: str


class HealthOut(ApiModel):
    """How the whole pipeline is; problems come worst first."""

    is_ready: bool
    problems: list[ProblemOut]
    cameras: list[CameraOut]
    services: list[ServiceOut]
    queues: list[QueueOut]
    disk: DiskOut | None
    dropped_clips: dict[str, int]


def health_routes(api: ApiState) -> APIRouter:
    """Return the route of the pipeline's health."""
    router = APIRouter(prefix="/api", tags=["record"])

    @router.get("/health")
    async def health(response: Response, viewer: Viewer) -> HealthOut:
        """How the pipeline is: cameras, services, queues, disk, and what is wrong; some seconds old."""
        response.headers["cache-control"] = "no-store"
        disk = await api.disk()
        return _health_out(api.pipeline, disk, api.is_ready(), viewer)

    return router


def _health_out(pipeline: Pipeline, disk: Disk | None, is_ready: bool, viewer: CameraIds) -> HealthOut:
    return HealthOut(
        is_ready=is_ready,
        problems=[ProblemOut.model_validate(problem) for problem in problems(pipeline, disk, viewer)],
        cameras=[
            CameraOut(
                id=camera.id,
                name=camera.name,
                state=camera.state,
                message=camera.message,
                motion=name,
            )
            for name, camera in reports_of(pipeline.heard)
            if viewer is None or camera.id in viewer
        ],
        services=[
            ServiceOut(
                service=one.presence.service,
                name=one.presence.name,
                about=one.presence.about,
                state=one.presence.state,
                is_silent=one.is_silent,
                age_s=round(one.age_s, 1),
            )
            for one in pipeline.heard
        ],
        queues=[QueueOut.model_validate(queue) for queue in pipeline.queues],
        disk=DiskOut.model_validate(disk) if disk else None,
        dropped_clips=pipeline.dropped_clips,
    )
