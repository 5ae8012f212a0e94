"""Both OpenAPI documents hold: generated requests get answers of the documented status, type and form, and no 5xx."""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import Any

import httpx
import hypothesis
import pytest
import schemathesis
from schemathesis.core.result import Ok
from schemathesis.generation import GenerationMode
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.attack.site_rig import Site

CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]
# these answer without end; fuzz.py asks them
ENDLESS = ("/api/stream", "/video.mjpeg", "/looks", "/trial")
# without a classifier there are no words to search by; it is told as 503
NEEDS_CLASSIFIER = ("/api/search", "/api/hindsight")
DOCUMENTS = {"recorder": "/api/openapi.json", "motion": "/openapi.json"}


@schemathesis.serializer("application/sdp")
def _sdp(_ctx: schemathesis.SerializationContext, value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")


@pytest.mark.redis
@pytest.mark.parametrize("service", sorted(DOCUMENTS))
@pytest.mark.parametrize(
    ("per_mode", "least"),
    [(4, 100), pytest.param(80, 2500, marks=(pytest.mark.slow, pytest.mark.timeout(900)))],
)
def test_answers_are_as_the_document_says(site: Site, service: str, per_mode: int, least: int) -> None:
    port, token = site.ports[service]
    base = f"http://127.0.0.1:{port}"
    login = {"authorization": f"Bearer {token}"}
    document = httpx.get(base + DOCUMENTS[service], headers=login, trust_env=False).raise_for_status().json()
    schema = schemathesis.openapi.from_dict(document)
    statuses: Counter[int] = Counter()
    for read in schema.get_all_operations():
        assert isinstance(read, Ok), f"this part of the document cannot be read: {read}"
        operation = read.ok()
        if not operation.path.endswith(ENDLESS):
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                statuses += _asked(operation, mode, per_mode, base, login)
    assert statuses.total() >= least, statuses
    assert len(statuses) >= 4, statuses


def _asked(
    operation: APIOperation[Any, Any, Any, Any],
    mode: GenerationMode,
    count: int,
    base: str,
    login: dict[str, str],
) -> Counter[int]:  # Any: schemathesis' own
    """Ask one operation that often; return how often each status came. Raises what schemathesis finds."""
    statuses: Counter[int] = Counter()

    @hypothesis.settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:  # Any: schemathesis' Case, generic over its schema
        answer = case.call(base_url=base, headers={**(case.headers or {}), **login}, timeout=30)
        statuses[answer.status_code] += 1
        case.validate_response(answer, checks=CHECKS)
        is_known_absence = answer.status_code == 503 and operation.path.endswith(NEEDS_CLASSIFIER)
        assert answer.status_code < 500 or is_known_absence, answer.text[:500]

    with contextlib.suppress(
        hypothesis.errors.Unsatisfiable
    ):  # there is no such request: it has no parameters
        ask()
    return statuses
