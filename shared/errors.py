"""The error tree that all services share.

    ClipwatchError
    ├── ConfigError      stops the start; lists every fault at once (exit 2)
    ├── Stopped          told to stop before it was ready (exit 0)
    ├── Transient        may work later: the item is tried again
    └── Permanent        never works: the item goes to the dead letters
        └── ContractError   a message that does not follow shared/contract/

Anything else that is raised is a bug and is logged with its traceback. Foreign exceptions are translated into
this tree once, in the adapter that meets them.
"""

import re
from collections.abc import Sequence

from shared.secrets import HIDDEN, SECRET_VALUES, hide_known

_REASON_MAX = 300


class ClipwatchError(Exception):
    """Root of all errors that clipwatch raises on purpose."""


class ConfigError(ClipwatchError):
    """Settings or input that cannot be used; `faults` holds one line each: found, wanted, what to do."""

    def __init__(self, faults: Sequence[str] | str) -> None:
        self.faults: tuple[str, ...] = (faults,) if isinstance(faults, str) else tuple(faults)
        super().__init__("\n".join(self.faults))


class Stopped(ClipwatchError):
    """A stop came while the process still waited for something: nothing is wrong."""


class Transient(ClipwatchError):
    """The same item may succeed later (server away, disk full): retry it."""


class Permanent(ClipwatchError):
    """The same item will never succeed (broken picture, unknown version): give it up, keep the reason."""


class ContractError(Permanent):
    """A message that does not follow the contract."""


# Where another URL begins in a line, so that of two cameras in one line both keep their hosts.
_NEXT_URL = re.compile(r"([\s'\"(\[<,;|])(?=[a-zA-Z][a-zA-Z0-9+.-]*://)")
# The second net, for values that nobody knows, with SECRET_VALUES. Each has one run of characters that ends where the
# next part begins, so that a text of any length takes time in proportion to it.
_AUTHORIZATION = re.compile(r"(\bauthorization\b['\"]?\s{0,4}[:=,]\s{0,4})[^\n]+", re.IGNORECASE)
_SCHEME_VALUE = re.compile(r"(\b(?:basic|bearer)\s{1,4})[a-z0-9+/=_.~-]{16,}", re.IGNORECASE)


def reason(exc: BaseException) -> str:
    """Return what an error says, in one line without secrets; its kind when it says nothing, as TimeoutError() does.

    The one way to put an error into a text for people: readiness, health, log lines, answers.
    """
    return shortened(str(exc), _REASON_MAX) or type(exc).__name__


def shortened(text: str, n_characters: int) -> str:
    """Return the beginning of a text in one line without secrets: redacted first, for half a secret is not known."""
    return redact(" ".join(text.split()))[:n_characters]


def redact(text: str) -> str:
    """Return `text` with every known secret (shared/secrets.py), and what looks like one, replaced by `***`.

    The one redaction function: used by every sink (logs, messages of FFmpeg, API, metrics, database).
    """
    if not text.isascii():  # bytes of a file's name that are no UTF-8 can be written nowhere
        text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    text = hide_known(text)
    if "://" in text and "@" in text:
        text = "\n".join("".join(map(_without_login, _NEXT_URL.split(line))) for line in text.split("\n"))
    if "=" in text:
        text = SECRET_VALUES.sub(_without_value, text)
    if any(word in text.lower() for word in ("basic", "bearer", "authorization")):
        text = _SCHEME_VALUE.sub(_without_value, _AUTHORIZATION.sub(_without_value, text))
    return text


def _without_value(found: re.Match[str]) -> str:
    return f"{found[1]}{HIDDEN}"


def _without_login(text: str) -> str:
    """Hide user:password@ of a URL: up to the last @ of the line, or of what comes before another URL.

    Passwords that were not percent-encoded may hold @ : / % spaces and quotes; only FFmpeg's "[rtsp @ 0x55]" is not
    taken for one. Rather hide too much than a character too few.
    """
    scheme, mark, rest = text.partition("://")
    at = rest.rfind("@")
    while at >= 0 and rest.startswith("@ 0x", at):
        at = rest.rfind("@", 0, at)
    return f"{scheme}{mark}{HIDDEN}{rest[at:]}" if at >= 0 else text
