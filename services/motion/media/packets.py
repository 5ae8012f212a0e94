"""Compressed packets of a camera: the ring that remembers them, and the MP4 that is made of them.

H.264 is copied as it is; what a browser cannot play is decoded and encoded. Knows no camera, event or stream.
"""

from __future__ import annotations

import contextlib
import io
import struct
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import pairwise

import av
from av.codec.context import CodecContext
from av.container.output import OutputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from services.motion.media.frame import Frame, format_of
from services.motion.media.mp4 import index_in_front, shown_as
from services.motion.media.picture_format import Colour, Orientation, PictureFormat
from services.motion.media.rendering import Renderer, clip_colour
from shared.errors import Permanent

CLOCK = Fraction(1, 90_000)
LARGEST_ENCODED_PX = 1920
LARGEST_MAPPED_PX = 1280  # of HDR and wide colours, whose mapping costs more than decoding and encoding do
SHOWN_LEAD_S = (
    2.0  # a copied clip shows so much of what comes before it, back to its key frame; of more nothing,
)
CARRIED_LEAD_S = 30.0  # and it carries no more than this: beyond, what it shows is encoded
PLAYABLE_PIXELS = ("yuv420p", "yuvj420p")


@dataclass(frozen=True, slots=True)
class StreamFacts:
    """What a decoder needs to know of a video stream before its first packet."""

    codec: str
    width: int
    height: int
    extradata: bytes
    frame_rate: float
    pixel_format: str
    rotation: int = 0  # degrees counterclockwise that turn the coded picture upright: 0, 90, 180, -90
    has_timestamps: bool = True  # packets carry presentation times; else they carry decoding times only
    is_mirrored: bool = False  # left and right are to be changed before it is turned
    pixel_aspect: float = 1.0  # width of a pixel through its height
    colour: Colour = field(default_factory=Colour)

    @property
    def can_be_copied(self) -> bool:
        """Whether browsers play the packets as they are, in their right colours."""
        is_playable = self.pixel_format in PLAYABLE_PIXELS and not self.colour.is_mapped
        return self.codec == "h264" and is_playable and self.has_timestamps

    @property
    def format(self) -> PictureFormat:
        """How its frames are to be shown."""
        orientation = Orientation.of_turn(self.rotation, self.is_mirrored)
        return PictureFormat(self.width, self.height, self.pixel_aspect, orientation, self.colour)

    def shown_as(self, shown: PictureFormat, pixel_format: str) -> StreamFacts:
        """Return the facts with what a decoded frame says."""
        rotation, is_mirrored = shown.orientation.turn
        return replace(
            self,
            width=shown.coded_width,
            height=shown.coded_height,
            pixel_format=pixel_format,
            rotation=rotation,
            is_mirrored=is_mirrored,
            pixel_aspect=shown.pixel_aspect,
            colour=shown.colour,
        )


@dataclass(frozen=True, slots=True)
class Packet:
    """One compressed frame; `t_s`: when it is shown, epoch seconds."""

    data: bytes
    t_s: float
    is_key: bool


@dataclass(slots=True)
class _Group:
    packets: list[Packet] = field(default_factory=list)
    n_bytes: int = 0


