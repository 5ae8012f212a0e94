"""Who calls, from where, and whether its address, Host and origin are fine. Pure values; knows no service.

A page in the user's browser may be anybody's: it can send to loopback addresses, but not without an Origin or
Sec-Fetch-Site (Fetch standard), not JSON without asking first (CORS preflight), and by a name of its own only with that
name as Host (DNS rebinding). So every request needs a Host that is known here, and whatever is no public page or file
has to come from the same origin or from no page at all.

Headers of a proxy count only when it is one of TRUSTED_PROXIES. From anybody else they show that there is one that
nobody told of: its callers come from elsewhere, whatever its own address is. What asks in HTTP/1.0 is a proxy too:
nginx sends that, its own Host and nothing else, where its configuration says no more than an address.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from shared.errors import shortened

FORWARDING_HEADERS = (
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-prefix",
    "x-real-ip",
    "via",
)
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]{1,64}){1,8}")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9]([A-Za-z0-9._-]{0,252}))(:[0-9]{1,5})?")
_HEADER_SHOWN = 4096  # characters of a forwarding header that are looked at: some hundred addresses


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not answered: an HTTP status, what was found, and what to do (`message`).

    `reason` is the label of the metric.
    """

    status: int
    message: str
    found: str = "a caller who may not do this"
    wanted: str = "somebody who may do that"
    reason: str = "credentials"
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Caller:
    """What is known of a request. Header values as sent, None where there is none.

    `peer` holds the connection, `address` is who asks behind trusted proxies; both None for a local socket without
    one. `host`, `scheme` and `prefix` are what the caller's browser shows, `prefix` without a slash at its end.
    """

    peer: str | None
    host: str | None
    address: str | None = None
    scheme: str = "http"
    prefix: str = ""
    is_local: bool = False
    method: str = "GET"
    path: str = "/"
    query: str = ""
    origin: str | None = None
    fetch_site: str | None = None
    content_type: str | None = None
    authorization: str | None = None
    cookie: str | None = None

    @property
    def bearer(self) -> str | None:
        """The token of the Authorization header; None when there is none."""
        scheme, _, token = (self.authorization or "").partition(" ")
        return token.strip() if scheme.lower() == "bearer" else None


@dataclass(frozen=True, slots=True)
class NetworkTrust:
    """By which names this service is called, and which proxies say who calls. Names in small letters, without ports."""

    hosts: frozenset[str] = frozenset()
    proxies: tuple[Network, ...] = ()
    prefix: str = ""  # under which a proxy shows the site, without a slash at its end

    @classmethod
    def of(cls, hosts: Iterable[str] = (), proxies: Iterable[Network] = ()) -> NetworkTrust:
        """Return the trust with this machine's own names beside `hosts`."""
        own = socket.gethostname().lower().rstrip(".")
        return cls(frozenset({*hosts, own, f"{own.partition('.')[0]}.local"}), tuple(proxies))

    def knows(self, host: str | None) -> bool:
        """Whether `host` is a Host header that names this service.

        An address cannot be rebound to another by DNS, so that all of them are fine.
        """
        name = host_name(host)
        return name is not None and (name == "localhost" or name in self.hosts or _address(name) is not None)

    def is_proxy(self, address: str | None) -> bool:
        found = _address(address)
        return found is not None and any(
            found.version == network.version and found in network for network in self.proxies
        )

    def without_prefix(self, path: str) -> str | None:
        """Return a path as the app knows it, whether a proxy took the prefix away or not; None for the prefix alone."""
        if not self.prefix or not (path + "/").startswith(f"{self.prefix}/"):
            return path
        return path.removeprefix(self.prefix) or None

    def caller(self, request: RequestHead) -> Caller:
        """Return who calls."""
        header = request.header
        is_through_proxy = self.is_proxy(request.peer)
        host, scheme, prefix = header("host"), request.scheme, self.prefix
        if is_through_proxy:
            host = _last(header("x-forwarded-host")) or host
            said = (_last(header("x-forwarded-proto")) or "").lower()
            scheme = said if said in ("http", "https") else scheme
            said = (_last(header("x-forwarded-prefix")) or "").rstrip("/")
            prefix = said if is_prefix(said) else prefix
        return Caller(
            peer=request.peer,
            host=host,
            address=self._client(request.peer, header("x-forwarded-for"))
            if is_through_proxy
            else request.peer,
            scheme=scheme,
            prefix=prefix,
            is_local=(
                not self.proxies
                and request.version != "1.0"
                and is_loopback(request.peer)
                and is_loopback(host_name(host))
                and all(header(name) is None for name in FORWARDING_HEADERS)
            ),
            method=request.method,
            path=request.path,
            query=request.query,
            origin=header("origin"),
            fetch_site=header("sec-fetch-site"),
            content_type=header("content-type"),
            authorization=header("authorization"),
            cookie=header("cookie"),
        )

    def _client(self, peer: str | None, forwarded_for: str | None) -> str | None:
        """Return the last address of X-Forwarded-For that is no proxy of ours: what is left of it anybody may write."""
        client = peer
        for part in reversed((forwarded_for or "")[-_HEADER_SHOWN:].split(",")):
            found = _address(_without_port(part.strip()))
            if found is None:
                return client
            client = str(found)
            if not self.is_proxy(client):
                return client
        return client


