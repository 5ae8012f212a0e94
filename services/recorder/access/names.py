"""What users, tokens and passwords may be called. Pure: text in, text or ConfigError out.

Names compare without regard to case and to how accents are composed (Unicode NFKC and casefold): nobody can make a
second 'Admin'. Passwords are NFC, so that a phone and a laptop send the same (RFC 8265).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from shared.contract import CAMERA_ID
from shared.errors import ConfigError, shortened
from shared.terminal_text import printable

USER_NAME_CHARS, NAME_KEY_CHARS = 64, 200  # access_tables.py
PASSWORD_MIN, PASSWORD_MAX = 10, 256  # NIST SP 800-63B asks for 8, and for no rules of composition
CAMERAS_MAX = 500
_NAME = re.compile(r"[\w.@+-](?:[\w .@+-]*[\w.@+-])?")
_SHOWN = 40


def clean_name(given: str, what: str = "name") -> str:
    """Return a name as it is kept; raise ConfigError for one that cannot be."""
    name = unicodedata.normalize("NFC", given[: 4 * USER_NAME_CHARS].strip())
    is_short = len(name) <= USER_NAME_CHARS and len(name_key(name)) <= NAME_KEY_CHARS
    if not is_short or not _NAME.fullmatch(name) or name in (".", ".."):
        raise ConfigError(
            f"{what} {shown(given)}: wanted 1 to {USER_NAME_CHARS} letters, digits, spaces and . _ @ + -"
        )
    return name


def name_key(name: str) -> str:
    """Return what two names have in common that count as the same; takes any text, and returns one for the database.

    Halves of surrogate pairs, which JSON can send, become question marks: no name has one.
    """
    folded = unicodedata.normalize("NFKC", name).casefold()
    return unicodedata.normalize("NFKC", folded).encode("utf-8", "replace").decode()


def clean_password(given: str, user_name: str) -> str:
    """Return a new password as it is hashed; raise ConfigError when it is too easy or cannot be typed.

    No message shows it.
    """
    password = normal_password(given)
    if not PASSWORD_MIN <= len(password) <= PASSWORD_MAX:
        raise ConfigError(
            f"a password of {len(password)} characters: must be {PASSWORD_MIN} to {PASSWORD_MAX} characters long"
        )
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in password):
        raise ConfigError("the password holds a control character: must be letters, digits, signs and spaces")
    if name_key(password) == name_key(user_name):
        raise ConfigError("the password is the user's name: must be another one")
    if len(set(password)) == 1:
        raise ConfigError("the password is one character many times: must be another one")
    return password


def normal_password(given: str) -> str:
    """Return a password in the form that is hashed; what is longer than any may be is cut behind that length."""
    return unicodedata.normalize("NFC", given[: 4 * PASSWORD_MAX])


def clean_cameras(given: Iterable[str] | None) -> frozenset[str] | None:
    """Return ids of cameras; None stays None and means all. Raises ConfigError."""
    if given is None:
        return None
    cameras = frozenset(given)
    for camera in sorted(cameras):
        if not CAMERA_ID.fullmatch(camera):
            raise ConfigError(f"camera {shown(camera)}: wanted the id of a camera, such as 'gate'")
    if len(cameras) > CAMERAS_MAX:
        raise ConfigError(f"{len(cameras)} cameras: must be {CAMERAS_MAX} at most; leave them out for all")
    return cameras


def shown(text: str) -> str:
    """Return a text that somebody sent, quoted, short, and without control characters."""
    return f"'{printable(shortened(text, _SHOWN))}{'…' if len(text) > _SHOWN else ''}'"
