"""The client of a running recorder's API, for `clipwatch search`, `why`, `verdict` and `relabel`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import httpx

from services.local.launcher.page_address import own_certificate
from services.local.tasks.recorder_address import RecorderAddress
from shared.clock import now_utc
from shared.errors import ClipwatchError, ConfigError, redact
from shared.urls import shown_url

CONNECT_S = 5.0
ANSWER_S = 60.0  # between two pieces of an answer
PAGE = 200
CLIP_BYTES_MAX = 256 * 1024 * 1024
ID_CHARS = 36
ID_START = 4  # characters of an id that are enough, where one event starts so
_EVENT = re.compile(r"[0-9a-f][0-9a-f-]{3,35}")
_EVENT_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SPAN = re.compile(r"(\d{1,5})\s*(m|h|d|w)")
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
Json = dict[str, Any]  # Any: what the recorder answers


class NotAnswered(ClipwatchError):
    """The recorder, or the classifier behind it, does not answer."""


def parse_time(given: str | None, option: str) -> datetime | None:
    """Return a time: '7d', '12h', '30m', '2w' ago, or an ISO time (local where it names no zone)."""
    if given is None:
        return None
    span = _SPAN.fullmatch(given.strip())
    if span:
        return now_utc() - int(span[1]) * _UNITS[span[2]]
    try:
        return datetime.fromisoformat(given).astimezone(UTC)
    except (ValueError, OverflowError) as exc:
        raise ConfigError(
            f"{option} {given}: wanted 30m, 12h, 7d, 2w or a time like 2026-05-04T18:00"
        ) from exc


def is_event_id(text: str) -> bool:
    """Whether a text has the form of an event's id."""
    return _EVENT_ID.fullmatch(text) is not None


def search(
    recorder: RecorderAddress, query: Mapping[str, str | int | None], picture: bytes | None = None
) -> Json:
    """Return what looks like a JPEG, like the event in `query`, or fits the words in it.

    Raises ConfigError for a bad query, NotAnswered when nobody answers.
    """
    parameters = _given(query)
    if picture is not None:
        kind = {"content-type": "image/jpeg"}
        return _asked(recorder, "POST", "/api/search/like", params=parameters, content=picture, headers=kind)
    path = "/api/search/like" if "event" in parameters else "/api/search"
    return _asked(recorder, "GET", path, params=parameters)


def parse_event(given: str) -> str:
    """Return an event's id, or how it starts; raise ConfigError for what cannot be one."""
    start = given.strip().lower()
    if _EVENT.fullmatch(start):
        return start
    raise ConfigError(
        f"EVENT {given[:64]!r}: wanted the id of an event or its first {ID_START} letters and digits or more, as the "
        "page's address and clipwatch search show it"
    )


def why(recorder: RecorderAddress, start: str) -> Json:
    """Return the answer of /api/events/ID/why; raises as `search` does, ConfigError when there is no such event."""
    event_id = find_event(recorder, start)
    return _asked(recorder, "GET", f"/api/events/{event_id}/why")


def find_event(recorder: RecorderAddress, start: str) -> str:
    """Return the id of the only event whose id starts so; raise ConfigError when there is none, or several."""
    if len(start) == ID_CHARS:
        return start
    asked: dict[str, str | int] = {"id_start": start, "accepted_only": "false", "limit": 4}
    found = [event["id"] for event in _asked(recorder, "GET", "/api/events", params=asked)["events"]]
    if not found:
        raise ConfigError(
            f"no event's id starts with {start}; look for it on the page or with clipwatch search"
        )
    if len(found) > 1:
        shown = ", ".join(found[:3]) + (", …" if len(found) > 3 else "")
        raise ConfigError(f"several events' ids start with {start}: {shown}; give more of the id")
    return str(found[0])


