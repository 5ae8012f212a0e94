"""What both HTTP APIs share: one shape of faults, times with a zone, and no parameter that nobody knows.

A fault is answered as {"error": {found, wanted, do}, "errors": […]}: `errors` lists all of them, `error` is the first.
To people who open an address in a browser it is a page (fault_page.py).
Knows no service.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel, BeforeValidator
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection

from shared.contract import Moment
from shared.errors import Transient, redact, shortened
from shared.fault_page import FaultPages, is_for_people
from shared.logs import get_logger

log = get_logger(__name__)

_SHOWN_CHARACTERS = 80
_LOOKED_AT_CHARACTERS = 4096
_NAME_CHARACTERS = 200
FAULTS_SHOWN = 50
_CHECKED = ("/api/", "/whip/")  # a page's own address may carry whatever its script puts there
_ISO_TIME = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}")
_SAYS_WHAT_IS_WANTED = re.compile(r"[:,;] (?:must be|wanted) ")
_SECRET_FIELD = re.compile(r"password|secret|token|key", re.IGNORECASE)
_MEANINGS = {
    400: "a parameter or the body cannot be used",
    401: "the token is missing or wrong",
    403: "the caller may not do this",
    404: "there is no such thing",
    405: "the address does not take this method",
    408: "the request did not come in time",
    409: "the present state does not allow it",
    410: "it has ended",
    412: "the thing was changed meanwhile",
    413: "the body is too long",
    414: "the address is too long",
    415: "the body is of another type",
    421: "the Host is no name of this service",
    422: "a value cannot be used",
    429: "the caller asks too often, or for too much at once",
    431: "the headers are too many or too long",
    500: "a bug: see the log",
    503: "a part that is needed does not answer yet",
}

# What the server, the access check, and a service that starts or stops may answer anywhere; a route documents the rest.
OF_EVERY_ROUTE = (400, 401, 403, 404, 408, 413, 414, 415, 421, 429, 431, 500, 503)


class FaultText(BaseModel):
    """What was found, what was wanted, and what to do."""

    found: str
    wanted: str
    do: str


class FaultOut(BaseModel):
    """Every answer that is no success: `errors` are all faults, `error` is the first of them."""

    error: FaultText
    errors: list[FaultText]


class ApiFault(HTTPException):
    """Ends a request with a status and one fault; `ApiFault.of_lines` with several."""

    def __init__(self, status: int, found: str, wanted: str, do: str) -> None:
        super().__init__(status)
        self.texts = [FaultText(found=found, wanted=wanted, do=do)]

    @classmethod
    def of_lines(cls, status: int, lines: Iterable[str], wanted: str, do: str) -> ApiFault:
        """Return a fault a line, as ConfigError lists them: 'where=found: must be …; what to do'; the first are enough.

        `wanted` and `do` stand where a line does not say them.
        """
        made = cls(status, "", wanted, do)
        made.texts = [_text_of(line, wanted, do) for line in itertools.islice(lines, FAULTS_SHOWN)]
        return made


def _text_of(line: str, wanted: str, do: str) -> FaultText:
    parts = _SAYS_WHAT_IS_WANTED.split(line, maxsplit=1)
    if len(parts) > 1:
        wanted, _, action = parts[1].partition("; ")
        return FaultText(found=parts[0], wanted=wanted, do=action or do)
    found, _, action = line.partition("; ")
    return FaultText(found=found, wanted=wanted, do=action or do)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return OpenAPI's description of these statuses, for `responses=` of a route."""
    return {status: {"model": FaultOut, "description": _MEANINGS[status]} for status in statuses}


def content(*kinds: str, status: int = 200) -> dict[int | str, dict[str, Any]]:
    """Return OpenAPI's description of a success that is no JSON, for a route with `response_class=Response`."""
    return {status: {"content": {kind: {} for kind in kinds}}}


