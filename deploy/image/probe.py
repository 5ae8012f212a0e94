"""The image's health check: exit 0 when the service is ready and moves, else 1 with one line that says why.

Talks to loopback with http.client, because urllib would send the request to a proxy named in the environment.
"""

from __future__ import annotations

import http.client
import os
import sys
from collections.abc import Sequence

LIMIT_S = 15.0  # below the health check's own limit of 20 s, so that the reason is printed


def main(paths: Sequence[str] = ("/readyz", "/healthz")) -> int:
    """Ask every path in turn; all must answer 200."""
    port = int(os.environ.get("HTTP_PORT", "8080"))
    for path in paths:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT_S / len(paths))
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read(500).decode(errors="replace")
        except (OSError, http.client.HTTPException) as exc:
            print(f"{path}: {exc}")
            return 1
        finally:
            connection.close()
        if response.status != 200:
            print(f"{path}: {response.status} {body}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