def preview_verdict(
    recorder: RecorderAddress, event_id: str, said: Json, progress: Callable[[str, float], None]
) -> Json:
    """Return what a verdict would change of the past; raises as `search` does."""
    path = f"/api/events/{event_id}/verdicts/preview"
    return _result(recorder, path, said, lambda share: progress("looking back", share))


def apply_verdict(
    recorder: RecorderAddress, verdict_id: str, days: int, progress: Callable[[str, float], None]
) -> Json:
    """Return what a verdict changed of the past; raises as `search` does."""
    path = f"/api/verdicts/{verdict_id}/apply"
    return _result(recorder, path, {"days": days}, lambda share: progress("applying", share))


def say_verdict(recorder: RecorderAddress, event_id: str, said: Mapping[str, str | None]) -> Json:
    """Return the verdict that was made of an event; raises as `search` does."""
    return _asked(recorder, "POST", f"/api/events/{event_id}/verdicts", json=_given(said))


def undo_verdict(recorder: RecorderAddress, event_id: str, progress: Callable[[str, float], None]) -> Json:
    """Take back the last verdict of an event that stands, and what it changed of the past; raises as `search` does."""
    found = _asked(recorder, "GET", f"/api/events/{event_id}/verdicts")["verdicts"]
    standing = [one for one in found if one["undone_at"] is None]
    if not standing:
        raise ConfigError(f"{event_id}: nobody said anything of it that stands; clipwatch verdicts lists all")
    last = standing[-1]
    if last["relabel_id"]:
        undo_relabel(recorder, last["relabel_id"], progress)
    return _asked(recorder, "POST", f"/api/verdicts/{last['id']}/undo", json={})


def list_verdicts(recorder: RecorderAddress, query: Mapping[str, str | int | None]) -> Json:
    """Return the newest verdicts; raises as `search` does."""
    return _asked(recorder, "GET", "/api/verdicts", params=_given(query))


def verdict_cameras(recorder: RecorderAddress) -> list[str]:
    """Return the cameras on which something was said; raises as `search` does."""
    found: set[str] = set()
    before = None
    while True:
        page = list_verdicts(recorder, {"before": before, "limit": PAGE})
        found |= {one["camera"] for one in page["verdicts"]}
        before = page["next"]
        if before is None:
            return sorted(found)


def camera_examples(recorder: RecorderAddress, camera: str) -> Iterator[Json]:
    """Yield the examples of a camera, oldest first; raises as `search` does."""
    path, after = f"/api/cameras/{quote(camera, safe='')}/examples", 0
    while after is not None:
        page = _asked(recorder, "GET", path, params={"after": after, "limit": PAGE})
        yield from page["examples"]
        after = page["next"]


def add_example(
    recorder: RecorderAddress, camera: str, said: Mapping[str, str | None], picture: bytes
) -> Json:
    """Have a JPEG learned on a camera; raises as `search` does, ConfigError when it is refused."""
    path = f"/api/cameras/{quote(camera, safe='')}/examples"
    kind = {"content-type": "image/jpeg"}
    return _asked(recorder, "POST", path, params=_given(said), content=picture, headers=kind)


def clip(recorder: RecorderAddress, address: str) -> bytes:
    """Return a clip, empty when it is gone or larger than CLIP_BYTES_MAX; raises NotAnswered."""
    url, found = recorder.url, bytearray()
    try:
        with _client(recorder) as client, client.stream("GET", f"{url.rstrip('/')}{address}") as answer:
            if not answer.is_success:
                return b""
            for part in answer.iter_bytes():
                found += part
                if len(found) > CLIP_BYTES_MAX:
                    return b""
    except (httpx.HTTPError, httpx.InvalidURL) as exc:
        raise NotAnswered(_unreachable(url, exc)) from exc
    return bytes(found)


def _given(values: Mapping[str, str | int | None]) -> dict[str, str | int]:
    return {name: value for name, value in values.items() if value is not None}


