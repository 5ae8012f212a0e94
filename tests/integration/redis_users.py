"""A Redis with the users of deploy/redis, as compose starts it: each service logs in as itself."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import redis

from tests.programs import find_redis
from tests.servers import HOST, RedisServer

USERS_SH = Path(__file__).parents[2] / "deploy" / "redis" / "users.sh"
PASSWORDS = {"admin": "a'd min$#", "motion": 'p%21@:/#"', "classifier": "c l\\ass", "recorder": "r&c|order/"}
KEDA_PASSWORD = "k'e d&a/#"


def users_file(server: Path, **passwords: str) -> str:
    """Return what users.sh writes for a server."""
    variables = {f"REDIS_{name.upper()}_PASSWORD": value for name, value in passwords.items()}
    environment = {"PATH": os.environ["PATH"], "REDIS_SERVER": str(server), **variables}
    return subprocess.run(
        ["sh", USERS_SH], env=environment, capture_output=True, text=True, check=True, timeout=30
    ).stdout


class UsersRedisServer(RedisServer):
    """A redis-server with the users of deploy/redis, and others by name and password; `url` is the administrator's."""

    def __init__(self, **others: str) -> None:
        super().__init__()
        self._passwords = {**PASSWORDS, **others}
        acl = self.folder / "users.acl"
        acl.write_text(users_file(find_redis(), **self._passwords))
        self.arguments = ("--aclfile", str(acl))

    @property
    def url(self) -> str:
        return self.url_of("admin")

    def clear(self) -> None:
        """Make it as new, what it refused forgotten."""
        super().clear()
        with contextlib.closing(self.client()) as client:
            client.acl_log_reset()

    @property
    def is_narrow(self) -> bool:
        """Whether it knows keys that may only be read, or only be written: Redis 7."""
        with contextlib.closing(self.client()) as client:
            return int(str(client.info("server")["redis_version"]).partition(".")[0]) >= 7

    def url_of(self, user: str) -> str:
        return f"redis://{user}:{quote(self._passwords[user], safe='')}@{HOST}:{self.port}/0"

    def client_of(self, user: str) -> redis.Redis:
        """Return a blocking client of one user; close it."""
        return redis.Redis.from_url(self.url_of(user), socket_timeout=5)

    def refusals(self) -> list[str]:
        """Return what Redis refused to whom: user, command or key, and where; the log is emptied."""
        with contextlib.closing(redis.Redis.from_url(self.url, decode_responses=True)) as client:
            rows = cast("list[dict[str, Any]]", client.acl_log())  # Any: redis-py's union
            client.acl_log_reset()
        return sorted(
            f"{row['username']}: {row['reason']} {row['object']} ({row['context']})" for row in rows
        )
