"""What all tables have in common: types of columns, names of keys, and MySQL's options. Knows no table."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    DateTime,
    Dialect,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    TypeDecorator,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeEngine

from shared.clock import to_millis


class UtcMillis(TypeDecorator[datetime]):
    """An aware time, kept as UTC without zone: DATETIME(3) on MySQL and MariaDB, text on SQLite."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:  # Any: SQLAlchemy's own
        return dialect.type_descriptor(mysql.DATETIME(fsp=3) if dialect.name == "mysql" else DateTime())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return None if value is None else to_millis(value).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return None if value is None else value.replace(tzinfo=UTC)


def uuid_type() -> TypeEngine[str]:
    return String(36).with_variant(mysql.CHAR(36, charset="ascii", collation="ascii_bin"), "mysql")


def json_type() -> TypeEngine[str]:
    return Text().with_variant(mysql.MEDIUMTEXT(), "mysql")


def packed_type() -> TypeEngine[bytes]:
    return LargeBinary().with_variant(mysql.MEDIUMBLOB(), "mysql")


def number_type() -> TypeEngine[int]:
    return BigInteger().with_variant(Integer(), "sqlite")


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)
# Any: keyword arguments of every type
MYSQL: dict[str, Any] = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
}
