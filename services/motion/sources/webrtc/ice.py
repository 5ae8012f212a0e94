"""Which UDP ports and addresses WebRTC uses here, where a container or a firewall stands between us and our peers.

aioice binds a socket for each address of the machine, to a port that the system chooses, and names that address to the
peer. Neither can be set there, so the event loop in which a connection lives chooses the port, and the description is
changed on its way to the peer.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import re
import secrets
import socket
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from aioice.ice import get_host_addresses

from shared.logs import get_logger

log = get_logger(__name__)

_Protocol = TypeVar("_Protocol", bound=asyncio.BaseProtocol)
# addresses of nobody (RFC 5737, RFC 3849); nothing is sent to them, they stand for "out of here"
_OUTSIDE = {4: "192.0.2.1", 6: "2001:db8::1"}
_CANDIDATE = re.compile(r"^(a=candidate:\S+ \d+ \S+ \d+ )(\S+)( \d+ typ host\b.*)$")
_CONNECTION = re.compile(r"^(c=IN IP[46] )(\S+)$")


@dataclass(frozen=True, slots=True)
class PeerNetwork:
    """Where peers reach us: the UDP ports that may be used (none named: any), the addresses they are told (none named:
    this machine's own), and those of this machine that are bound (none named: all but the loopback)."""

    ports: Sequence[int] = ()
    addresses: tuple[str, ...] = ()
    bound: tuple[str, ...] = ()

    def new_loop(self) -> asyncio.AbstractEventLoop:
        """Return an event loop whose connections use no other ports and addresses."""
        return _PortLoop(self) if self.ports or self.addresses or self.bound else asyncio.new_event_loop()

    def describe(self, sdp: str) -> str:
        """Return our description with the addresses that peers are told."""
        return describe(sdp, self.addresses) if self.addresses else sdp


def require_candidates(sdp: str) -> str:
    """Return our description; raise TimeoutError when it names no address, since every port is taken for now."""
    if "a=candidate:" not in sdp:
        raise TimeoutError("no UDP port is left")
    return sdp


def describe(sdp: str, addresses: Sequence[str]) -> str:
    """Return `sdp` with `addresses` in the place of those of its host candidates, by address family.

    Candidates of a family that none of `addresses` has are left out: nobody reaches them.
    """
    lines: list[str] = []
    for line in sdp.splitlines():
        if found := _CANDIDATE.match(line):
            lines += [f"{found[1]}{told}{found[3]}" for told in _of_family(addresses, found[2])]
        elif (found := _CONNECTION.match(line)) and (told := _of_family(addresses, found[2])):
            lines.append(f"{found[1]}{told[0]}")
        else:
            lines.append(line)
    return "\r\n".join((*lines, ""))


def _of_family(addresses: Sequence[str], like: str) -> list[str]:
    version = ipaddress.ip_address(like).version
    return [address for address in addresses if ipaddress.ip_address(address).version == version]


def outward_addresses(versions: set[int]) -> set[str]:
    """Return this machine's address on the way out, for each IP version that has one: in a container the address that
    published ports lead to, since the networks without a way out have none published."""
    found = set()
    for version in versions & _OUTSIDE.keys():
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((_OUTSIDE[version], 9))
            except OSError:
                continue
            found.add(str(probe.getsockname()[0]))
    return found


def bound_address(host: str, bound: Collection[str]) -> str | None:
    """Return the address that is bound when aioice asks for `host`; None: none is.

    aioice never asks for the loopback, so a loopback address takes the place of the first that it asks for.
    """
    if host in bound:
        return host
    version = ipaddress.ip_address(host).version
    first = next((one for one in get_host_addresses(version == 4, version == 6)), None)
    if host != first:
        return None
    addresses = (ipaddress.ip_address(one) for one in bound)
    return next((str(one) for one in addresses if one.is_loopback and one.version == version), None)


class _PortLoop(asyncio.SelectorEventLoop):
    """Binds sockets that ask for any port to one of the network's ports.

    Where addresses are to be bound, only those are. Where peers are told another address, only the address on the way
    out is bound: a port that is open on two networks could belong to two connections.
    """

    def __init__(self, network: PeerNetwork) -> None:
        super().__init__()
        self._ports = network.ports or (0,)
        versions: set[int] = {ipaddress.ip_address(address).version for address in network.addresses}
        self._bound = set(network.bound) or outward_addresses(versions)

    async def create_datagram_endpoint(  # type: ignore[override]  # our callers' arguments, not all of asyncio's
        self,
        protocol_factory: Callable[[], _Protocol],
        local_addr: tuple[str, int] | None = None,
        **options: Any,  # Any: the base's own
    ) -> tuple[asyncio.DatagramTransport, _Protocol]:
        if local_addr is None or local_addr[1] != 0 or options:
            return await super().create_datagram_endpoint(protocol_factory, local_addr, **options)
        host = bound_address(local_addr[0], self._bound) if self._bound else local_addr[0]
        if host is None:
            raise OSError(errno.EADDRNOTAVAIL, "not to be bound")  # aioice goes on with the next address
        begin = secrets.randbelow(len(self._ports))
        for port in (*self._ports[begin:], *self._ports[:begin]):
            try:
                return await super().create_datagram_endpoint(protocol_factory, (host, port))
            except OSError as exc:
                if exc.errno != errno.EADDRINUSE:
                    raise
        log.warning(
            "no UDP port is left for WebRTC: widen WEBRTC_PORTS", first=self._ports[0], last=self._ports[-1]
        )
        raise OSError(errno.EADDRINUSE, "no port of WEBRTC_PORTS is left")
