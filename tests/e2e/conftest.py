"""What the end-to-end tests need: the offline model, the command line as a user runs it, pieces of the samples."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import pytest

from services.local.config import models_dir

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "samples"
STREET_WORDS = (
    "--label",
    "a pedestrian",
    "--label",
    "a bicycle",
    "--label",
    "a car",
    "--background",
    "an empty street",
)


@dataclass(frozen=True, slots=True)
class Answer:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def events(self) -> list[dict[str, Any]]:  # Any: JSON values
        return [json.loads(line) for line in self.out.splitlines()]


def clipwatch(
    *arguments: str | Path, cwd: Path, limit_s: float = 150, environment: dict[str, str] | None = None
) -> Answer:
    """Run the command line to its end, as a user does."""
    done = subprocess.run(
        [sys.executable, "-m", "services.local.cli", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
        capture_output=True,
        text=True,
        timeout=limit_s,
    )
    return Answer(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="session", autouse=True)
def offline_model() -> None:
    """Without the offline model nothing here can run: `make install` puts it together."""
    folder = models_dir() / "mini"
    if not (folder / "open_clip_model.safetensors").exists():
        pytest.fail(f"{folder}: the offline model is not there: make install")


@pytest.fixture(scope="session")
def people_15s(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 15 s of the people-walking sample, copied packet by packet."""
    return cut(SAMPLES / "people-walking.mp4", tmp_path_factory.mktemp("cut") / "people walking.mp4", 15)


def cut(source: Path, target: Path, seconds: float) -> Path:
    """Copy the first `seconds` of a video without encoding it again."""
    with av.open(str(source)) as reader, av.open(str(target), "w") as writer:
        stream = reader.streams.video[0]
        copy = writer.add_stream_from_template(stream)
        for packet in reader.demux(stream):
            if (
                packet.dts is None
                or packet.time_base is None
                or float(packet.dts * packet.time_base) >= seconds
            ):
                break
            packet.stream = copy
            writer.mux(packet)
    return target


def decoded_frames(path: Path) -> int:
    """Return how many frames a clip decodes to."""
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def processes_with(text: str) -> list[int]:
    """Return the processes whose environment or command line speaks of `text` (Linux)."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                seen = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            except OSError:
                continue
            if text.encode() in seen:
                found.append(int(entry.name))
    return found


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    """A folder for what is kept; what still runs on it is killed."""
    folder = tmp_path / "kept"
    yield folder
    for pid in processes_with(str(folder)):
        os.kill(pid, signal.SIGKILL)


@pytest.fixture
def leaves_nothing(tmp_path: Path) -> Iterator[None]:
    """Fail the test when a process that speaks of its folder outlives it."""
    yield
    if Path("/proc/self/environ").exists():
        assert processes_with(str(tmp_path)) == []
