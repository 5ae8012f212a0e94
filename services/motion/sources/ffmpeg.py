"""Reads a file or a camera with FFmpeg (PyAV): packets with their times, and the frames that they decode to.

FFmpeg's errors end here, as SourceAway; its messages go to our logs at DEBUG.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import av
import av.logging
from av.container.input import InputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from services.motion.media import h264
from services.motion.media.frame import FormatReader, Frame
from services.motion.media.packets import Packet, StreamFacts
from services.motion.media.picture_bounds import (
    DECODER_OPTIONS,
    MAX_ALLOCATION_BYTES,
    MEASURED,
    coded_fault,
    size_fault,
)
from services.motion.sources.decode_policy import DecodeAction, DecodePolicy
from services.motion.sources.packet_sizes import size_of
from services.motion.sources.stream import ReadResult, SourceAway, fitting, measured
from services.motion.sources.timing import Arrival, LiveTimes, StreamTimes, TimedPacket, with_times
from shared.errors import redact

ONE_CORE_PX = 2_600_000  # of a recording at its own speed: larger frames may take one core too long
# What cameras and people record with, by FFmpeg's names of the demuxers. Not among them: those that read other
# addresses (hls, dash, concat, sdp, rtsp, imf, webm_dash_manifest) or every kind of picture.
RECORDING_FORMATS = (
    "mov,matroska,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,nut,mxf,dv,dhav,ivf,obu,av1,h264,hevc,m4v,mjpeg,mpjpeg,"
    "wav,mp3,flac,aac"  # so that it is said that there is no video in them
)
KEY_FRAME_PATIENCE = 600  # packets without a key frame, after which a stream is taken as it is


def quiet_ffmpeg() -> None:
    """Keep FFmpeg's own messages off stderr; at DEBUG they go through our logs. Call once, from the shell."""
    is_wanted = logging.getLogger().isEnabledFor(logging.DEBUG)
    av.logging.set_level(av.logging.WARNING if is_wanted else None)


def facts_of(stream: VideoStream) -> StreamFacts:
    """Return what a later decoder must know of `stream`."""
    context = stream.codec_context
    # a discontinuity spoils the average
    rates = (float(rate or 0) for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate))
    frame_rate = next((rate for rate in rates if 0.1 <= rate <= 240), 25.0)
    return StreamFacts(
        codec=context.name if context.name != "libdav1d" else "av1",
        width=context.width,
        height=context.height,
        extradata=bytes(context.extradata or b""),
        frame_rate=frame_rate,
        pixel_format=context.pix_fmt or "",
    )