def sent_body(kind: str, schema: Mapping[str, Any]) -> dict[str, Any]:  # Any: JSON
    """Return OpenAPI's description of a body that a route reads itself, for its `openapi_extra=`."""
    return {"requestBody": {"required": True, "content": {kind: {"schema": schema}}}}


def _refuse_bare_numbers(value: object) -> object:
    """Take ISO 8601 only: pydantic would read '2020' as seconds since 1970."""
    if isinstance(value, str) and _ISO_TIME.match(value):
        return (
            value.replace(" ", "+") if re.search(r"\d \d{2}:?\d{2}$", value) else value
        )  # + is a space in a query
    raise ValueError("wanted a time with its zone, such as 2026-03-29T12:00:00Z")


IsoTime = Annotated[Moment, BeforeValidator(_refuse_bare_numbers)]  # UTC, 1970 to 2200


class _App(FastAPI):
    """FastAPI, whose own answer to invalid parameters (422) does not exist here: see `_answer_invalid`."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            schema = super().openapi()
            for operation in (one for path in schema["paths"].values() for one in path.values()):
                if "HTTPValidationError" in str(operation["responses"].get("422")):
                    del operation["responses"]["422"]
            for name in ("HTTPValidationError", "ValidationError"):
                schema.get("components", {}).get("schemas", {}).pop(name, None)
        return super().openapi()


def make_app(title: str) -> FastAPI:
    """Return an application whose every fault has the one shape, and which refuses unknown query parameters."""
    app = _App(
        title=title,
        redirect_slashes=False,  # an address that is not there is answered as such, and names no Host
        docs_url=None,
        redoc_url=None,
        dependencies=[Depends(_refuse_unknown_parameters)],
        responses=documented(*OF_EVERY_ROUTE),
    )
    app.add_exception_handler(HTTPException, _answer_fault)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    app.add_exception_handler(Transient, _answer_away)
    app.add_exception_handler(Exception, _answer_bug)
    return app


def describe(app: FastAPI) -> None:
    """Make the description of all routes now: their parameters are checked by it, and the first request would hold the
    event loop for a second to make it. Call it once all routes are there.
    """
    app.openapi()


async def _refuse_unknown_parameters(request: Request) -> None:
    if not request.url.path.startswith(_CHECKED):
        return
    known = _parameters_of(request)
    faults = [
        FaultText(
            found=f"the parameter '{shortened(name, _SHOWN_CHARACTERS)}'",
            wanted=_listed(known),
            do="leave it out",
        )
        for name in request.query_params
        if name not in known
    ]
    faults += [
        FaultText(found=f"the parameter '{name}', {len(given)} times", wanted="it once", do="leave one out")
        for name in known
        if len(given := request.query_params.getlist(name)) > 1
    ]
    if faults:
        fault = ApiFault(HTTPStatus.BAD_REQUEST, "", "", "")
        fault.texts = faults
        raise fault


def _parameters_of(request: Request) -> list[str]:
    """Return the query parameters that the address documents."""
    paths: Mapping[str, Any] = request.app.openapi()["paths"]  # Any: JSON; made once by FastAPI, then kept
    operation = paths.get(request.scope["route"].path, {}).get(request.method.lower(), {})
    return [one["name"] for one in operation.get("parameters", ()) if one["in"] == "query"]


def _listed(names: Sequence[str]) -> str:
    return f"any of {', '.join(names)}" if names else "no parameter"


# -- answers


def fault_response(
    status: int, texts: Sequence[FaultText], headers: Mapping[str, str] | None = None
) -> Response:
    """Return the answer of the one shape, without secrets."""
    shown = [FaultText(**{name: redact(text) for name, text in one.model_dump().items()}) for one in texts]
    body = FaultOut(error=shown[0], errors=shown)
    return JSONResponse(body.model_dump(), status_code=status, headers=dict(headers or {}))


def answered(
    request: HTTPConnection, status: int, texts: Sequence[FaultText], headers: Mapping[str, str] | None = None
) -> Response:
    """Return the same, or a page where the app has `state.fault_pages` and a browser opens the address."""
    pages: FaultPages | None = getattr(request.app.state, "fault_pages", None)
    if pages is None:
        return fault_response(status, texts, headers)
    said = {**(headers or {}), "vary": "accept"}
    if not is_for_people(request.scope["method"], request.headers.get("accept")):
        return fault_response(status, texts, said)
    caller = request.scope.get("state", {}).get(
        "caller"
    )  # nobody is known behind a Host that is not this site's
    prefix = caller.prefix if caller is not None else None
    parts = [(text.found, text.wanted, text.do) for text in texts]
    return HTMLResponse(pages.page(parts, request.scope["path"], prefix), status_code=status, headers=said)


async def _answer_fault(request: Request, exc: Exception) -> Response:
    if not isinstance(exc, HTTPException):
        raise exc
    headers = dict(exc.headers or {})
    if isinstance(exc, ApiFault):
        if exc.status_code == HTTPStatus.UNAUTHORIZED:
            headers.setdefault("www-authenticate", "Bearer")
        return answered(request, exc.status_code, exc.texts, headers)
    is_missing = exc.status_code == HTTPStatus.NOT_FOUND
    text = FaultText(
        found="nothing is at this address" if is_missing else str(exc.detail),
        wanted="an address and method of this service",
        do="look for a slip in the address, or see /openapi.json",
    )
    return answered(request, exc.status_code, [text], headers)


async def _answer_invalid(request: Request, exc: Exception) -> Response:
    if not isinstance(exc, RequestValidationError):
        raise exc
    faults = [_invalid(error) for error in exc.errors()[:FAULTS_SHOWN]]
    return answered(request, HTTPStatus.BAD_REQUEST, faults)


def _invalid(error: Mapping[str, Any]) -> FaultText:  # Any: pydantic's own error mapping
    where, *path = error["loc"]
    name = ".".join(str(part) for part in path)
    if len(name) > _NAME_CHARACTERS:
        name = f"a name of {len(name):,} characters"
    if error["type"] == "json_invalid" or not name:
        return FaultText(found="a body that is not JSON", wanted="JSON", do="see /openapi.json for its form")
    message = str(error["msg"]).removeprefix("Value error, ").removeprefix("wanted ")
    found = f"{name} is missing" if error["type"] == "missing" else f"{name}={_value(error, name)}"
    return FaultText(found=found, wanted=message[:1].lower() + message[1:], do=f"change {where} '{name}'")


def _value(error: Mapping[str, Any], name: str) -> str:  # Any: as above
    """Return what was sent, unless it is a secret, or a field that nobody knows and that may hold one."""
    is_hidden = error["type"] == "extra_forbidden" or _SECRET_FIELD.search(name)
    return "…" if is_hidden else _shown(error.get("input"))


def _shown(value: object) -> str:
    text = repr(value)
    if (
        len(text) > _LOOKED_AT_CHARACTERS
    ):  # to redact all of it would hold the service, and part of a URL is not known
        return f"{len(text):,} characters"
    return redact(text)[:_SHOWN_CHARACTERS]


async def _answer_away(request: Request, exc: Exception) -> Response:
    log.warning("a request could not be answered", error=exc)
    text = FaultText(found="the database does not answer", wanted="a database", do="try again in a moment")
    return answered(request, HTTPStatus.SERVICE_UNAVAILABLE, [text], {"retry-after": "2"})


async def _answer_bug(request: Request, exc: Exception) -> Response:
    log.error("a request failed: this is a bug", exc_info=exc)
    text = FaultText(found="a fault of the service", wanted="none", do="see its log, and report what it says")
    return answered(request, HTTPStatus.INTERNAL_SERVER_ERROR, [text])


async def bounded_body(request: Request, limit_bytes: int) -> bytes:
    """Return the body; raises ApiFault (413) as soon as it is longer than `limit_bytes`."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > limit_bytes:
            raise ApiFault(413, "a body that is too long", f"at most {limit_bytes} bytes", "send less")
    return bytes(body)
