"""The outbox on a real folder: whatever step a crash comes at, an entry is there completely or not at all."""

from __future__ import annotations

import os
import tempfile
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from services.motion.metrics import MotionMetrics
from services.motion.spool.outbox import BrokenEntry, Outbox, OutboxEntry, OutboxFull
from shared.clock import uuid7
from shared.contract import LabelSet, MediaHeader, MediaMessage, PictureInfo, SnippetHeader, SnippetMessage

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


EVENT = uuid7(NOON, "event")


def messages(number: int = 0, clip: bytes = b"mp4") -> tuple[MediaMessage, SnippetMessage]:
    media = MediaHeader(
        event_id=EVENT,
        snippet=number,
        camera="gate",
        started_at=NOON,
        ended_at=NOON,
        media_key="0" * 32,
        width=4,
        height=4,
    )
    snippet = SnippetHeader(
        event_id=EVENT,
        snippet=number,
        is_last=False,
        camera="gate",
        event_started_at=NOON,
        started_at=NOON,
        ended_at=NOON,
        label_set=LabelSet(labels=("a dog",)),
        pictures=(PictureInfo(moment=0, kind="frame", captured_at=NOON, width=4, height=4),),
    )
    return MediaMessage(media, clip, b"jpg"), SnippetMessage(snippet, (b"picture",))


def test_entries_come_out_as_they_went_in_and_in_order(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path, 10**6)
    for number in range(12):
        assert outbox.put(*messages(number, clip=b"clip %d" % number))
    for number in range(12):
        entry = outbox.first()
        assert entry is not None
        media, snippet = outbox.read(entry)
        assert MediaMessage.decode(media) == messages(number, clip=b"clip %d" % number)[0]
        assert SnippetMessage.decode(snippet) == messages(number)[1]
        outbox.remove(entry)
    assert outbox.first() is None
    assert list(tmp_path.iterdir()) == []


def test_a_snippet_that_waits_is_not_put_twice(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path, 10**6)
    assert outbox.put(*messages(0))
    assert not outbox.put(*messages(0, clip=b"other"))
    assert not Outbox(tmp_path, 10**6).put(*messages(0))
    assert outbox.n_entries == 1


def test_a_restart_finds_the_entries_and_goes_on_behind_them(tmp_path: Path) -> None:
    first = Outbox(tmp_path, 10**6)
    for number in range(3):
        first.put(*messages(number))
    again = Outbox(tmp_path, 10**6)
    again.put(*messages(3))
    names = sorted(path.name for path in tmp_path.iterdir())
    assert [name.split(".")[2] for name in names] == ["0", "1", "2", "3"]
    assert again.n_bytes == sum(path.stat().st_size for path in tmp_path.iterdir())


def test_what_a_crash_left_half_written_is_removed(tmp_path: Path) -> None:
    (tmp_path / f"0000000000000000.{uuid7(NOON)}.0.snippet.tmp").write_bytes(b"half")
    assert Outbox(tmp_path, 10**6).first() is None
    assert list(tmp_path.iterdir()) == []


@settings(deadline=None)
@given(st.integers(0, 10_000))
def test_a_damaged_entry_is_recognised(cut: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        outbox = Outbox(Path(folder), 10**6)
        outbox.put(*messages(0, clip=os.urandom(300)))
        entry = outbox.first()
        assert entry is not None
        path = Path(folder) / entry.name
        content = path.read_bytes()
        if cut % 2:
            path.write_bytes(content[: cut % len(content)])
        else:
            at = cut % len(content)
            path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        with pytest.raises(BrokenEntry):
            outbox.read(entry)
        outbox.set_aside(entry)
        assert outbox.first() is None
        assert (Path(folder) / "broken" / entry.name).exists()


def test_the_bound_is_kept_but_one_entry_always_fits(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path, 5000)
    assert outbox.put(*messages(0, clip=bytes(9000)))
    with pytest.raises(OutboxFull):
        outbox.put(*messages(1))
    entry = outbox.first()
    assert entry is not None
    outbox.remove(entry)
    assert outbox.put(*messages(1))


def test_a_waiting_thread_is_woken_when_an_entry_goes(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path, 10**6)
    outbox.put(*messages(0))
    assert not outbox.wait_until_fewer(1, 0.01)
    entry = outbox.first()
    assert isinstance(entry, OutboxEntry)
    remover = threading.Thread(target=outbox.remove, args=(entry,))
    remover.start()
    assert outbox.wait_until_fewer(1, 10)
    remover.join()


def kept(outbox: Outbox) -> OutboxEntry:
    """Let the oldest entry be sent."""
    entry = outbox.first()
    assert entry is not None
    outbox.keep(entry)
    return entry


def test_an_entry_that_was_sent_is_kept_over_a_restart_until_it_is_recorded(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path, 10**6)
    outbox.put(*messages(0))
    outbox.put(*messages(1))
    key = kept(outbox).key
    again = Outbox(tmp_path, 10**6)
    assert (again.n_entries, again.n_kept) == (1, 1)
    assert not again.put(*messages(0))
    assert again.kept_keys() == [key] == [f"{EVENT}.0"]
    again.free(key)
    assert [path.name.split(".")[2:] for path in tmp_path.iterdir()] == [["1", "snippet"]]


def test_a_kept_entry_can_be_sent_again_as_it_was(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path, 10**6)
    outbox.put(*messages(0, clip=b"clip"))
    outbox.send_again(kept(outbox).key)
    again = Outbox(tmp_path, 10**6)
    assert (again.n_entries, again.n_kept) == (1, 0)
    entry = again.first()
    assert entry is not None
    assert MediaMessage.decode(again.read(entry)[0]) == messages(0, clip=b"clip")[0]


def test_what_was_sent_makes_room_for_what_was_not_and_is_counted(tmp_path: Path) -> None:
    metrics = MotionMetrics(CollectorRegistry())
    outbox = Outbox(tmp_path, 11_000, metrics)
    for number in range(3):
        outbox.put(*messages(number, clip=bytes(2000)))
    kept(outbox)
    newer = kept(outbox)
    outbox.put(*messages(3, clip=bytes(3500)))
    assert outbox.kept_keys() == [newer.key]
    assert metrics.outbox_uncovered._value.get() == 1
    outbox.put(*messages(4, clip=bytes(1500)))
    assert outbox.n_kept == 0
    with pytest.raises(OutboxFull):
        outbox.put(*messages(5, clip=bytes(3000)))
    assert outbox.is_refusing
    assert metrics.outbox_uncovered._value.get() == 2
    assert outbox.n_bytes == sum(path.stat().st_size for path in tmp_path.iterdir())


def test_an_entry_that_the_disk_does_not_give_waits_behind_the_others(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path, 10**6)
    outbox.put(*messages(0))
    outbox.put(*messages(1))
    first = outbox.first()
    assert first is not None
    outbox.postpone(first)
    second = outbox.first()
    assert second is not None
    assert second.key == f"{EVENT}.1"
