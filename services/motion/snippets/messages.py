"""Makes the two messages of a snippet from its packets and the chosen moments."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from services.motion.detection.values import Blob
from services.motion.events.moments import (
    LARGEST_PX,
    MOMENTS_MAX_BYTES,
    THUMBNAIL_PX,
    Moment,
    select_crops,
    square_around,
)
from services.motion.events.watcher import SnippetRequest
from services.motion.media.clips import Clip, make_clip
from services.motion.media.decoding import decode, frame_of
from services.motion.media.frame import Frame
from services.motion.media.jpeg import FramePictures
from services.motion.media.packets import Packet, StreamFacts
from shared.clock import to_millis
from shared.contract import (
    MAX_PICTURES,
    Box,
    MediaHeader,
    MediaMessage,
    PictureInfo,
    SnippetHeader,
    SnippetMessage,
)

NEAR_S = 0.5  # a camera encodes its streams apart: their pictures of one moment differ by no more than this


def utc_of(t_s: float) -> datetime:
    """Return epoch seconds as a time, UTC, whole milliseconds."""
    return to_millis(datetime.fromtimestamp(round(t_s, 3) + 1e-6, UTC))


def shown_at(request: SnippetRequest, t_s: float) -> datetime:
    """Return the time that people see for `t_s` of the stream."""
    return utc_of(t_s + request.wall_offset_s)


def media_key(secret: bytes, event_id: str, snippet: int) -> str:
    """Return 128 bits that nobody can guess without `secret`; the same snippet always gets the same."""
    return hmac.new(secret, f"{event_id}|{snippet}".encode(), hashlib.sha256).hexdigest()[:32]


def make_messages(
    request: SnippetRequest, packets: Sequence[Packet], secret: bytes
) -> tuple[MediaMessage, SnippetMessage]:
    """Return the messages of a snippet. Raises Permanent when its packets make no clip."""
    clip = make_clip(request.facts, packets, request.span.starts_s)
    infos, jpegs, thumbnail = _pictures(request)
    return (
        MediaMessage(_media_header(request, clip, secret), clip.mp4, thumbnail),
        SnippetMessage(_snippet_header(request, clip, infos), tuple(jpegs)),
    )


def with_pictures_of(
    request: SnippetRequest, facts: StreamFacts, packets: Sequence[Packet]
) -> SnippetRequest:
    """Return `request` with the frames of `packets` that are nearest to its moments, and the boxes scaled to them.

    The moments come from a smaller stream of the same camera; the times of both streams are by one clock. The whole
    snippet is decoded once. A moment without a frame within NEAR_S keeps its small frame. Of large frames only the
    best moments are kept, as many as MOMENTS_MAX_BYTES holds.
    """
    limit = max(2, MOMENTS_MAX_BYTES // max(1, facts.width * facts.height * 3 // 2))
    best_first = sorted(request.moments, key=lambda moment: -moment.quality)[:limit]
    kept = sorted(best_first, key=lambda moment: moment.t_s)
    nearest: list[Frame | None] = [None] * len(kept)
    for t_s, image in decode(facts, packets) if packets else ():
        for index, moment in enumerate(kept):
            best = nearest[index]
            if abs(t_s - moment.t_s) < (NEAR_S if best is None else abs(best.t_s - moment.t_s)):
                nearest[index] = frame_of(facts, t_s, image)
    moments = tuple(
        moment if frame is None else _rescaled(moment, frame)
        for moment, frame in zip(kept, nearest, strict=True)
    )
    return replace(request, facts=facts, moments=moments)


def _rescaled(moment: Moment[Frame], frame: Frame) -> Moment[Frame]:
    """Return `moment` with `frame`, which has another size."""
    across = frame.width / moment.frame.width
    down = frame.height / moment.frame.height
    blobs = tuple(
        replace(
            blob,
            x=round(blob.x * across),
            y=round(blob.y * down),
            w=max(1, round(blob.w * across)),
            h=max(1, round(blob.h * down)),
        )
        for blob in moment.blobs
    )
    return replace(moment, blobs=blobs, frame=frame)


def _media_header(request: SnippetRequest, clip: Clip, secret: bytes) -> MediaHeader:
    return MediaHeader(
        event_id=request.event_id,
        snippet=request.span.number,
        camera=request.camera.id,
        started_at=shown_at(request, clip.starts_s),
        ended_at=shown_at(request, clip.ends_s),
        media_key=media_key(secret, request.event_id, request.span.number),
        width=clip.width,
        height=clip.height,
    )


def _snippet_header(request: SnippetRequest, clip: Clip, infos: Sequence[PictureInfo]) -> SnippetHeader:
    camera, span = request.camera, request.span
    return SnippetHeader(
        event_id=request.event_id,
        snippet=span.number,
        is_last=span.is_last,
        camera=camera.id,
        event_started_at=shown_at(request, span.event_started_s),
        event_ended_at=shown_at(request, span.last_motion_s),
        started_at=shown_at(request, clip.starts_s),
        ended_at=shown_at(request, clip.ends_s),
        motion_peak=round(span.motion_peak, 4),
        latitude=camera.latitude,
        longitude=camera.longitude,
        label_set=camera.label_set,
        decision=camera.decision,
        pictures=tuple(infos),
    )


def _pictures(request: SnippetRequest) -> tuple[list[PictureInfo], list[bytes], bytes]:
    """Return descriptions and JPEGs of all moments, and the thumbnail of the best one."""
    infos: list[PictureInfo] = []
    jpegs: list[bytes] = []
    moments = request.moments
    per_moment = 2 if 3 * len(moments) <= MAX_PICTURES else 1
    crops = select_crops([moment.blobs for moment in moments], per_moment)
    for number, (moment, boxes) in enumerate(zip(moments, crops, strict=True)):
        for info, jpeg in _of_moment(number, moment, boxes, request):
            infos.append(info)
            jpegs.append(jpeg)
    best = max(moments, key=lambda moment: moment.quality, default=None)
    if best is None:
        return infos, jpegs, b""
    thumbnail = FramePictures(best.frame).whole(THUMBNAIL_PX)
    return infos, jpegs, thumbnail.data


def _of_moment(
    number: int, moment: Moment[Frame], boxes: Sequence[Blob], request: SnippetRequest
) -> list[tuple[PictureInfo, bytes]]:
    width, height = moment.frame.format.size
    pictures = FramePictures(moment.frame)
    whole = pictures.whole(LARGEST_PX)
    captured_at = shown_at(request, moment.t_s)
    made = [
        (
            PictureInfo(
                moment=number, kind="frame", captured_at=captured_at, width=whole.width, height=whole.height
            ),
            whole.data,
        )
    ]
    for blob in boxes:
        square = square_around(blob, width, height)
        crop = pictures.crop((square.x, square.y, square.w, square.h), LARGEST_PX)
        x, y, w, h = square.x / width, square.y / height, square.w / width, square.h / height
        made.append(
            (
                PictureInfo(
                    moment=number,
                    kind="crop",
                    captured_at=captured_at,
                    width=crop.width,
                    height=crop.height,
                    box=Box(x=_share(x), y=_share(y), w=_share(w), h=_share(h)),
                    track=None if blob.track < 0 else blob.track,
                ),
                crop.data,
            )
        )
    return made


def _share(value: float) -> float:
    return round(min(1.0, max(0.0, value)), 5)
