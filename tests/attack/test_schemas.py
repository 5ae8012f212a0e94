"""Both OpenAPI documents hold: generated requests get answers of the documented status, type and form, and no 5xx."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx
import hypothesis
import pytest
import requests
import schemathesis
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Ok
from schemathesis.generation import GenerationMode
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.attack.site_rig import LONG, Site
from tests.attack.visitors import BOSS, SEEN, Record, asked, recorded
from tests.servers import RedisServer

CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]
# these answer without end; test_fuzz.py asks them
ENDLESS = ("/api/stream", "/video.mjpeg", "/looks", "/trial")
# without a classifier there are no words to search by; it is told as 503, after a while
NEEDS_CLASSIFIER = ("/api/search", "/api/search/like", "/api/hindsight", "/label-trial", "/examples")
ASKED_WITHOUT_CLASSIFIER = 4
DOCUMENTS = {"recorder": "/api/openapi.json", "motion": "/openapi.json"}
_Read = TypeVar("_Read")
_Operation = APIOperation[Any, Any, Any, Any]  # Any: schemathesis' own


@schemathesis.serializer("application/sdp", "image/jpeg", "image/png", "image/webp")
def _as_it_is(_ctx: schemathesis.SerializationContext, value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")


@dataclass(slots=True)
class Asking:
    """Asks a service what schemathesis makes up; keeps what it found, one example of each kind."""

    base: str
    headers: dict[str, str]
    ids: Mapping[
        str, str
    ]  # of things that are there, by the name of the parameter: every other request asks for them
    session: requests.Session = field(default_factory=requests.Session)
    statuses: Counter[int] = field(default_factory=Counter)
    n_5xx: int = 0
    violations: dict[tuple[str, int, str], str] = field(default_factory=dict)

    def ask(self, operation: _Operation, mode: GenerationMode, count: int) -> None:
        """Ask one operation that often."""
        if mode is GenerationMode.NEGATIVE and not (operation.query or operation.body):
            return  # an id may be any text, so that there is no wrong one
        if operation.path.endswith(NEEDS_CLASSIFIER):
            count = min(count, ASKED_WITHOUT_CLASSIFIER)

        @hypothesis.settings(
            max_examples=count,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
        def ask_once(case: Any) -> None:  # Any: schemathesis' Case, generic over its schema
            self._ask_once(operation, case)

        # no such request: it has no parameters
        with contextlib.suppress(hypothesis.errors.Unsatisfiable):
            ask_once()

    def _ask_once(self, operation: _Operation, case: Any) -> None:  # Any: as above
        if self.statuses.total() % 2:
            case.path_parameters = {
                name: self.ids.get(name, value) for name, value in case.path_parameters.items()
            }
        headers = {**(case.headers or {}), **self.headers}
        answer = case.call(base_url=self.base, headers=headers, session=self.session, timeout=30)
        self.statuses[answer.status_code] += 1
        found = []
        try:
            case.validate_response(answer, checks=CHECKS)
        except FailureGroup as exc:
            found = [str(one) for one in exc.exceptions]
        is_known_absence = answer.status_code == 503 and operation.path.endswith(NEEDS_CLASSIFIER)
        if answer.status_code >= 500 and not is_known_absence:
            self.n_5xx += 1
            found.append("5xx")
        for what in found:
            request = f"{case.as_curl_command()[:300]} -> {answer.text[:300]}"
            self.violations.setdefault((operation.label, answer.status_code, what), request)


def known_ids(site: Site, record: Record) -> dict[str, str]:
    """Return ids of what the record holds, by the names of path parameters."""
    links = f"/api/events/{record.events[SEEN]}/links"
    link = json.loads(asked(site.recorder.port, "POST", links, BOSS, {"hours": 1}).text)
    return {
        "camera_id": SEEN,
        "camera": "phone",
        "event_id": record.events[SEEN],
        "verdict_id": record.verdicts[SEEN],
        "name": record.pictures[SEEN],
        "token": link["url"].removeprefix("/shared/"),
    }


@dataclass(frozen=True, slots=True)
class Part:
    """One of `n` parts of a document's operations, in their order: what pauses a camera, then what resumes it."""

    number: int = 0
    n: int = 1

    def of(self, operations: Sequence[_Read]) -> Sequence[_Read]:
        first, end = (len(operations) * number // self.n for number in (self.number, self.number + 1))
        return operations[first:end]


def ask_everything(site: Site, redis_url: str, service: str, part: Part, per_mode: int) -> Asking:
    """Ask a service `per_mode` times for each operation of a part, with what fits its document and what does not."""
    port, token = site.ports[service]
    headers = {"authorization": f"Bearer {token}"}
    asking = Asking(f"http://127.0.0.1:{port}", headers, known_ids(site, recorded(site, redis_url)))
    asking.session.trust_env = False
    document = httpx.get(asking.base + DOCUMENTS[service], headers=asking.headers, trust_env=False)
    schema = schemathesis.openapi.from_dict(document.raise_for_status().json())
    operations = list(schema.get_all_operations())
    for read in part.of(operations):
        assert isinstance(read, Ok), f"this part of the document cannot be read: {read}"
        operation = read.ok()
        if not operation.path.endswith(ENDLESS):
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                asking.ask(operation, mode, per_mode)
    return asking


SHORT, AT_LENGTH = 4, 74  # requests of each operation that fit its document, and as many that do not
LENGTHS = pytest.mark.parametrize(
    "per_mode", [SHORT, pytest.param(AT_LENGTH, marks=LONG)], ids=["short", "long"]
)


@pytest.mark.redis
class AnswersOf:
    """A class each, so that workers share them."""

    service: str
    part = Part()
    least: tuple[int, int]  # requests that are made, short and at length: then 5,000 in all

    @LENGTHS
    def test_answers_are_as_the_document_says(
        self,
        site: Site,
        redis_server: RedisServer,
        record_property: Callable[[str, object], None],
        per_mode: int,
    ) -> None:
        asking = ask_everything(site, redis_server.url, self.service, self.part, per_mode)
        record_property("requests", asking.statuses.total())
        record_property("5xx", asking.n_5xx)
        record_property("violations", len(asking.violations))
        told = "\n\n".join(f"{key}\n{one}" for key, one in asking.violations.items())
        assert asking.violations == {}, told
        assert asking.statuses.total() >= self.least[per_mode == AT_LENGTH], asking.statuses
        assert len(asking.statuses) >= 4, asking.statuses


class TestFirstHalfOfRecorder(AnswersOf):
    service = "recorder"
    part = Part(0, 2)
    least = (90, 1400)


class TestSecondHalfOfRecorder(AnswersOf):
    service = "recorder"
    part = Part(1, 2)
    least = (120, 2400)


class TestMotion(AnswersOf):
    service = "motion"
    least = (60, 1200)
