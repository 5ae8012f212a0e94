"""The secrets that this process knows, each in all the forms in which it may be shown, and the text without them.

Whoever reads a secret (settings, camera file, notify file) tells it here; `redact` (shared/errors.py) hides it at every
sink, whatever stands around it. A secret is known until the process ends: an old password may still be in a log's line.

    know("p%21@:/#")                    a password, token or key
    know("rtsp://user:pw@host/x")       a URL: its login, and what its query and path hold of passwords
    know_all(settings)                  each SecretStr of a pydantic model
    know_issued("5ecd…")                a token or session that clipwatch made itself

What everybody's text is made of cannot be hidden everywhere, or nothing would be left to read:

- up to 3 characters: only as the password of a login (in a URL, in an Authorization header, behind `password=`)
- COMMON_WORDS, such as admin or password: the same
- up to 5 letters, or up to 7 digits, and nothing else: where it is a word or number of its own
- everything else: wherever it stands
"""

from __future__ import annotations

import base64
import html
import json
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import quote, quote_plus, unquote, unquote_plus

HIDDEN = "***"
LEAST = 4  # a shorter one stands in every line: only its base64 with a user is hidden
_WORD = re.compile(r"[A-Za-z]{4,5}|[0-9]{4,7}")
_WORDS = re.compile(r"(?<![A-Za-z0-9])[A-Za-z0-9]{4,7}(?![A-Za-z0-9])")
COMMON_WORDS = frozenset(
    {
        *("admin", "administrator", "camera", "cameras", "clipwatch", "default", "guest", "ipcam"),
        *("mysql", "operator", "passwd", "password", "passwort", "recorder", "redis", "root"),
        *("service", "supervisor", "system", "user", "viewer"),
    }
)
LEAST_PIECE = 6  # what a library shows of a password that it cut at one of / ? # @ :
LONGEST = 4096
MOST_FORMS = 50_000
MOST_ISSUED = 4096  # the newest tokens and sessions that clipwatch made
_SECRET_NAMES = ("TOKEN", "PASSWORD", "SECRET", "_KEY")
_LEAST_OF_VARIABLE = 8  # a shorter one may be a switch: HF_HUB_DISABLE_IMPLICIT_TOKEN=1
_ISSUED = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_SAFE = (
    "",
    "/",
    "!$&'()*+,;=",
    "/:!$&'()*+,;=",
)  # what quote() may leave as it is: shared/urls.py, httpx, yarl
_LEAST_OF_ADDRESS = 16  # a segment of a hook's path or a value of its query that is as long as this is a key
_KEYED_SCHEMES = frozenset({"http", "https", "rtsp", "rtsps", "rtmp", "rtmps", "whep", "wheps"})
_RUN = re.compile(r"[A-Za-z0-9]{16,}")
_KEY_CHARACTERS = re.compile(r"[A-Za-z0-9_.~-]{20,}")
_NEXT_VALUE = re.compile(r"_(?=[a-z]+=)")  # user=admin_password=x_channel=1
_CUTS = re.compile(r"[/?#@:\n]")
_UNFILLED = re.compile(r"\$\{\w+\}")  # ${NAME} without a value: its name is no secret
_ENCODED = re.compile(r"%[0-9A-F]{2}")
SECRET_VALUES = re.compile(
    r"((?:[?&](?:appid|api_?key|access_token|auth|key|sig|token)"
    r"|(?<![a-zA-Z0-9])(?:login_?pass?|pass|passwd|passwort|password|psw|pwd|secret))=)([^&\s'\"]+)",
    re.IGNORECASE,
)


class _KnownForms:
    """Texts to hide, found by their first characters: a text is looked through once, however many there are."""

    def __init__(self) -> None:
        self._forms: dict[str, None] = {}
        self._words: dict[str, None] = {}
        self._lengths: dict[str, tuple[int, ...]] = {}  # of the forms that begin so, the longest first
        self._lock = threading.Lock()

    def add(self, forms: Iterable[str]) -> None:
        with self._lock:
            for form in forms:
                if len(form) < LEAST or form in self._forms or form.lower() in COMMON_WORDS:
                    continue
                if _WORD.fullmatch(form):
                    self._words[form] = None
                    continue
                if len(self._forms) >= MOST_FORMS:
                    del self._forms[next(iter(self._forms))]
                self._forms[form] = None
                same = {*self._lengths.get(form[:LEAST], ()), len(form)}
                self._lengths[form[:LEAST]] = tuple(sorted(same, reverse=True))

    def clear(self) -> None:
        with self._lock:
            self._forms.clear()
            self._words.clear()
            self._lengths.clear()

    def hide(self, text: str) -> str:
        words = self._words
        text = self._without_forms(text)
        return _WORDS.sub(lambda one: HIDDEN if one[0] in words else one[0], text) if words else text

    def _without_forms(self, text: str) -> str:
        forms, lengths = self._forms, self._lengths
        if not lengths:
            return text
        parts: list[str] = []
        done = 0
        for at in [at for at in range(len(text) - LEAST + 1) if text[at : at + LEAST] in lengths]:
            length = next((one for one in lengths[text[at : at + LEAST]] if text[at : at + one] in forms), 0)
            if length and at >= done:
                parts += (text[done:at], HIDDEN)
            if length:
                done = max(done, at + length)
        return "".join((*parts, text[done:])) if parts else text


_known = _KnownForms()
_issued: dict[str, None] = {}  # written alike everywhere: the newest MOST_ISSUED


