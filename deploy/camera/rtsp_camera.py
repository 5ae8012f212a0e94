"""Plays video files as RTSP cameras, in real time and for ever: the sample cameras of `docker compose --profile demo`.

    python rtsp_camera.py --port 8554 samples/        each *.mp4 becomes rtsp://HOST:8554/<name without .mp4>
    python rtsp_camera.py --port 8554 --probe         exit 0 when a server answers there

As a camera does it: H.264 as it is in the file (RFC 6184), over RTSP 1.0 (RFC 2326) with the RTP packets in the same
TCP connection, which is what clipwatch asks for. Each client sees the file from its beginning. No passwords, no UDP,
no sound: for demonstrations on a trusted network, not for anything else. Knows nothing of clipwatch's services.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import itertools
import secrets
import signal
import socket
import struct
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

CLOCK_HZ = 90_000  # RTP's clock for video, RFC 6184 8.2.1
PAYLOAD_TYPE = 96
MAX_PAYLOAD_BYTES = 1400
MAX_REQUEST_BYTES = 16 * 1024
MAX_CLIENTS = 32
REQUEST_LIMIT_S = 60.0  # a client that neither asks nor is played to for so long is gone
WRITE_LIMIT_S = 10.0  # a client that takes nothing for so long is gone
NAL_TYPE_MASK, FU_A, SPS, PPS = 0x1F, 28, 7, 8


@dataclass(frozen=True, slots=True)
class AccessUnit:
    """One coded picture: its NAL units, and when it is decoded and shown, in seconds from the file's start."""

    decode_s: float
    show_s: float
    nals: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Video:
    """A file, read into memory."""

    name: str
    parameter_sets: tuple[bytes, ...]  # SPS and PPS
    units: tuple[AccessUnit, ...]
    duration_s: float


class CameraError(Exception):
    """A file that cannot be played; one line."""


# --- the file ---------------------------------------------------------------------------------------------------------


def read_video(path: Path) -> Video:
    """Read an MP4 with H.264; raise CameraError when it is something else."""
    import av  # late: --probe runs every few seconds and has no need of it

    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise CameraError(f"{path.name}: no video in it")
            stream = container.streams.video[0]
            header = stream.codec_context.extradata or b""
            if stream.codec_context.name != "h264" or header[:1] != b"\x01":
                raise CameraError(f"{path.name}: {stream.codec_context.name}, wanted H.264 in an MP4 file")
            length_bytes, parameter_sets = read_configuration(header)
            base = stream.time_base or 0
            units = tuple(
                AccessUnit(
                    float(packet.dts * base), float(packet.pts * base), split(bytes(packet), length_bytes)
                )
                for packet in container.demux(stream)
                if packet.dts is not None and packet.pts is not None and packet.size
            )
    except (av.FFmpegError, OSError) as exc:
        raise CameraError(f"{path.name}: cannot be read: {exc}") from exc
    if len(units) < 2:
        raise CameraError(f"{path.name}: no pictures in it")
    first = units[0].decode_s
    units = tuple(AccessUnit(unit.decode_s - first, unit.show_s - first, unit.nals) for unit in units)
    frame_s = units[-1].decode_s / (len(units) - 1)
    return Video(path.stem, parameter_sets, units, units[-1].decode_s + frame_s)


def read_configuration(record: bytes) -> tuple[int, tuple[bytes, ...]]:
    """Return the size of the length fields, and SPS and PPS, of an AVCDecoderConfigurationRecord (ISO 14496-15)."""
    length_bytes, at, found = (record[4] & 3) + 1, 5, []
    for mask in (0x1F, 0xFF):  # SPS, then PPS
        count, at = record[at] & mask, at + 1
        for _ in range(count):
            size = int.from_bytes(record[at : at + 2])
            found.append(record[at + 2 : at + 2 + size])
            at += 2 + size
    return length_bytes, tuple(found)


def split(data: bytes, length_bytes: int) -> tuple[bytes, ...]:
    """Return the NAL units of an MP4 sample."""
    nals, at = [], 0
    while at + length_bytes <= len(data):
        size = int.from_bytes(data[at : at + length_bytes])
        at += length_bytes
        if size:
            nals.append(data[at : at + size])
        at += size
    return tuple(nals)


# --- RTP --------------------------------------------------------------------------------------------------------------


def payloads(nal: bytes) -> Iterator[bytes]:
    """Give the RTP payloads of a NAL unit: itself, or fragments of type FU-A when it is too long (RFC 6184 5.8)."""
    if len(nal) <= MAX_PAYLOAD_BYTES:
        yield nal
        return
    indicator, kind, body = (nal[0] & ~NAL_TYPE_MASK) | FU_A, nal[0] & NAL_TYPE_MASK, nal[1:]
    step = MAX_PAYLOAD_BYTES - 2
    for at in range(0, len(body), step):
        is_first, is_last = at == 0, at + step >= len(body)
        yield bytes((indicator, is_first << 7 | is_last << 6 | kind)) + body[at : at + step]