class PacketRing:
    """The last seconds of a camera as whole groups of pictures. Bounded by bytes always, by seconds while no event
    needs more. Safe between the thread that reads and the thread that cuts.
    """

    def __init__(self, keep_s: float, max_bytes: int) -> None:
        self._groups: deque[_Group] = deque()
        self._keep_s = keep_s
        self._max_bytes = max_bytes
        self._needed_s: float | None = None
        self._n_bytes = 0
        self._lock = threading.Lock()

    @property
    def n_bytes(self) -> int:
        return self._n_bytes

    def __len__(self) -> int:
        with self._lock:
            return sum(len(group.packets) for group in self._groups)

    def set_keep(self, keep_s: float) -> None:
        """Remember `keep_s` seconds from now on."""
        self._keep_s = keep_s

    def need_from(self, t_s: float | None) -> None:
        """Keep everything from `t_s` on (an event is open), as far as the bytes allow; None: nothing special."""
        self._needed_s = t_s

    def append(self, packet: Packet) -> int:
        """Take `packet`; return how many packets had to go or could not be taken for want of bytes."""
        with self._lock:
            if packet.is_key or not self._groups:
                if not packet.is_key:
                    return 1  # what follows a lost key frame cannot be decoded
                self._groups.append(_Group())
            self._groups[-1].packets.append(packet)
            self._groups[-1].n_bytes += len(packet.data)
            self._n_bytes += len(packet.data)
            self._forget(packet.t_s)
            return self._squeeze()

    def between(self, starts_s: float, ends_s: float) -> list[Packet]:
        """Return the packets from the key frame at or before `starts_s` (or the first one) to `ends_s`, in order.

        Packets beyond `ends_s` that are needed to decode earlier ones are in it.
        """
        with self._lock:
            groups = list(self._groups)
            first = 0
            for index, group in enumerate(groups):
                if group.packets[0].t_s <= starts_s:
                    first = index
            packets = [packet for group in groups[first:] for packet in group.packets]
        end = max((i for i, packet in enumerate(packets) if packet.t_s <= ends_s), default=0)
        return packets[: end + 1]

    def drop_before(self, t_s: float) -> None:
        """Forget the groups before the one that shows `t_s` (the stream changed there)."""
        with self._lock:
            while len(self._groups) > 1 and self._groups[1].packets[0].t_s <= t_s:
                self._n_bytes -= self._groups.popleft().n_bytes

    def clear(self) -> None:
        with self._lock:
            self._groups.clear()
            self._n_bytes = 0

    def _forget(self, now_s: float) -> None:
        oldest_s = now_s - self._keep_s
        if self._needed_s is not None:
            oldest_s = min(oldest_s, self._needed_s)
        while len(self._groups) > 1 and self._groups[1].packets[0].t_s <= oldest_s:
            self._n_bytes -= self._groups.popleft().n_bytes

    def _squeeze(self) -> int:
        lost = 0
        while self._n_bytes > self._max_bytes and self._groups:
            group = self._groups.popleft()
            self._n_bytes -= group.n_bytes
            lost += len(group.packets)
        return lost


@dataclass(frozen=True, slots=True)
class Clip:
    """An MP4 with the index in front, H.264, and the epoch seconds of its first and last instant."""

    mp4: bytes
    starts_s: float
    ends_s: float
    width: int
    height: int


def make_clip(facts: StreamFacts, packets: Sequence[Packet], starts_s: float = float("-inf")) -> Clip:
    """Return `packets` (from a key frame on, decoding order) as MP4: copied when they can be, else encoded.

    A copy begins with the first packet when that is SHOWN_LEAD_S before `starts_s` at most. Where key frames are rarer,
    it carries what is before `starts_s`, up to CARRIED_LEAD_S, but does not show it. What is encoded begins at
    `starts_s`. Raises Permanent when no clip can be made of them.
    """
    if not packets:
        raise Permanent("no packets to make a clip of")
    # of an open group: pictures before its key frame need the group before, which is not there
    packets = [packet for packet in packets if packet.t_s >= packets[0].t_s]
    lead_s = starts_s - packets[0].t_s
    if facts.can_be_copied and lead_s <= CARRIED_LEAD_S:
        with contextlib.suppress(
            av.FFmpegError, ValueError, IndexError, struct.error
        ):  # it only looked well-formed
            return _copied(facts, packets, starts_s if lead_s > SHOWN_LEAD_S else packets[0].t_s)
    try:
        return _encoded(facts, packets, starts_s)
    except (av.FFmpegError, ValueError) as exc:
        raise Permanent(f"{len(packets)} {facts.codec} packets cannot be encoded: {exc}") from exc


