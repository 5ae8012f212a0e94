"""DATABASE_URL: what is taken, and what is refused without showing its password."""

from __future__ import annotations

import pytest

from services.recorder.record.database_url import parse_url
from shared.errors import ConfigError


@pytest.mark.parametrize(
    ("given", "driver"),
    [
        ("mysql://u:p@h/clipwatch", "mysql+aiomysql"),
        ("mysql+aiomysql://u:p@h:3307/clipwatch", "mysql+aiomysql"),
        ("mysql+pymysql://u:p@h/clipwatch", "mysql+aiomysql"),
        ("mariadb://u:p@h/clipwatch", "mysql+aiomysql"),
        ("sqlite:///data/c.db", "sqlite+aiosqlite"),
        ("sqlite+aiosqlite:////var/lib/c.db", "sqlite+aiosqlite"),
    ],
)
def test_usual_urls_are_taken(given: str, driver: str) -> None:
    assert parse_url(given).drivername == driver


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("postgresql://u:geheim@h/d", "'postgresql' is not known"),
        ("mysql://u:geheim@h", "names no database"),
        ("sqlite://", "SQLite in memory"),
        ("nothing", "not a database URL"),
    ],
)
def test_other_urls_are_refused_without_showing_the_password(given: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_url(given)
    assert said in str(refused.value)
    assert "geheim" not in str(refused.value)
