"""Stands before the HTTP app of every service, and lets through what its table of rules allows.

Host -> length -> the route's row -> its ids -> the page that asks -> who calls -> permission -> content type -> size of
the body -> the app. A route without a row answers nobody; an address without a route is left to the app, which answers
404 or 405. Nothing of a body is read before all of that, and no more of it than the row says. Knows no service.
"""

from __future__ import annotations

import contextlib
import hmac
import re
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field

from fastapi import FastAPI, Request
from fastapi.routing import iter_route_contexts
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import RedirectResponse
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.access import (
    Caller,
    NetworkTrust,
    Refusal,
    RequestHead,
    host_refusal,
    origin_refusal,
)
from shared.http_api import ApiFault, FaultText, answered
from shared.http_rules import JSON_TYPE, LOOK, PUBLIC, TEXT_PARAMETER, Authenticator, RouteRule
from shared.json_bodies import json_fault
from shared.logs import get_logger
from shared.open_streams import RECHECK_S, OpenStreams, TooManyStreams, serve_while_allowed
from shared.permissions import Identity, Permission
from shared.rate_limit import FailureLimit, RefusalLog, address_key
from shared.settings import ServiceSettings

log = get_logger(__name__)
TOKENS_MAX, TOKENS_WINDOW_S = 20, 300.0  # wrong ones of an address
CALLER_HEADER = "x-clipwatch-caller"  # whom the recorder asks for; from who knows API_TOKEN only
TARGET_MAX = 8192  # characters of path and query together
PATH_MAX = 1024
ALL = frozenset(Permission)
API_TOKEN = "API_TOKEN"  # the key of its identity  # noqa: S105  # no token
_CALLER = re.compile(r"[\w.:/ -]{1,100}", re.ASCII)
NOBODY = Identity("nobody", frozenset(), frozenset())
# What every service has: its own routes of shared/runtime.py, and FastAPI's document.
BASE_RULES: dict[tuple[str, str], RouteRule] = {
    ("GET", "/healthz"): PUBLIC,
    ("GET", "/readyz"): PUBLIC,
    ("GET", "/metrics"): RouteRule(Permission.METRICS),
    ("GET", "/openapi.json"): LOOK,
}
# One policy for everything that is answered. blob: are live pictures, which the page's own script has read.
SECURITY_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "media-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


@dataclass(slots=True)
class TokenAuthenticator:
    """Tokens of the settings. With API_TOKEN everything needs it; without, everything is for this machine only."""

    api_token: str | None = None
    metrics_token: str | None = None

    async def identify(self, caller: Caller) -> Identity | Refusal:
        sent = caller.bearer
        if sent is not None and _is_token(sent, self.api_token):
            return Identity("API_TOKEN", ALL, key=API_TOKEN)
        if sent is not None and _is_token(sent, self.metrics_token):
            return Identity("METRICS_TOKEN", frozenset({Permission.METRICS}))
        if self.api_token is None and caller.is_local:
            return Identity("this machine", ALL)
        if self.api_token is None and self.metrics_token is None:
            return Refusal(403, _LOCAL_ONLY, "a caller who is not on this machine", "one on this machine")
        found = "no token" if sent is None else "a token that is not known"
        reason = "no_credentials" if sent is None else "wrong_credentials"
        return Refusal(401, _SEND_TOKEN, found, "the value of API_TOKEN", reason)

    async def is_current(self, identity: Identity) -> bool:  # noqa: ARG002 - the port has it
        return True  # settings change with a start only


_LOCAL_ONLY = "open http://127.0.0.1:… there, without a proxy; set API_TOKEN to allow others"
_SEND_TOKEN = "send the header 'Authorization: Bearer …' with it"  # noqa: S105  # no token


