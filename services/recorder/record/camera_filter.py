"""Which cameras a question is about: those that its caller may see, and of these those that it names. Pure.

Every query that answers a caller takes these ids and puts them into its conditions, so that a limit counts what the
caller may see, and what belongs to another camera looks like what does not exist.
"""

from __future__ import annotations

from sqlalchemy import Column, ColumnElement

CameraIds = frozenset[str] | None  # None: all
ASKED_ALONE_MAX = 16


def narrowed(camera: str | None, cameras: CameraIds) -> CameraIds:
    """Return the cameras among `cameras` that a question about `camera` (None: any) is about."""
    if camera is None:
        return cameras
    return frozenset({camera}) if cameras is None or camera in cameras else frozenset()


def portions_in_order(cameras: CameraIds) -> list[CameraIds]:
    """Return the portions in which to ask for a list that an index holds in its order for each camera alone.

    Of several cameras at once a database sorts all rows, or walks past those of all others.
    """
    if cameras is None or len(cameras) > ASKED_ALONE_MAX:
        return [cameras]
    return [frozenset({camera}) for camera in sorted(cameras)]


def of_cameras(column: Column[str], cameras: CameraIds) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions, none or one, for rows of `cameras`."""
    if cameras is None:
        return ()
    if len(cameras) == 1:
        return (column == next(iter(cameras)),)  # an equality takes the index in its order
    return (column.in_(sorted(cameras)),)
