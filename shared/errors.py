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


# user:password@ in any URL: up to the last @ of the line, since passwords that were not percent-encoded may hold
# @ : / % spaces and quotes; only FFmpeg's "[rtsp @ 0x55]" is not taken for one. Another URL ends the search, so that
# of two cameras in one line both keep their hosts. Rather hide too much than a character too few.
_CREDENTIALS = re.compile(
    r"(?P<scheme>[a-zA-Z][a-zA-Z0-9+.-]*://)(?:(?![\s'\"(\[<,;|][a-zA-Z][a-zA-Z0-9+.-]*://)[^\n])*@(?! 0x)"
)
_SECRET_PARAMETERS = re.compile(
    r"(?P<name>[?&](?:appid|api_?key|access_token|auth|key|pass|password|passwd|pwd|secret|sig|token)=)[^&\s'\"]+",
    re.IGNORECASE,
)


def reason(exc: BaseException) -> str:
    """Return what an error says, in one line without secrets; its kind when it says nothing, as TimeoutError() does.

    The one way to put an error into a text for people: readiness, health, log lines, answers.
    """
    return redact(" ".join(str(exc).split()))[:_REASON_MAX] or type(exc).__name__


def redact(text: str) -> str:
    """Return `text` with the credentials of every URL replaced by `***`.

    The one redaction function: used by every sink (logs, messages of FFmpeg, API, metrics, database).
    """
    if not text.isascii():  # bytes of a file's name that are no UTF-8 can be written nowhere
        text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return _SECRET_PARAMETERS.sub(r"\g<name>***", _CREDENTIALS.sub(r"\g<scheme>***@", text))
