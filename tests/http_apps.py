"""Apps behind the access check, in process, as a service has them behind its server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import httpx
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from shared.access import Caller, NetworkTrust, Refusal
from shared.http_access import BASE_RULES, AccessControl, HttpAccess, TokenAuthenticator
from shared.http_rules import Authenticator, PathPatterns, RouteRules
from shared.permissions import Identity, Permission

EVERYTHING = Identity("a test", frozenset(Permission))


class KnownIdentity:
    """Says that everybody is the same."""

    def __init__(self, identity: Identity | Refusal = EVERYTHING) -> None:
        self.identity = identity
        self.asked: list[Caller] = []
        self.n_looks = 0  # at whether somebody is still the same

    async def identify(self, caller: Caller) -> Identity | Refusal:
        self.asked.append(caller)
        return self.identity

    async def is_current(self, identity: Identity) -> bool:
        self.n_looks += 1
        return self.identity == identity


def guarded(
    app: FastAPI,
    rules: RouteRules,
    patterns: PathPatterns | None = None,
    authenticator: Authenticator | None = None,
    trust: NetworkTrust | None = None,
) -> HttpAccess:
    """Return `app` behind the access check."""
    access = AccessControl(trust or NetworkTrust(), authenticator or TokenAuthenticator())
    access.rules.update(rules)
    access.patterns.update(patterns or {})
    return HttpAccess(app, access)


def client_of(
    app: Any, peer: str = "127.0.0.1", **arguments: Any
) -> httpx.AsyncClient:  # Any: an ASGI app; httpx's
    """Return a client of an app that comes from `peer`."""
    transport = httpx.ASGITransport(app, client=(peer, 5000), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, **{"base_url": "http://127.0.0.1:8080", **arguments})


def routes_of(app: FastAPI) -> Iterator[tuple[str, str]]:
    """Yield method and path of every route of an app; a folder of files is read."""
    for route in iter_route_contexts(app.routes):
        for method in route.methods or {"GET"}:
            yield ("GET" if method == "HEAD" else method), route.path or ""


def faults_of_rules(app: FastAPI, rules: RouteRules) -> Mapping[str, set[tuple[str, str]]]:
    """Return the routes without a row, and the rows without a route."""
    routes, rows = set(routes_of(app)), set(BASE_RULES) | set(rules)
    services = {("GET", "/healthz"), ("GET", "/readyz"), ("GET", "/metrics")}  # added by shared/runtime.py
    return {"without a row": routes - rows, "without a route": rows - routes - services}
