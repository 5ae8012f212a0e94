"""Who may change something by HTTP, as long as there are no users: a token, or this machine. Knows no service.

A page in the user's browser must not be able to: it can send to loopback addresses, but not without an Origin, not
JSON without asking first (Fetch standard, CORS preflight), and by a name of its own only with that name as Host (DNS
rebinding). So a change has to be JSON, of the same origin or of none, and without a token addressed to a loopback name.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Caller:
    """What is known of a request. Header values as sent, None where there is none; `peer` is an address."""

    peer: str | None
    host: str | None
    origin: str | None = None
    fetch_site: str | None = None
    content_type: str | None = None
    authorization: str | None = None

    @classmethod
    def of(cls, peer: str | None, header: Callable[[str], str | None]) -> Caller:
        """Return the caller of a request, whose `header` gives a value by its name in small letters."""
        return cls(
            peer=peer,
            host=header("host"),
            origin=header("origin"),
            fetch_site=header("sec-fetch-site"),
            content_type=header("content-type"),
            authorization=header("authorization"),
        )


@dataclass(frozen=True, slots=True)
class Refusal:
    """An HTTP status, and why."""

    status: int
    message: str


def refusal(
    caller: Caller, token: str | None, content_type: str | None = "application/json"
) -> Refusal | None:
    """Return why `caller` may not change anything, or None when it may.

    `content_type`: what a change is made of. It has to be one that a page of another site cannot send without asking.
    None: nothing is changed, but what is read is for the same callers (live pictures of a camera).
    """
    what, are = ("changes", "are taken from") if content_type else ("live pictures", "are shown on")
    if caller.origin is not None and not _is_same_origin(caller.origin, caller.host):
        return Refusal(403, "the request comes from a page of another site; use clipwatch's own address")
    if caller.fetch_site not in (None, "same-origin", "none"):
        return Refusal(403, "the request comes from a page of another site; use clipwatch's own address")
    if token is not None:
        sent = (caller.authorization or "").removeprefix("Bearer ")
        if not hmac.compare_digest(sent.encode(), token.encode()):
            return Refusal(
                401, f"{what} need the header 'Authorization: Bearer …' with the value of API_TOKEN"
            )
    elif not (_is_loopback(caller.peer) and _is_loopback(_name(caller.host))):
        return Refusal(
            403,
            f"{what} {are} this machine only (http://127.0.0.1:…); set API_TOKEN to allow others",
        )
    sent_type = (caller.content_type or "").split(";")[0].strip().lower()
    if content_type is not None and sent_type != content_type:
        return Refusal(415, f"wanted the header 'Content-Type: {content_type}'")
    return None


def _is_same_origin(origin: str, host: str | None) -> bool:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return host is not None and parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower()


def _name(host: str | None) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname if host else None
    except ValueError:
        return None


def _is_loopback(name: str | None) -> bool:
    if name == "localhost":
        return True
    try:
        return name is not None and ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
