"""The site: /api for the record, /media for the files, / for the pages; motion's routes are passed on.

Its only changes of the record are an event's protection, verdicts and, asked for, labels in hindsight. Who may:
rules.py. Knows no queue.
"""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.responses import JSONResponse

from services.recorder.http.events import event_routes
from services.recorder.http.examples import example_routes
from services.recorder.http.gaps import gap_routes
from services.recorder.http.health import health_routes
from services.recorder.http.hindsight import hindsight_routes
from services.recorder.http.label_history import label_history_routes
from services.recorder.http.label_trial import label_trial_routes
from services.recorder.http.likeness import likeness_routes
from services.recorder.http.links import link_routes, shared_routes
from services.recorder.http.login import login_routes
from services.recorder.http.media import media_routes
from services.recorder.http.motion_proxy import add_motion_routes
from services.recorder.http.oidc import oidc_routes
from services.recorder.http.page import add_page
from services.recorder.http.quality import quality_routes
from services.recorder.http.record import record_routes
from services.recorder.http.relabels import relabel_routes
from services.recorder.http.search import search_routes
from services.recorder.http.state import ApiState
from services.recorder.http.users import user_routes
from services.recorder.http.verdicts import verdict_routes
from services.recorder.http.why import why_routes
from shared.http_api import describe


def add_routes(app: FastAPI, api: ApiState) -> None:
    """Add everything to `app`. Call it before the first request is served: middleware cannot come later."""
    add_page(app)
    for routes in (
        event_routes,
        why_routes,
        record_routes,
        health_routes,
        media_routes,
        link_routes,
        shared_routes,
        search_routes,
        likeness_routes,
        gap_routes,
        hindsight_routes,
        label_history_routes,
        example_routes,
        relabel_routes,
        label_trial_routes,
        verdict_routes,
        quality_routes,
        login_routes,
        user_routes,
        oidc_routes,
    ):
        app.include_router(routes(api))
    add_motion_routes(app, api)

    @app.get("/api/openapi.json", include_in_schema=False)
    async def openapi() -> JSONResponse:
        return JSONResponse(app.openapi())

    describe(app)