def decode(facts: StreamFacts, packets: Sequence[Packet]) -> Iterator[tuple[float, VideoFrame]]:
    """Yield the frames of `packets` with their times; what cannot be decoded is left out."""
    # FFmpeg's own AV1 decoder needs a graphics card
    context = CodecContext.create("libdav1d" if facts.codec == "av1" else facts.codec, "r")
    assert isinstance(context, VideoCodecContext)
    context.extradata = facts.extradata or None
    context.width, context.height = facts.width, facts.height
    if facts.pixel_format:
        context.pix_fmt = facts.pixel_format
    colour = facts.colour  # the container's word, unless the stream has its own
    context.color_range, context.colorspace = colour.color_range, colour.matrix
    context.color_primaries, context.color_trc = colour.primaries, colour.transfer
    origin_s = packets[0].t_s
    times = iter(sorted(packet.t_s for packet in packets))
    for packet in (*packets, None):
        raw = None
        if packet is not None:
            raw = av.Packet(packet.data)
            raw.time_base = CLOCK
            ticks = round((packet.t_s - origin_s) / CLOCK)
            raw.dts = ticks if not facts.has_timestamps else None
            raw.pts = ticks if facts.has_timestamps else None
            raw.is_keyframe = packet.is_key
        try:
            frames = context.decode(raw)
        except av.FFmpegError:
            continue
        for frame in frames:
            fallback_s = next(times, packets[-1].t_s)
            known = facts.has_timestamps and frame.pts is not None
            yield (
                (origin_s + float(frame.pts * CLOCK) if known and frame.pts is not None else fallback_s),
                frame,
            )


def _copied(facts: StreamFacts, packets: Sequence[Packet], wanted_s: float) -> Clip:
    """Return a copy that shows what is from `wanted_s` on.

    What comes before has negative times. The muxer then writes an edit list (ISO/IEC 14496-12 §8.6.6) that begins at 0,
    and players decode what is before it without showing it.
    """
    times_s = sorted(packet.t_s for packet in packets)
    starts_s = next((t_s for t_s in times_s if t_s >= wanted_s - 1e-3), times_s[-1])
    shown = _spread([round((packet.t_s - starts_s) / CLOCK) for packet in packets])
    decoded = sorted(shown)
    delay = max(d - p for d, p in zip(decoded, shown, strict=True))
    usual = _usual_step(decoded, facts.frame_rate)
    headers, length_size = _parameter_sets(facts.extradata)
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        stream = container.add_mux_stream("h264", width=facts.width, height=facts.height, time_base=CLOCK)
        for index, packet in enumerate(packets):
            data = _annexb(packet.data, length_size)
            if index == 0 and not _has_sps(data):
                data = headers + data
            raw = av.Packet(data)
            raw.stream = stream
            raw.time_base = CLOCK
            raw.pts = shown[index]
            raw.dts = decoded[index] - delay
            raw.duration = decoded[index + 1] - decoded[index] if index + 1 < len(packets) else usual
            raw.is_keyframe = packet.is_key
            container.mux_one(raw)
    ends_s = starts_s + (max(shown) + usual) * float(CLOCK)
    mp4 = index_in_front(shown_as(out.getvalue(), facts.format, facts.pixel_format))
    return Clip(mp4, starts_s, ends_s, *facts.format.size)


def _encoded(facts: StreamFacts, packets: Sequence[Packet], wanted_s: float) -> Clip:
    """Return a clip whose pictures are as they are to be shown, so that no player needs to know anything of them."""
    width, height = _encoded_size(facts.format)
    colour = clip_colour(facts.format, facts.pixel_format)
    rate = Fraction(max(1.0, min(facts.frame_rate, 120.0))).limit_denominator(1000)
    renderer = Renderer()
    out = io.BytesIO()
    starts_s = ends_s = packets[0].t_s
    last_ticks: int | None = None
    with av.open(out, "w", format="mp4") as container:
        stream = _add_encoder(container, rate, width, height, colour)
        wanted_s = min(wanted_s, max(packet.t_s for packet in packets))
        for t_s, image in decode(facts, packets):
            if t_s < wanted_s - 1e-3:
                continue
            if last_ticks is None:
                starts_s = t_s
            ticks = round((t_s - starts_s) / CLOCK)
            if last_ticks is not None and ticks <= last_ticks:
                ticks = last_ticks + 90
            small = renderer.clip_frame(frame_of(facts, t_s, image), width, height, colour.matrix)
            small.pts, small.time_base, small.pict_type = ticks, CLOCK, 0
            container.mux(stream.encode(small))
            last_ticks = ticks
        if last_ticks is None:
            raise Permanent(f"none of {len(packets)} {facts.codec} packets can be decoded")
        container.mux(stream.encode(None))
    ends_s = starts_s + last_ticks * float(CLOCK) + float(1 / rate)
    return Clip(index_in_front(out.getvalue()), starts_s, ends_s, width, height)