@dataclass(frozen=True, slots=True)
class _DemuxedPacket:
    """A packet of FFmpeg's, and when it was read, by the caller's clock."""

    raw: av.Packet[VideoStream]
    arrived_s: float


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How a container is read. `now_s`: the clock by which packets arrive."""

    now_s: Callable[[], float]
    is_live: bool
    is_hurried: bool = False  # read as fast as can be, with all cores, which takes a tenth more CPU a frame
    silence_s: float = float("inf")  # a camera that sent nothing for so long is away


class FfmpegStream:
    """An open stream of FFmpeg's. `read` yields until the end; errors of single packets are counted and passed over."""

    def __init__(
        self,
        container: InputContainer,
        make_times: Callable[[StreamFacts], StreamTimes],
        on_drop: Callable[[str], None],
        options: ReadOptions,
    ) -> None:
        self._container = container
        self._on_drop = on_drop
        self._options = options
        self._stream = container.streams.video[0]
        context = self._stream.codec_context
        is_large = context.width * context.height > ONE_CORE_PX
        # a camera's frames are not to wait in threads, which would each take memory: cameras share the cores
        self._is_threaded = not options.is_live and (options.is_hurried or is_large)
        if self._is_threaded:
            context.thread_type = "AUTO"
        elif not is_large:
            context.thread_count = 1
        self.facts = facts_of(self._stream)
        said = self._stream.sample_aspect_ratio
        self._formats = FormatReader(None if said == context.sample_aspect_ratio else said)
        self._times = make_times(self.facts)
        self.only_keys = False
        self.is_interrupted = False  # the next packet comes after a discontinuity
        self.policy: DecodePolicy | None = None  # says which packets are decoded; None: all
        self._skipped: list[av.Packet[VideoStream]] = []  # since the last key frame, that one included
        self._skipped_before: list[av.Packet[VideoStream]] = []  # the group before
        self._place = 0  # packets since the last key frame
        self._length_size = h264.length_size(self.facts.extradata)
        self._seen_key = False
        self._n_waited = 0
        self.duration_s = duration_of(container, self._stream)
        self._last_frame_s: float | None = None

    @property
    def codec_context(self) -> VideoCodecContext:
        return self._stream.codec_context

    def measure(self, frame: Frame) -> None:
        """Take size, pixel format, orientation and colour from a decoded frame: containers may say otherwise."""
        self.facts = measured(self.facts, frame)

    def close(self) -> None:
        with contextlib.suppress(av.FFmpegError):
            self._container.close()

    def read(self) -> Iterator[ReadResult]:
        """Yield what arrives. Raises SourceAway when the stream breaks off; returns at its end."""
        for each in self._with_times():
            for read in self._read_packet(each.item.raw, each.t_s):
                yield replace(read, is_replay=True) if each.is_late else read
        yield from self._flush()

    def _with_times(self) -> Iterator[TimedPacket[_DemuxedPacket]]:
        if isinstance(self._times, LiveTimes):
            yield from with_times(self._packets(), self._arrival_of, lambda each: each.raw.size, self._times)
            return
        for each in self._packets():
            said = self._arrival_of(each)
            yield TimedPacket(
                each, self._times.of_packet(said.pts_s, said.arrived_s, said.dts_s), is_late=False
            )

    def _arrival_of(self, each: _DemuxedPacket) -> Arrival:
        raw, time_base = each.raw, each.raw.time_base  # a fraction: a frame is known by the very number
        stamp = raw.pts if raw.pts is not None else raw.dts
        return Arrival(
            None if stamp is None else float(stamp * time_base),
            each.arrived_s,
            None if raw.dts is None else float(raw.dts * time_base),
        )

    def _packets(self) -> Iterator[_DemuxedPacket]:
        packets = self._container.demux(self._stream)
        n_broken = 0
        while True:
            asked_s = self._options.now_s()
            try:
                raw = next(packets, None)
            except av.FFmpegError as exc:
                if self._options.is_live or n_broken > 100:
                    raise SourceAway(error_text(exc)) from exc
                if isinstance(exc, av.EOFError):
                    break
                n_broken += 1
                self._on_drop("unreadable_packet")
                packets = self._container.demux(self._stream)
                continue
            if raw is None or raw.size == 0:
                break
            n_broken = 0
            arrived_s = self._options.now_s()
            yield _DemuxedPacket(raw, arrived_s)
            if self._options.is_live and arrived_s - asked_s >= self._options.silence_s:
                # FFmpeg gave up waiting: this was the rest of its parser, and it would only wait as long again
                raise SourceAway("no answer in time")

    def _read_packet(self, raw: av.Packet[VideoStream], packet_s: float) -> Iterator[ReadResult]:
        is_key = raw.is_keyframe
        if not self._seen_key:
            self._n_waited += 1
            if not is_key and self._options.is_live and self._n_waited <= KEY_FRAME_PATIENCE:
                self._on_drop("before_key_frame")
                return
            self._seen_key = is_key = True
            if raw.pts is None and raw.dts is not None and self.codec_context.has_b_frames:
                self.facts = replace(self.facts, has_timestamps=False)
        packet = Packet(bytes(raw), packet_s, is_key)
        was_interrupted, self.is_interrupted = self.is_interrupted, False
        if was_interrupted and is_key:
            # frames from before the discontinuity come first, while their packets are remembered
            yield ReadResult(None, self._drained(self._last_frame_s or packet_s))
        if self.only_keys and not is_key:
            yield ReadResult(packet, ())
            return
        action = self._decide(packet)
        if action is DecodeAction.DECODE:
            yield ReadResult(packet, self._decoded(raw, packet_s))
        elif action is DecodeAction.LEAVE_OUT:
            yield ReadResult(packet, (), is_skipped=True)
        elif action is DecodeAction.SKIP:
            self._skipped.append(raw)
            yield ReadResult(packet, (), is_skipped=True)
        elif action is DecodeAction.PEEK:
            yield from self._peek(raw, packet)
        else:
            yield from self._replay(raw, packet, both=action is DecodeAction.REPLAY_BOTH)

    def _decide(self, packet: Packet) -> DecodeAction:
        if self.policy is None:
            return DecodeAction.DECODE
        self._place = 0 if packet.is_key else self._place + 1
        size = size_of(packet.data, packet.is_key, self._place, self.facts.codec, self._length_size)
        is_in_order = not (self._is_threaded or self.codec_context.has_b_frames)
        was_dozing = self.policy.is_dozing
        action = self.policy.decide(packet.t_s, size, is_in_order=is_in_order)
        if action is DecodeAction.LEAVE_OUT and not self.facts.has_timestamps:
            action = DecodeAction.DECODE  # which pictures are its neighbours is not known
        if action is DecodeAction.DECODE or (was_dozing and action is DecodeAction.PEEK):
            # a key frame begins anew: nothing before it is needed
            self._skipped, self._skipped_before = [], []
        return action

    def _decoded(self, raw: av.Packet[VideoStream], packet_s: float) -> tuple[Frame, ...]:
        if self.facts.codec in MEASURED and (fault := coded_fault(self.facts.codec, bytes(raw))) is not None:
            raise SourceAway(f"sends {fault}")
        try:
            images = fitting(raw.decode())
        except av.FFmpegError as exc:
            if fault := size_fault(self.codec_context.width, self.codec_context.height):
                raise SourceAway(f"sends {fault}") from exc
            self._on_drop("broken_packet")
            images = []
        jpeg = raw if self.facts.codec == "mjpeg" else None
        return tuple(self._frame(image, packet_s, jpeg) for image in images)

    def _drained(self, packet_s: float) -> tuple[Frame, ...]:
        """Return what the decoder still holds (threads, reordering), and make it forget the stream so far."""
        try:
            images = fitting(self.codec_context.decode(None))
        except av.FFmpegError:
            images = []
        self.codec_context.flush_buffers()
        return tuple(self._frame(image, packet_s) for image in images)

    def _peek(self, raw: av.Packet[VideoStream], packet: Packet) -> Iterator[ReadResult]:
        if not self._skipped:  # it was awake
            yield ReadResult(None, self._drained(packet.t_s))
        self._skipped_before, self._skipped = self._skipped, [raw]
        frames = self._decoded(raw, packet.t_s) + self._drained(packet.t_s)
        yield ReadResult(packet, frames, is_peek=True)

    def _replay(self, raw: av.Packet[VideoStream], packet: Packet, *, both: bool) -> Iterator[ReadResult]:
        skipped = [*(self._skipped_before if both else ()), *self._skipped]
        self._skipped, self._skipped_before = [], []
        yield from self._decode_skipped(skipped, packet.t_s)
        yield ReadResult(packet, self._decoded(raw, packet.t_s), is_replay=True)

    def _decode_skipped(self, skipped: list[av.Packet[VideoStream]], now_s: float) -> Iterator[ReadResult]:
        for earlier in skipped:
            yield ReadResult(None, self._decoded(earlier, now_s), is_replay=True)

    def _flush(self) -> Iterator[ReadResult]:
        """Yield the frames that the decoder still holds at the end, those of packets that were to wait included."""
        if self.policy is not None and self.policy.is_dozing:
            yield from self._decode_skipped(self._skipped, self._last_frame_s or 0.0)
        try:
            images = fitting(self.codec_context.decode(None))
        except av.FFmpegError:
            return
        last_s = self._last_frame_s or 0.0
        yield ReadResult(
            None, tuple(self._frame(image, last_s + 1 / self.facts.frame_rate) for image in images)
        )

    def _frame(self, image: VideoFrame, packet_s: float, jpeg: av.Packet[Any] | None = None) -> Frame:
        time_base = image.time_base or self._stream.time_base  # None on frames that a flush gives out
        known_s = self._times.of_frame(
            float(image.pts * time_base) if image.pts is not None and time_base else None
        )
        if known_s is None:
            last_s = self._last_frame_s
            usual_s = 1 / self.facts.frame_rate
            known_s = packet_s if last_s is None else max(packet_s, last_s + 0.5 * usual_s)
        frame = Frame(known_s, image, self._formats.of(image, self.codec_context.sample_aspect_ratio, jpeg))
        if self._last_frame_s is None:
            self.measure(frame)
        self._last_frame_s = known_s
        return frame


