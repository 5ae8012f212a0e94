"""A fault as a page, for people: who follows a link that has ended, or opens an address that is not there. Pure.

Programs get JSON (http_api.py). What a browser opens asks for HTML; what a page's own script asks for does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="robots" content="noindex, nofollow">
<title>{title} · clipwatch</title>{style}
</head>
<body>
<main>
{faults}{home}
</main>
</body>
</html>
"""


@dataclass(frozen=True, slots=True)
class FaultPages:
    """What a service that people open shows faults with: addresses on the site, in front of which a prefix may be.

    `no_home`: below these paths a page leads nowhere else.
    """

    style: str
    home: str
    no_home: tuple[str, ...] = ()

    def page(self, texts: Sequence[tuple[str, str, str]], path: str, prefix: str | None) -> str:
        """Return the page of faults as (found, wanted, do). `prefix` None: nobody knows where the site is."""
        is_known = prefix is not None
        has_home = is_known and not path.startswith(self.no_home)
        link = f'\n<p><a href="{escape(f"{prefix}{self.home}")}">To the first page</a></p>'
        style = f'\n<link rel="stylesheet" href="{escape(f"{prefix}{self.style}")}">'
        return _PAGE.format(
            title=escape(_sentence(texts[0][0])),
            style=style if is_known else "",
            faults="\n".join(_fault(*text) for text in texts),
            home=link if has_home else "",
        )


def is_for_people(method: str, accept: str | None) -> bool:
    """Whether a browser asks, to show what comes as a page."""
    return method in ("GET", "HEAD") and "text/html" in (accept or "")


def _fault(found: str, wanted: str, do: str) -> str:
    return (
        f"<h1>{escape(_sentence(found))}</h1>\n<p>What to do: {escape(_sentence(do))}.</p>\n"
        f"<p><small>Wanted: {escape(_sentence(wanted))}.</small></p>"
    )


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".")
