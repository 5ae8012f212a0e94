"""The page that a signed link opens: one event, without a script and without a way to anything else. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape

from services.recorder.access.links import SharedEvent

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="robots" content="noindex, nofollow">
<title>{title}</title>
<link rel="stylesheet" href="../web/shared.css">
</head>
<body>
<main>
<h1>{title}</h1>
<p>{camera}, {started}</p>
{shown}
<p><small>clipwatch shows this event until {ends}.</small></p>
</main>
</body>
</html>
"""


def shared_page(shared: SharedEvent, token: str) -> str:
    """Return the page as HTML; its addresses are relative, so that it works below any prefix."""
    event = shared.event
    return _PAGE.format(
        title=escape(event.label or "motion"),
        camera=escape(shared.camera_name),
        started=_time(event.started_at),
        ends=_time(shared.ends_at),
        shown=_shown(shared, escape(token)),
    )


def _shown(shared: SharedEvent, token: str) -> str:
    event = shared.event
    picture = f"{token}/thumbnail" if event.thumbnail_name else ""
    if event.clip_name:
        poster = f' poster="{picture}"' if picture else ""
        return f'<video src="{token}/clip"{poster} controls playsinline preload="metadata"></video>'
    return f'<img src="{picture}" alt="">' if picture else "<p>Its clip was not kept.</p>"


def _time(moment: datetime) -> str:
    at = moment.astimezone(UTC)
    return f'<time datetime="{at.isoformat()}">{at:%Y-%m-%d %H:%M:%S} UTC</time>'
