"""The temporary folder of a finite run, inside the folder that its results go to."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from shared.errors import ConfigError


@contextlib.asynccontextmanager
async def work_folder(out: Path) -> AsyncIterator[Path]:
    """Make `out` and a folder inside it, which is deleted at the end; raise ConfigError if --out cannot be written."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".clipwatch-", dir=out)).resolve()
    except OSError as exc:
        raise ConfigError(f"--out {out}: cannot be written: {exc.strerror}") from exc
    try:
        yield folder
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
