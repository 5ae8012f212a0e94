"""Session descriptions that publishers, viewers and servers write to have us work, or send packets to others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from services.motion.sources.webrtc.peer import Peer
from services.motion.sources.webrtc.session_description import (
    MAX_CANDIDATES,
    MAX_NAMES,
    BadSessionDescription,
    bounded,
)

Hostile = Callable[[str], str]


async def offered() -> str:
    peer = Peer(lambda _reason: None)
    sdp = await peer.offer()
    await peer.close()
    return sdp.replace("a=recvonly", "a=sendonly")


@pytest.fixture(scope="module")
def honest() -> str:
    """What a publisher offers."""
    return asyncio.run(offered())


def candidate(host: str, port: int = 50000, kind: str = "udp") -> str:
    return f"a=candidate:1 1 {kind} 2130706431 {host} {port} typ host\r\n"


def hosts_in(sdp: str) -> list[str]:
    return [line.split()[4] for line in sdp.splitlines() if line.startswith("a=candidate:")]


def test_an_honest_description_stays_as_it_is(honest: str) -> None:
    assert bounded(honest) == honest
    assert hosts_in(honest)


@pytest.mark.parametrize(
    "line",
    [
        candidate("127.0.0.1"),
        candidate("127.9.9.9"),
        candidate("::1"),
        candidate("0.0.0.0"),
        candidate("255.255.255.255"),
        candidate("224.0.0.251"),
        candidate("ff02::fb"),
        candidate("169.254.169.254"),
        candidate("fe80::1"),
        candidate("::ffff:127.0.0.1"),
        candidate("2002:7f00:1::1"),
        candidate("victim.example.com"),
        candidate("localhost"),
        candidate("x.local.victim.example.com"),
        candidate("127.1"),
        candidate("0x7f000001"),
        candidate("2130706433"),
        candidate("10.0.0.9", 53),
        candidate("10.0.0.9", 0),
        candidate("10.0.0.9", 70000),
        candidate("10.0.0.9", 50000, "tcp"),
        "a=candidate:1 1 udp 1 10.0.0.9\r\n",
        "a=candidate:1 1 udp 1 10.0.0.9 ٥٠٠٠٠ typ host\r\n",
        "a=candidate:1 1 udp 1 10.0.0.9 " + "9" * 3000 + " typ host\r\n",
    ],
)
def test_no_packet_goes_where_no_peer_can_be(line: str, honest: str) -> None:
    assert bounded(honest + line) == honest


@pytest.mark.parametrize(
    "host", ["10.0.0.9", "192.168.1.7", "203.0.114.9", "fd00::9", "2a01:4f8::9", "0ab-9.local"]
)
def test_peers_of_this_and_of_other_networks_are_checked(host: str, honest: str) -> None:
    assert hosts_in(bounded(honest + candidate(host)))[-1] == host


def test_few_candidates_are_checked(honest: str) -> None:
    many = "".join(candidate(f"10.0.{n // 200}.{n % 200 + 1}") for n in range(900))
    assert len(hosts_in(bounded(honest + many))) == MAX_CANDIDATES
    names = "".join(candidate(f"name-{n}.local") for n in range(900))
    assert len([host for host in hosts_in(bounded(honest + names)) if host.endswith(".local")]) == MAX_NAMES


def many_media(sdp: str) -> str:
    start = sdp.index("m=")
    return sdp[:start] + "".join(sdp[start:].replace("a=mid:0", f"a=mid:{n}") for n in range(30))


HOSTILE: dict[str, Hostile] = {
    "long": lambda sdp: sdp + "a=x:" + "y" * 70_000,
    "a long line": lambda sdp: sdp + "a=fmtp:97 " + "a=1;" * 2000 + "\r\n",
    "many lines": lambda sdp: sdp + "a=rtcp-fb:97 x\r\n" * 2000,
    "many empty lines": lambda sdp: sdp + "\n" * 60_000,
    "many media": many_media,
    "a line of other separators": lambda sdp: sdp + "\x0b" * 2000,
}


@pytest.mark.parametrize("what", sorted(HOSTILE))
def test_what_is_too_large_is_refused_at_once(what: str, honest: str) -> None:
    began_s = time.process_time()
    with pytest.raises(BadSessionDescription, match=r"wanted at most|more than"):
        bounded(HOSTILE[what](honest))
    assert time.process_time() - began_s < 0.2  # milliseconds on a quiet machine


@pytest.mark.parametrize("what", sorted(HOSTILE))
async def test_a_publisher_gets_a_refusal_and_no_error(what: str, honest: str) -> None:
    peer = Peer(lambda _reason: None)
    with pytest.raises(BadSessionDescription):
        await peer.answer(HOSTILE[what](honest))
    await peer.close()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "v=0",
        "\x00" * 1000,
        "m=video 9 RTP/AVP " + "96 " * 1000,
        "v=" + "9" * 4000,
        "a=group:BUNDLE " + "0 " * 2000,
    ],
)
async def test_nonsense_is_refused(text: str) -> None:
    peer = Peer(lambda _reason: None)
    with pytest.raises(BadSessionDescription):
        await peer.answer(text)
    await peer.close()