def _asked(recorder: RecorderAddress, method: str, path: str, **content: Any) -> Json:  # Any: httpx's
    try:
        with _client(recorder) as client:
            answer = client.request(method, recorder.url.rstrip("/") + path, **content)
    except (httpx.HTTPError, httpx.InvalidURL) as exc:
        raise NotAnswered(_unreachable(recorder.url, exc)) from exc
    return _document(recorder.url, answer)


def relabel(recorder: RecorderAddress, request: Json, progress: Callable[[str, float], None]) -> Json:
    """Return the result of /api/hindsight; raises as `search` does."""
    stage = "applying" if request.get("apply") else "looking back"
    return _result(recorder, "/api/hindsight", request, lambda share: progress(stage, share))


def relabels(recorder: RecorderAddress) -> list[Json]:
    """Return the changes of the past, the newest first; raises as `search` does."""
    return list(_asked(recorder, "GET", "/api/relabels")["relabels"])


def undo_relabel(recorder: RecorderAddress, relabel_id: str, progress: Callable[[str, float], None]) -> Json:
    """Return the result of undoing a change of the past, 'last': the newest that stands; raises as `search` does."""
    if relabel_id == "last":
        standing = [one for one in relabels(recorder) if one["undone_at"] is None or one["unfinished"]]
        if not standing:
            raise ConfigError("--undo last: no change of the past stands; see clipwatch relabel --list")
        relabel_id = standing[0]["id"]
    path = f"/api/relabels/{quote(relabel_id, safe='')}/undo"
    return _result(recorder, path, {}, lambda share: progress("undoing", share))


def _result(recorder: RecorderAddress, path: str, request: Json, progress: Callable[[float], None]) -> Json:
    """Return the result of an answer of JSON lines."""
    url = recorder.url
    try:
        with (
            _client(recorder) as client,
            client.stream("POST", f"{url.rstrip('/')}{path}", json=request) as answer,
        ):
            if answer.status_code != 200:
                answer.read()
                return _document(url, answer)
            for line in answer.iter_lines():
                said = json.loads(line)
                if "result" in said:
                    return dict(said["result"])
                if "error" in said:
                    raise NotAnswered(_fault(said["error"]))
                progress(said["done"] / max(said["of"], 1))
    except (httpx.HTTPError, httpx.InvalidURL) as exc:
        raise NotAnswered(_unreachable(url, exc)) from exc
    raise NotAnswered(f"{shown_url(url)}: the answer broke off; ask the same again")


def _client(recorder: RecorderAddress) -> httpx.Client:
    """Return a client for the recorder. On this machine no proxy of the environment is between."""
    certificate = recorder.certificate
    try:
        verify = own_certificate(certificate) if certificate else True
    except OSError as exc:  # ssl.SSLError is one
        raise ConfigError(f"settings.tls_cert={certificate}: cannot be read: {exc.strerror or exc}") from exc
    timeout = httpx.Timeout(ANSWER_S, connect=CONNECT_S)
    return httpx.Client(headers=recorder.headers, timeout=timeout, verify=verify)


def _unreachable(url: str, exc: Exception) -> str:
    said = redact(str(exc)) or type(exc).__name__
    return f"{shown_url(url)}: no recorder answers ({said}); start clipwatch run, or name another with --url"


def _document(url: str, answer: httpx.Response) -> Json:
    try:
        said = answer.json()
        fault = "" if answer.is_success else _fault(said["error"])
    except (ValueError, KeyError, TypeError) as exc:
        raise NotAnswered(
            f"{shown_url(url)}: status {answer.status_code}, not clipwatch's page; name it with --url"
        ) from exc
    if answer.status_code in (400, 401, 403, 404, 415, 422):
        raise ConfigError(fault)
    if not answer.is_success:
        raise NotAnswered(fault)
    return dict(said)


def _fault(error: Mapping[str, str]) -> str:
    return f"{error['found']}; wanted {error['wanted']}; {error['do']}"
