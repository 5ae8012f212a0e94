"""The terminal of all commands that print tables: what it is given holds no control character when it is shown."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from shared.terminal_text import printable_lines


class PrintableConsole(Console):
    """A console that shows the control characters of every text as escapes: names and labels are others'."""

    def render_str(self, text: str, **how: Any) -> Text:  # Any: rich's own options
        return super().render_str(printable_lines(text), **how)
