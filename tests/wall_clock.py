"""A wall clock that a test sets, for a process that it starts; the machine's own clock stays as it is (Linux)."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

from tests.programs import find_compiler

SOURCE = Path(__file__).with_suffix(".c")


class SettableClock:
    """`environment` is for the process; `set` moves its wall clock, from now on, off the machine's."""

    def __init__(self, folder: Path) -> None:
        compiler = find_compiler()
        library, self._offset = folder / "wall_clock.so", folder / "wall_clock"
        command = [
            str(compiler),
            "-shared",
            "-fPIC",
            "-O1",
            "-Wall",
            "-Werror",
            "-o",
            str(library),
            str(SOURCE),
            "-ldl",
            "-lm",
        ]
        subprocess.run(command, check=True, timeout=60)
        self._offset.write_bytes(struct.pack("d", 0.0))
        self.environment = {"LD_PRELOAD": str(library), "WALL_CLOCK_FILE": str(self._offset)}

    def set(self, offset_s: float) -> None:
        """Let the process read the machine's time plus `offset_s`."""
        with self._offset.open("r+b") as file:  # in place: the process has mapped it
            file.write(struct.pack("d", offset_s))
