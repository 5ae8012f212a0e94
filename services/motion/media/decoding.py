"""Decodes remembered packets into frames. Knows no camera, event or stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import av
from av.codec.context import CodecContext
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from services.motion.media.frame import Frame, format_of
from services.motion.media.packets import CLOCK, Packet, StreamFacts
from services.motion.media.picture_bounds import DECODER_OPTIONS


def decode(facts: StreamFacts, packets: Sequence[Packet]) -> Iterator[tuple[float, VideoFrame]]:
    """Yield the frames of `packets` with their times; what cannot be decoded is left out."""
    # FFmpeg's own AV1 decoder needs a graphics card
    context = CodecContext.create("libdav1d" if facts.codec == "av1" else facts.codec, "r")
    assert isinstance(context, VideoCodecContext)
    context.options = dict(DECODER_OPTIONS)
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


def frame_of(facts: StreamFacts, t_s: float, image: VideoFrame) -> Frame:
    """Return a frame that was decoded of packets: shaped and turned as its stream, of its own size and colour."""
    known = facts.format
    return Frame(t_s, image, format_of(image, known.pixel_aspect, known.orientation))
