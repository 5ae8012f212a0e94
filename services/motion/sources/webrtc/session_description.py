"""Bounds on the session descriptions of publishers, viewers and servers, before aiortc reads them. Pure.

aiortc opens transports for each medium and sends checks to each candidate: 64 KiB of candidates kept a loop busy for
half a second and had packets sent to 1,100 addresses of the sender's choice (measured). Here descriptions are cut to
what browsers, phones and servers send, and to addresses where a peer may be.
"""

from __future__ import annotations

import ipaddress
import re

from shared.errors import Permanent

MAX_SDP_BYTES = 64 * 1024
MAX_LINES = 1000  # Chromium's offer of video and sound has 160 to 250
MAX_LINE_BYTES = 4096
MAX_MEDIA = 8
MAX_CANDIDATES = 32
MAX_NAMES = 8  # candidates by mDNS, each of which is asked for in the network
FIRST_PORT = 1024  # peers use high ports; below are other services (DNS, NTP, SNMP)
_NAME = re.compile(r"[A-Za-z0-9-]{1,63}\.local", re.IGNORECASE)


class BadSessionDescription(Permanent):
    """A session description that cannot be answered. The message is one line."""


def bounded(sdp: str) -> str:
    """Return `sdp` without the candidates that are not checked; raise BadSessionDescription when it is too large."""
    if len(sdp.encode(errors="replace")) > MAX_SDP_BYTES:
        raise BadSessionDescription(f"a session description of more than {MAX_SDP_BYTES} bytes")
    lines = sdp.splitlines()
    if len(lines) > MAX_LINES:
        raise BadSessionDescription(
            f"a session description of {len(lines)} lines, wanted at most {MAX_LINES}"
        )
    if any(len(line) > MAX_LINE_BYTES for line in lines):
        raise BadSessionDescription(f"a line of more than {MAX_LINE_BYTES} bytes in the session description")
    if (n_media := sum(line.startswith("m=") for line in lines)) > MAX_MEDIA:
        raise BadSessionDescription(f"a session description of {n_media} media, wanted at most {MAX_MEDIA}")
    kept: list[str] = []
    n_candidates = n_names = 0
    for line in lines:
        if line.startswith("a=candidate:"):
            host = _checked_host(line)
            is_name = host is not None and _NAME.fullmatch(host) is not None
            if host is None or n_candidates >= MAX_CANDIDATES or (is_name and n_names >= MAX_NAMES):
                continue
            n_candidates += 1
            n_names += is_name
        kept.append(line)
    return "\r\n".join((*kept, ""))


def _checked_host(line: str) -> str | None:
    """Return the address of a candidate (RFC 8839 §5.1) that is checked; None of one that is not."""
    parts = line.split()
    if len(parts) < 8 or parts[2].lower() != "udp" or not parts[5].isascii() or not parts[5].isdigit():
        return None
    if not FIRST_PORT <= int(parts[5][:6]) <= 65535:
        return None
    return parts[4] if _NAME.fullmatch(parts[4]) or _is_a_hosts(parts[4]) else None


def _is_a_hosts(text: str) -> bool:
    """Whether one other machine, or this one by an address of its network, has the address `text`.

    Not among them: the loopback, where our neighbours listen that trust it; groups; link-local addresses, of which
    clouds have one for their machines' secrets (169.254.169.254); an IPv4 address in an IPv6 one.
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and (
        address.ipv4_mapped or address.sixtofour or address.teredo
    ):
        return False
    return not (
        address.is_loopback
        or address.is_multicast
        or address.is_unspecified
        or address.is_link_local
        or address.is_reserved
    )
