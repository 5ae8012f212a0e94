"""Hashes passwords by argon2id, in threads, two at once. Knows no user and no database.

The parameters are the library's own (argon2-cffi follows RFC 9106: 64 MiB and 3 passes); a hash of older ones is told
by `needs_rehash`.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from services.recorder.access.names import normal_password
from shared.errors import Transient

AT_ONCE = 2  # 64 MiB and a core each
WAITING_MAX = 16
_Answer = TypeVar("_Answer")


class TooManyLogins(Transient):
    """So many passwords are being checked that another one would wait for seconds."""


@dataclass(slots=True)
class Passwords:
    """Makes and checks hashes; a check against no hash takes as long as one against a hash."""

    hasher: PasswordHasher = field(default_factory=PasswordHasher)
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))
    _n_waiting: int = 0

    async def hash(self, password: str) -> str:
        """Return the hash of a password that clean_password() returned; raise TooManyLogins."""
        return await self._in_thread(lambda: self.hasher.hash(_bytes(password)))

    async def is_right(self, password: str, known_hash: str | None) -> bool:
        """Whether this is the password of the hash; None: of a user that is not there. Raises TooManyLogins."""
        return await self._in_thread(lambda: self._verify(_bytes(password), known_hash or self._nobodys()))

    def needs_rehash(self, known_hash: str) -> bool:
        """Whether a hash was made with other parameters than today's."""
        return self.hasher.check_needs_rehash(known_hash)

    def _verify(self, password: bytes, known_hash: str) -> bool:
        try:
            return self.hasher.verify(known_hash, password)
        except (Argon2Error, InvalidHashError):
            return False

    def _nobodys(self) -> str:
        """Return a hash of today's parameters that no password has."""
        one = self.hasher
        salt, made = (
            base64.b64encode(secrets.token_bytes(length)).decode().rstrip("=")
            for length in (one.salt_len, one.hash_len)
        )
        return f"$argon2id$v=19$m={one.memory_cost},t={one.time_cost},p={one.parallelism}${salt}${made}"

    async def _in_thread(self, work: Callable[[], _Answer]) -> _Answer:
        if self._n_waiting >= WAITING_MAX:
            raise TooManyLogins("too many logins at once")
        self._n_waiting += 1
        try:
            async with self._slots:
                return await asyncio.to_thread(work)
        finally:
            self._n_waiting -= 1


def _bytes(password: str) -> bytes:
    """What JSON and terminals can send is hashed as it is, also what is no Unicode text: it is then nobody's."""
    return normal_password(password).encode("utf-8", "surrogatepass")
