"""Which process should read which camera. Pure: every process computes the same plan from the same table.

The plan starts from what is held and moves as little as it can: a camera moves because its process is gone, because a
process at its own location has room, because its process is beyond its cap, or to even out the loads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

UNEVEN = 1.1  # a camera moves only from a load that is this many times what the other's becomes
_EPSILON = 1e-9


@dataclass(frozen=True, slots=True)
class CameraLoad:
    """A camera that is to be read; `weight`: megapixels a second; `location`: where it is, empty: anywhere.

    `is_bound`: only a process at its location can read it (a device on that host).
    """

    id: str
    weight: float
    location: str = ""
    is_bound: bool = False


@dataclass(frozen=True, slots=True)
class MotionProcess:
    """A process that reads cameras; `load_max`: megapixels a second, 0: without a cap."""

    name: str
    load_max: float = 0.0
    location: str = ""


def plan_cameras(
    cameras: Sequence[CameraLoad], processes: Sequence[MotionProcess], held: Mapping[str, str]
) -> dict[str, str]:
    """Return the process of each camera; a camera for which no process has room is left out.

    `held`: the process that reads a camera now. One of a process that is not among `processes` counts as free.
    Cameras that are held stay even beyond a cap where no other process has room: slow is better than blind.
    """
    draft = _Draft(cameras, processes, held)
    while draft.shed() or draft.place() or draft.prefer() or draft.even_out():
        continue  # each step lowers, in this order: load beyond caps, free cameras, wrong locations, unevenness
    return draft.holders


class _Draft:
    """A plan in the making. Each step makes one move and returns True, or has nothing to do."""

    def __init__(
        self, cameras: Sequence[CameraLoad], processes: Sequence[MotionProcess], held: Mapping[str, str]
    ) -> None:
        self._cameras = {
            camera.id: camera for camera in sorted(cameras, key=lambda one: (-one.weight, one.id))
        }
        self._processes = {process.name: process for process in sorted(processes, key=lambda one: one.name)}
        self.holders = {id_: held[id_] for id_ in self._cameras if held.get(id_) in self._processes}
        self._loads = dict.fromkeys(self._processes, 0.0)
        for id_, name in self.holders.items():
            self._loads[name] += self._cameras[id_].weight
        is_capped = bool(processes) and all(process.load_max for process in processes)
        self._sizes = {name: one.load_max if is_capped else 1.0 for name, one in self._processes.items()}

    def shed(self) -> bool:
        """Move the lightest camera of a process that is beyond its cap to one that has room."""
        for name, process in self._processes.items():
            if process.load_max and self._loads[name] > process.load_max + _EPSILON:
                for camera in reversed(self._held_by(name)):
                    if (to := self._best_for(camera)) is not None and to != name:
                        return self._move(camera, to)
        return False

    def place(self) -> bool:
        """Give the heaviest free camera a process."""
        for camera in self._cameras.values():
            if camera.id not in self.holders and (to := self._best_for(camera)) is not None:
                return self._move(camera, to)
        return False

    def prefer(self) -> bool:
        """Move a camera to a process at its own location."""
        for id_, name in self.holders.items():
            camera = self._cameras[id_]
            if self._is_foreign(camera, name):
                to = self._best_for(camera)
                if to is not None and not self._is_foreign(camera, to):
                    return self._move(camera, to)
        return False

    def even_out(self) -> bool:
        """Move the camera that evens two processes out best, from the most loaded one that has such a camera."""
        by_load = sorted(self._processes, key=lambda name: (self._share(name), name))
        for source in reversed(by_load):
            for target in by_load:
                if target != source and (camera := self._evening(source, target)) is not None:
                    return self._move(camera, target)
        return False

    def _evening(self, source: str, target: str) -> CameraLoad | None:
        found: list[tuple[float, str]] = []
        for camera in self._held_by(source):
            after = self._share(target, camera.weight)
            is_worse_place = self._is_foreign(camera, target) and not self._is_foreign(camera, source)
            is_enough = after * UNEVEN <= self._share(source) + _EPSILON and after < self._share(source)
            if is_enough and not is_worse_place and self._has_room(target, camera):
                found.append((max(after, self._share(source, -camera.weight)), camera.id))
        return self._cameras[min(found)[1]] if found else None

    def _best_for(self, camera: CameraLoad) -> str | None:
        def rank(name: str) -> tuple[bool, float, str]:
            return self._is_foreign(camera, name), self._share(name, camera.weight), name

        return min((name for name in self._processes if self._has_room(name, camera)), key=rank, default=None)

    def _held_by(self, name: str) -> list[CameraLoad]:
        return [camera for id_, camera in self._cameras.items() if self.holders.get(id_) == name]

    def _has_room(self, name: str, camera: CameraLoad) -> bool:
        if camera.is_bound and self._is_foreign(camera, name):
            return False
        cap = self._processes[name].load_max
        return not cap or self._loads[name] + camera.weight <= cap + _EPSILON

    def _is_foreign(self, camera: CameraLoad, name: str) -> bool:
        return camera.location not in ("", self._processes[name].location)

    def _share(self, name: str, more: float = 0.0) -> float:
        return (self._loads[name] + more) / self._sizes[name]

    def _move(self, camera: CameraLoad, to: str) -> bool:
        if (source := self.holders.get(camera.id)) is not None:
            self._loads[source] -= camera.weight
        self._loads[to] += camera.weight
        self.holders[camera.id] = to
        return True
