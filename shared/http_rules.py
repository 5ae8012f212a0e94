"""What each route of an HTTP API asks of a request, as a table. A route without a row answers nobody.

Each service has its own; the access middleware checks them before a body is read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from shared.access import Caller, Refusal
from shared.open_streams import StreamKind
from shared.permissions import Identity, Permission

JSON_TYPE = "application/json"


# What a parameter of a path may be, by its name; checked before anything else sees it. No name: TEXT_PARAMETER.
PathPatterns = Mapping[str, re.Pattern[str]]
TEXT_PARAMETER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~:-]{0,127}")


@dataclass(frozen=True, slots=True)
class RouteRule:
    """One row. `content_type`: what a change has to be made of (or one of `other_types`); a page of another site cannot
    send that unasked.

    PUBLIC rows that only read, and OWN rows, answer pages of every site: the first hold no data, the second ask for a
    credential that no browser sends by itself. All others answer pages of the same origin only.
    """

    permission: Permission
    body_max_bytes: int = 0
    content_type: str | None = None
    stream: StreamKind | None = None  # stays open: counted per caller
    is_shown_same_site: bool = False  # read by pages of another port of this host too, such as Grafana's
    is_identified: bool = False  # PUBLIC or OWN, and yet wants to know who calls: `identity_of`
    parameters: PathPatterns = field(default_factory=dict)  # for this route only, before those of the service
    other_types: tuple[str, ...] = ()

    @property
    def content_types(self) -> tuple[str, ...]:
        """All that a body may be of; none: anything."""
        return () if self.content_type is None else (self.content_type, *self.other_types)

    @property
    def is_stream(self) -> bool:
        return self.stream is not None

    def is_open_to(self, method: str) -> bool:
        """Whether pages of every site may send it."""
        is_read = method in ("GET", "HEAD")
        return self.permission is Permission.OWN or (self.permission is Permission.PUBLIC and is_read)


# (method, path as the route writes it: '/api/events/{event_id}'); HEAD counts as GET
RouteRules = Mapping[tuple[str, str], RouteRule]


class Authenticator(Protocol):
    """Says who calls. Services put in their own."""

    async def identify(self, caller: Caller) -> Identity | Refusal:
        """Return the caller's identity, or why there is none (401, 403, 429, 503)."""

    async def is_current(self, identity: Identity) -> bool:
        """Whether somebody who was let in would still be, with the same rights: open streams ask now and then."""


PUBLIC = RouteRule(Permission.PUBLIC)
LOOK = RouteRule(Permission.LOOK)
CHANGE = RouteRule(Permission.OPERATE, 64 * 1024, JSON_TYPE)
