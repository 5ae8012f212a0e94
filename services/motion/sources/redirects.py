"""Where a camera may send us on to: another place on itself, nothing else. Pure.

Whoever controls a camera would otherwise have us ask any address of this machine and of its network, by requests that
come from within. From plain to encrypted is allowed on the same port, or from port 80 to 443.
"""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

from services.motion.sources.stream import SourceAway
from shared.urls import shown_url

MOST_REDIRECTS = 3
STATUSES = frozenset({301, 302, 303, 307, 308})
_PORTS = {"http": 80, "https": 443}


def redirected(url: str, location: str, shown: str) -> str:
    """Return where `location` leads from `url` (both http or https); `shown` is the camera's URL, for messages.

    Raises SourceAway when that is another host, another port, or no longer encrypted.
    """
    try:
        target = urljoin(url, location)
        here, there = urlsplit(url), urlsplit(target)
        ports = here.port or _PORTS[here.scheme], there.port or _PORTS.get(there.scheme)
    except ValueError:
        raise SourceAway(f"{shown}: redirects to an address that cannot be read") from None
    is_upgrade = (here.scheme, there.scheme) == ("http", "https")
    if (
        (is_upgrade or here.scheme == there.scheme)
        and there.hostname == here.hostname
        and (ports[0] == ports[1] or (is_upgrade and ports == (80, 443)))
    ):
        return target
    raise SourceAway(
        f"{shown}: redirects to {shown_url(target)[:200]}, wanted an address on its own host and port; "
        "write the address that is meant into the camera file"
    )
