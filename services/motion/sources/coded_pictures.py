"""Times and decodes whole coded pictures that come without a container (WebRTC, MJPEG over HTTP)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import av
from av.codec.context import CodecContext
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from services.motion.media import h264
from services.motion.media.frame import FormatReader, Frame
from services.motion.media.packets import CLOCK, Packet, StreamFacts
from services.motion.media.picture_bounds import DECODER_OPTIONS, coded_fault, size_fault
from services.motion.sources.stream import ReadResult, SourceAway, fitting, measured
from services.motion.sources.timing import Arrival, LiveTimes, TimedPacket, with_times


@dataclass(frozen=True, slots=True)
class CodedPicture:
    """One coded picture. `ticks`: its time by the sender's clock, 90 kHz, without wrap-around; None: unknown."""

    codec: str
    data: bytes
    ticks: int | None
    arrived_s: float  # steady seconds, see shared/clock.py


def is_key(codec: str, data: bytes) -> bool:
    """Whether `data` decodes without what came before it (VP8: RFC 6386 §9.1; a JPEG always does)."""
    if codec == "vp8":
        return bool(data) and data[0] & 1 == 0
    return codec != "h264" or h264.is_key(data)


def _arrival_of(picture: CodedPicture) -> Arrival:
    pts_s = None if picture.ticks is None else picture.ticks * float(CLOCK)
    return Arrival(pts_s, picture.arrived_s, dts_s=pts_s)  # WebRTC has no frames out of order


class CodedPictureStream:
    """Decodes pictures as they come. Calls `on_broken` when one is missing or does not decode."""

    def __init__(
        self,
        pictures: Iterator[CodedPicture],
        on_drop: Callable[[str], None],
        close: Callable[[], None],
        on_broken: Callable[[], None] = lambda: None,
    ) -> None:
        self.facts = StreamFacts("", 0, 0, b"", 25.0, "")
        self.only_keys = False
        self._pictures = pictures
        self._on_drop = on_drop
        self._close = close
        self._on_broken = on_broken
        self._decoder: VideoCodecContext | None = None
        self._formats = FormatReader()
        self._times = LiveTimes(1 / 25)
        self._n_frames = 0

    def measure(self, frame: Frame) -> None:
        """Take size, pixel format, orientation and colour from a decoded frame."""
        self.facts = measured(self.facts, frame)

    def close(self) -> None:
        self._close()

    def read(self) -> Iterator[ReadResult]:
        """Yield the pictures from the first key frame on. Raises SourceAway when the stream breaks off."""
        for each in with_times(self._pictures, _arrival_of, lambda picture: len(picture.data), self._times):
            picture = each.item
            begins = is_key(picture.codec, picture.data)
            if self._decoder is not None and picture.codec != self.facts.codec:
                raise SourceAway(
                    f"the sender changed from {self.facts.codec} to {picture.codec}"
                )  # no clip holds both
            if (fault := coded_fault(picture.codec, picture.data)) is not None:
                raise SourceAway(f"sends {fault}")
            if self._decoder is None:
                if not begins:
                    self._on_drop("before_key_frame")
                    self._on_broken()
                    continue
                self._begin(picture.codec)
            yield self._one(each, begins)

    def _begin(self, codec: str) -> None:
        context = CodecContext.create(codec, "r")
        assert isinstance(context, VideoCodecContext)
        context.thread_count = 1  # several threads hold several frames back
        context.options = dict(DECODER_OPTIONS)
        self._decoder = context
        self.facts = replace(self.facts, codec=codec)

    def _one(self, each: TimedPacket[CodedPicture], begins: bool) -> ReadResult:
        packet = Packet(each.item.data, each.t_s, begins)
        if self.only_keys and not begins:
            return ReadResult(packet, ())
        frames = tuple(self._frame(image, packet.t_s, each.item) for image in self._decode(each.item))
        return ReadResult(packet, frames, is_replay=each.is_late)

    def _decode(self, picture: CodedPicture) -> list[VideoFrame]:
        assert self._decoder is not None
        raw = av.Packet(picture.data)
        raw.pts, raw.time_base = picture.ticks, CLOCK
        try:
            return fitting(self._decoder.decode(raw))
        except av.FFmpegError as exc:
            if fault := size_fault(self._decoder.width, self._decoder.height):
                raise SourceAway(f"sends {fault}") from exc
            self._on_drop("broken_packet")
            self._on_broken()
            return []

    def _frame(self, image: VideoFrame, packet_s: float, picture: CodedPicture) -> Frame:
        assert self._decoder is not None
        jpeg = picture.data if picture.codec == "mjpeg" else None
        known_s = self._times.of_frame(None if image.pts is None else image.pts * float(CLOCK))
        shown = self._formats.of(image, self._decoder.sample_aspect_ratio, jpeg)
        frame = Frame(packet_s if known_s is None else known_s, image, shown)
        if self._n_frames == 0:
            self.measure(frame)
        self._n_frames += 1
        return frame
