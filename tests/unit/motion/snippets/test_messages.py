"""Snippets whose motion was seen in a smaller stream of the same camera."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from services.motion.detection.values import Blob
from services.motion.events.moments import Moment
from services.motion.events.segmenter import SnippetSpan
from services.motion.events.watcher import SnippetRequest
from services.motion.media.decoding import decode
from services.motion.media.frame import Frame
from services.motion.media.packets import Packet, StreamFacts
from services.motion.snippets.messages import make_messages, with_pictures_of
from shared.cameras import Camera
from tests.unit.motion.videos import read_packets, scene, write_video

CAMERA = Camera(id="cam", url="rtsp://10.0.0.7/s", labels=("a square",))
SourceStream = tuple[StreamFacts, list[Packet]]


@pytest.fixture
def small(tmp_path: Path) -> SourceStream:
    return read_packets(write_video(tmp_path / "small.mp4", scene(20, 160, 120)))


@pytest.fixture
def large(tmp_path: Path) -> SourceStream:
    return read_packets(write_video(tmp_path / "large.mp4", scene(20, 640, 360, 96)))


def wanted_of(small: SourceStream, late_s: float = 0.0) -> SnippetRequest:
    facts, packets = small
    frames = [Frame(t_s + late_s, image) for t_s, image in decode(facts, packets)][4:12:4]
    moments = tuple(
        Moment(frame.t_s, float(n), (Blob(40, 60, 24, 24),), frame) for n, frame in enumerate(frames)
    )
    span = SnippetSpan(
        number=0,
        starts_s=1000.0,
        ends_s=1001.9,
        event_started_s=1000.4,
        last_motion_s=1001.2,
        motion_peak=0.1,
        is_last=True,
    )
    return SnippetRequest("01890000-0000-7000-8000-000000000000", span, moments, CAMERA, facts)


def test_pictures_and_boxes_are_those_of_the_large_stream(small: SourceStream, large: SourceStream) -> None:
    request = with_pictures_of(wanted_of(small, late_s=0.03), *large)
    assert [(m.frame.image.width, m.frame.image.height) for m in request.moments] == [(640, 360)] * 2
    assert [m.frame.t_s for m in request.moments] == pytest.approx([1000.4, 1000.8])
    assert [m.blobs[0] for m in request.moments] == [Blob(160, 180, 96, 72)] * 2
    media, snippet = make_messages(request, large[1], b"s" * 32)
    assert (media.header.width, media.header.height) == (640, 360)
    assert {(p.width, p.height) for p in snippet.header.pictures if p.kind == "frame"} == {(384, 216)}


def test_a_moment_without_a_frame_nearby_keeps_its_small_one(
    small: SourceStream, large: SourceStream
) -> None:
    request = with_pictures_of(wanted_of(small, late_s=60.0), *large)
    assert [m.frame.image.width for m in request.moments] == [160, 160]
    assert [m.blobs[0] for m in request.moments] == [Blob(40, 60, 24, 24)] * 2
    assert with_pictures_of(wanted_of(small), large[0], []).facts == large[0]


def test_all_times_that_people_are_shown_are_moved_by_the_same(small: SourceStream) -> None:
    request = wanted_of(small)
    plain_media, plain = make_messages(request, small[1], b"s" * 32)
    media, snippet = make_messages(replace(request, wall_offset_s=-0.25), small[1], b"s" * 32)
    by = timedelta(seconds=-0.25)
    for name in ("event_started_at", "event_ended_at", "started_at", "ended_at"):
        assert getattr(snippet.header, name) == getattr(plain.header, name) + by
    for name in ("started_at", "ended_at"):
        assert getattr(media.header, name) == getattr(plain_media.header, name) + by
    moved = [picture.captured_at for picture in snippet.header.pictures]
    assert moved == [picture.captured_at + by for picture in plain.header.pictures]


def test_a_crop_says_which_object_it_shows_and_a_whole_frame_does_not(small: SourceStream) -> None:
    request = wanted_of(small)
    followed = replace(request.moments[0], blobs=(Blob(40, 60, 24, 24, track=7),))
    _, snippet = make_messages(replace(request, moments=(followed, request.moments[1])), small[1], b"s" * 32)
    assert [(picture.kind, picture.track) for picture in snippet.header.pictures] == [
        ("frame", None),
        ("crop", 7),
        ("frame", None),
        ("crop", None),
    ]


def test_an_objects_number_stays_where_its_picture_comes_from_a_larger_stream(
    small: SourceStream, large: SourceStream
) -> None:
    request = wanted_of(small)
    moments = tuple(replace(one, blobs=(Blob(40, 60, 24, 24, track=5),)) for one in request.moments)
    rescaled = with_pictures_of(replace(request, moments=moments), *large)
    assert [moment.blobs[0].track for moment in rescaled.moments] == [5, 5]
