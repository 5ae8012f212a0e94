"""Logs: one line an event, constant text, facts in fields; JSON in containers, text on a terminal. Always redacted."""

from __future__ import annotations

import logging
import sys
from typing import Literal, cast

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

from shared.errors import redact
from shared.terminal_text import printable, printable_lines

_OF_LINES = ("exception", "stack")


def configure_logs(service: str, level: str, style: Literal["auto", "json", "text"]) -> None:
    """Send the logs of clipwatch and of its libraries to stderr; call once, from the composition root."""
    as_json = style == "json" or (style == "auto" and not sys.stderr.isatty())
    before: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        _redacted,
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    handler = logging.StreamHandler(sys.stderr)
    last: list[structlog.typing.Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    last += [renderer] if as_json else [_printable, renderer]  # JSON escapes by itself
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processors=last, foreign_pre_chain=before))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for chatty in (
        "httpx",
        "httpcore",
        "uvicorn",
        "aioice",
        "aiortc",
        "libav",
        "alembic",
        "PIL",
        "aiosqlite",
    ):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, logging.getLevelName(level)))
    # a WARNING of it is a line for every request that is none: the metric counts them
    logging.getLogger("uvicorn.error").setLevel(max(logging.ERROR, logging.getLevelName(level)))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *before,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(service=service)


def get_logger(name: str) -> FilteringBoundLogger:
    """Return the logger of one module."""
    return cast(FilteringBoundLogger, structlog.stdlib.get_logger(name))


def _redacted(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return {key: value if key.startswith("_") else _clean(value) for key, value in event.items()}


def _printable(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return {
        key: (printable_lines if key in _OF_LINES else printable)(value) if isinstance(value, str) else value
        for key, value in event.items()
    }


def _clean(value: object, depth: int = 0) -> object:
    """Return `value` as plain data without credentials; what is nested deeper than anyone logs becomes text."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, BaseException):
        return redact(f"{type(value).__name__}: {value}")
    if isinstance(value, dict) and depth < 4:
        return {redact(str(key)): _clean(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset) and depth < 4:
        return [_clean(item, depth + 1) for item in value]
    return redact(str(value))