def know(secret: str, user: str | None = None) -> None:
    """Hide `secret` from now on, also as the password of `user` in an Authorization header. A URL: its secrets."""
    if not secret or len(secret) > 16 * LONGEST or _UNFILLED.fullmatch(secret):
        return
    if is_url(secret):
        _know_url(secret)
        return
    plain = dict.fromkeys((secret, unquote(secret), unquote_plus(secret), " ".join(secret.split())))
    forms = [form for one in plain for form in (*_forms(one), *_pieces(one))]
    if user is not None:
        for name in dict.fromkeys((user, unquote(user))):
            forms += [_base64(f"{name}:{one}") for one in plain]
    _known.add(form for form in forms if len(form) <= LONGEST)


def know_each(*secrets: str) -> None:
    """Hide all of these."""
    for one in secrets:
        know(one)


def know_environment(environment: Mapping[str, str]) -> None:
    """Hide the values of variables whose names end as those of secrets do, whoever reads them, such as HF_TOKEN."""
    for name, value in environment.items():
        if name.upper().endswith(_SECRET_NAMES) and len(value) >= _LEAST_OF_VARIABLE:
            know(value)


def know_issued(text: str) -> None:
    """Hide the 64 hexadecimal digits of a token or session that clipwatch made, in the newest MOST_ISSUED of them.

    They are written alike everywhere. Nobody can push a camera's password out by making many.
    """
    _issued.pop(text, None)
    _issued[text] = None
    while len(_issued) > MOST_ISSUED:
        del _issued[next(iter(_issued))]


def is_url(text: str) -> bool:
    """Whether a text is a URL, of which only some parts are secret."""
    return "://" in text or text.startswith("whip:")


def know_address(url: str) -> None:
    """Hide a URL that is a secret as a whole, such as a chat's hook: also its path and its query."""
    know(url)
    _, _, rest = url.partition("://")
    address = rest.rpartition("@")[2]
    _, cut, path = address.partition("/")
    parts = re.split(r"[/?&=#]", path)
    for part in (f"{cut}{path}", *parts):
        if len(part) >= _LEAST_OF_ADDRESS and "://" not in part:
            know(part)


def know_all(value: object) -> None:
    """Hide each secret of a pydantic model: every SecretStr in it, in its lists and in its models."""
    if reveal := getattr(value, "get_secret_value", None):
        know(reveal())
    elif isinstance(value, tuple | list):
        for one in value:
            know_all(one)
    elif hasattr(type(value), "model_fields"):
        for one in vars(value).values():
            know_all(one)


def hide_known(text: str) -> str:
    """Return `text` with every known secret replaced by `***`."""
    text = _known.hide(text)
    return _ISSUED.sub(lambda one: HIDDEN if one[0] in _issued else one[0], text) if _issued else text


def forget_all() -> None:
    """Know nothing again: for tests."""
    _known.clear()
    _issued.clear()


def _know_url(url: str) -> None:
    scheme, _, rest = url.partition("://")
    for login in dict.fromkeys((rest.rpartition("@")[0], re.split(r"[/?#]", rest)[0].rpartition("@")[0])):
        user, colon, password = login.partition(":")
        if colon and not _UNFILLED.search(password):
            know(password.replace("://", ":"), user)
    for found in SECRET_VALUES.finditer(url):
        if not _UNFILLED.search(found[2]):
            for value in (found[2], _NEXT_VALUE.split(found[2])[0]):
                know(value.replace("://", ":"))
    if scheme.lower() in _KEYED_SCHEMES:
        for part in re.split(r"[/?&=#;]", rest.rpartition("@")[2].partition("/")[2]):
            if is_key(part):
                know(part)


def is_key(part: str) -> bool:
    """Whether a part of a camera's path is a key and no name: what is as long as that, with letters and digits mixed.

    `h264Preview_01_main` is a name; `AbCdEfGh1234XyZ9` and a UUID are keys.
    """
    if any(_is_mixed(run) for run in _RUN.findall(part.replace("-", ""))):
        return True
    return (
        _KEY_CHARACTERS.fullmatch(part) is not None
        and _is_mixed(part)
        and part.lower() != part != part.upper()
    )


def _is_mixed(text: str) -> bool:
    return any(map(str.isdigit, text)) and any(map(str.isalpha, text))


def _forms(plain: str) -> Iterator[str]:
    """Yield a secret as it is, as it stands in URLs, and as Python, JSON, YAML and HTML quote it."""
    yield plain
    yield plain.encode("utf-8", "backslashreplace").decode()
    for safe in _SAFE:
        encoded = quote(plain, safe=safe, errors="surrogateescape")
        yield encoded
        yield _ENCODED.sub(lambda found: found[0].lower(), encoded)
    yield quote_plus(plain, errors="surrogateescape")
    for quoted in (
        repr(plain)[1:-1],
        ascii(plain)[1:-1],
        repr(plain.encode("utf-8", "surrogateescape"))[2:-1],
        json.dumps(plain)[1:-1],
        json.dumps(plain, ensure_ascii=False)[1:-1],
        html.escape(plain),
        plain.replace("'", "''"),
    ):
        for once in (quoted, quoted.replace("\\", "\\\\")):  # JSON in JSON, a repr in a repr
            double = once.replace('"', '\\"')
            yield from (once, double, once.replace("'", "\\'"), double.replace("'", "\\'"))


def _pieces(plain: str) -> Iterator[str]:
    for piece in _CUTS.split(plain):
        if len(piece) >= LEAST_PIECE and piece != plain:
            yield from _forms(piece)


def _base64(text: str) -> str:
    return base64.b64encode(text.encode("utf-8", "surrogateescape")).decode().rstrip("=")
