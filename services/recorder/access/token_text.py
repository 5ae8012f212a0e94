"""The texts that let somebody in: API tokens `cw_<id>_<secret>` and the values of cookies. Pure: bytes in, text out.

Only the SHA-256 of a secret is kept. It has 256 random bits: nobody finds it by trying, so no slow hash is needed.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

ID_BYTES, SECRET_BYTES = 6, 32
_TOKEN = re.compile(r"cw_([0-9a-f]{12})_([0-9a-f]{64})")
_COOKIE = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class TokenText:
    """A token's parts: `id` is shown in lists, `secret_hash` is what the database has."""

    id: str
    secret_hash: str


def token_text(id_bytes: bytes, secret: bytes) -> str:
    """Return the text of a token: it is shown once, when it is made."""
    return f"cw_{id_bytes.hex()}_{secret.hex()}"


def parse_token(text: str) -> TokenText | None:
    """Return the parts of a token, or None for any other text."""
    found = _TOKEN.fullmatch(text)
    return None if found is None else TokenText(found[1], hash_secret(found[2]))


def parse_cookie(value: str) -> str | None:
    """Return the hash of a session's cookie, or None for any other text."""
    return hash_secret(value) if _COOKIE.fullmatch(value) else None


def hash_secret(secret: str) -> str:
    """Return the SHA-256 of a secret's text, as hexadecimal."""
    return hashlib.sha256(secret.encode()).hexdigest()