def error_text(exc: BaseException) -> str:
    """Return an FFmpeg error in words, without credentials."""
    text = getattr(exc, "strerror", None) or str(exc) or type(exc).__name__
    if isinstance(exc, av.error.ExitError):
        text = "no answer in time"
    elif isinstance(exc, av.error.HTTPUnauthorizedError | av.error.HTTPForbiddenError):
        text = f"user name or password is wrong, or may not see this stream ({text})"
    return redact(str(text))


def duration_of(container: InputContainer, stream: VideoStream) -> float | None:
    """Return the length that a container claims, seconds."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return container.duration / 1_000_000 if container.duration is not None else None


def open_recording(path: str) -> InputContainer:
    """Open a file for reading, whatever its name: of "2026-11-28T22:57:44.mp4" FFmpeg would make a protocol.

    Nothing but this file is read: playlists are no recordings, and what a file says of others is not followed.
    """
    return open_container(f"file:{path}", (30.0, 30.0), {"protocol_whitelist": "file"}, RECORDING_FORMATS)


def open_container(
    url: str, timeout: tuple[float, float], options: dict[str, str], formats: str
) -> InputContainer:
    """Open `url` for reading as one of `formats`; a translated av.FFmpegError is the caller's to say.

    `options` name the protocols that may be used (`protocol_whitelist`), also by what is found at `url`.
    """
    _bound_allocations()
    limits = {**DECODER_OPTIONS, "format_whitelist": formats}
    kwargs: dict[str, Any] = {
        "timeout": timeout,
        "options": {**options, **limits},
        "metadata_errors": "replace",
    }
    container: InputContainer = av.open(url, "r", format=formats if "," not in formats else None, **kwargs)
    for stream in container.streams.video:
        if stream.codec_context is not None:  # None: of a codec that FFmpeg does not know
            stream.codec_context.options = dict(DECODER_OPTIONS)
    return container


@functools.cache
def _bound_allocations() -> None:
    """Let FFmpeg allocate no more than MAX_ALLOCATION_BYTES at once, on Linux: PyAV has no word for it."""
    with contextlib.suppress(OSError, AttributeError):
        lines = Path("/proc/self/maps").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        for path in {line.split(maxsplit=5)[5] for line in lines if "/libavutil" in line}:
            bound = ctypes.CDLL(path).av_max_alloc  # libavutil/mem.h: void av_max_alloc(size_t max)
            bound.argtypes, bound.restype = [ctypes.c_size_t], None
            bound(MAX_ALLOCATION_BYTES)