def endless(video: Video) -> Iterator[tuple[float, float, tuple[bytes, ...]]]:
    """Give decoding time, showing time (s, always rising) and NAL units, again and again from the beginning.

    SPS and PPS come before the first picture of each round, so that a decoder starts afresh there.
    """
    for turn in itertools.count():
        begin_s = turn * video.duration_s
        for index, unit in enumerate(video.units):
            own = {nal[0] & NAL_TYPE_MASK for nal in unit.nals}
            sets = video.parameter_sets if index == 0 and not {SPS, PPS} <= own else ()
            yield begin_s + unit.decode_s, begin_s + unit.show_s, (*sets, *unit.nals)


@dataclass(slots=True)
class RtpStream:
    """Numbers the packets of one client's stream."""

    channel: int
    source: int
    sequence: int
    timestamp: int

    @classmethod
    def new(cls, channel: int) -> RtpStream:
        return cls(channel, secrets.randbits(32), secrets.randbits(16), secrets.randbits(32))

    def packets(self, show_s: float, nals: Sequence[bytes]) -> bytes:
        """Return the packets of one picture, framed for the RTSP connection (RFC 2326 10.12)."""
        timestamp = (self.timestamp + round(show_s * CLOCK_HZ)) & 0xFFFFFFFF
        parts = [part for nal in nals for part in payloads(nal)]
        framed = []
        for index, part in enumerate(parts):
            is_last = index == len(parts) - 1
            header = struct.pack(
                "!BBHII", 0x80, is_last << 7 | PAYLOAD_TYPE, self.sequence, timestamp, self.source
            )
            self.sequence = (self.sequence + 1) & 0xFFFF
            framed.append(struct.pack("!cBH", b"$", self.channel, len(header) + len(part)) + header + part)
        return b"".join(framed)


# --- RTSP -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Request:
    """One RTSP request; header names in lower case."""

    method: str
    url: str
    headers: dict[str, str]

    @property
    def name(self) -> str:
        """The camera's name: the first part of the URL's path."""
        path = self.url.split("://", 1)[-1].partition("/")[2]
        return path.split("/")[0].split("?")[0]


def parse_request(head: bytes) -> Request | None:
    """Return the request, or None when it is none."""
    lines = head.decode("utf-8", errors="replace").split("\r\n")
    words = lines[0].split(" ")
    if len(words) != 3 or not words[2].startswith("RTSP/"):
        return None
    pairs = (line.partition(":") for line in lines[1:] if ":" in line)
    return Request(words[0], words[1], {name.strip().lower(): value.strip() for name, _, value in pairs})


def describe(video: Video, host: str) -> str:
    """Return the SDP of a camera (RFC 8866; parameters: RFC 6184 8.1)."""
    sets = ",".join(base64.b64encode(nal).decode() for nal in video.parameter_sets)
    profile = video.parameter_sets[0][1:4].hex()
    family = "IP6" if ":" in host else "IP4"
    return "\r\n".join(
        (
            "v=0",
            f"o=- 0 0 IN {family} {host}",
            f"s={video.name}",
            f"c=IN {family} {host}",
            "t=0 0",
            "a=control:*",
            f"m=video 0 RTP/AVP {PAYLOAD_TYPE}",
            f"a=rtpmap:{PAYLOAD_TYPE} H264/{CLOCK_HZ}",
            f"a=fmtp:{PAYLOAD_TYPE} packetization-mode=1;profile-level-id={profile};sprop-parameter-sets={sets}",
            "a=control:track0",
            "",
        )
    )


