"""Free TCP ports on loopback."""

import socket


def free_port(usual: int = 0) -> int:
    """Return `usual` when nobody listens on it on loopback, else any free port.

    Between this answer and its use another program may take the port; whoever binds it must still say so clearly.
    """
    for port in (usual, 0):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError("no free port on 127.0.0.1")
