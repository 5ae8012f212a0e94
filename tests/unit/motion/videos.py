"""Small videos and planes made here, so that tests know what is in them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from services.motion.media.packets import Packet, StreamFacts
from services.motion.sources.ffmpeg import facts_of

Plane = npt.NDArray[np.uint8]


def scene(
    n_frames: int, width: int = 160, height: int = 120, square: int = 24, moves: range | None = None
) -> Iterator[Plane]:
    """Yield gray frames of a textured ground; in the frames `moves` a bright square crosses it."""
    random = np.random.default_rng(7)
    ground = np.kron(random.integers(60, 140, (height // 8, width // 8)), np.ones((8, 8))).astype(np.uint8)
    moves = range(n_frames) if moves is None else moves
    for index in range(n_frames):
        frame = ground.copy()
        if index in moves:
            share = (index - moves.start) / max(1, len(moves) - 1)
            x = round(share * (width - square))
            frame[height // 2 : height // 2 + square, x : x + square] = 230
        yield frame


def write_video(
    path: Path,
    frames: Iterable[Plane],
    codec: str = "libx264",
    fps: int = 10,
    gop: int = 10,
    pixels: str = "yuv420p",
    options: dict[str, str] | None = None,
    metadata: dict[str, str] | None = None,
) -> Path:
    """Write gray `frames` as a video."""
    with av.open(str(path), "w") as container:
        container.metadata.update(metadata or {})
        stream: Any = None  # Any: add_stream with a codec named at run time
        for index, plane in enumerate(frames):
            if stream is None:
                stream = container.add_stream(codec, rate=fps, options=options or {})
                stream.width, stream.height, stream.pix_fmt = plane.shape[1], plane.shape[0], pixels
                stream.codec_context.gop_size = gop
            frame = av.VideoFrame.from_ndarray(plane, format="gray").reformat(format=pixels)
            frame.pts, frame.time_base = index, Fraction(1, fps)
            container.mux(stream.encode(frame))
        if stream is not None:
            container.mux(stream.encode(None))
    return path


def read_packets(path: Path, starts_s: float = 1000.0) -> tuple[StreamFacts, list[Packet]]:
    """Return what the ring would hold of a file."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        packets = []
        for raw in container.demux(stream):
            if raw.size:
                stamp = raw.pts if raw.pts is not None else raw.dts
                assert stamp is not None
                packets.append(Packet(bytes(raw), starts_s + float(stamp * raw.time_base), raw.is_keyframe))
        return facts_of(stream), packets


def packets_at(times: Sequence[float], keys: Sequence[bool], size: int = 10) -> list[Packet]:
    """Return packets without content."""
    return [Packet(bytes(size), t, key) for t, key in zip(times, keys, strict=True)]
