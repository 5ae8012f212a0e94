"""Keeps the index of embeddings in step with the database: what is recorded is added, what was deleted goes.

The index is a cache and can be deleted at any time. It follows `events.updated_at`, as the feed
does: every event that changed is looked at again, and the snippets that are not indexed yet are read. So an empty
index is built by the same code that keeps it up to date. Each recorder process has an index of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import or_, select

from services.recorder.record.camera_filter import CameraIds
from services.recorder.record.database import Database
from services.recorder.record.schema import events, frame_embeddings, snippets
from services.recorder.search.vectors import EmbeddedPicture, Picture, PictureFilter, Vectors
from shared.clock import now_utc
from shared.errors import ConfigError, Transient, reason
from shared.files import write_durably
from shared.logs import get_logger
from shared.waits import pause

log = get_logger(__name__)

SLOTS = 32  # recorders that share a media folder
EVENTS_AT_ONCE = 200
POLL_S = 10.0
FORGET_EVERY_S = 6 * 3600.0
OVERLAP = timedelta(seconds=10)  # how late another recorder's commit may show up, see feed.py
_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Extent:
    """How much can be searched with one model, and how much lies beside it."""

    searched: int  # pictures of the model
    left_out: int  # pictures of other models
    is_complete: bool  # everything recorded so far is in


class EmbeddingIndex:
    """The indexes of all models of one database. Everything but `nearest` runs one at a time."""

    def __init__(
        self, root: Path, database: Database, database_name: str, clock: Callable[[], datetime] = now_utc
    ) -> None:
        self._root = root
        self._database = database
        self._database_name = database_name
        self._folder = root
        self._vectors: dict[tuple[str, int], Vectors] = {}
        self._known: set[tuple[str, int, str]] = set()  # event, snippet, model; 60,000 for a million pictures
        self._clock = clock
        self._at = _EARLIEST
        self._after = ""
        self._is_complete = False
        self._one = asyncio.Lock()
        self._kick = asyncio.Event()
        self._waiting: list[asyncio.Future[None]] = []  # one a search in hand

    def kick(self) -> None:
        """Say that something was recorded."""
        self._kick.set()

    async def catch_up(self, limit_s: float) -> None:
        """Return when what is recorded now is in, or after `limit_s`; `run` does the work."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        self._kick.set()
        await asyncio.wait({waiter}, timeout=limit_s)

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Hold a folder below the root while the index is used; raise ConfigError when none can be had."""
        with contextlib.ExitStack() as stack:
            for slot in range(SLOTS):
                folder = self._root / str(slot)
                try:
                    folder.mkdir(parents=True, exist_ok=True)
                    lock = stack.enter_context((folder / "lock").open("a"))
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                except OSError as exc:
                    raise ConfigError(
                        f"{folder}: {reason(exc)}; choose an INDEX_DIR that can be written"
                    ) from exc
                self._folder = folder
                self._load()
                yield
                return
            raise ConfigError(
                f"{self._root}: {SLOTS} recorders use it already; give this one an INDEX_DIR of its own"
            )

    def _load(self) -> None:
        state = self._state()
        if state.get("database") != self._database_name:
            for folder in self._folder.glob("model-*"):
                shutil.rmtree(folder)
            return
        for folder in sorted(self._folder.glob("model-*")):
            try:
                about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
                vectors = Vectors(folder, str(about["model"]), int(about["dim"]))
            except (OSError, ValueError, KeyError, TypeError):
                shutil.rmtree(folder)
                state = {}  # something is missing: look at all events again
                continue
            self._vectors[(vectors.model, vectors.dim)] = vectors
            self._known.update((event_id, snippet, vectors.model) for event_id, snippet in vectors.known())
        if state.get("n") == sum(vectors.n for vectors in self._vectors.values()):
            self._at = datetime.fromisoformat(str(state["at"]))
            self._after = str(state["after"])

    def _state(self) -> dict[str, object]:
        try:
            state = json.loads((self._folder / "state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return state if isinstance(state, dict) else {}

    def _save(self) -> None:
        state = {
            "database": self._database_name,
            "n": sum(vectors.n for vectors in self._vectors.values()),
            "at": self._at.isoformat(),
            "after": self._after,
        }
        write_durably(self._folder / "state.json", json.dumps(state).encode())

    async def run(self, stop: asyncio.Event, beat: Callable[[], None]) -> None:
        """Follow the record until `stop`."""
        loop = asyncio.get_running_loop()
        forgets_at = loop.time()
        while not stop.is_set():
            self._kick.clear()
            waiting, self._waiting = self._waiting, []
            try:
                await self.sync(stop, beat)
                if loop.time() >= forgets_at:
                    await self.forget_deleted()
                    forgets_at = loop.time() + FORGET_EVERY_S
            except Transient as exc:
                log.debug("the index waits for the database", error=exc)
            except OSError as exc:
                log.warning("the index cannot be written; search finds what is in it", error=reason(exc))
            for waiter in waiting:
                if not waiter.done():
                    waiter.set_result(None)
            beat()
            await pause(POLL_S, self._kick, stop)

    async def sync(self, stop: asyncio.Event, beat: Callable[[], None] = lambda: None) -> None:
        """Add everything that was recorded up to now; raise Transient when the database does not answer."""
        async with self._one:
            now = self._clock()
            self._at = min(self._at, max(now, _EARLIEST))  # set back: what changes now is dated before
            at, after = max(self._at, _EARLIEST + OVERLAP) - OVERLAP, ""
            n_before = len(self._known)
            while not stop.is_set():
                n_known = len(self._known)
                n, at, after = await self._page(at, after)
                if at >= self._at:
                    self._at, self._after = min(at, now), after
                beat()
                is_beyond = at > now + OVERLAP and len(self._known) == n_known
                if (
                    is_beyond
                ):  # dated ahead, and known: of those only the ones that changed last may hold something new
                    await self._page(now, "", newest_first=True)
                if n < EVENTS_AT_ONCE or is_beyond:
                    self._is_complete = True
                    break
            if len(self._known) != n_before:
                await asyncio.to_thread(self._save)

    async def _page(
        self, at: datetime, after: str, *, newest_first: bool = False
    ) -> tuple[int, datetime, str]:
        """Index the next events; return how many there were, and where the next page starts."""
        changed_at, key = events.c.updated_at, events.c.id
        async with self._database.reading() as connection:
            query = select(key, events.c.camera, changed_at).where(
                changed_at >= at, or_(changed_at > at, key > after)
            )
            order = (changed_at.desc(), key.desc()) if newest_first else (changed_at, key)
            page = (await connection.execute(query.order_by(*order).limit(EVENTS_AT_ONCE))).all()
            if not page:
                return 0, at, after
            cameras = {row.id: row.camera for row in page}
            columns = (snippets.c.event_id, snippets.c.snippet, snippets.c.model)
            said = await connection.execute(select(*columns).where(snippets.c.event_id.in_(list(cameras))))
            missing = {tuple(row) for row in said} - self._known
            found: dict[tuple[str, int], list[EmbeddedPicture]] = {}
            if missing:
                table = frame_embeddings
                rows = await connection.execute(
                    select(
                        table.c.event_id,
                        table.c.snippet,
                        table.c.picture,
                        table.c.captured_at,
                        table.c.model,
                        table.c.dim,
                        table.c.embedding,
                    ).where(table.c.event_id.in_(sorted({event_id for event_id, _, _ in missing})))
                )
                for row in rows:
                    if (row.event_id, row.snippet, row.model) in missing and len(
                        row.embedding
                    ) == 2 * row.dim:
                        picture = Picture(row.event_id, row.snippet, row.picture)
                        one = EmbeddedPicture(picture, cameras[row.event_id], row.captured_at, row.embedding)
                        found.setdefault((row.model, row.dim), []).append(one)
        if found:
            await asyncio.to_thread(self._append, found)
        self._known |= missing
        return len(page), page[-1].updated_at, page[-1].id

    def _append(self, found: dict[tuple[str, int], list[EmbeddedPicture]]) -> None:
        for (model, dim), embedded in found.items():
            if (model, dim) not in self._vectors:
                name = hashlib.sha256(f"{model}/{dim}".encode()).hexdigest()[:16]
                self._vectors[(model, dim)] = Vectors(self._folder / f"model-{name}", model, dim)
            self._vectors[(model, dim)].append(embedded)

    async def forget_deleted(self) -> int:
        """Drop the rows of events that are gone from the record; return how many went."""
        async with self._one:
            lows: list[int] = []
            after = ""
            while True:
                query = select(events.c.id).where(events.c.id > after).order_by(events.c.id).limit(20_000)
                async with self._database.reading() as connection:
                    ids = list((await connection.execute(query)).scalars())
                lows += [UUID(event_id).int & (1 << 64) - 1 for event_id in ids]
                if len(ids) < 20_000:
                    break
                after = ids[-1]
            alive = np.array(lows, dtype=np.uint64)
            gone = 0
            for vectors in self._vectors.values():
                gone += await asyncio.to_thread(vectors.keep_only, alive)
            if gone:
                log.info("deleted events left the index", pictures=gone)
                await asyncio.to_thread(self._save)
            return gone

    def extent(self, model: str, dim: int, cameras: CameraIds = None) -> Extent:
        """Return how much of these cameras can be searched with the embeddings of one model.

        Blocks where `cameras` are given: it reads which camera each row is of.
        """
        indexed = tuple(self._vectors.items())
        counts = {key: vectors.n if cameras is None else vectors.count(cameras) for key, vectors in indexed}
        searched = counts.get((model, dim), 0)
        return Extent(searched, sum(counts.values()) - searched, self._is_complete)

    async def nearest(
        self, model: str, query: NDArray[np.float32], within: PictureFilter, n: int
    ) -> list[Picture]:
        """Return the up to `n` pictures of `model` that are nearest to `query`, about best first."""
        vectors = self._vectors.get((model, len(query)))
        if vectors is None or not vectors.n:
            return []
        return await asyncio.to_thread(vectors.nearest, query, within, n)

    async def sample(self, model: str, dim: int, n: int, cameras: CameraIds = None) -> NDArray[np.float32]:
        """Return up to `n` pictures of `model`, evenly spread over the record: float32[n,D]."""
        vectors = self._vectors.get((model, dim))
        if vectors is None:
            return np.zeros((0, dim), dtype=np.float32)
        return await asyncio.to_thread(vectors.sample, n, cameras)
