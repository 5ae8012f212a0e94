"""One bounded request to a weather provider, and what its failures mean. Knows no provider."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx

from services.recorder.metrics import RecorderMetrics
from services.recorder.weather.port import Report, WeatherAway, WeatherLimited, WeatherRefused
from shared.errors import redact, shortened

ANSWER_MAX_BYTES = 256 * 1024
LIMITED_S = 60.0  # providers count by the minute, the hour and the day; a 429 need not say which
LIMITED_MAX_S = 3600.0
_Found = TypeVar("_Found", Report, Report | None)


class WeatherUnauthorized(WeatherRefused):
    """The provider does not take this key, for this question at least."""


@dataclass(slots=True)
class WeatherClient:
    """Asks one provider over HTTP. `reason_field` holds its own words when it refuses; `secret` is in no text."""

    base_url: str
    timeout_s: float
    metrics: RecorderMetrics = field(repr=False)
    reason_field: str
    secret: str = field(default="", repr=False)
    _client: httpx.AsyncClient = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._client = httpx.AsyncClient(
            base_url=self.base_url,
            timeout=self.timeout_s,
            limits=httpx.Limits(max_connections=2, max_keepalive_connections=1),
            headers={"user-agent": "clipwatch"},
        )

    async def close(self) -> None:
        """Give up connections."""
        await self._client.aclose()

    async def ask(self, path: str, query: Mapping[str, str]) -> Mapping[str, Any]:
        """Return the JSON object at `path`; raise WeatherAway, WeatherLimited or WeatherRefused, and count which."""
        try:
            async with asyncio.timeout(self.timeout_s):
                status, retry_after, body = await self._get(path, query)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as exc:
            self._count("away")
            is_url_quoted = isinstance(exc, httpx.InvalidURL | httpx.UnsupportedProtocol)
            said = "" if is_url_quoted else self._clean(str(exc))
            said = said or type(exc).__name__
            raise WeatherAway(f"no answer within {self.timeout_s:g} s: {said}") from exc
        self._raise_for(status, retry_after, body)
        try:
            answer = json.loads(body)
        except ValueError:
            answer = None
        if not isinstance(answer, dict) or answer.get("error"):
            self._count("garbage")
            raise WeatherAway(f"the answer cannot be read: {self._reason(body)}")
        return answer

    def counted(self, read: Callable[[], _Found]) -> _Found:
        """Return what `read` makes of an answer, and count whether it was of use."""
        try:
            report = read()
        except WeatherAway:
            self._count("garbage")
            raise
        self._count("ok" if report is not None else "none")
        return report

    async def _get(self, path: str, query: Mapping[str, str]) -> tuple[int, str, bytes]:
        body = b""
        async with self._client.stream("GET", path, params=dict(query)) as response:
            async for part in response.aiter_bytes():
                body += part
                if len(body) > ANSWER_MAX_BYTES:
                    raise httpx.DecodingError("the answer is too long")
            return response.status_code, response.headers.get("retry-after", ""), body

    def _raise_for(self, status: int, retry_after: str, body: bytes) -> None:
        if status == 200:
            return
        said = f"status {status}: {self._reason(body)}"
        if status == 429:
            self._count("limited")
            raise WeatherLimited(f"asked too often: {self._reason(body)}", _retry_s(retry_after))
        if status >= 500 or status in (408, 425):
            self._count("away")
            raise WeatherAway(said)
        self._count("refused")
        raise WeatherUnauthorized(said) if status in (401, 403) else WeatherRefused(said)

    def _reason(self, body: bytes) -> str:
        """Return the provider's own words, or the beginning of what came instead."""
        try:
            answer = json.loads(body)
        except ValueError:
            answer = None
        said = answer.get(self.reason_field) if isinstance(answer, dict) else None
        text = said if isinstance(said, str) else body.decode("utf-8", "replace")
        return shortened(self._clean(text), 200 if isinstance(said, str) else 120)

    def _clean(self, text: str) -> str:
        return redact(text.replace(self.secret, "***") if self.secret else text)

    def _count(self, outcome: str) -> None:
        self.metrics.weather.labels(outcome).inc()


def part(answer: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return an object inside an answer; raise WeatherAway when it is none."""
    found = answer.get(name)
    if not isinstance(found, dict):
        raise WeatherAway(f"the answer has no '{name}'")
    return found


def number(value: object) -> float | None:
    """Return a finite number of a size that weather has, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) and abs(value) < 1e7 else None


def seconds(value: object) -> int:
    """Return a time in seconds since 1970; raise WeatherAway when it cannot be one."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 4_102_444_800:
        raise WeatherAway(f"the answer's time cannot be read: {shortened(str(value), 40)!r}")
    return value


def _retry_s(header: str) -> float:
    return min(max(float(header), 1.0), LIMITED_MAX_S) if header.isdigit() else LIMITED_S