class Client:
    """One connection: answers its requests, and plays to it once it asked."""

    def __init__(
        self, videos: dict[str, Video], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.videos, self.reader, self.writer = videos, reader, writer
        self.session = secrets.token_hex(8)
        self.rtp: RtpStream | None = None
        self.playing: asyncio.Task[None] | None = None

    async def serve(self) -> None:
        """Return when the client left, said something that is not RTSP, or failed while it was played to."""
        try:
            while (request := await self._next_request()) is not None:
                if not await self._answer(request):
                    return
        finally:
            if self.playing:
                self.playing.cancel()
                await asyncio.wait({self.playing})

    async def _next_request(self) -> Request | None:
        while True:
            async with asyncio.timeout(None if self.playing else REQUEST_LIMIT_S):
                first = await self.reader.readexactly(1)
                if first == b"$":  # the client's RTCP reports, which nobody needs here
                    _, size = struct.unpack("!BH", await self.reader.readexactly(3))
                    await self.reader.readexactly(size)
                    continue
                head = first + await self.reader.readuntil(b"\r\n\r\n")
                request = parse_request(head)
                if request and (size := int(request.headers.get("content-length", "0"))):
                    await self.reader.readexactly(min(size, MAX_REQUEST_BYTES))
                return request

    async def _answer(self, request: Request) -> bool:
        """Answer; return whether the connection goes on."""
        video = self.videos.get(request.name)
        match request.method:
            case "OPTIONS":
                return await self._say(
                    request, 200, {"Public": "OPTIONS, DESCRIBE, SETUP, PLAY, GET_PARAMETER, TEARDOWN"}
                )
            case "GET_PARAMETER":
                return await self._say(request, 200, {"Session": self.session})
            case "TEARDOWN":
                await self._say(request, 200, {"Session": self.session})
                return False
            case "DESCRIBE" | "SETUP" | "PLAY" if video is None:
                return await self._say(request, 404)
            case "DESCRIBE" if video:
                host = str(self.writer.get_extra_info("sockname")[0])
                headers = {"Content-Type": "application/sdp", "Content-Base": request.url.rstrip("/") + "/"}
                return await self._say(request, 200, headers, describe(video, host))
            case "SETUP":
                return await self._set_up(request)
            case "PLAY" if video and self.rtp and not self.playing:
                await self._say(request, 200, {"Session": self.session, "Range": "npt=0-"})
                self.playing = asyncio.create_task(self._play(video, self.rtp), name=f"play {video.name}")
                return True
            case "PLAY":
                return await self._say(request, 455)
        return await self._say(request, 405)

    async def _set_up(self, request: Request) -> bool:
        transport = request.headers.get("transport", "")
        if "RTP/AVP/TCP" not in transport:
            return await self._say(request, 461)
        self.rtp = RtpStream.new(channel=0)
        chosen = f"RTP/AVP/TCP;unicast;interleaved=0-1;ssrc={self.rtp.source:08X}"
        return await self._say(
            request,
            200,
            {"Transport": chosen, "Session": f"{self.session};timeout={int(REQUEST_LIMIT_S)}"},
        )

    async def _say(
        self, request: Request, status: int, headers: dict[str, str] | None = None, body: str = ""
    ) -> bool:
        reasons = {
            200: "OK",
            404: "Not Found",
            405: "Method Not Allowed",
            455: "Method Not Valid in This State",
            461: "Unsupported Transport",
        }
        lines = [f"RTSP/1.0 {status} {reasons[status]}", f"CSeq: {request.headers.get('cseq', '0')}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        if body:
            lines.append(f"Content-Length: {len(body.encode())}")
        await self._send("\r\n".join((*lines, "", body)).encode())
        return True

    async def _play(self, video: Video, rtp: RtpStream) -> None:
        clock = asyncio.get_running_loop().time
        begin = clock()
        try:
            for decode_s, show_s, nals in endless(video):
                await asyncio.sleep(max(0.0, begin + decode_s - clock()))
                await self._send(rtp.packets(show_s, nals))
        except (OSError, TimeoutError):
            self.writer.transport.abort()  # ends the reading side, and with it serve()

    async def _send(self, data: bytes) -> None:
        async with asyncio.timeout(WRITE_LIMIT_S):
            self.writer.write(data)
            await self.writer.drain()


@contextlib.asynccontextmanager
async def serving(videos: Sequence[Video], host: str, port: int) -> AsyncIterator[int]:
    """Serve the videos until the block ends; give the port."""
    named = {video.name: video for video in videos}
    clients: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(clients) >= MAX_CLIENTS:
            writer.transport.abort()
            return
        clients.add(task)
        try:
            await Client(named, reader, writer).serve()
        except (OSError, EOFError, TimeoutError, ValueError, asyncio.LimitOverrunError):
            pass  # the client left, or spoke something else: nothing is lost, it may come again
        finally:
            clients.discard(task)
            writer.transport.abort()

    server = await asyncio.start_server(connected, host, port, limit=MAX_REQUEST_BYTES)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in clients:
            task.cancel()
        if clients:
            await asyncio.wait(set(clients), timeout=5)


async def run(videos: Sequence[Video], host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with serving(videos, host, port) as taken:
        for video in videos:
            print(f"camera: rtsp://{host}:{taken}/{video.name}", flush=True)
        await stop.wait()


def probe(port: int) -> bool:
    """Tell whether an RTSP server answers on this machine."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.sendall(b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n")
            return connection.recv(64).startswith(b"RTSP/1.0 200")
    except OSError:
        return False


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(description="Play video files as RTSP cameras.")
    parser.add_argument("files", nargs="*", type=Path, help="MP4 files with H.264, or folders of them")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8554)
    parser.add_argument("--probe", action="store_true", help="only tell whether a server answers")
    arguments = parser.parse_args(argv)
    if arguments.probe:
        return 0 if probe(arguments.port) else 1
    paths = [
        path
        for given in arguments.files
        for path in (sorted(given.glob("*.mp4")) if given.is_dir() else [given])
    ]
    try:
        videos = [read_video(path) for path in paths]
        if not videos:
            raise CameraError("no files: give MP4 files, or folders that hold some")
        asyncio.run(run(videos, arguments.host, arguments.port))
    except (CameraError, OSError) as exc:
        print(f"camera: {exc}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