@dataclass(slots=True)
class AccessControl:
    """Who may do what in one service. A service adds its `rules` and `patterns`, and may set `authenticator`."""

    network: NetworkTrust = field(default_factory=NetworkTrust.of)
    authenticator: Authenticator = field(default_factory=TokenAuthenticator)
    rules: dict[tuple[str, str], RouteRule] = field(default_factory=lambda: dict(BASE_RULES))
    patterns: dict[str, re.Pattern[str]] = field(default_factory=dict)
    count_refused: Callable[[str], None] = lambda _reason: None
    wrong_tokens: FailureLimit = field(default_factory=lambda: FailureLimit(TOKENS_MAX, TOKENS_WINDOW_S))
    refusals: RefusalLog = field(default_factory=lambda: RefusalLog(log))
    streams: OpenStreams = field(default_factory=OpenStreams)

    async def check(self, app: FastAPI, scope: Scope) -> tuple[RouteRule | None, Identity] | Refusal:
        """Return the row of the route that a request is for and who calls, or why it is refused.

        No row: no route takes it, so that the app says 404 or 405.
        """
        head = _head(scope)
        caller = self.network.caller(head)
        if refusal := host_refusal(caller, self.network) or _length_refusal(head):
            return refusal
        scope["state"]["caller"] = caller
        found = _route(app, scope)
        if found is None:
            return None, NOBODY
        path, parameters = found
        method = "GET" if head.method == "HEAD" else head.method
        rule = self.rules.get((method, path))
        if rule is None:
            return Refusal(403, "report this as a bug", f"{method} {path}", "a route with a rule", "no_rule")
        if refusal := self._unfit(rule, parameters):
            return refusal
        if not rule.is_open_to(method):
            refusal = origin_refusal(caller, is_same_site_fine=rule.is_shown_same_site)
            if refusal is not None:
                return refusal
        identity = await self._identity(rule, caller, scope)
        if isinstance(identity, Refusal):
            return identity
        scope["state"]["key"] = _stream_key(identity, caller, head)
        return _content_refusal(rule, caller, Headers(scope=scope)) or (rule, identity)

    def _unfit(self, rule: RouteRule, parameters: MutableMapping[str, object]) -> Refusal | None:
        for name, value in parameters.items():
            pattern = rule.parameters.get(name) or self.patterns.get(name, TEXT_PARAMETER)
            if not pattern.fullmatch(str(value)):
                what = name.removesuffix("_id").replace("_", " ")
                return Refusal(
                    404, "look in the list of them", f"no such {what}", f"the id of a {what}", "id"
                )
        return None

    async def _identity(self, rule: RouteRule, caller: Caller, scope: Scope) -> Identity | Refusal:
        is_for_all = rule.permission in (Permission.PUBLIC, Permission.OWN)
        if is_for_all and not rule.is_identified:
            return NOBODY
        identity = await self.authenticator.identify(caller)
        if isinstance(identity, Refusal):
            refusal = self._limited(identity, caller)
            if not is_for_all or refusal.status == 429:
                return refusal
            if refusal.reason == "wrong_credentials":
                self.note(refusal, caller.address)
            scope["state"]["refusal"] = refusal
            return NOBODY
        return identity if identity.may(rule.permission) else not_allowed(identity, rule.permission)

    def _limited(self, refusal: Refusal, caller: Caller) -> Refusal:
        """Count a wrong token; from an address with too many of them all are answered alike.

        A right one still counts there: its 16 characters cannot be tried out in any time, and nobody who shares an
        address with others, as behind a proxy, shall keep them out.
        """
        if refusal.reason != "wrong_credentials":
            return refusal
        key = address_key(caller.address)
        wait_s = self.wrong_tokens.wait_s(key)
        if wait_s:
            do = f"wait {max(1, round(wait_s))} s"
            return Refusal(429, do, "too many wrong tokens", "fewer of them", "limited", wait_s)
        self.wrong_tokens.count(key)
        return refusal

    def note(self, refusal: Refusal, address: str | None) -> None:
        """Count a refusal; log one of wrong credentials a minute and address."""
        self.count_refused(refusal.reason)
        if refusal.reason in ("wrong_credentials", "limited"):
            self.refusals.warn("a token was refused", address_key(address), status=refusal.status)


def access_control(settings: ServiceSettings) -> AccessControl:
    """Return who may do what as the settings say it, as long as a service has no users."""
    api, metrics = (
        token.get_secret_value() if token else None for token in (settings.api_token, settings.metrics_token)
    )
    return AccessControl(settings.network_trust, TokenAuthenticator(api, metrics))


def identity_of(request: Request) -> Identity:
    """Return who calls; nobody, who sees no camera, where the row of a route asks for nobody."""
    found = request.scope.get("state", {}).get("identity", NOBODY)
    return found if isinstance(found, Identity) else NOBODY


