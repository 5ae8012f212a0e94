"""Hashes of passwords."""

from __future__ import annotations

import asyncio
import threading

import pytest
from argon2 import PasswordHasher, extract_parameters
from argon2.low_level import Type

from services.recorder.access.passwords import AT_ONCE, WAITING_MAX, Passwords, TooManyLogins

QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


def test_the_parameters_are_those_of_the_library() -> None:
    made = asyncio.run(Passwords().hash("correct horse"))
    found, usual = extract_parameters(made), PasswordHasher()
    assert found.type is Type.ID
    assert (found.memory_cost, found.time_cost) == (usual.memory_cost, usual.time_cost)
    assert found.memory_cost >= 19 * 1024  # OWASP's least for argon2id


async def test_only_the_password_fits_its_hash() -> None:
    passwords = Passwords(QUICK)
    made = await passwords.hash("pässwörter")
    assert await passwords.is_right("pa\u0308sswo\u0308rter", made)
    for wrong in ("passworter", "", "pässwörter ", "\ud800", "x" * 100_000):
        assert not await passwords.is_right(wrong, made)
    assert made != await passwords.hash("pässwörter")


async def test_nobody_has_the_password_of_no_hash_and_of_a_broken_one() -> None:
    passwords = Passwords(QUICK)
    assert not await passwords.is_right("pässwörter", None)
    assert not await passwords.is_right("pässwörter", "$argon2id$broken")


def test_an_unknown_user_costs_a_hash_of_the_same_parameters() -> None:
    passwords = Passwords()
    found = extract_parameters(passwords._nobodys())
    assert found == extract_parameters(PasswordHasher().hash("x"))
    assert passwords._nobodys() != passwords._nobodys()


async def test_a_hash_of_older_parameters_is_to_be_made_again() -> None:
    older = await Passwords(QUICK).hash("pässwörter")
    assert Passwords().needs_rehash(older)
    assert not Passwords(QUICK).needs_rehash(older)


class SlowHasher(PasswordHasher):
    """Hashes when it is allowed to, and knows how many ask at once."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.go = threading.Event()
        self.n_now = self.most = 0
        self._lock = threading.Lock()

    def hash(self, password: str | bytes, *, salt: bytes | None = None) -> str:
        with self._lock:
            self.n_now += 1
            self.most = max(self.most, self.n_now)
        assert self.go.wait(10)
        with self._lock:
            self.n_now -= 1
        return super().hash(password, salt=salt)


async def test_two_are_hashed_at_once_and_a_flood_is_turned_away() -> None:
    hasher = SlowHasher()
    passwords = Passwords(hasher)
    tasks = [asyncio.create_task(passwords.hash("correct horse")) for _ in range(WAITING_MAX)]
    while hasher.n_now < AT_ONCE:
        await asyncio.sleep(0)
    with pytest.raises(TooManyLogins):
        await passwords.hash("correct horse")
    hasher.go.set()
    await asyncio.gather(*tasks)
    assert hasher.most == AT_ONCE
    assert await passwords.hash("correct horse")
