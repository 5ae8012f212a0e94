"""What each route of an HTTP API asks of a request, as a table. A route without a row answers nobody.

Each service has its own; the access middleware checks them before a body is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from shared.access import Caller, Refusal
from shared.permissions import Identity, Permission

JSON_TYPE = "application/json"


@dataclass(frozen=True, slots=True)
class RouteRule:
    """One row. `content_type`: what a change has to be made of; a page of another site cannot send that unasked."""

    permission: Permission
    body_max_bytes: int = 0
    content_type: str | None = None
    is_stream: bool = False  # stays open: counted per caller


# (method, path as the route writes it: '/api/events/{event_id}'); HEAD counts as GET
RouteRules = Mapping[tuple[str, str], RouteRule]


class Authenticator(Protocol):
    """Says who calls. Services put in their own."""

    async def identify(self, caller: Caller) -> Identity | Refusal:
        """Return the caller's identity, or why there is none (401, 403, 429, 503)."""


LOOK = RouteRule(Permission.LOOK)
CHANGE = RouteRule(Permission.OPERATE, 64 * 1024, JSON_TYPE)
