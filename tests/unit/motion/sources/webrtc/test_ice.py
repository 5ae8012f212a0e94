"""The UDP ports and addresses of WebRTC: which are bound, and which are told."""

from __future__ import annotations

import asyncio
import re
import socket

import pytest
from aioice.ice import get_host_addresses
from aiortc import RTCConfiguration, RTCPeerConnection
from pydantic import ValidationError

from services.motion.settings import MotionServiceSettings
from services.motion.sources.webrtc.ice import (
    PeerNetwork,
    bound_address,
    describe,
    outward_addresses,
    require_candidates,
)
from services.motion.sources.webrtc.peer import EventLoopThread

SDP = "\r\n".join(
    (
        "v=0",
        "o=- 1 1 IN IP4 0.0.0.0",
        "m=video 50003 UDP/TLS/RTP/SAVPF 97",
        "c=IN IP4 172.18.0.4",
        "a=candidate:a1 1 udp 2130706431 172.18.0.4 50003 typ host",
        "a=candidate:b2 1 udp 1694498815 203.0.113.7 40001 typ srflx raddr 172.18.0.4 rport 50003",
        "a=candidate:c3 1 udp 2130706431 fd00::4 50004 typ host",
        "a=end-of-candidates",
        "",
    )
)


def test_peers_are_told_the_addresses_that_were_set() -> None:
    told = describe(SDP, ["192.0.2.10", "198.51.100.3"]).split("\r\n")
    assert [line for line in told if "candidate:" in line] == [
        "a=candidate:a1 1 udp 2130706431 192.0.2.10 50003 typ host",
        "a=candidate:a1 1 udp 2130706431 198.51.100.3 50003 typ host",
        "a=candidate:b2 1 udp 1694498815 203.0.113.7 40001 typ srflx raddr 172.18.0.4 rport 50003",
    ]
    assert "c=IN IP4 192.0.2.10" in told
    assert [line for line in told if "candidate:" not in line and line[:2] != "c="] == [
        line for line in SDP.split("\r\n") if "candidate:" not in line and line[:2] != "c="
    ]


def test_an_address_takes_the_place_of_those_of_its_family() -> None:
    told = describe(SDP, ["2001:db8::9"])
    assert "a=candidate:c3 1 udp 2130706431 2001:db8::9 50004 typ host\r\n" in told
    assert "172.18.0.4 50003 typ host" not in told


def test_without_addresses_nothing_is_changed() -> None:
    assert PeerNetwork().describe(SDP) == SDP
    assert PeerNetwork(ports=range(50000, 50004)).describe(SDP) == SDP


@pytest.fixture
def free_ports() -> list[int]:
    """Three ports that were free a moment ago."""
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(3)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def test_sockets_are_bound_to_the_ports_that_were_set_until_none_is_left(free_ports: list[int]) -> None:
    async def bind(n: int) -> list[int]:
        loop = asyncio.get_running_loop()
        made = [
            await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0))
            for _ in range(n)
        ]
        ports = [transport.get_extra_info("sockname")[1] for transport, _ in made]
        for transport, _ in made:
            transport.close()
        return ports

    loop = EventLoopThread("ports", PeerNetwork(ports=free_ports))
    try:
        assert sorted(loop.call(bind(3), 10)) == sorted(free_ports)
        with pytest.raises(OSError, match="no port of WEBRTC_PORTS is left"):
            loop.call(bind(4), 10)
    finally:
        loop.close()


def test_an_answer_that_names_no_address_is_none() -> None:
    assert require_candidates(SDP) == SDP
    with pytest.raises(TimeoutError, match="no UDP port is left"):
        require_candidates("v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 97\r\n")


def test_a_connection_takes_its_ports_from_those_that_were_set() -> None:
    """By aiortc itself: another version may bind its sockets in another way."""

    async def candidates() -> list[tuple[str, int]]:
        connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        connection.addTransceiver("video", direction="recvonly")
        await connection.setLocalDescription(await connection.createOffer())
        sdp = connection.localDescription.sdp
        await connection.close()
        found = re.findall(r"a=candidate:\S+ \d+ udp \d+ (\S+) (\d+) typ host", sdp)
        return [(address, int(port)) for address, port in found]

    ports = range(52000, 52050)
    for network in (PeerNetwork(ports), PeerNetwork(ports, ("192.0.2.10",))):
        loop = EventLoopThread("ports", network)
        try:
            found = loop.call(candidates(), 20)
        finally:
            loop.close()
        assert found
        assert {port for _, port in found} <= set(ports)
    outward = outward_addresses({4})
    assert not outward or {address for address, _ in found} == outward


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("WEBRTC_PORTS", "50000", "string"),
        ("WEBRTC_PORTS", "50019-50000", "wanted FIRST-LAST"),
        ("WEBRTC_PORTS", "80-90", "of 1024 to 65535"),
        ("WEBRTC_PORTS", "65000-70000", "of 1024 to 65535"),
        ("WEBRTC_ADDRESSES", "192.0.2.10, myhost.lan", "found 'myhost.lan', wanted IP addresses"),
    ],
)
def test_what_cannot_be_used_is_refused(
    name: str, value: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError, match=says):
        MotionServiceSettings()


def test_settings_name_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MotionServiceSettings().peer_network == PeerNetwork()
    monkeypatch.setenv("WEBRTC_PORTS", "50000-50019")
    monkeypatch.setenv("WEBRTC_ADDRESSES", "192.0.2.10, 2001:db8::9")
    network = MotionServiceSettings().peer_network
    assert network == PeerNetwork(range(50000, 50020), ("192.0.2.10", "2001:db8::9"))


def test_only_the_addresses_that_are_to_be_bound_are() -> None:
    own = get_host_addresses(True, False)
    assert bound_address("10.9.9.9", {"10.9.9.9"}) == "10.9.9.9"
    assert bound_address("10.9.9.9", {"10.9.9.8"}) is None
    assert bound_address(own[0], {"127.0.0.1"}) == "127.0.0.1"  # aioice never asks for the loopback itself
    assert all(bound_address(other, {"127.0.0.1"}) is None for other in own[1:])
    assert bound_address("2001:db8::9", {"127.0.0.1"}) is None


def test_a_connection_that_is_bound_to_the_loopback_has_no_other_socket() -> None:
    async def offered() -> list[str]:
        connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        connection.createDataChannel("x")
        await connection.setLocalDescription(await connection.createOffer())
        await connection.close()
        return re.findall(r"a=candidate:\S+ \d+ \S+ \d+ (\S+)", connection.localDescription.sdp)

    loop = EventLoopThread("bound", PeerNetwork(bound=("127.0.0.1",)))
    try:
        assert loop.call(offered(), 10) == ["127.0.0.1"]
    finally:
        loop.close()


@pytest.mark.parametrize(
    ("host", "bind", "wanted"),
    [
        ("127.0.0.1", "", ()),
        ("0.0.0.0", "", ()),
        ("::", "", ()),
        ("motion", "", ()),
        ("192.168.1.20", "", ("192.168.1.20",)),
        ("192.168.1.20", "127.0.0.1, ::1", ("127.0.0.1", "::1")),
    ],
)
def test_what_is_bound_unless_it_is_said(host: str, bind: str, wanted: tuple[str, ...]) -> None:
    assert MotionServiceSettings(http_host=host, webrtc_bind=bind).peer_network.bound == wanted
