"""Makes the two recordings of the capture bench from a sample: 1920x1080, 25 frames a second, H.264 like a camera's.

busy    people walk in every frame (the sample, enlarged, one of its frames a frame)
quiet   the same place without them; one of them crosses once, in 3 s
Both have fixed fine detail and fresh noise of 2 grey levels in every frame. Everything follows from fixed seeds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt

Gray = npt.NDArray[np.uint8]
SAMPLE = Path(__file__).parents[1] / "samples" / "people-walking.mp4"
WIDTH, HEIGHT, FPS = 1920, 1080, 25
GOP_S = 2
NOISE_LEVELS = 2.0
VERSION = 1  # of what is drawn
# like a camera's encoder: no B-frames; the rest is libx264's own
CODER = {"preset": "veryfast", "crf": "23", "bf": "0"}


@dataclass(frozen=True, slots=True)
class Recordings:
    """The two files, and how many frames each has."""

    busy: Path
    quiet: Path
    n_busy: int
    n_quiet: int


def recordings(folder: Path, busy_s: int, quiet_s: int, coder: dict[str, str] | None = None) -> Recordings:
    """Return the recordings of `folder`, made there when they are missing."""
    folder.mkdir(parents=True, exist_ok=True)
    options = coder or CODER
    mark = "-".join([str(VERSION), *(f"{key}{value}" for key, value in options.items())])
    busy, quiet = folder / f"busy-{busy_s}s-{mark}.mp4", folder / f"quiet-{quiet_s}s-{mark}.mp4"
    sample = _sample()
    if not busy.is_file():
        write(busy, (sample[i % len(sample)] for i in range(busy_s * FPS)), options)
    if not quiet.is_file():
        write(quiet, quiet_frames(sample, quiet_s), options)
    return Recordings(busy, quiet, busy_s * FPS, quiet_s * FPS)


def quiet_frames(sample: list[Gray], length_s: int) -> Iterator[Gray]:
    """Yield the empty place; one walker crosses it in the 3 s before its last quarter."""
    place = empty_place(sample)
    walker, mask = _walker(sample, place)
    begins, lasts = round(0.75 * length_s - 3) * FPS, 3 * FPS
    for index in range(length_s * FPS):
        frame = place
        if begins <= index < begins + lasts:
            frame = place.copy()
            x = round((index - begins) / lasts * (place.shape[1] - walker.shape[1]))
            y = place.shape[0] - walker.shape[0] - 80
            there = frame[y : y + walker.shape[0], x : x + walker.shape[1]]
            there[mask] = walker[mask]
        yield frame


def empty_place(sample: list[Gray]) -> Gray:
    """Return the place as it looks without anybody."""
    median: Gray = np.median(np.stack(sample[::20]), axis=0).astype(np.uint8)
    return median


def write(path: Path, frames: Iterator[Gray], options: dict[str, str]) -> None:
    """Enlarge `frames`, add detail and noise, and write them; a half-written file never has the final name."""
    rng = np.random.default_rng(11)
    detail = cv2.GaussianBlur(rng.normal(0, 12, (HEIGHT, WIDTH)).astype(np.float32), (3, 3), 0).astype(
        np.int8
    )
    noises = [rng.normal(0, NOISE_LEVELS, (HEIGHT, WIDTH)).round().astype(np.int8) for _ in range(6)]
    partial = path.with_suffix(".part")
    with av.open(str(partial), "w", format="mp4") as container:
        stream: Any = container.add_stream("libx264", rate=FPS, options=options)  # Any: named at run time
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.gop_size = GOP_S * FPS
        chroma = np.full((HEIGHT // 2, WIDTH), 128, np.uint8)
        for index, plane in enumerate(frames):
            large = cv2.resize(plane, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
            noise = np.roll(noises[int(rng.integers(6))], int(rng.integers(WIDTH)), axis=1)
            luma = cv2.add(cv2.add(large, detail, dtype=cv2.CV_8U), noise, dtype=cv2.CV_8U)
            frame = av.VideoFrame.from_ndarray(np.vstack([luma, chroma]), format="yuv420p")
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    partial.replace(path)


def _sample() -> list[Gray]:
    with av.open(str(SAMPLE)) as container:
        return [np.asarray(frame.to_ndarray(format="gray"), np.uint8) for frame in container.decode(video=0)]


def _walker(sample: list[Gray], place: Gray) -> tuple[Gray, npt.NDArray[np.bool_]]:
    """Return a person of the sample, cut out: pixels and which of them are the person's."""
    best: tuple[int, Gray, npt.NDArray[np.bool_]] | None = None
    for frame in sample[::40]:
        change = cv2.GaussianBlur(cv2.absdiff(frame, place), (5, 5), 0)
        grown = cv2.dilate((change > 20).astype(np.uint8), np.ones((5, 5), np.uint8))
        _, labels, stats, _ = cv2.connectedComponentsWithStats(grown)
        for label, (x, y, w, h, area) in enumerate(stats[1:].tolist(), 1):
            if 1.5 * w < h < 4 * w and (best is None or area > best[0]):
                cut = np.s_[y : y + h, x : x + w]
                best = (area, frame[cut].copy(), np.asarray(labels)[cut] == label)
    assert best is not None
    return best[1], best[2]


def lengthened(recording: Path, times: int, begins_s: int = 0, ends: float = 1.0) -> Path:
    """Return a recording in which the part from `begins_s` to the share `ends` of another comes `times` times more;
    packets are copied. In the first two thirds of the quiet one nobody walks; an encoder's first pictures are larger
    than all that follow: such a seam would look like motion.
    """
    target = recording.with_name(f"{recording.stem}-{times}x-from-{begins_s}s.mp4")
    if target.is_file():
        return target
    partial = target.with_suffix(".part")
    with av.open(str(recording)) as source, av.open(str(partial), "w", format="mp4") as container:
        video = source.streams.video[0]
        stream: Any = container.add_stream_from_template(video)  # Any: PyAV's union of stream types
        packets = [packet for packet in source.demux(video) if packet.size]
        end = int(len(packets) * ends) // (GOP_S * FPS) * GOP_S * FPS
        again = packets[begins_s * FPS : end] * times
        step = packets[1].dts - packets[0].dts  # type: ignore[operator]  # None only for packets without a time
        for number, packet in enumerate([*packets[:end], *again, *packets[end:]]):
            raw = av.Packet(bytes(packet))
            raw.stream, raw.time_base = stream, packet.time_base
            raw.pts = raw.dts = number * step
            raw.is_keyframe = packet.is_keyframe
            container.mux(raw)
    partial.replace(target)
    return target
