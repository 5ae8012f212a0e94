"""Writes the packets of an open event to disk as they arrive, so that kill -9 loses no event.

Each snippet that is not yet in the outbox has a file, `<event id>.<snippet>.journal`. It is written without fsync: what
write() took survives the death of the process, not of the machine; the outbox is the durable place. The next snippet's
journal is begun before a snippet goes to the outbox, and the old one is deleted after that. So a kill at any point
leaves every packet in one of the two, and only the last journal of an event ends it.

    magic | u32 size, u32 crc, header JSON | (u32 size, u32 crc, f64 seconds, u8 is key, packet)*
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import struct
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from services.motion.media.packets import Packet, StreamFacts
from services.motion.media.picture_format import Colour
from shared.cameras import Camera
from shared.errors import Permanent
from shared.logs import get_logger

log = get_logger(__name__)

_MAGIC = b"clipwatch journal 1\n"
_SUFFIX = ".journal"
_FRAME = struct.Struct(">II")
_PACKET = struct.Struct(">dB")


@dataclass(frozen=True, slots=True)
class JournalHeader:
    """Whose packets these are. `camera` has the settings of that time, without its url."""

    event_id: str
    snippet: int
    event_started_s: float
    starts_s: float
    camera: Camera
    facts: StreamFacts
    wall_offset_s: float = 0.0  # added to the packets' seconds in what people see


@dataclass(frozen=True, slots=True)
class JournalContents:
    """What a killed process left behind in a journal."""

    path: Path
    header: JournalHeader
    packets: tuple[Packet, ...]


class Journal:
    """An open journal file. A full disk closes it; what it holds stays until its snippet is in the outbox."""

    def __init__(self, folder: Path, header: JournalHeader) -> None:
        """Create the file; raises OSError, and leaves nothing behind then."""
        self.path = folder / f"{header.event_id}.{header.snippet}{_SUFFIX}"
        folder.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            self._write(_MAGIC + _framed(json.dumps(_to_json(header)).encode()))
        except OSError:
            self.delete()
            raise

    @property
    def is_open(self) -> bool:
        return self._descriptor >= 0

    def append(self, packets: Iterable[Packet]) -> None:
        """Write packets; raises OSError. A closed journal ignores them."""
        if not self.is_open:
            return
        self._write(
            b"".join(_framed(_PACKET.pack(packet.t_s, packet.is_key) + packet.data) for packet in packets)
        )

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            with contextlib.suppress(OSError):  # write() has already reported what the disk refused
                os.close(descriptor)

    def delete(self) -> None:
        """Close and remove it: its snippet is in the outbox.

        The next start takes up one that cannot be removed, which does no harm: outbox and record know its snippet.
        """
        self.close()
        try:
            self.path.unlink(missing_ok=True)
        except OSError as exc:
            log.warning("a journal cannot be removed", journal=self.path.name, error=exc)

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]


def find_journals(folder: Path) -> list[tuple[Path, JournalHeader]]:
    """Return the journals that were left behind, by event and snippet.

    Files without a readable header or packet are deleted; one that the disk does not give waits for the next start.
    """
    found = []
    for path in sorted(folder.glob(f"*{_SUFFIX}")):
        try:
            found.append((path, read_journal(path).header))
        except Permanent as exc:
            log.info("an empty journal is cleared away", reason=str(exc))
            with contextlib.suppress(OSError):  # it is harmless, and another start clears it away
                path.unlink(missing_ok=True)
        except OSError as exc:
            log.error("a journal cannot be read", journal=path.name, error=exc)
    return sorted(found, key=lambda one: (one[1].event_id, one[1].snippet))


def read_journal(path: Path) -> JournalContents:
    """Read as much as was written; raise Permanent when that is less than a header and a packet."""
    data = path.read_bytes()
    if not data.startswith(_MAGIC):
        raise Permanent(f"{path.name}: not a journal")
    at = len(_MAGIC)
    record, at = _record(data, at)
    if record is None:
        raise Permanent(f"{path.name}: ends within its header")
    try:
        header = _from_json(json.loads(record))
    except (ValueError, KeyError, TypeError) as exc:
        raise Permanent(f"{path.name}: its header cannot be read: {exc}") from exc
    packets: list[Packet] = []
    while True:
        record, at = _record(data, at)
        if record is None or len(record) < _PACKET.size:
            break
        t_s, is_key = _PACKET.unpack_from(record)
        packets.append(Packet(record[_PACKET.size :], t_s, bool(is_key)))
    if not packets:
        raise Permanent(f"{path.name}: holds no packet")
    return JournalContents(path, header, tuple(packets))


def _record(data: bytes, at: int) -> tuple[bytes | None, int]:
    if at + _FRAME.size > len(data):
        return None, at
    size, checksum = _FRAME.unpack_from(data, at)
    payload = data[at + _FRAME.size : at + _FRAME.size + size]
    if len(payload) < size or zlib.crc32(payload) != checksum:
        return None, at
    return payload, at + _FRAME.size + size


def _framed(payload: bytes) -> bytes:
    return _FRAME.pack(len(payload), zlib.crc32(payload)) + payload


def _to_json(header: JournalHeader) -> dict[str, Any]:  # Any: JSON
    camera = header.camera.model_copy(update={"url": "journal", "detect_url": None})
    facts = asdict(header.facts)
    facts["extradata"] = base64.b64encode(header.facts.extradata).decode()
    return {
        "event_id": header.event_id,
        "snippet": header.snippet,
        "event_started_s": header.event_started_s,
        "starts_s": header.starts_s,
        "wall_offset_s": header.wall_offset_s,
        "camera": camera.model_dump(mode="json"),
        "facts": facts,
    }


def _from_json(value: dict[str, Any]) -> JournalHeader:  # Any: JSON
    known = value["facts"]
    facts = StreamFacts(**{**known, "extradata": b"", "colour": Colour(**known.get("colour", {}))})
    return JournalHeader(
        event_id=str(value["event_id"]),
        snippet=int(value["snippet"]),
        event_started_s=float(value["event_started_s"]),
        starts_s=float(value["starts_s"]),
        camera=Camera.model_validate(value["camera"]),
        facts=replace(facts, extradata=base64.b64decode(value["facts"]["extradata"])),
        wall_offset_s=float(value.get("wall_offset_s", 0.0)),  # journals of older versions have none
    )
