"""Reads hostile pictures as motion does, in a process of its own, and says what became of memory.

    python -m tests.attack.picture_reader h264 FILE     a publisher's picture
    python -m tests.attack.picture_reader file FILE     a recording

Prints JSON: {"n_frames", "fault", "grown_mib", "took_s"}.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

from services.motion.sources.coded_pictures import CodedPicture, CodedPictureStream
from services.motion.sources.file import open_file
from services.motion.sources.probe import probe
from services.motion.sources.stream import SourceAway, SourceStream
from shared.errors import ConfigError


def main(kind: str, path: Path) -> None:
    """Read `path` and print what came of it."""
    before_kib = _peak_kib()
    began_s = time.monotonic()
    n_frames, fault = 0, ""
    try:
        if kind == "file":
            probe(path)
        for read in _opened(kind, path).read():
            n_frames += len(read.frames)
    except (SourceAway, ConfigError) as exc:
        fault = str(exc)
    grown_mib = (_peak_kib() - before_kib) / 1024
    took_s = time.monotonic() - began_s
    print(json.dumps({"n_frames": n_frames, "fault": fault, "grown_mib": grown_mib, "took_s": took_s}))


def _opened(kind: str, path: Path) -> SourceStream:
    if kind == "file":
        return open_file(str(path), 0.0, _ignore)
    data = path.read_bytes()
    pictures = iter([CodedPicture(kind, data, n * 9000, n / 10) for n in range(3)])
    return CodedPictureStream(pictures, _ignore, lambda: None)


def _peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _ignore(_reason: str) -> None:
    """Drops are not what is asked for here."""


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
