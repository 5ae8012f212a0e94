"""Says which files of a folder are to be read: whole ones, once or again and again. Pure: listings are given.

A file is whole when it did not change for SETTLE_S: recorders and uploads write theirs over minutes. It is known by
device, inode, size and time of change, not by its name: a renamed file is the same one, a file that grew is another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

SETTLE_S = 2.0

Identity = tuple[int, int, int, int]  # device, inode, bytes, time of change in ns
Outcome = Literal["read", "bad"]


@dataclass(slots=True)
class FolderFiles:
    """What is known of a folder's files. `repeats`: a file that was read is to be read again."""

    repeats: bool
    settle_s: float = SETTLE_S
    _since_s: dict[Identity, float] = field(default_factory=dict)
    _outcomes: dict[Identity, Outcome] = field(default_factory=dict)
    _found: dict[Path, Identity] = field(default_factory=dict)

    def see(self, found: Mapping[Path, Identity], now_s: float) -> None:
        """Take what the folder holds at `now_s`, by a clock that nobody sets; what is gone is forgotten."""
        self._found = dict(found)
        known = set(self._found.values())
        self._since_s = {one: self._since_s.get(one, now_s) for one in known}
        self._outcomes = {one: said for one, said in self._outcomes.items() if one in known}

    def ready(self, now_s: float, *, in_order: bool = False) -> list[Path]:
        """Return what is to be read now, by name. `in_order`: nothing after a file that is not whole yet."""
        paths: list[Path] = []
        for path in sorted(self._found):
            one = self._found[path]
            said = self._outcomes.get(one)
            if said == "bad" or (said == "read" and not self.repeats):
                continue
            if now_s - self._since_s[one] >= self.settle_s:
                paths.append(path)
            elif in_order:
                break
        return paths

    def note(self, path: Path, outcome: Outcome) -> None:
        """Remember what became of a file, as it was when it was last seen."""
        self._outcomes[self._found[path]] = outcome

    @property
    def n_files(self) -> int:
        return len(self._found)

    @property
    def n_bad(self) -> int:
        return sum(self._outcomes.get(one) == "bad" for one in self._found.values())

    @property
    def unfinished(self) -> Path | None:
        """The first file, by name, that was neither read nor found bad."""
        return next((path for path in sorted(self._found) if self._found[path] not in self._outcomes), None)


def identity_of(path: Path) -> Identity | None:
    """Return what a file is known by; None when it is gone."""
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns
