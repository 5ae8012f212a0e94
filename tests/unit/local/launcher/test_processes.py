"""Children of the launcher: restarted when they die, given up when that does not help, stopped in time."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from services.local.launcher.processes import Child, ChildGaveUp, ChildSpec, stop_children

PYTHON = sys.executable


def child_of(code: str, lines: list[str], *arguments: str, is_finite: bool = False) -> Child:
    spec = ChildSpec("probe", (PYTHON, "-c", code, *arguments), dict(os.environ), is_finite)
    return Child(spec, lambda name, line: lines.append(f"{name}: {line}"))


async def until(condition: object, limit_s: float = 60) -> None:
    ends_at = time.monotonic() + limit_s
    while not condition():  # type: ignore[operator]  # a callable of the test
        assert time.monotonic() < ends_at, "the condition did not hold in time"
        await asyncio.sleep(0.01)


async def test_a_finite_child_that_ends_well_is_finished() -> None:
    lines: list[str] = []
    child = child_of("print('done')", lines, is_finite=True)
    await child.supervise()
    assert child.is_finished
    assert lines == ["probe: done"]


async def test_a_killed_child_is_started_again(tmp_path: Path) -> None:
    marker = tmp_path / "runs"
    code = "import sys, signal; open(sys.argv[1], 'a').write('x'); signal.pause()"
    child = child_of(code, [], str(marker))
    supervision = asyncio.create_task(child.supervise())
    await until(lambda: marker.exists() and marker.read_text() == "x")
    assert child.process is not None
    os.kill(child.process.pid, signal.SIGKILL)
    await until(lambda: marker.read_text() == "xx")
    await stop_children([child], 5)
    await asyncio.wait_for(supervision, 60)
    assert child.restarts == 1
    assert not child.is_running


async def test_bad_settings_are_not_tried_again_and_their_words_are_kept() -> None:
    child = child_of(
        "import sys; print('probe: HTTP_PORT=x: wanted a number', file=sys.stderr); sys.exit(2)", []
    )
    with pytest.raises(ChildGaveUp) as caught:
        await child.supervise()
    assert caught.value.exit_code == 2
    assert caught.value.last_lines == ["probe: HTTP_PORT=x: wanted a number"]


async def test_a_finite_child_that_fails_gives_up_at_once() -> None:
    lines: list[str] = []
    child = child_of("raise SystemExit(1)", lines, is_finite=True)
    with pytest.raises(ChildGaveUp) as caught:
        await child.supervise()
    assert caught.value.exit_code == 1
    await stop_children([child], 5)
    assert lines == [], "its end was no stop"


async def test_a_child_that_ignores_sigterm_is_killed_in_time() -> None:
    lines: list[str] = []
    code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); signal.pause()"
    child = child_of(code, lines)
    supervision = asyncio.create_task(child.supervise())
    await until(lambda: lines == ["probe: up"])
    await stop_children([child], 0.2)
    await asyncio.wait_for(supervision, 60)
    assert child.process is not None
    assert child.process.returncode == -signal.SIGKILL
    assert lines[1:] == ["probe: did not stop within 0.2 s and was killed"]


async def test_a_child_that_stops_badly_is_told_of_and_one_that_stops_well_is_not() -> None:
    lines: list[str] = []
    code = (
        "import signal, sys\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(int(sys.argv[1])))\n"
        "print('up', flush=True)\n"
        "signal.pause()"
    )
    children = [child_of(code, lines, "3"), child_of(code, lines, "0")]
    supervisions = [asyncio.create_task(child.supervise()) for child in children]
    await until(lambda: len(lines) == 2)
    await stop_children(children, 10)
    await asyncio.wait_for(asyncio.gather(*supervisions), 60)
    assert lines[2:] == ["probe: stopped with exit code 3"]


async def test_a_line_longer_than_the_limit_does_not_stop_the_log() -> None:
    lines: list[str] = []
    child = child_of("print('y' * 3_000_000); print('after')", lines, is_finite=True)
    await child.supervise()
    assert lines[-1] == "probe: after"


@pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_PDEATHSIG, which only Linux has")
async def test_children_end_when_the_launcher_is_killed(tmp_path: Path) -> None:
    marker = tmp_path / "pid"
    grandchild = f"import os, signal; open({str(marker)!r}, 'w').write(str(os.getpid())); signal.pause()"
    code = (
        "import asyncio, os, sys\n"
        "from services.local.launcher.processes import Child, ChildSpec\n"
        f"spec = ChildSpec('probe', (sys.executable, '-c', {grandchild!r}), dict(os.environ))\n"
        "asyncio.run(Child(spec, lambda name, line: None).supervise())\n"
    )
    launcher = await asyncio.create_subprocess_exec(PYTHON, "-c", code)
    await until(lambda: marker.exists() and marker.read_text())
    pid = int(marker.read_text())
    launcher.kill()
    await launcher.wait()
    await until(lambda: not _runs(pid))


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
