"""Motion processes that share cameras by leases, as processes: started, killed, stopped, and what each reads."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from shared.contract import SnippetHeader
from tests.integration.test_motion_service import Motion, Rig, received
from tests.servers import free_port, spawn, wait_until

MOTION = {"quiet_s": 1.5, "pre_roll_s": 1, "post_roll_s": 1, "first_snippet_s": 3}


@dataclass(frozen=True, slots=True)
class ReadingTime:
    """A process read a camera; seconds since 1970."""

    process: str
    camera: str
    begins_s: float
    ends_s: float


@dataclass
class LeasedSite:
    """One camera file, one shared scene, and the motion processes that were started."""

    rig: Rig
    n_cameras: int = 12
    lease_s: float = 4
    running: dict[str, Motion] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=lambda: {name: free_port() for name in "abc"})
    scene: subprocess.Popen[bytes] = field(init=False)
    entries: list[dict[str, object]] = field(init=False)

    def __post_init__(self) -> None:
        port = free_port()
        program = [sys.executable, "-m", "tests.integration.shared_scene", str(port)]
        self.scene = spawn(program, self.rig.folder / "scene.txt", dict(os.environ))
        url = f"http://127.0.0.1:{port}"
        self.entries = [
            {"id": id_, "url": f"{url}/{id_}", "background": [], "motion": MOTION} for id_ in self.ids
        ]
        self.rig.cameras(*self.entries)

    @property
    def ids(self) -> list[str]:
        return [f"c{number:02}" for number in range(self.n_cameras)]

    def pause(self, id_: str) -> None:
        """Pause a camera in the file, as somebody who edits it does."""
        self.rig.cameras(*({**entry, "enabled": entry["id"] != id_} for entry in self.entries))

    def address_of(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[name]}"

    def start(self, *names: str, **environment: str) -> list[Motion]:
        """Start processes with data directories of their own; each may be started again."""
        for name in names:
            motion = self.running[name] = self.rig.start(
                is_waited_for=False,
                HTTP_PORT=str(self.ports[name]),
                REACHED_AT=self.address_of(name),
                INSTANCE=name,
                DATA_DIR=str(self.rig.folder / f"data-{name}"),
                CAMERA_LEASES="true",
                CAMERA_LEASE_S=f"{self.lease_s:g}",
                EXIT_WHEN_DONE="false",
                BACKLOG_MAX="100000",
                **environment,
            )
            motion.port = self.ports[name]
        return [self.running[name] for name in names]

    def kill(self, name: str) -> None:
        motion = self.running.pop(name)
        motion.process.kill()
        motion.process.wait(10)

    def stop(self, name: str) -> int:
        motion = self.running.pop(name)
        motion.process.send_signal(signal.SIGTERM)
        return motion.process.wait(60)

    def read_by(self, name: str) -> set[str]:
        """Return the cameras that deliver pictures to a process."""
        with contextlib.suppress(OSError, ValueError):
            states = self.running[name].cameras()
            return {id_ for id_, camera in states.items() if camera["state"] == "running"}
        return set()

    def has_open_event(self, name: str) -> bool:
        """Whether something moves before a camera of a process."""
        with contextlib.suppress(OSError, ValueError):
            return any(camera["open_event"] for camera in self.running[name].cameras().values())
        return False

    def are_all_read(self) -> bool:
        """Whether every camera is read, by one process."""
        return sorted(id_ for name in self.running for id_ in self.read_by(name)) == self.ids

    def wait_until_even(self) -> None:
        def holds() -> bool:
            counts = [len(self.read_by(name)) for name in self.running]
            return self.are_all_read() and max(counts) - min(counts) <= 1

        wait_until(holds, 120, "that every camera is read, and the processes share them evenly")

    def reading_times(self) -> list[ReadingTime]:
        """Return when each process that was not stopped or killed read each camera, by what it logged."""
        now_s = time.time()
        found: list[ReadingTime] = []
        for name, motion in self.running.items():
            since: dict[str, float] = {}
            for line in motion.events():
                at_s = datetime.fromisoformat(line["timestamp"]).timestamp() if "timestamp" in line else now_s
                if line["event"] == "camera added":
                    since[line["camera"]] = at_s
                elif line["event"] == "camera removed":
                    found.append(ReadingTime(name, line["camera"], since.pop(line["camera"]), at_s))
            found += [ReadingTime(name, id_, begins_s, now_s) for id_, begins_s in since.items()]
        return found

    def read_twice_s(self) -> float:
        """Return for how long two processes read one camera at most."""
        times = self.reading_times()
        overlaps = [
            min(one.ends_s, other.ends_s) - max(one.begins_s, other.begins_s)
            for one, other in itertools.combinations(times, 2)
            if one.camera == other.camera and one.process != other.process
        ]
        return max([0.0, *overlaps])

    def close(self) -> None:
        self.rig.stop_all()
        self.scene.kill()
        self.scene.wait(10)


def events_of(redis_url: str) -> dict[str, list[SnippetHeader]]:
    """Return the headers of each event's snippets in Redis, by event id, in the order in which they came."""
    events: dict[str, list[SnippetHeader]] = {}
    for snippet, _ in received(redis_url):
        events.setdefault(snippet.header.event_id, []).append(snippet.header)
    return events


def are_whole(snippets: Sequence[SnippetHeader]) -> bool:
    """Whether these are all snippets of an event, each once."""
    numbers = sorted(one.snippet for one in snippets)
    lasts = [one.snippet for one in snippets if one.is_last]
    return numbers == list(range(len(snippets))) and lasts == [numbers[-1]]
