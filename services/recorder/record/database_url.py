"""DATABASE_URL: which databases it may name, and what is wrong with it. Connects nothing."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qsl

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from shared.errors import ConfigError, redact
from shared.tls import authorities_fault
from shared.urls import HOW_TO_QUOTE, NO_HOST, scheme_of, shown_url, url_fault


def parse_url(given: str) -> URL:
    """Return the URL with the driver that clipwatch uses; raise ConfigError when it names something else."""
    shown = f"DATABASE_URL={shown_url(given)}"
    kind = scheme_of(given).partition("+")[0]
    if kind not in ("mysql", "mariadb", "sqlite"):
        found = f"'{kind}' is not known" if kind else "not a database URL"
        raise ConfigError(
            f"{shown}: {found}; wanted mysql://user:password@host/database, mariadb://… or sqlite:///path/of/file.db"
        )
    if kind == "sqlite":
        return _sqlite_url(given)
    fault = url_fault(given)
    if fault is not None and fault != NO_HOST:
        raise ConfigError(f"{shown}: {fault}; or give the password as DATABASE_PASSWORD")
    try:
        url = make_url(given)
    except (ArgumentError, ValueError):  # without its text, which may quote a piece of the password
        raise ConfigError(
            f"{shown}: cannot be read; {HOW_TO_QUOTE}, or give it as DATABASE_PASSWORD"
        ) from None
    if "@" in (url.host or ""):
        raise ConfigError(f"{shown}: has more than one @; {HOW_TO_QUOTE}, or give it as DATABASE_PASSWORD")
    if not url.database:
        raise ConfigError(f"{shown}: names no database; add /clipwatch at its end")
    if (fault := _tls_fault(given)) is not None:
        raise ConfigError(f"{shown}: {fault}")
    return url.set(drivername="mysql+aiomysql")


def _tls_fault(given: str) -> str | None:
    """Say what is wrong with what stands behind the ? for TLS; SQLAlchemy's URL leaves out what has no value."""
    options = [
        pair
        for pair in parse_qsl(given.partition("?")[2], keep_blank_values=True)
        if pair[0].startswith("ssl")
    ]
    if unknown := sorted({name for name, _ in options} - {"ssl_ca"}):
        return (
            f"found {', '.join(unknown)} behind the ?, wanted ssl_ca=FILE alone for TLS; leave the others out"
        )
    if len(options) > 1:
        return "found ssl_ca more than once, wanted ssl_ca=FILE once; put all authorities into one file"
    for _, file in options:
        if not file:
            return "found ssl_ca without a file, wanted ssl_ca=FILE; name the file, or leave ssl_ca out"
        if (fault := authorities_fault(Path(file))) is not None:
            return f"ssl_ca={fault}"
    return None


def sqlite_address(path: Path) -> str:
    """Return the DATABASE_URL of a file, whatever its name holds."""
    return f"sqlite+aiosqlite:///{str(path).replace('%3', '%253').replace('?', '%3F')}"


def _sqlite_url(given: str) -> URL:
    """In the path of a file only ? is written otherwise: as %3F."""
    path = given.partition("://")[2].partition("?")[0]
    if not path.startswith("/") or path in ("/", "/:memory:"):
        raise ConfigError(
            f"DATABASE_URL={redact(given)}: SQLite in memory is not kept; wanted sqlite:///path/of/file.db"
        )
    name = path[1:].replace("%3F", "?").replace("%3f", "?").replace("%253", "%3")
    return make_url(given).set(drivername="sqlite+aiosqlite", database=name)
