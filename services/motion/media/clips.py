"""Makes MP4 clips of a camera's packets. Knows no camera, event or stream.

H.264 is copied as it is; what a browser cannot play is decoded and encoded.
"""

from __future__ import annotations

import contextlib
import io
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import av
from av.container.output import OutputContainer
from av.video.stream import VideoStream

from services.motion.media import h264
from services.motion.media.decoding import decode, frame_of
from services.motion.media.mp4 import index_in_front, shown_as
from services.motion.media.packets import CLOCK, Packet, StreamFacts
from services.motion.media.picture_format import Colour, PictureFormat
from services.motion.media.rendering import Renderer, clip_colour
from shared.errors import Permanent

LARGEST_ENCODED_PX = 1920
LARGEST_MAPPED_PX = 1280  # of HDR and wide colours, whose mapping costs more than decoding and encoding do
# a copied clip shows so much of what comes before it, back to its key frame; of more it shows nothing,
SHOWN_LEAD_S = 2.0
CARRIED_LEAD_S = 30.0  # and it carries no more than this: beyond, what it shows is encoded


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


def _copied(facts: StreamFacts, packets: Sequence[Packet], wanted_s: float) -> Clip:
    """Return a copy that shows what is from `wanted_s` on.

    What comes before gets negative times. The muxer then writes an edit list (ISO/IEC 14496-12 §8.6.6) that begins at
    0, so players decode it without showing it.
    """
    times_s = sorted(packet.t_s for packet in packets)
    starts_s = next((t_s for t_s in times_s if t_s >= wanted_s - 1e-3), times_s[-1])
    shown = _spread([round((packet.t_s - starts_s) / CLOCK) for packet in packets])
    decoded = sorted(shown)
    delay = max(d - p for d, p in zip(decoded, shown, strict=True))
    usual = _usual_step(decoded, facts.frame_rate)
    length_size = h264.length_size(facts.extradata)
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        stream = container.add_mux_stream("h264", width=facts.width, height=facts.height, time_base=CLOCK)
        for index, packet in enumerate(packets):
            data = h264.to_annexb(packet.data, length_size)
            if index == 0 and not h264.has_sps(data):
                data = h264.parameter_sets(facts.extradata) + data
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
