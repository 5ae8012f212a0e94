"""What to do where packages are missing which only some machines need: requirements/gpu.txt and convert.txt."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

Extra = Literal["gpu", "convert"]
INSTALL_GPU = "make install GPU=1"
INSTALL_CONVERT = "make install CONVERT=1"


def has_command_line(programs: Path | None = None) -> bool:
    """Tell whether `clipwatch` is installed beside this Python; an image has neither it nor make."""
    return ((programs or Path(sys.executable).parent) / "clipwatch").exists()


def how_to_install(extra: Extra, programs: Path | None = None) -> str:
    """Say in half a sentence how this machine gets torch ("gpu") or nncf ("convert")."""
    if has_command_line(programs):
        return f"run `{INSTALL_GPU if extra == 'gpu' else INSTALL_CONVERT}`"
    return "use the image that has torch: start with docker-compose.gpu.yml"
