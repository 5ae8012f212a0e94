"""Opens the store of clips at the start: a bucket, or a folder."""

from __future__ import annotations

import os
from pathlib import Path

from services.recorder.media.folder_store import FolderStore
from services.recorder.media.s3_access import S3Access
from services.recorder.media.s3_store import BucketStore
from services.recorder.media.store import MediaAway, MediaStore
from shared.errors import ConfigError, reason
from shared.logs import get_logger

log = get_logger(__name__)


def folder_faults(name: str, folder: Path) -> list[str]:
    """Say why a folder that a setting names could not be made or written."""
    try:
        nearest = folder.absolute()
        while not nearest.exists():
            nearest = nearest.parent
        is_usable = nearest.is_dir() and os.access(nearest, os.W_OK)
    except OSError as exc:  # a name that is too long
        return [f"{name}={folder}: {exc.strerror}; choose another folder"]
    return [] if is_usable else [f"{name}={folder}: {nearest} cannot be written; choose another folder"]


async def open_store(bucket: S3Access | None, folder: Path) -> MediaStore:
    """Return the store, ready to use; a bucket may be away. Raises ConfigError for a folder that cannot be used."""
    if bucket is not None:
        return BucketStore(bucket)
    store = FolderStore.at(folder)
    try:
        removed = await store.prepare()
    except MediaAway as exc:
        raise ConfigError(f"MEDIA_DIR={folder}: {reason(exc)}; choose a folder that can be written") from exc
    if removed:
        log.info("removed half-written files of a killed recorder", files=removed)
    return store
