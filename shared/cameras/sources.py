"""Where a camera's pictures come from, by the `url` that names it: its kind, and what is wrong with it. Pure."""

from __future__ import annotations

import re
from typing import Literal

from shared.urls import VARIABLE, scheme_of, url_fault

SourceKind = Literal["file", "device", "rtsp", "http", "whip", "whep"]
_KINDS: dict[str, SourceKind] = {
    "rtsp": "rtsp",
    "rtsps": "rtsp",
    "http": "http",
    "https": "http",
    "whep": "whep",
    "wheps": "whep",
    "whip": "whip",
    "file": "file",
}
_SCHEMES = "rtsp://, rtsps://, http://, https://, whip:, whep://, wheps:// or a file"
# FFmpeg's RTSP client keeps that much of user:password (libavformat/rtsp.h: auth[128])
MOST_LOGIN_BYTES = 127
_WHIP = re.compile(r"whip:(//)?/?\?token=[A-Za-z0-9._~+/=-]{16,}")


def kind_of(url: str) -> SourceKind:
    """Return what `url` leads to; raise ValueError when it is of no known kind.

    A name with a colon is a file, unless `://` follows or what stands before it is a scheme of ours.
    """
    scheme = scheme_of(url)
    if scheme:
        kind = _KINDS.get(scheme)
        if kind is None:
            raise ValueError(f"scheme '{scheme}' is not known, wanted {_SCHEMES}")
        return kind
    start = url.partition(":")[0].lower() if ":" in url else ""
    if start in ("whip", "file"):
        return _KINDS[start]
    if start in _KINDS:
        raise ValueError(f"wanted {start}://host/…; a file of this name is written ./{start}:…")
    return "device" if url.startswith("/dev/") else "file"


def whip_token(url: str) -> str:
    """Return the token that a publisher must show, of `whip:?token=…`."""
    return url.partition("?token=")[2]


def stream_fault(url: str) -> str | None:
    """Say why the address of a stream would be read wrongly."""
    if (fault := url_fault(url)) is not None:
        return fault
    login = url.partition("://")[2].partition("/")[0].rpartition("@")[0]
    if kind_of(url) == "rtsp" and len(login.encode()) > MOST_LOGIN_BYTES:
        return (
            f"user name and password take more than {MOST_LOGIN_BYTES} bytes in the URL, choose shorter ones"
        )
    return None


def whip_fault(url: str) -> str | None:
    """Say what is wrong with a `whip:` url. The characters are those of a bearer token (RFC 6750 §2.1)."""
    if kind_of(url) != "whip" or _WHIP.fullmatch(url) or VARIABLE.search(url):
        return None
    return "wanted whip:?token= and at least 16 of A-Z a-z 0-9 - . _ ~ + / ="