def refusal_of(request: Request) -> Refusal | None:
    """Return why it is not known who calls, on a route that answers nobody too and asks who it is."""
    found = request.scope.get("state", {}).get("refusal")
    return found if isinstance(found, Refusal) else None


def stream_key_of(request: Request) -> str:
    """Return by what the streams of a caller are counted: a user, a token, or an address."""
    return str(request.scope["state"]["key"])


def caller_of(request: Request) -> Caller:
    """Return what the access check knows of a request: its address, Host, scheme and prefix behind proxies."""
    found = request.scope["state"]["caller"]
    assert isinstance(found, Caller)
    return found


def require(request: Request, permission: Permission) -> None:
    """Raise ApiFault (403) unless the caller has `permission`, where a body says what is asked for."""
    identity = identity_of(request)
    if not identity.may(permission):
        raise fault_of(not_allowed(identity, permission))


def not_allowed(identity: Identity, permission: Permission) -> Refusal:
    """Return the answer to somebody who is known, and lacks a permission."""
    do = "ask an administrator for the role, or use another token"
    return Refusal(403, do, f"{identity.name[:80]!r}", f"the permission '{permission}'", "permission")


class HttpAccess:
    """The ASGI app that asks AccessControl first; every answer of it and of the app has SECURITY_HEADERS."""

    def __init__(self, app: FastAPI, access: AccessControl, recheck_s: float = RECHECK_S) -> None:
        self._app, self._access, self._recheck_s = app, access, recheck_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return  # no service has websockets or a lifespan
        path = self._access.network.without_prefix(scope["path"])
        if path is None:  # relative links of the page would miss it
            address = f"{self._access.network.prefix}/"
            await RedirectResponse(address, 308)(scope, receive, _Exchange(receive, send, 0).send)
            return
        scope["path"] = path
        scope["state"] = dict(scope.get("state", {}))
        found = await self._access.check(self._app, scope)
        if isinstance(found, Refusal):
            await self._refuse(found, scope, receive, send)
            return
        rule, scope["state"]["identity"] = found
        exchange = _Exchange(receive, send, rule.body_max_bytes if rule else 0)
        if rule is not None and rule.content_type == JSON_TYPE:
            try:
                refusal = await exchange.json_refusal()
            except ApiFault:
                refusal = too_long(rule.body_max_bytes)
            if refusal is not None:
                await self._refuse(refusal, scope, receive, send)
                return
        if rule is None or rule.stream is None:
            await self._app(scope, exchange.receive, exchange.send)
            return
        with contextlib.ExitStack() as stream:
            try:
                stream.enter_context(self._access.streams.opened(rule.stream, scope["state"]["key"]))
            except TooManyStreams as exc:
                await self._refuse(too_many_streams(exc), scope, receive, send)
                return
            await self._serve_stream(scope, exchange)

    async def _serve_stream(self, scope: Scope, exchange: _Exchange) -> None:
        """Serve an answer that stays open for as long as its caller may have it."""

        async def is_allowed() -> bool:
            who = scope["state"]["identity"]
            return not exchange.is_answered or await self._access.authenticator.is_current(who)

        serving = self._app(scope, exchange.receive, exchange.send)
        if not await serve_while_allowed(serving, is_allowed, self._recheck_s):
            await exchange.send({"type": "http.response.body", "body": b""})

    async def _refuse(self, refusal: Refusal, scope: Scope, receive: Receive, send: Send) -> None:
        caller = scope["state"].get("caller")
        self._access.note(refusal, caller.address if caller else None)
        await self._refused(scope, refusal)(scope, receive, _Exchange(receive, send, 0).send)

    def _refused(self, scope: Scope, refusal: Refusal) -> ASGIApp:
        headers = {"cache-control": "no-store"}
        if refusal.status == 401:
            headers["www-authenticate"] = "Bearer"
        if refusal.retry_after_s is not None:
            headers["retry-after"] = str(max(1, round(refusal.retry_after_s)))
        text = FaultText(found=refusal.found, wanted=refusal.wanted, do=refusal.message)
        asked = HTTPConnection({**scope, "app": self._app})
        return answered(asked, refusal.status, [text], headers)


def too_many_streams(exc: TooManyStreams) -> Refusal:
    """Return the answer to a caller who has as many streams as one may have."""
    do = "close one of those pages or programs, and try again"
    return Refusal(429, do, str(exc), "fewer of them", "streams", retry_after_s=10.0)


