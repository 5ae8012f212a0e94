"""What nobody caught, and what Python warns of: redacted like every other message. Knows no service.

Python's own hooks print an exception as it is, with whatever a library put into its text.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
import warnings
from types import TracebackType

from shared.errors import redact
from shared.logs import get_logger
from shared.terminal_text import printable_lines

log = get_logger(__name__)


class _RedactedFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable_lines(redact(super().format(record)))


def redact_uncaught() -> None:
    """Send uncaught exceptions of all threads and warnings to the logs; to stderr where there are none. Call once.

    What asyncio and libraries log before there is a handler goes to stderr redacted too.
    """
    sys.excepthook = _ended
    threading.excepthook = _thread_ended
    sys.unraisablehook = _unraisable
    warnings.showwarning = _warned  # type: ignore[assignment]  # file and line, which nobody gives, are in *_
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(_RedactedFormatter())


def _ended(kind: type[BaseException], exc: BaseException, trace: TracebackType | None) -> None:
    if isinstance(exc, KeyboardInterrupt):
        sys.__excepthook__(kind, KeyboardInterrupt(), None)
    else:
        _tell("failed: this is a bug", exc.with_traceback(trace))


def _thread_ended(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None:
        _tell(
            "a thread failed: this is a bug", args.exc_value, thread=args.thread.name if args.thread else None
        )


def _unraisable(args: sys.UnraisableHookArgs) -> None:
    if args.exc_value is not None:
        _tell("an object could not be cleaned up", args.exc_value)


def _warned(message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: object) -> None:
    text = f"{category.__name__}: {message}"
    if logging.getLogger().handlers:
        log.warning("Python warns", warning=text, file=filename, line=lineno)
    else:
        _print(f"{filename}:{lineno}: {text}")


def _tell(what: str, exc: BaseException, **facts: object) -> None:
    if logging.getLogger().handlers:
        log.error(what, exc_info=exc, **facts)
    else:
        _print("".join(traceback.format_exception(exc)).rstrip())


def _print(text: str) -> None:
    print(printable_lines(redact(text)), file=sys.stderr)
