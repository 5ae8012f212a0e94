"""A camera's compressed packets as values: one packet, and what a decoder must know of their stream. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fractions import Fraction

from services.motion.media.picture_format import Colour, Orientation, PictureFormat

CLOCK = Fraction(1, 90_000)
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
