"""Keeps each snippet on disk until it is recorded: in order, durable, and within a bound.

An entry is one file with the two messages of a snippet, written durably (shared/files.py). publisher.py sends it;
receipts.py frees it once its snippet is recorded, and not before.
"""

from __future__ import annotations

import errno
import struct
import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from services.motion.metrics import MotionMetrics
from shared.contract import Fields, MediaMessage, SnippetMessage
from shared.errors import Permanent
from shared.files import write_durably
from shared.logs import get_logger

log = get_logger(__name__)

_MAGIC = b"clipwatch outbox 1\n"
_SUFFIX, _SENT_SUFFIX = ".snippet", ".sent"
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


class OutboxFull(Exception):
    """The bound is reached: the caller waits, or counts the snippet as dropped."""


class BrokenEntry(Permanent):
    """An entry that does not hold what was written: the disk damaged it."""


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """A snippet on disk; the name is its file's."""

    name: str
    n_bytes: int

    @property
    def key(self) -> str:
        """`<event id>.<snippet>`."""
        return self.name.split(".", 1)[1].rsplit(".", 1)[0]


class Outbox:
    """The entries of this process and of earlier ones, in order. Safe between threads.

    An entry waits to be sent (`<number>.<key>.snippet`). Then it is kept (`….sent`) until its snippet is recorded, so
    that it can be sent again when Redis loses it. When room runs out, kept entries go first.
    """

    def __init__(self, folder: Path, max_bytes: int, metrics: MotionMetrics | None = None) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._metrics = metrics
        self._changed = threading.Condition()
        self._entries: OrderedDict[str, OutboxEntry] = OrderedDict()  # by key, waiting to be sent
        self._kept: OrderedDict[str, OutboxEntry] = OrderedDict()  # by key, sent and not yet recorded
        self._n_bytes = self._kept_bytes = 0
        self._refused_bytes = 0  # size of the last entry that the disk refused; 0: none
        self._is_full = False
        self._is_uncovering = False
        self._on_put: Callable[[], None] = lambda: None
        self._next = 0
        try:
            self._load()
        except OSError as exc:
            log.warning("the outbox cannot be read, what is in it waits for the next start", error=exc)
        self._measure()

    def _load(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        for left in self._folder.glob("*.tmp"):
            left.unlink(missing_ok=True)
        for suffix, entries in ((_SUFFIX, self._entries), (_SENT_SUFFIX, self._kept)):
            for path in sorted(self._folder.glob(f"*{suffix}")):
                entry = OutboxEntry(path.name, path.stat().st_size)
                entries[entry.key] = entry
                self._next = max(self._next, int(path.name.split(".", 1)[0]) + 1)
        self._n_bytes = sum(entry.n_bytes for entry in self._entries.values())
        self._kept_bytes = sum(entry.n_bytes for entry in self._kept.values())

    @property
    def n_entries(self) -> int:
        """How many wait to be sent."""
        return len(self._entries)

    @property
    def n_bytes(self) -> int:
        """What those take."""
        return self._n_bytes

    @property
    def n_kept(self) -> int:
        """How many were sent and are not yet recorded."""
        return len(self._kept)

    @property
    def kept_bytes(self) -> int:
        return self._kept_bytes

    @property
    def is_refusing(self) -> bool:
        """Whether there was no room for the last entry, and nothing has changed since."""
        return self._is_full or self._refused_bytes > 0

    def on_put(self, call: Callable[[], None]) -> None:
        """Call `call` (from any thread) whenever an entry waits to be sent."""
        self._on_put = call

    def put(self, media: MediaMessage, snippet: SnippetMessage) -> bool:
        """Write both messages to disk; return False when this snippet is there already.

        Raises OutboxFull when the bound is reached, OSError when the disk refuses.
        """
        header = snippet.header
        key = f"{header.event_id}.{header.snippet}"
        content = _pack(media.encode(), snippet.encode())
        with self._changed:
            if key in self._entries or key in self._kept:
                return False
            self._make_room(len(content))
            entry = OutboxEntry(f"{self._next:016d}.{key}{_SUFFIX}", len(content))
            self._write(entry, content)
            self._next += 1
            self._entries[key] = entry
            self._n_bytes += entry.n_bytes
            self._measure()
        self._on_put()
        return True

    def _make_room(self, n_bytes: int) -> None:
        is_short = self._n_bytes + self._kept_bytes + n_bytes > self._max_bytes
        while self._kept and self._n_bytes + self._kept_bytes + n_bytes > self._max_bytes:
            self._free_oldest()
        self._is_uncovering = is_short and self._is_uncovering
        self._is_full = bool(self._entries) and self._n_bytes + n_bytes > self._max_bytes
        if self._is_full:
            raise OutboxFull

    def _write(self, entry: OutboxEntry, content: bytes) -> None:
        """Write an entry; on a full disk, what Redis has already makes room for it."""
        while True:
            try:
                write_durably(self._folder / entry.name, content)
            except OSError as exc:
                if exc.errno in _NO_SPACE and self._kept:
                    self._free_oldest()
                    continue
                self._refused_bytes = max(len(content), 1)
                raise
            self._refused_bytes = 0
            return

    def _free_oldest(self) -> None:
        if not self._is_uncovering:
            log.warning(
                "no room: what Redis has is no longer kept until it is recorded",
                kept_entries=len(self._kept),
                kept_bytes=self._kept_bytes,
            )
        self._is_uncovering = True
        self._free(next(iter(self._kept)))
        if self._metrics:
            self._metrics.outbox_uncovered.inc()

    def try_disk(self) -> bool:
        """After a refusal, test whether the disk would take that entry now; return whether it would."""
        size = self._refused_bytes
        if not size:
            return True
        probe = self._folder / "probe.tmp"  # a start removes it, should this process die here
        try:
            write_durably(probe, bytes(size))
            probe.unlink(missing_ok=True)
        except OSError:
            return False
        self._refused_bytes = 0
        return True

    def wait_until_fewer(self, n_entries: int, timeout_s: float) -> bool:
        """Wait until fewer than `n_entries` wait to be sent; return whether that came true."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self._entries) < n_entries, timeout_s)

    def wait_for_change(self, timeout_s: float) -> None:
        """Wait until an entry went, or the time is over."""
        with self._changed:
            self._changed.wait(timeout_s)

    def first(self) -> OutboxEntry | None:
        """Return the entry that has waited longest to be sent."""
        with self._changed:
            return next(iter(self._entries.values()), None)

    def read(self, entry: OutboxEntry) -> tuple[Fields, Fields]:
        """Return the fields of the media and of the snippet message; raise BrokenEntry or OSError."""
        return _unpack((self._folder / entry.name).read_bytes())

    def keep(self, entry: OutboxEntry) -> None:
        """Note that Redis has `entry`: it is kept until `free` or `send_again`."""
        with self._changed:
            if self._entries.pop(entry.key, None) is None:
                return
            self._n_bytes -= entry.n_bytes
            self._kept[entry.key] = self._renamed(entry, _SENT_SUFFIX)
            self._kept_bytes += entry.n_bytes
            self._note_removed()

    def send_again(self, key: str) -> None:
        """Let a kept entry wait to be sent once more: Redis lost it."""
        with self._changed:
            entry = self._kept.pop(key, None)
            if entry is None:
                return
            self._kept_bytes -= entry.n_bytes
            self._entries[key] = self._renamed(entry, _SUFFIX)
            self._n_bytes += entry.n_bytes
            self._measure()
        self._on_put()

    def kept_keys(self) -> list[str]:
        """Return `<event id>.<snippet>` of all kept entries, the oldest first."""
        with self._changed:
            return list(self._kept)

    def free(self, key: str) -> None:
        """Remove a kept entry: its snippet is recorded."""
        with self._changed:
            self._free(key)

    def remove(self, entry: OutboxEntry) -> None:
        """Remove an entry that waits: it was sent and recorded before."""
        with self._changed:
            self._forget(entry)
            self._unlink(entry)

    def postpone(self, entry: OutboxEntry) -> None:
        """Move an entry that cannot be read now behind the others."""
        with self._changed:
            if entry.key in self._entries:
                self._entries.move_to_end(entry.key)

    def set_aside(self, entry: OutboxEntry) -> None:
        """Move a broken entry out of the way, for somebody to examine."""
        with self._changed:
            aside = self._folder / "broken"
            self._forget(entry)
            try:
                aside.mkdir(exist_ok=True)
                (self._folder / entry.name).rename(aside / entry.name)
            except FileNotFoundError:
                return
            except OSError as exc:
                log.warning("a broken entry cannot be set aside", entry=entry.name, error=exc)

    def _renamed(self, entry: OutboxEntry, suffix: str) -> OutboxEntry:
        """Note in the file's name what the entry waits for.

        This need not be durable: where it is lost, the entry is sent once more after a restart, and its mark in Redis
        says what became of it.
        """
        name = entry.name.rsplit(".", 1)[0] + suffix
        try:
            (self._folder / entry.name).rename(self._folder / name)
        except OSError as exc:
            log.warning("an outbox entry cannot be renamed", entry=entry.name, error=exc)
            return entry
        return OutboxEntry(name, entry.n_bytes)

    def _free(self, key: str) -> None:
        entry = self._kept.pop(key, None)
        if entry is not None:
            self._kept_bytes -= entry.n_bytes
            self._unlink(entry)
            self._note_removed()

    def _forget(self, entry: OutboxEntry) -> None:
        if self._entries.pop(entry.key, None) is not None:
            self._n_bytes -= entry.n_bytes
        self._note_removed()

    def _unlink(self, entry: OutboxEntry) -> None:
        try:
            (self._folder / entry.name).unlink(missing_ok=True)
        except OSError as exc:  # the next start finds it, and its mark in Redis says that it was recorded
            log.warning("an outbox entry cannot be removed", entry=entry.name, error=exc)

    def _note_removed(self) -> None:
        self._is_full = False
        self._measure()
        self._changed.notify_all()

    def _measure(self) -> None:
        if self._metrics:
            self._metrics.outbox_entries.set(len(self._entries))
            self._metrics.outbox_bytes.set(self._n_bytes)
            self._metrics.outbox_kept_entries.set(len(self._kept))
            self._metrics.outbox_kept_bytes.set(self._kept_bytes)


def _pack(*messages: Fields) -> bytes:
    parts = [_MAGIC]
    for fields in messages:
        parts.append(struct.pack(">I", len(fields)))
        for name, value in fields.items():
            parts += [struct.pack(">II", len(name), len(value)), name, value]
    body = b"".join(parts)
    return body + struct.pack(">I", zlib.crc32(body))


def _unpack(content: bytes) -> tuple[Fields, Fields]:
    if not content.startswith(_MAGIC) or len(content) < len(_MAGIC) + 4:
        raise BrokenEntry("not an outbox entry")
    body, (checksum,) = content[:-4], struct.unpack(">I", content[-4:])
    if zlib.crc32(body) != checksum:
        raise BrokenEntry("the checksum does not match")
    at = len(_MAGIC)
    messages: list[Fields] = []
    for _ in range(2):
        (count,) = struct.unpack_from(">I", body, at)
        at += 4
        fields: Fields = {}
        for _ in range(count):
            name_size, value_size = struct.unpack_from(">II", body, at)
            at += 8
            fields[body[at : at + name_size]] = body[at + name_size : at + name_size + value_size]
            at += name_size + value_size
        messages.append(fields)
    return messages[0], messages[1]