def _add_encoder(
    container: OutputContainer, rate: Fraction, width: int, height: int, colour: Colour
) -> VideoStream:
    stream = container.add_stream(
        "libx264",
        rate=rate,
        width=width,
        height=height,
        options={"preset": "ultrafast", "crf": "25", "threads": "2", "bf": "0"},
    )
    assert isinstance(stream, VideoStream)
    stream.pix_fmt = "yuv420p"
    stream.time_base = CLOCK
    context = stream.codec_context
    context.time_base = CLOCK
    context.gop_size = max(1, round(2 * rate))
    context.color_range, context.colorspace = colour.color_range, colour.matrix
    context.color_primaries, context.color_trc = colour.primaries, colour.transfer
    return stream


def frame_of(facts: StreamFacts, t_s: float, image: VideoFrame) -> Frame:
    """Return a frame that was decoded of packets: shaped and turned as its stream, of its own size and colour."""
    known = facts.format
    return Frame(t_s, image, format_of(image, known.pixel_aspect, known.orientation))


def _encoded_size(shown: PictureFormat) -> tuple[int, int]:
    """Return an even size of at most LARGEST_ENCODED_PX (yuv420p halves both sides)."""
    largest_px = LARGEST_MAPPED_PX if shown.colour.is_mapped else LARGEST_ENCODED_PX
    scale = min(1.0, largest_px / max(shown.size))
    width, height = (max(2, round(side * scale / 2) * 2) for side in shown.size)
    return width, height


def _spread(ticks: list[int]) -> list[int]:
    """Make all times differ: two frames of a burst may carry the same one."""
    taken: set[int] = set()
    spread = []
    for tick in ticks:
        while tick in taken:
            tick += 1
        taken.add(tick)
        spread.append(tick)
    return spread


def _usual_step(ticks: Sequence[int], frame_rate: float) -> int:
    steps = sorted(b - a for a, b in pairwise(ticks))
    if steps and steps[len(steps) // 2] > 0:
        return steps[len(steps) // 2]
    return round(1 / (max(frame_rate, 1.0) * float(CLOCK)))


def _parameter_sets(extradata: bytes) -> tuple[bytes, int]:
    """Return SPS and PPS with start codes, and the size of NAL lengths in packets (0: start codes there as well).

    The two layouts of extradata: ISO/IEC 14496-15 §5.3.3.1 (avcC) and ITU-T H.264 Annex B.
    """
    if not extradata or extradata[0] != 1:
        return extradata, 0
    found = b""
    at = 5
    for mask in (0x1F, 0xFF):
        count = extradata[at] & mask
        at += 1
        for _ in range(count):
            (size,) = struct.unpack_from(">H", extradata, at)
            found += b"\x00\x00\x00\x01" + extradata[at + 2 : at + 2 + size]
            at += 2 + size
    return found, (extradata[4] & 3) + 1


def _annexb(data: bytes, length_size: int) -> bytes:
    """Return a packet's NAL units with start codes instead of lengths."""
    if length_size == 0:
        return data
    parts = []
    at = 0
    while at + length_size <= len(data):
        size = int.from_bytes(data[at : at + length_size])
        at += length_size
        if size > len(data) - at:
            raise ValueError("NAL unit longer than its packet")
        parts.append(b"\x00\x00\x00\x01")
        parts.append(data[at : at + size])
        at += size
    return b"".join(parts)


def _has_sps(data: bytes) -> bool:
    at = data.find(b"\x00\x00\x01")
    while 0 <= at < len(data) - 3 and at < 4096:
        if data[at + 3] & 0x1F == 7:
            return True
        at = data.find(b"\x00\x00\x01", at + 3)
    return False
