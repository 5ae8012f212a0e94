"""`clipwatch demo` and `clipwatch run`: start the stack, show or log what happens, stop it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.markup import escape

from services.local.config import RunConfig, models_dir
from services.local.launcher.stack import Stack, StackPlan, running, terminal_sink
from services.local.records import EventRow, Records
from services.local.run_settings import OFFLINE_MODEL, ListenAddress
from services.local.tasks.demo import DemoOptions, write_camera_file
from services.local.tasks.screen import cells, events_table, print_faults, short_path, totals, wide_console
from shared.clock import now_utc
from shared.errors import redact
from shared.plurals import plural
from shared.waits import pause

REFRESH_S = 0.5
SHOWN_ROWS, KNOWN_ROWS = 50, 200
READY_LIMIT_S = 120.0


@dataclass(slots=True)
class Screen:
    """Shows events: a table that is redrawn on a terminal, otherwise a line for each event that has ended."""

    console: Console
    began: float  # monotonic seconds
    is_ready: bool = False
    _live: Live | None = None
    _waiting_for: str = ""
    _told: set[str] = field(default_factory=set)

    @contextlib.contextmanager
    def showing(self, known: list[EventRow]) -> Iterator[None]:
        """Keep the table on the screen; events that are already `known` are not printed as lines."""
        self._told = {row.id for row in known}
        if not self.console.is_terminal:
            yield
            return
        with Live(console=self.console, auto_refresh=False) as self._live:
            yield

    def say_if_ready(self, unready: tuple[str, ...]) -> None:
        """Say once that everything is ready, and how long that took."""
        self._waiting_for = ", ".join(unready)
        if not unready:
            self.is_ready = True
            self.console.print(f"ready after {time.monotonic() - self.began:.1f} s; Ctrl-C stops everything")

    def show(self, rows: list[EventRow], n_events: int) -> None:
        """Show the newest `rows` of `n_events`."""
        if self._live:
            waiting = f"; {self._waiting_for} still loading" if self._waiting_for else ""
            rows_max = max(5, self.console.height - 14)
            self._live.update(
                events_table(rows, f"{plural(n_events, 'event')}{waiting}", limit=rows_max), refresh=True
            )
            return
        for row in reversed(rows):
            if row.id not in self._told and not row.is_open:
                self._told.add(row.id)
                self.console.print("  ".join(cells(row)), markup=False)


async def show_demo(options: DemoOptions, data_dir: Path, listen: ListenAddress, stop: asyncio.Event) -> int:
    """Run the demo until `stop`, or once; return the exit code."""
    console = wide_console()
    began = time.monotonic()
    since = now_utc()
    data_dir.mkdir(parents=True, exist_ok=True)
    cameras_file = data_dir / "cameras.yml"
    plan = StackPlan(
        data_dir=data_dir,
        cameras_file=cameras_file,
        model=OFFLINE_MODEL,
        models_dir=models_dir(),
        media_dir=data_dir / "media",
        listen=listen,
        is_finite=options.is_once,
    )
    cameras = write_camera_file(cameras_file, options, since)
    async with running(plan) as stack:
        _say_what_runs(console, stack, plan.data_dir / "logs")
        if not await _until_shown(stack, stop, console):
            return _why(stack)
        looking = ", ".join(dict.fromkeys(label for camera in cameras.cameras for label in camera.labels))
        console.print(f"[bold]page[/bold]    {stack.page.url}")
        file = escape(short_path(cameras_file))
        console.print(f"[bold]looking for[/bold] {escape(looking)}; change the words in {file}\n")
        async with Records.open(stack.database_url, plan.media_dir) as records:
            await _watch(stack, records, stop, Screen(console, began))
            if stack.failure.done():
                return _why(stack)
            if not options.is_once or stop.is_set():
                return 0
            return await _closing_words(console, records, stack, since)


async def _watch(stack: Stack, records: Records, stop: asyncio.Event, screen: Screen) -> None:
    """Show the newest events until the work is done, something gave up, or `stop` is set."""
    with screen.showing(await records.recent(KNOWN_ROWS)):
        while not stop.is_set() and not stack.failure.done():
            if not screen.is_ready:
                screen.say_if_ready(await stack.unready())
            screen.show(await records.recent(SHOWN_ROWS), await records.count())
            if stack.plan.is_finite and await stack.is_done():
                return
            await pause(REFRESH_S, stop)


async def _closing_words(console: Console, records: Records, stack: Stack, since: datetime) -> int:
    rows = await records.all_events(since)
    accepted = sorted((row for row in rows if row.accepted), key=lambda row: row.started_at, reverse=True)
    console.print(events_table(accepted, "recorded now"))
    console.print(totals(rows, await stack.dead_letters()), markup=False)
    console.print(f"kept in {short_path(stack.plan.data_dir)}")
    return 0 if accepted else 1


def _say_what_runs(console: Console, stack: Stack, logs: Path | None) -> None:
    """Say what was started and where to see it; `logs` None: they come on this terminal."""
    redis = f"embedded, {stack.embedded.binary}, on a socket" if stack.embedded else redact(stack.redis_url)
    taken = f" ({stack.taken_port} is taken)" if stack.taken_port else ""
    console.print("[bold]clipwatch[/bold] starts on this machine")
    console.print(f"  redis     {redis}", markup=False)
    console.print(f"  database  {redact(stack.database_url)}", markup=False)
    console.print(f"  page      {stack.page.url}{taken}")
    for url in stack.page.urls_of_others():
        console.print(f"            {url} for phones and other machines")
    console.print(
        f"  model     {stack.plan.model}"
        + (": a small demo model" if stack.plan.model == OFFLINE_MODEL else "")
    )
    console.print(f"  logs      {short_path(logs) if logs else 'here'}", markup=False)


async def _until_shown(stack: Stack, stop: asyncio.Event, console: Console) -> bool:
    """Wait until the page and yesterday's events can be shown; do not wait for the model, which takes longer."""
    deadline = time.monotonic() + READY_LIMIT_S
    spinner = console.status("starting") if console.is_terminal else contextlib.nullcontext()
    with spinner:
        while time.monotonic() < deadline and not stop.is_set() and not stack.failure.done():
            if "recorder" not in await stack.unready():
                return True
            await asyncio.sleep(0.1)
    return False


def _why(stack: Stack) -> int:
    """Say why the stack ended early; return the exit code."""
    if not stack.failure.done():
        return 0
    gone = stack.failure.result()
    print_faults([str(gone), *(f"  {line}" for line in gone.last_lines[-15:])])
    return 2 if gone.exit_code == 2 else 1


async def run_services(config: RunConfig, log_level: str, stop: asyncio.Event) -> int:
    """Run `config` until `stop`; logs go to stderr; return the exit code."""
    plan = StackPlan(
        data_dir=config.data_dir,
        cameras_file=config.file,
        model=config.settings.model,
        models_dir=models_dir(),
        media_dir=config.data_dir / "media",
        listen=config.settings.address,
        site=config.site,
        weather=config.settings.weather,
        redis_url=config.redis_url,
        database_url=config.database_url,
        log_level=log_level,
    )
    async with running(plan, terminal_sink()) as stack:
        _say_what_runs(wide_console(is_stderr=True), stack, None)
        stopped = asyncio.create_task(stop.wait())
        try:
            waited: set[asyncio.Future[object]] = {stopped, stack.failure}  # type: ignore[arg-type]  # invariant
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
        return _why(stack)
