"""URLs that may carry a login: fills in `${NAME}`, finds what would be misread, shows them without passwords.

Nothing here quotes a piece of a URL that cannot be read: such a piece may be half of a password.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import SplitResult, quote, urlsplit

from pydantic import SecretStr

from shared.errors import redact

VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
HOW_TO_QUOTE = "in a user name or password write # as %23, ? as %3F, / as %2F, @ as %40, : as %3A, % as %25"
NO_HOST = "names no host"
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(?=://)")
_PARTS = re.compile(r"(?P<scheme>[^:/?#]+://)(?P<authority>[^/?#]*)(?P<path>[^?#]*)(?P<rest>.*)", re.DOTALL)
# RFC 3986: what may stand unquoted in user information, in a path, and in the value of a query; an @ would be taken for
# the end of a login where a URL is shown
_USER, _PATH, _VALUE = "!$&'()*+,;=", "/:!$&'()*+,;=", "/:!$'()*,;"
_NOT_PRINTED = re.compile(r"[\x00-\x20\x7f]")
_PORTS = range(65536)


class SecretUrl(SecretStr):
    """A URL with a login or a token in it: str, repr, model_dump and errors do not show it."""

    @property
    def shown(self) -> str:
        """The URL for people, without its secrets."""
        return shown_url(self.get_secret_value())


def scheme_of(url: str) -> str:
    """Return what stands before `://`, in small letters; '' when there is none."""
    found = _SCHEME.match(url)
    return found[0].lower() if found else ""


def fill_in(template: str, environment: Mapping[str, str]) -> str:
    """Return a URL with every known `${NAME}` replaced by its value, quoted for the place where it stands.

    A value is taken literally: a password `100%41x` is sent as it is. Only a variable that is the whole URL, or stands
    in its scheme, host or port, is text of the URL; `${LOGIN}@` may hold user:password, and `?${QUERY}` pairs.
    """
    parts = _PARTS.fullmatch(template)
    if parts is None or template.startswith(
        "whip:"
    ):  # its token has characters of its own, which are checked
        return _filled(template, environment, None)
    login, at, host = parts["authority"].rpartition("@")
    user, colon, password = login.partition(":")
    is_pair = not colon and VARIABLE.fullmatch(user) is not None
    query = "&=" + _VALUE if VARIABLE.fullmatch(parts["rest"][1:]) else _VALUE
    return "".join(
        (
            _filled(parts["scheme"], environment, None),
            _filled_pair(user, environment) if is_pair else _filled(user, environment, _USER),
            colon,
            _filled(password, environment, _USER),
            at,
            _filled(host, environment, None),
            _filled(parts["path"], environment, _PATH),
            _filled(parts["rest"], environment, query),
        )
    )


def _filled(text: str, environment: Mapping[str, str], safe: str | None) -> str:
    """Replace variables; `safe`: what stays unquoted of a value, None: all of it."""

    def value(match: re.Match[str]) -> str:
        known = environment.get(match[1])
        if known is None or known == match[0]:  # not set, or not needed (`clipwatch labels`)
            return match[0]
        return known if safe is None else quote(known, safe=safe, errors="surrogateescape")

    return VARIABLE.sub(value, text)


def _filled_pair(user: str, environment: Mapping[str, str]) -> str:
    pair = environment.get(VARIABLE.findall(user)[0])
    if pair is None or pair == user:
        return user
    return ":".join(quote(part, safe=_USER) for part in pair.split(":", 1))


def secret_names(template: str) -> list[str]:
    """Return the names of the `${NAME}` that stand where a URL holds secrets: in its login, path and query."""
    parts = _PARTS.fullmatch(template)
    if parts is None:
        return VARIABLE.findall(template)
    password = parts["authority"].rpartition("@")[0].partition(":")[2]
    return VARIABLE.findall(f"{password} {parts['path']} {parts['rest']}")


def with_password(url: str, password: str) -> str:
    """Return `url` with a password; as it is when it has one, when none is given, or when it is a file's."""
    parts = _PARTS.fullmatch(url)
    if not password or parts is None or parts["scheme"].startswith(("sqlite", "file")):
        return url
    login, _, host = parts["authority"].rpartition("@")
    if ":" in login:
        return url
    return f"{parts['scheme']}{login}:{quote(password, safe=_USER)}@{host}{parts['path']}{parts['rest']}"


def with_value(url: str, name: str, value: str) -> str:
    """Return `url` with `name=value` in its query; as it is when it has one of that name, or `value` is empty."""
    query = url.partition("?")[2]
    if not value or any(part.partition("=")[0] == name for part in query.split("&")):
        return url
    return f"{url}{'&' if query else '' if url.endswith('?') else '?'}{name}={quote(value, safe='')}"


def url_fault(url: str) -> str | None:
    """Say why a URL with `://` would not be read as it is meant, without showing any of it; None: it is fine."""
    url = VARIABLE.sub("1", url)  # not filled in: whatever it is, it fits
    if _NOT_PRINTED.search(url):
        return "holds a space or a control character; write a space as %20"
    try:
        parts = urlsplit(url)
    except ValueError:  # its text quotes the host, and a login with it
        return f"cannot be read: brackets belong to IPv6 addresses only; {HOW_TO_QUOTE}, [ as %5B, ] as %5D"
    if "@" not in parts.netloc and "@" in url and _is_cut_login(parts, url):
        return f"a / ? or # stands before the @ and ends the host; {HOW_TO_QUOTE}"
    if "#" in url:
        return f"holds a #, which ends an address; {HOW_TO_QUOTE}"
    try:
        is_port = parts.port is None or parts.port in _PORTS
    except ValueError:
        is_port = False
    if not is_port or parts.netloc.endswith(":"):
        return f"the port is no number from 1 to 65535; {HOW_TO_QUOTE}"
    if not parts.hostname:
        return NO_HOST
    return None


def _is_cut_login(parts: SplitResult, url: str) -> bool:
    """Whether what was read as host and port is the beginning of user:password. A path may hold an @ as well."""
    host, colon, port = parts.netloc.partition(":")
    after = url[len(parts.scheme) + 3 + len(parts.netloc) :][:1]
    is_address = parts.netloc.startswith("[") or "." in host or host == "localhost"
    return bool(colon) and (not port.isdigit() or after in "?#" or not is_address)


def shown_url(url: str) -> str:
    """Return a URL without credentials: what stands before its last @; without one, all that cannot be read."""
    scheme = scheme_of(url)
    if scheme and ("@" in url or url_fault(url) is None):
        return redact(url)
    if scheme:
        return f"{scheme}://***"
    return "***" if "@" in url else redact(url)
