"""Child processes of the launcher: start, watch, restart, stop. Knows no service and no Redis.

A child lives in a session of its own, so that Ctrl-C in the terminal reaches only the launcher, which then stops the
children in order. When the launcher itself is killed, its children end: on Linux by PR_SET_PDEATHSIG, elsewhere the
services notice that their parent changed (PARENT_PID).
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import ctypes
import functools
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

RESTARTS_MAX = 5  # within RESTART_WINDOW_S, then the launcher gives up
RESTART_WINDOW_S = 60.0
LAST_LINES = 40

LineSink = Callable[[str, str], None]  # (child's name, one line of its stderr or stdout)


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """What to start. `is_finite`: after exit code 0 its work is done, and it is not started again."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    is_finite: bool = False
    umask: int = -1  # of the files that it makes; -1: the launcher's


class ChildGaveUp(Exception):
    """A child ended and is not started again; `exit_code` and its `last_lines` say why."""

    def __init__(self, name: str, exit_code: int, last_lines: list[str]) -> None:
        self.name = name
        self.exit_code = exit_code
        self.last_lines = last_lines
        super().__init__(f"{name} ended with exit code {exit_code}")


@dataclass(slots=True)
class Child:
    """One supervised process."""

    spec: ChildSpec
    sink: LineSink
    process: asyncio.subprocess.Process | None = None
    is_finished: bool = False
    restarts: int = 0
    _is_stopping: bool = False
    _lines: collections.deque[str] = field(default_factory=lambda: collections.deque(maxlen=LAST_LINES))
    _deaths: collections.deque[float] = field(default_factory=lambda: collections.deque(maxlen=RESTARTS_MAX))

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.returncode is None

    async def supervise(self) -> None:
        """Run the child, start it again when it dies; return when it is finished or stopped.

        Raises ChildGaveUp when it ends with bad settings (2), or dies too often.
        """
        while not self._is_stopping:
            exit_code = await self._run_once()
            if self._is_stopping:
                return
            if exit_code == 0 and self.spec.is_finite:
                self.is_finished = True
                return
            now = time.monotonic()
            self._deaths.append(now)
            too_often = len(self._deaths) == RESTARTS_MAX and now - self._deaths[0] < RESTART_WINDOW_S
            if exit_code == 2 or too_often or (exit_code == 1 and self.spec.is_finite):
                raise ChildGaveUp(self.spec.name, exit_code, list(self._lines))
            self.restarts += 1
            self.sink(self.spec.name, f"ended with exit code {exit_code}, starting it again")
            await asyncio.sleep(min(0.2 * 2 ** len(self._deaths), 5.0))

    async def _run_once(self) -> int:
        self._lines.clear()
        self.process = await asyncio.create_subprocess_exec(
            *self.spec.argv,
            env=dict(self.spec.env),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            limit=1 << 20,
            umask=self.spec.umask,
            preexec_fn=functools.partial(_die_with, os.getpid()) if sys.platform == "linux" else None,
        )
        if self._is_stopping:
            self.signal(signal.SIGTERM)
        pump = asyncio.create_task(self._pump(self.process))
        exit_code = await self.process.wait()
        await asyncio.wait({pump}, timeout=1)
        pump.cancel()
        return exit_code

    async def _pump(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while True:
            try:
                raw = await process.stdout.readline()
            except ValueError:  # a line over the limit: asyncio drops it
                continue
            if not raw:
                return
            line = raw.decode(errors="replace").rstrip()
            self._lines.append(line)
            self.sink(self.spec.name, line)

    def begin_stop(self) -> None:
        """Ask the child to stop; it is not started again."""
        self._is_stopping = True
        self.signal(signal.SIGTERM)

    def log_bad_stop(self, within_s: float) -> None:
        """Log how a child ended that did not stop in order."""
        exit_code = self.process.returncode if self.process else 0
        if exit_code == -signal.SIGKILL:
            self.sink(self.spec.name, f"did not stop within {within_s:g} s and was killed")
        elif exit_code:
            self.sink(self.spec.name, f"stopped with exit code {exit_code}")

    def signal(self, number: int) -> None:
        """Send a signal if the child runs."""
        if self.is_running and self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)


async def stop_children(children: list[Child], within_s: float) -> None:
    """Stop `children` together; those that still run after `within_s` are killed, which loses nothing by design."""
    for child in children:
        child.begin_stop()
    running = [child for child in children if child.is_running]
    waits = [asyncio.create_task(child.process.wait()) for child in running if child.process]
    if waits:
        _, late = await asyncio.wait(waits, timeout=within_s)
        if late:
            for child in children:
                child.signal(signal.SIGKILL)
            await asyncio.wait(waits, timeout=1)
    for child in running:
        child.log_bad_stop(within_s)


def _die_with(launcher_pid: int) -> None:
    """Runs in the child before exec: SIGTERM when the launcher dies (prctl(2), PR_SET_PDEATHSIG = 1)."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
    if os.getppid() != launcher_pid:  # it died between fork and prctl
        os._exit(1)
