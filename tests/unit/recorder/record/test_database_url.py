"""DATABASE_URL: what is taken, and what is refused without showing its password."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.recorder.record.database_url import parse_url
from shared.errors import ConfigError
from tests.certificates import make_certificate


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


def test_an_authority_for_tls_is_a_file_with_certificates(tmp_path: Path) -> None:
    made = make_certificate(tmp_path)
    assert parse_url(f"mysql://u:geheim@h/d?ssl_ca={made.chain}").query == {"ssl_ca": str(made.chain)}
    for file, said in (
        (tmp_path / "none.pem", "cannot be read: No such file"),
        (made.key, "holds no certificate"),
    ):
        with pytest.raises(ConfigError) as refused:
            parse_url(f"mysql://u:geheim@h/d?ssl_ca={file}")
        assert f"ssl_ca={file} {said}" in str(refused.value)
        assert "geheim" not in str(refused.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("ssl_ca", "found ssl_ca without a file"),
        ("ssl_ca=", "found ssl_ca without a file"),
        ("charset=utf8mb4&ssl_ca=", "found ssl_ca without a file"),
        ("ssl_ca=/a.pem&ssl_ca=/b.pem", "found ssl_ca more than once"),
        ("ssl_ca=&ssl_ca=/b.pem", "found ssl_ca more than once"),
        ("ssl_key", "wanted ssl_ca=FILE alone"),
    ],
)
def test_tls_that_is_half_said_is_never_left_out(options: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse_url(f"mysql://u@h/d?{options}")


@pytest.mark.parametrize("option", ["ssl=true", "ssl_check_hostname=false", "ssl_cert=/x"])
def test_tls_that_would_check_less_is_refused(option: str) -> None:
    with pytest.raises(ConfigError, match=r"wanted ssl_ca=FILE alone for TLS; leave the others out"):
        parse_url(f"mysql://u@h/d?{option}")
