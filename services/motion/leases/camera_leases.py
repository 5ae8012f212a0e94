"""Keeps this process's leases on cameras: renews them, claims what the plan gives it, hands over what it does not.

A camera is read only while its lease is known to last: `ends_s` is counted on this machine's steady clock from before
the renewal was sent, so it lies before the end that Redis counts. While Redis is away the cameras go on until then.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from redis.exceptions import RedisError

from services.motion.leases.plan import CameraLoad, MotionProcess, plan_cameras
from services.motion.leases.redis_leases import (
    Claim,
    HeldLease,
    LeaseTable,
    ProcessEntry,
    ReadUntil,
    RedisLeases,
)
from services.motion.metrics import MotionMetrics
from shared.errors import redact
from shared.leases import Absence
from shared.logs import get_logger
from shared.streams.connection import is_away
from shared.waits import pause

log = get_logger(__name__)

ROUNDS = 10  # rounds within a lease: so many renewals may be lost, and so soon a free camera is seen
SETTLE_ROUNDS = 2  # before a process claims that the table did not know: others may be missing in it, too
STOP_MARGIN = 0.2  # of a lease: cameras stop that much earlier, since stopping takes time
MOST_MARGIN_S = 2.0
SHORTEST_ROUND_S, LONGEST_CALL_S = 0.1, 2.0
USUAL_WEIGHT = 31.1  # megapixels a second of a camera while none is known: 1080p at 15 frames a second
CHANGED_WEIGHT = (
    1.25  # a weight that changed by less, or not for a whole lease, is not told: each move is a gap
)
LEAVE_CALL_S = 1.0
TOLD_S = 600.0  # how long a process tells what was not read of a camera that it does not hold any more


class LeasedWorkers(Protocol):
    """What reads the cameras. Its methods return at once; `stopped` of CameraLeases is called when something ended."""

    def locations(self) -> Mapping[str, str]:
        """Return the cameras that are to be read, by whoever, and where each is."""

    def bound(self) -> Collection[str]:
        """Return the cameras that only a process at their location can read."""

    def paused(self) -> Collection[str]:
        """Return the cameras of the list that nobody is to read."""

    def hold(self, ids: Collection[str]) -> None:
        """Read exactly these cameras from now on."""

    def running(self) -> Collection[str]:
        """Return the cameras that are read, or are still being stopped."""

    def weight_of(self, camera_id: str) -> float | None:
        """Return the megapixels a second of a camera that delivers; None: it does not."""


@dataclass(slots=True)
class HeldCamera:
    """A lease of this process. `ends_s`: by time.monotonic(), when the camera must no longer be read.

    `weight`: megapixels a second that are told; 0: not known. `measured_s`: since when another one is measured.
    """

    claim: Claim
    claimed_s: float
    ends_s: float
    weight: float
    read_again_ms: int | None = None
    measured_s: float | None = None

    @property
    def read_until(self) -> ReadUntil:
        """What the lease is to say of when the camera was read: nothing new before its first picture came."""
        return ReadUntil.KEPT if self.read_again_ms is None else ReadUntil.NOW

    @property
    def unread_ms(self) -> tuple[int, int] | None:
        """From when to when nobody read the camera before this process did; None: not known, or not over."""
        if self.claim.read_until_ms is None or self.read_again_ms is None:
            return None
        return self.claim.read_until_ms, max(self.read_again_ms, self.claim.read_until_ms)


@dataclass(frozen=True, slots=True)
class OwnProcess:
    """What this process offers: megapixels a second at most (0: no cap), where it is; how long a lease lasts.

    `unlisted_s`: for how long the lease on a camera is kept that left the list, so that no process that has not seen
    the change starts it.
    """

    ttl_s: float
    load_max: float = 0.0
    location: str = ""
    unlisted_s: float = 4.0

    def entry(self, cameras: str, *, is_leaving: bool) -> ProcessEntry:
        return ProcessEntry(
            load_max=self.load_max, location=self.location, cameras=cameras, is_leaving=is_leaving
        )


class CameraLeases:
    """The leases of this process; `list_name` says which camera list it reads."""

    def __init__(
        self,
        redis: RedisLeases,
        workers: LeasedWorkers,
        own: OwnProcess,
        list_name: Callable[[], str],
        metrics: MotionMetrics,
    ) -> None:
        self._redis = redis
        self._workers = workers
        self._own = own
        self._list_name = list_name
        self._metrics = metrics
        self._every_s = max(SHORTEST_ROUND_S, own.ttl_s / ROUNDS)
        self._held: dict[str, HeldCamera] = {}
        self._giving: set[str] = set()  # held, and being stopped so that others may have them
        self._unlisted: dict[str, float] = {}  # held, not read, and since when they are not in the list
        self._listed: set[str] = set()  # were in the list at some time; what the table forgot is left out
        self._unwanted: dict[str, float] = {}  # paused or removed, and since when
        self._unread_past: dict[str, tuple[tuple[int, int], float]] = {}  # not held, and since when
        self._claims_from_s = 0.0
        self._is_leaving = False
        self._is_claiming = False
        self._absence = Absence()
        self._unplaced: frozenset[str] = frozenset()  # cameras for which nobody has room; logged
        self._wake = asyncio.Event()
        self._released = asyncio.Event()
        self._is_over = asyncio.Event()  # nobody does rounds
        self._is_over.set()

    @property
    def held(self) -> Mapping[str, HeldCamera]:
        """The cameras that this process holds, those that it is giving away among them."""
        return dict(self._held)

    @property
    def unread_times(self) -> Mapping[str, tuple[int, int]]:
        """From when to when nobody read a camera, in milliseconds since 1970.

        Of a camera that is held: before it was. For TOLD_S also of one that was paused or moved on since: it may have
        done so before a recorder looked.
        """
        past = {id_: times for id_, (times, _) in self._unread_past.items()}
        return past | {id_: one.unread_ms for id_, one in self._held.items() if one.unread_ms is not None}

    def stopped(self) -> None:
        """Note that a worker ended or the list of cameras changed; called in the loop's thread."""
        self._wake.set()

    async def run(self, ends: asyncio.Event, beat: Callable[[], None] = lambda: None) -> None:
        """Keep the leases until `ends`; raises what waiting does not cure (NOPERM, WRONGTYPE)."""
        self._is_over.clear()
        try:
            while not ends.is_set():
                beat()
                self._wake.clear()
                await self.step()
                if _is_cancelled():
                    raise asyncio.CancelledError
                await pause(self._within_leases(self._every_s), ends, self._wake)
        finally:
            self._is_over.set()

    async def step(self) -> None:
        """Do one round."""
        self._drop_expired()
        try:
            async with asyncio.timeout(self._within_leases(min(LONGEST_CALL_S, 2 * self._every_s))):
                await self._exchange()
        except (RedisError, OSError) as exc:  # TimeoutError among them
            if not is_away(exc):
                raise
            self._metrics.cameras_unheld.set(0)  # not known
            if self._absence.begin():
                log.warning(
                    "the leases on cameras cannot be renewed, they are read until their leases end",
                    cameras=len(self._held),
                    error=redact(str(exc)) or type(exc).__name__,
                )
        self._drop_expired()
        self._metrics.camera_leases.set(len(self._held))

    async def leave(self, within_s: float, stop_s: float) -> None:
        """Hand over all cameras: at once, or one after the other over `within_s`; `run` must go on meanwhile.

        Waits `stop_s` at most for a worker to end. Without `run` nobody would see leases end: nothing is read then,
        and the leases end by themselves.
        """
        self._is_leaving = True
        ids = sorted(self._held)
        pause_s = within_s / len(ids) if ids else 0.0
        for position, id_ in enumerate(ids):
            self._give(id_)
            if within_s and position < len(ids) - 1:
                await pause(pause_s, self._is_over)
        ends_s = time.monotonic() + stop_s
        while (self._held or self._is_claiming) and not self._is_over.is_set():
            if (left_s := ends_s - time.monotonic()) <= 0:
                break
            self._released.clear()
            await pause(left_s, self._released, self._is_over)
        with contextlib.suppress(RedisError, OSError):
            async with asyncio.timeout(LEAVE_CALL_S):
                await self._redis.leave()

    # -- one round

    async def _exchange(self) -> None:
        locations = self._workers.locations()
        self._follow_list(locations)
        await self._release_given()
        sent_s = time.monotonic()
        rows = {
            id_: HeldLease(one.claim.epoch, one.weight, self._read_until(id_))
            for id_, one in self._held.items()
        }
        own = self._own.entry(self._list_name(), is_leaving=self._is_leaving)
        table = await self._redis.renew(own, rows)
        away_s = self._absence.end()
        if away_s is not None or not table.was_known:
            self._claims_from_s = time.monotonic() + SETTLE_ROUNDS * self._every_s
        if away_s is not None:
            log.info("the leases on cameras are renewed again", away_s=away_s, cameras=len(self._held))
        self._note(table, sent_s)
        await self._forget_unwanted(table, locations)
        await self._release_strays(table)
        if self._is_leaving:
            self._metrics.cameras_unheld.set(0)  # the others count them
        else:
            await self._follow_plan(table, locations)
        self._measure()

    def _follow_list(self, locations: Mapping[str, str]) -> None:
        """Stop what was removed or paused, and go on with what came back before its lease was given away."""
        now_s = time.monotonic()
        self._unlisted = {id_: self._unlisted.get(id_, now_s) for id_ in self._held if id_ not in locations}
        self._hold()

    def _read_until(self, id_: str) -> ReadUntil:
        """Return what the lease on a held camera is to say; nobody misses one that was removed or paused."""
        return ReadUntil.UNKNOWN if id_ in self._unlisted else self._held[id_].read_until

    def _note(self, table: LeaseTable, sent_s: float) -> None:
        """Extend what was renewed, and let go what another process has."""
        for id_, one in list(self._held.items()):
            lease = table.leases.get(id_)
            if lease is not None and lease.holder == self._redis.name and lease.epoch == one.claim.epoch:
                one.ends_s = self._ends_s(sent_s)
            else:
                log.warning("another process has the lease on a camera, it is no longer read", camera=id_)
                self._drop(id_, "lost")
        self._hold()

    async def _release_strays(self, table: LeaseTable) -> None:
        """End leases of this process that it does not know: the answer to a claim was lost, or came too late."""
        mine = {
            id_: one for id_, one in table.leases.items() if one.is_held and one.holder == self._redis.name
        }
        strays = {id_: (one.epoch, ReadUntil.KEPT) for id_, one in mine.items() if id_ not in self._held}
        if strays:
            await self._redis.release(strays)

    async def _forget_unwanted(self, table: LeaseTable, locations: Mapping[str, str]) -> None:
        """Let the unread time of cameras that nobody holds end when they are paused or removed.

        The process that does it first tells the time until then. A camera that was never in this list, or that was read
        after all processes of this list must have stopped, is another list's.
        """
        now_s, paused = time.monotonic(), set(self._workers.paused())
        self._listed = (self._listed & table.leases.keys()) | locations.keys()
        unwanted = (self._listed | paused) - locations.keys()
        self._unwanted = {id_: self._unwanted.get(id_, now_s) for id_ in unwanted}
        slack_s = self._own.unlisted_s + self._every_s
        ago_ms = {
            id_: max(0, round((now_s - self._unwanted[id_] - slack_s) * 1000))
            for id_ in unwanted & table.leases.keys()
            if table.leases[id_].is_unread
        }
        found = await self._redis.forget_read(ago_ms) if ago_ms else {}
        for id_, (read_ms, now_ms) in found.items():
            ends_ms = now_ms - round((time.monotonic() - self._unwanted[id_]) * 1000)
            self._tell_past(id_, read_ms, ends_ms)
        self._unread_past = {id_: one for id_, one in self._unread_past.items() if now_s - one[1] < TOLD_S}

    async def _follow_plan(self, table: LeaseTable, locations: Mapping[str, str]) -> None:
        plan = self._plan(table, locations)
        holders = {id_: one.holder for id_, one in table.leases.items() if one.is_held}
        free = [id_ for id_ in locations if id_ not in holders]
        self._metrics.cameras_unheld.set(len(free))
        self._tell_unplaced(frozenset(id_ for id_ in free if id_ not in plan))
        if time.monotonic() < self._claims_from_s:
            return
        wanted = {id_: table.weight_of(id_) for id_ in free if plan.get(id_) == self._redis.name}
        if wanted:
            await self._claim(wanted)
        surplus = [id_ for id_ in self._held if plan.get(id_, self._redis.name) != self._redis.name]
        # one at a time, and only while every camera that has a place is read
        if surplus and not self._giving and not any(id_ in plan for id_ in free):
            self._give(min(surplus))

    def _plan(self, table: LeaseTable, locations: Mapping[str, str]) -> dict[str, str]:
        """Return the process of each camera of this list. What processes of other lists hold is theirs."""
        mine = {name: one for name, one in table.processes.items() if one.cameras == self._list_name()}
        members = [
            MotionProcess(n, one.load_max, one.location) for n, one in mine.items() if not one.is_leaving
        ]
        held = {id_: one.holder for id_, one in table.leases.items() if one.is_held}
        bound = self._workers.bound()
        usual = table.mean_weight(locations) or USUAL_WEIGHT
        loads = [
            CameraLoad(id_, table.weight_of(id_) or usual, location, is_bound=id_ in bound)
            for id_, location in locations.items()
            if held.get(id_) is None or held[id_] in mine
        ]
        return plan_cameras(loads, members, held)

    async def _claim(self, weights: Mapping[str, float]) -> None:
        sent_s = time.monotonic()
        self._is_claiming = True
        try:
            claims = await self._redis.claim(weights)
        finally:
            self._is_claiming = False
            self._released.set()
        for id_, claim in claims.items():
            log.info("the lease on a camera was claimed", camera=id_, epoch=claim.epoch)
            self._held[id_] = HeldCamera(claim, sent_s, self._ends_s(sent_s), weights[id_])
            self._metrics.camera_lease_changes.labels("claimed").inc()
        if self._is_leaving:  # since the claim was sent
            self._giving |= claims.keys()
            self._wake.set()
        self._hold()

    async def _release_given(self) -> None:
        """Release what was stopped; what left the list only once every process knows that."""
        running = set(self._workers.running())
        before_s = math.inf if self._is_leaving else time.monotonic() - self._own.unlisted_s
        done = {
            id_: (self._held[id_].claim.epoch, self._read_until(id_))
            for id_ in self._giving | self._unlisted.keys()
            if id_ not in running and self._unlisted.get(id_, 0.0) <= before_s
        }
        if done:
            await self._redis.release(done)
        for id_ in done:
            log.info("the lease on a camera was given back", camera=id_)
            self._drop(id_, "given")

    def _measure(self) -> None:
        """Note what each camera weighs, and since when it is read."""
        now_s = time.monotonic()
        for id_, one in self._held.items():
            weight = self._workers.weight_of(id_)
            if weight is None:
                one.measured_s = None
                continue
            if one.read_again_ms is None:
                one.read_again_ms = one.claim.now_ms + round((now_s - one.claimed_s) * 1000)
            if one.weight / CHANGED_WEIGHT < weight < one.weight * CHANGED_WEIGHT:
                one.measured_s = None
            elif one.measured_s is None:
                one.measured_s = now_s
            elif now_s - one.measured_s >= self._own.ttl_s:
                one.weight, one.measured_s = weight, None

    # -- what is held

    def _give(self, id_: str) -> None:
        if id_ not in self._held:
            return
        self._giving.add(id_)
        self._hold()
        self._wake.set()

    def _drop(self, id_: str, change: str) -> None:
        one, unlisted_s = self._held.pop(id_), self._unlisted.pop(id_, None)
        if one.unread_ms is not None:
            self._tell_past(id_, *one.unread_ms)
        elif unlisted_s is not None and one.claim.read_until_ms is not None:
            # paused before its first picture came
            ends_ms = one.claim.now_ms + round((unlisted_s - one.claimed_s) * 1000)
            self._tell_past(id_, one.claim.read_until_ms, ends_ms)
        self._giving.discard(id_)
        self._metrics.camera_lease_changes.labels(change).inc()
        self._released.set()

    def _tell_past(self, id_: str, begins_ms: int, ends_ms: int) -> None:
        if begins_ms < ends_ms:
            self._unread_past[id_] = (begins_ms, ends_ms), time.monotonic()

    def _drop_expired(self) -> None:
        now_s = time.monotonic()
        expired = [id_ for id_, one in self._held.items() if one.ends_s <= now_s]
        for id_ in expired:
            self._drop(id_, "lost")
        if expired:
            log.warning(
                "leases on cameras ran out, they are no longer read", cameras=expired[:20], n=len(expired)
            )
        self._hold()

    def _hold(self) -> None:
        self._workers.hold(self._held.keys() - self._giving - self._unlisted.keys())

    def _within_leases(self, longest_s: float) -> float:
        """Return `longest_s`, or less: until the first lease ends."""
        first_s = min((one.ends_s for one in self._held.values()), default=math.inf)
        return max(0.0, min(longest_s, first_s - time.monotonic()))

    def _ends_s(self, sent_s: float) -> float:
        return sent_s + self._own.ttl_s - min(MOST_MARGIN_S, STOP_MARGIN * self._own.ttl_s)

    def _tell_unplaced(self, unplaced: frozenset[str]) -> None:
        if unplaced == self._unplaced:
            return
        if unplaced:
            log.warning(
                "no motion process has room for cameras: raise CAMERA_LOAD_MAX or start another process",
                cameras=sorted(unplaced)[:20],
                n=len(unplaced),
            )
        else:
            log.info("every camera has a motion process")
        self._unplaced = unplaced


def _is_cancelled() -> bool:
    """Whether this task was cancelled and goes on: wait_for of Python 3.11, by which redis-py sends, may swallow it."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
