"""Journals cut at any byte still give the event that they began."""

from __future__ import annotations

import errno
import io
import json
import os
import random
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import av
import pytest
from prometheus_client import CollectorRegistry

from services.motion.media.picture_format import Colour
from services.motion.metrics import MotionMetrics
from services.motion.snippets.recovery import JournalRecovery
from services.motion.spool.journal import Journal, JournalHeader, find_journals, read_journal
from services.motion.spool.outbox import Outbox, OutboxFull
from shared.cameras import Camera
from shared.clock import from_epoch_ms, uuid7
from shared.contract import MediaMessage, SnippetMessage
from shared.errors import Permanent
from tests.unit.motion.videos import read_packets, scene, write_video

CAMERA = Camera(id="gate", url="rtsp://user:secret@10.0.0.7/1", labels=("a square",), background=("a wall",))
EVENT = uuid7(from_epoch_ms(1_001_000), "event")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Motion from second 1 to 4 of 6."""
    frames = scene(60, 320, 240, 50, moves=range(10, 40))
    return write_video(tmp_path_factory.mktemp("video") / "in.mp4", frames, gop=10)


def write_journal(
    folder: Path, video: Path, snippet: int = 0, starts_s: float = 1000.0, camera: Camera = CAMERA
) -> Path:
    facts, packets = read_packets(video, 1000.0)
    journal = Journal(folder, JournalHeader(EVENT, snippet, 1001.0, starts_s, camera, facts))
    for packet in packets:
        journal.append((packet,))
    journal.close()
    return journal.path


def recovered(folder: Path, tmp_path: Path) -> list[tuple[MediaMessage, SnippetMessage]]:
    outbox = Outbox(tmp_path / "outbox", 10**8)
    recovery = JournalRecovery(folder, outbox, b"s" * 32, MotionMetrics(CollectorRegistry()))
    recovery.find()
    assert recovery.recover()
    found = []
    while (entry := outbox.first()) is not None:
        media, snippet = outbox.read(entry)
        found.append((MediaMessage.decode(media), SnippetMessage.decode(snippet)))
        outbox.remove(entry)
    return found


def test_a_journal_reads_as_it_was_written(tmp_path: Path, video: Path) -> None:
    found = read_journal(write_journal(tmp_path, video))
    facts, packets = read_packets(video, 1000.0)
    assert found.header.facts == facts
    assert list(found.packets) == packets
    assert found.header.camera.labels == CAMERA.labels
    assert b"secret" not in found.path.read_bytes()


def test_an_interrupted_event_becomes_its_last_snippet(tmp_path: Path, video: Path) -> None:
    journals = tmp_path / "journal"
    journals.mkdir()
    write_journal(journals, video)
    ((media, snippet),) = recovered(journals, tmp_path)
    header = snippet.header
    assert (header.event_id, header.snippet, header.is_last) == (EVENT, 0, True)
    assert header.event_started_at == from_epoch_ms(1_001_000)
    assert header.event_ended_at is not None
    assert abs(header.event_ended_at.timestamp() - 1003.9) <= 0.5
    assert {picture.kind for picture in header.pictures} == {"frame", "crop"}
    assert header.motion_peak > 0
    with av.open(io.BytesIO(media.clip), "r") as clip:
        assert len(list(clip.decode(video=0))) == 60
    assert list(journals.iterdir()) == []


def test_only_the_latest_journal_of_an_event_ends_it(tmp_path: Path, video: Path) -> None:
    journals = tmp_path / "journal"
    journals.mkdir()
    write_journal(journals, video, 0)
    write_journal(journals, video, 1, starts_s=1002.0)
    headers = [snippet.header for _, snippet in recovered(journals, tmp_path)]
    assert [(header.snippet, header.is_last) for header in headers] == [(0, False), (1, True)]


def test_a_journal_cut_anywhere_gives_what_was_written(tmp_path: Path, video: Path) -> None:
    path = write_journal(tmp_path, video)
    whole = path.read_bytes()
    first = whole.index(b"\x00", 600)
    lengths = sorted({*random.Random(2).sample(range(len(whole)), 40), 0, 1, 25, first, len(whole) - 1})
    counts = []
    for length in lengths:
        path.write_bytes(whole[:length])
        try:
            counts.append(len(read_journal(path).packets))
        except Permanent:
            counts.append(0)
    assert counts == sorted(counts)
    assert counts[0] == 0
    assert counts[-1] == 59


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_half_written_journal_still_gives_a_clip(tmp_path: Path, video: Path, share: float) -> None:
    journals = tmp_path / "journal"
    journals.mkdir()
    path = write_journal(journals, video)
    whole = path.read_bytes()
    path.write_bytes(whole[: round(len(whole) * share)])
    n_packets = len(read_journal(path).packets)
    assert 1 < n_packets < 59
    ((media, snippet),) = recovered(journals, tmp_path)
    assert snippet.header.is_last
    with av.open(io.BytesIO(media.clip), "r") as clip:
        assert len(list(clip.decode(video=0))) == n_packets


def test_files_that_are_no_journals_are_cleared_away(tmp_path: Path) -> None:
    (tmp_path / f"{EVENT}.0.journal").write_bytes(b"clipwatch journal 1\nrubbish")
    (tmp_path / f"{EVENT}.1.journal").write_bytes(b"")
    assert find_journals(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_event_has_the_wall_clock_that_it_began_with(tmp_path: Path, video: Path) -> None:
    folder = tmp_path / "journal"
    folder.mkdir()
    facts, packets = read_packets(video, 1000.0)
    journal = Journal(folder, JournalHeader(EVENT, 0, 1001.0, 1000.0, CAMERA, facts, wall_offset_s=3600.0))
    journal.append(packets)
    journal.close()
    ((media, snippet),) = recovered(folder, tmp_path)
    assert snippet.header.event_started_at == from_epoch_ms(4_601_000)
    assert media.header.started_at == snippet.header.started_at == from_epoch_ms(4_600_000)


def test_a_journal_of_an_older_version_is_of_the_wall_clock(tmp_path: Path, video: Path) -> None:
    folder = tmp_path / "journal"
    folder.mkdir()
    path = write_journal(folder, video)
    magic, said = b"clipwatch journal 1\n", path.read_bytes()
    size = int.from_bytes(said[len(magic) : len(magic) + 4])
    header = json.loads(said[len(magic) + 8 :][:size])
    del header["wall_offset_s"]
    data = json.dumps(header).encode()
    framed = len(data).to_bytes(4) + zlib.crc32(data).to_bytes(4) + data
    path.write_bytes(magic + framed + said[len(magic) + 8 + size :])
    ((_, snippet),) = recovered(folder, tmp_path)
    assert snippet.header.event_started_at == from_epoch_ms(1_001_000)


def test_a_journal_that_cannot_be_written_leaves_no_file_and_no_descriptor(
    tmp_path: Path, video: Path
) -> None:
    facts, _ = read_packets(video, 1000.0)
    path = tmp_path / f"{EVENT}.0.journal"
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        path.symlink_to("/dev/full")
        with pytest.raises(OSError, match="No space left"):
            Journal(tmp_path, JournalHeader(EVENT, 0, 1001.0, 1000.0, CAMERA, facts))
    assert list(tmp_path.iterdir()) == []
    assert len(list(Path("/proc/self/fd").iterdir())) == before


class Refusing(Outbox):
    """An outbox on a disk that takes nothing for a while."""

    error: Exception | None = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def put(self, media: MediaMessage, snippet: SnippetMessage) -> bool:
        if self.error is not None:
            raise self.error
        return super().put(media, snippet)


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), OSError(errno.EIO, "broken"), OutboxFull()])
def test_a_journal_that_the_disk_hinders_is_kept_and_taken_up_later(
    tmp_path: Path, video: Path, error: Exception
) -> None:
    journals = tmp_path / "journal"
    journals.mkdir()
    path = write_journal(journals, video)
    metrics = MotionMetrics(CollectorRegistry())
    outbox = Refusing(tmp_path / "outbox", 10**8)
    outbox.error = error
    recovery = JournalRecovery(journals, outbox, b"s" * 32, metrics)
    assert recovery.find() == 1
    assert not recovery.recover()
    assert not recovery.recover()
    assert path.exists()
    assert metrics.journals.labels("kept")._value.get() == 1
    outbox.error = None
    assert recovery.recover()
    assert outbox.n_entries == 1
    assert list(journals.iterdir()) == []


def test_a_journal_that_meets_a_bug_is_set_aside_and_the_others_are_taken_up(
    tmp_path: Path, video: Path
) -> None:
    journals = tmp_path / "journal"
    journals.mkdir()
    write_journal(journals, video)
    metrics = MotionMetrics(CollectorRegistry())
    outbox = Refusing(tmp_path / "outbox", 10**8)
    outbox.error = ZeroDivisionError("a bug")
    recovery = JournalRecovery(journals, outbox, b"s" * 32, metrics)
    recovery.find()
    assert recovery.recover()
    assert [path.suffix for path in journals.iterdir()] == [".broken"]
    assert metrics.journals.labels("lost")._value.get() == 1


def test_an_interrupted_event_gives_only_pictures_of_its_zone(tmp_path: Path, video: Path) -> None:
    journals = tmp_path / "journal"
    journals.mkdir()
    left = ((0.0, 0.0), (0.4, 0.0), (0.4, 1.0), (0.0, 1.0))
    motion = CAMERA.motion.model_copy(update={"zones": (left,)})
    write_journal(journals, video, camera=CAMERA.model_copy(update={"motion": motion}))
    ((_, snippet),) = recovered(journals, tmp_path)
    crops = [picture.box for picture in snippet.header.pictures if picture.box is not None]
    assert crops
    assert [box.x for box in crops if box.x >= 0.4] == []
    ended_at = snippet.header.event_ended_at
    assert ended_at is not None
    assert ended_at.timestamp() < 1003.0  # the square left the zone


def test_how_pictures_are_shown_is_kept_and_older_journals_are_read(tmp_path: Path, video: Path) -> None:
    facts, packets = read_packets(video, 1000.0)
    turned = replace(facts, rotation=90, is_mirrored=True, pixel_aspect=16 / 11, colour=Colour(2, 9, 9, 16))
    journal = Journal(tmp_path, JournalHeader(EVENT, 0, 1001.0, 1000.0, CAMERA, turned))
    journal.append(packets)
    journal.close()
    assert read_journal(journal.path).header.facts == turned
    older = journal.path.read_bytes()
    start = older.index(b"{") - 8
    size = int.from_bytes(older[start : start + 4])
    header = json.loads(older[start + 8 : start + 8 + size])
    for name in ("is_mirrored", "pixel_aspect", "colour"):
        del header["facts"][name]
    text = json.dumps(header).encode()
    record = struct.pack(">II", len(text), zlib.crc32(text)) + text
    journal.path.write_bytes(older[:start] + record + older[start + 8 + size :])
    assert read_journal(journal.path).header.facts == replace(facts, rotation=90)