def _stream_key(identity: Identity, caller: Caller, head: RequestHead) -> str:
    told = head.header(CALLER_HEADER)
    if told is not None and identity.key == API_TOKEN and _CALLER.fullmatch(told):
        return told
    return identity.key or address_key(caller.address)


def _head(scope: Scope) -> RequestHead:
    client = scope.get("client")
    return RequestHead(
        peer=client[0] if client else None,
        header=Headers(scope=scope).get,
        scheme=scope.get("scheme", "http"),
        version=scope.get("http_version", "1.1"),
        method=scope["method"],
        path=scope["path"],
        query=scope.get("query_string", b"").decode("latin-1"),
    )


def _length_refusal(head: RequestHead) -> Refusal | None:
    if len(head.path) + len(head.query) > TARGET_MAX or len(head.path) > PATH_MAX:
        wanted = f"at most {PATH_MAX} characters, {TARGET_MAX} with its parameters"
        return Refusal(414, "ask for less at once", "an address that is too long", wanted, "length")
    return None


def _route(app: FastAPI, scope: Scope) -> tuple[str, MutableMapping[str, object]] | None:
    """Return the path and the parameters of the route that `app` will choose; None when none takes the request."""
    asked = {name: scope[name] for name in ("type", "method", "path", "root_path") if name in scope}
    for route in iter_route_contexts(app.routes):
        match, child = route.matches(dict(asked))
        if match is Match.FULL:
            return route.path or "", child.get("path_params", {})
    return None


def _content_refusal(rule: RouteRule, caller: Caller, headers: Headers) -> Refusal | None:
    sent = (caller.content_type or "").split(";")[0].strip().lower()
    if rule.content_type is not None and sent not in rule.content_types:
        do = f"send the header 'Content-Type: {rule.content_type}'"
        return Refusal(415, do, "a body of another type", " or ".join(rule.content_types), "content_type")
    length = headers.get("content-length", "0")
    if length.isdecimal() and int(length[:20]) > rule.body_max_bytes:
        return too_long(rule.body_max_bytes)
    return None


def too_long(limit_bytes: int) -> Refusal:
    """Return the answer to a body that is longer than its row says."""
    wanted = f"at most {limit_bytes} bytes" if limit_bytes else "none"
    return Refusal(413, "send less", "a body that is too long", wanted, "body")


@dataclass(slots=True)
class _Exchange:
    """A request and its answer: bounds what is read, adds SECURITY_HEADERS to what is sent."""

    inner_receive: Receive
    inner_send: Send
    limit_bytes: int
    n_bytes: int = 0
    is_answered: bool = False
    _read: Message | None = None  # the whole body, when it was looked at before the app

    async def json_refusal(self) -> Refusal | None:
        """Read the whole body, which the app then gets at once; return why it is refused: it is no JSON."""
        body = bytearray()
        while True:
            message = await self.receive()
            if message["type"] != "http.request":
                self._read = message
                return None
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        self._read = {"type": "http.request", "body": bytes(body), "more_body": False}
        if not body or (fault := json_fault(bytes(body))) is None:
            return None
        return Refusal(400, "see /openapi.json for its form", fault, "a mapping of JSON (RFC 8259)", "json")

    async def receive(self) -> Message:
        """Return the next part of the body; raises ApiFault (413) as soon as that is too long."""
        if self._read is not None:
            message, self._read = self._read, None
            return message
        message = await self.inner_receive()
        if message["type"] != "http.request":
            return message
        self.n_bytes += len(message.get("body", b""))
        if self.n_bytes <= self.limit_bytes:
            return message
        if self.is_answered:  # a stream that looks whether its reader is still there
            return {"type": "http.disconnect"}
        raise fault_of(too_long(self.limit_bytes))

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.is_answered = True
            headers = MutableHeaders(scope=message)
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value)
        await self.inner_send(message)


def fault_of(refusal: Refusal) -> ApiFault:
    """Return a refusal as a route raises it."""
    return ApiFault(refusal.status, refusal.found, refusal.wanted, refusal.message)


def _is_token(sent: str, token: str | None) -> bool:
    return token is not None and hmac.compare_digest(sent.encode(), token.encode())
