"""Reads the header `Range` of a request (RFC 9110, 14.2) for one range of bytes. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

_ONE = re.compile(r"bytes=[ \t]*(\d{0,18})-(\d{0,18})[ \t]*", re.ASCII)


class OutOfRange(Exception):
    """The range lies outside the file: the answer is 416."""


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes from `start` to before `stop`."""

    start: int
    stop: int


def parse_range(header: str | None, n_bytes: int) -> ByteRange | None:
    """Return what is asked for of a file of `n_bytes`; None: all of it. Raises OutOfRange.

    What is not one range of bytes is not taken for one, as the RFC allows: several ranges get the whole file.
    """
    found = _ONE.fullmatch(header or "")
    if found is None or found[1] == found[2] == "":
        return None
    if found[1] == "":
        start, stop = max(n_bytes - int(found[2]), 0), n_bytes
    else:
        start, stop = int(found[1]), min(int(found[2] or n_bytes) + 1, n_bytes)
        if found[2] and int(found[2]) < start:
            return None
    if start >= stop:
        raise OutOfRange
    return ByteRange(start, stop)
