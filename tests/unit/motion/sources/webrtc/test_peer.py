"""WebRTC without a network: the bounded inbox, the door, and aiortc's private names."""

from __future__ import annotations

import asyncio
import queue
from collections import Counter
from collections.abc import Iterator

import pytest
from aiortc import RTCConfiguration, RTCPeerConnection
from hypothesis import given, settings
from hypothesis import strategies as st

from services.motion.sources.coded_pictures import CodedPicture, is_key
from services.motion.sources.stream import SourceAway
from services.motion.sources.webrtc.peer import (
    MAX_WAITING,
    MAX_WAITING_BYTES,
    EventLoopThread,
    Peer,
    ReceiveBuffer,
    stream_of,
)
from services.motion.sources.webrtc.session_description import BadSessionDescription
from services.motion.sources.webrtc.whip import WhipEndpoint

KEY, DELTA = b"\x00\x00\x00\x01\x65key", b"\x00\x00\x00\x01\x41delta"


def picture(data: bytes, ticks: int = 0) -> CodedPicture:
    return CodedPicture("h264", data, ticks, 1_800_000_000.0)


def test_the_names_of_aiortc_that_we_rely_on_are_there() -> None:
    async def look() -> tuple[object, object]:
        connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        receiver = connection.addTransceiver("video").receiver
        await connection.close()
        return (
            getattr(receiver, "_RTCRtpReceiver__decoder_queue", None),
            getattr(receiver, "_RTCRtpReceiver__decoder_error", None),
        )

    coded, lost = asyncio.run(look())
    assert isinstance(coded, queue.Queue)
    assert hasattr(lost, "set")


@pytest.mark.parametrize(
    ("codec", "data", "wanted"),
    [
        ("h264", KEY, True),
        ("h264", DELTA, False),
        ("h264", b"\x00\x00\x00\x01\x67sps\x00\x00\x00\x01\x68pps\x00\x00\x01\x65idr", True),
        ("h264", b"\x00\x00\x00\x01\x06sei\x00\x00\x01\x41x", False),
        ("h264", b"", False),
        ("vp8", b"\x10\x02", True),
        ("vp8", b"\x11\x02", False),
        ("vp8", b"", False),
        ("mjpeg", b"\xff\xd8", True),
    ],
)
def test_key_frames_are_told_from_others(codec: str, data: bytes, wanted: bool) -> None:
    assert is_key(codec, data) is wanted


def test_an_inbox_that_nobody_empties_stays_bounded_and_begins_again_at_a_key_frame() -> None:
    drops: Counter[str] = Counter()
    asked: list[bool] = []
    received = ReceiveBuffer(lambda reason: drops.update([reason]), lambda: asked.append(True))
    received.put(picture(KEY))
    for n in range(MAX_WAITING + 30):
        received.put(picture(DELTA, n))
    assert received.take(0) is None
    assert drops == {"webrtc_backlog": MAX_WAITING + 31}
    assert asked == [True]
    received.put(picture(KEY, 7))
    received.put(picture(DELTA, 8))
    taken = [received.take(0), received.take(0), received.take(0)]
    assert [one.ticks if one else None for one in taken] == [7, 8, None]


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, MAX_WAITING_BYTES), st.booleans()), max_size=200))
def test_an_inbox_never_holds_more_than_its_bounds(steps: list[tuple[bool, int, bool]]) -> None:
    drops: Counter[str] = Counter()
    received = ReceiveBuffer(lambda reason: drops.update([reason]))
    n_put = n_taken = 0
    blob = memoryview(bytes(MAX_WAITING_BYTES))
    for begins, size, takes in steps:
        received.put(
            CodedPicture(
                "h264", (KEY if begins else DELTA) + bytes(blob[: size if size < 4096 else 0]), 0, 0.0
            )
        )
        n_put += 1
        if takes and received.take(0) is not None:
            n_taken += 1
    n_left = 0
    while received.take(0) is not None:
        n_left += 1
    assert n_left <= MAX_WAITING
    assert n_put == n_taken + n_left + drops["webrtc_backlog"]


@pytest.fixture
def loop() -> Iterator[EventLoopThread]:
    made = EventLoopThread("test")
    yield made
    made.close()


@pytest.mark.parametrize(
    "sdp",
    [
        "",
        "no description",
        "v=0\r\n",
        "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n",
        "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=video nine\r\n",
        "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n",
        "\x00" * 1000,
        "a=ice-ufrag\r\nm=\r\n",
    ],
)
def test_an_offer_that_is_none_is_refused_in_one_line(loop: EventLoopThread, sdp: str) -> None:
    async def attempt() -> None:
        peer = Peer(lambda _reason: None)
        try:
            await peer.answer(sdp)
        finally:
            await peer.close()

    with pytest.raises(BadSessionDescription) as caught:
        loop.call(attempt(), 10)
    assert "\n" not in str(caught.value)
    assert "the offer cannot be answered: " in str(caught.value)


def test_a_stream_without_pictures_is_away_after_its_deadline(loop: EventLoopThread) -> None:
    async def make() -> Peer:
        return Peer(lambda _reason: None)

    peer = loop.call(make(), 10)
    stream = stream_of(peer, 0.05, lambda _reason: None, lambda: None)
    with pytest.raises(SourceAway, match="no answer in time"):
        next(stream.read())
    loop.call(peer.close("the publisher left"), 10)
    with pytest.raises(SourceAway, match="the publisher left"):
        next(stream_of(peer, 60, lambda _reason: None, lambda: None).read())


def test_a_door_opens_to_its_token_only() -> None:
    endpoint = WhipEndpoint("0123456789abcdef", lambda _reason: None)
    assert endpoint.accepts_token("0123456789abcdef")
    assert not any(
        endpoint.accepts_token(token) for token in ("", "0123456789abcdeF", "0123456789abcdef0", "ü")
    )
    endpoint.close()
    with pytest.raises(SourceAway):
        endpoint.wait(lambda: True, 1)
