"""The API document lists every status that an address answers, and one shape for all that are no success."""

from __future__ import annotations

import warnings

from services.recorder.http.api import add_routes
from services.recorder.http.state import ApiState
from shared.http_api import OF_EVERY_ROUTE, make_app


def test_every_fault_is_in_the_document_in_one_shape() -> None:
    app = make_app("recorder")
    with warnings.catch_warnings(action="error"):  # two operations of one name
        add_routes(app, ApiState(lambda: True))
    assert app.openapi_schema is not None, "the first request would hold the recorder to make it"
    paths = app.openapi()["paths"]
    assert {"/api/events", "/api/search", "/api/hindsight", "/api/gaps", "/media/{name}"} <= set(paths)
    for path, operations in paths.items():
        for method, operation in operations.items():
            faults = {status for status in operation["responses"] if status >= "400" and status != "416"}
            assert {str(status) for status in OF_EVERY_ROUTE} <= faults, (method, path)
            for status in faults:
                schema = operation["responses"][status]["content"]["application/json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/FaultOut"}, (method, path, status)