@dataclass(frozen=True, slots=True)
class RequestHead:
    """What a connection and the head of a request say; `header` gives a value by its name in small letters."""

    peer: str | None
    header: Callable[[str], str | None]
    scheme: str = "http"
    version: str = "1.1"
    method: str = "GET"
    path: str = "/"
    query: str = ""


def origin_refusal(caller: Caller, *, is_same_site_fine: bool = False) -> Refusal | None:
    """Return why a request comes from a page that may not send it; None when it may, or comes from no page.

    `is_same_site_fine`: a page of another port of this machine may show it, but not read it (no CORS).
    """
    is_same_site = is_same_site_fine and caller.fetch_site == "same-site" and caller.method in ("GET", "HEAD")
    foreign = Refusal(
        403,
        "use clipwatch's own address",
        "the request comes from a page of another site",
        "one of clipwatch's own pages, or no page",
        "origin",
    )
    if caller.fetch_site not in (None, "same-origin", "none") and not is_same_site:
        return foreign
    if caller.origin is not None and not is_same_site and not _is_same_origin(caller.origin, caller.host):
        return foreign
    return None


def host_refusal(caller: Caller, trust: NetworkTrust) -> Refusal | None:
    """Return why the name is not answered under which the request reached us."""
    if trust.knows(caller.host):
        return None
    return Refusal(
        421,
        "use one of those, or add the name to ALLOWED_HOSTS",
        f"the Host {shortened(caller.host or '', 80)!r}",
        "localhost, an IP address, the name of this machine, or one of ALLOWED_HOSTS",
        "host",
    )


def is_prefix(path: str) -> bool:
    """Whether `path` can be put before every path of the site: '/cams', '/home/cams'."""
    return _PREFIX.fullmatch(path) is not None and not {".", ".."} & set(path.split("/"))


def host_name(host: str | None) -> str | None:
    """Return the name or address of a Host header in small letters, without port and brackets; None for no Host."""
    if host is None or len(host) > 300 or not _HOST.fullmatch(host):
        return None
    name = host.rpartition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]
    return name.lower().removesuffix(".")


def is_loopback(name: str | None) -> bool:
    """Whether a name or address, without a port, is this machine's loopback."""
    if name == "localhost":
        return True
    found = _address(name)
    return found is not None and found.is_loopback


def _is_same_origin(origin: str, host: str | None) -> bool:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return host is not None and parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower()


def _address(text: str | None) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    if text is None or len(text) > 64:
        return None
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    return found.ipv4_mapped or found if isinstance(found, ipaddress.IPv6Address) else found


def _without_port(text: str) -> str:
    """Return the address of an entry such as '192.0.2.1:443' or '[2001:db8::1]:443'."""
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text


def _last(value: str | None) -> str | None:
    """Return the last part of a list: the one that the nearest proxy wrote."""
    return (value or "")[-_HEADER_SHOWN:].rpartition(",")[2].strip() or None
