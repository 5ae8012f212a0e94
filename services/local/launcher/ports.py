"""Free TCP ports on loopback."""

import contextlib
import fcntl
import os
import socket
import tempfile
from pathlib import Path


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


def claimed_port(usual: int, held: contextlib.ExitStack) -> int:
    """Return a free port like `free_port`, but not one that another of this user's launchers is about to use.

    Launchers that start within the seconds that a service needs to bind its port would all find the usual one free.
    The claim on it lasts until `held` is closed, or the process has ended.
    """
    if not usual:
        return free_port()
    try:
        claim = _claim(usual)
    except BlockingIOError:
        return free_port()
    except OSError:  # no folder for claims: as good as it goes without
        return free_port(usual)
    port = free_port(usual)
    if port == usual:
        held.callback(os.close, claim)
    else:
        os.close(claim)
    return port


def _claim(port: int) -> int:
    """Return the descriptor of this user's lock file for `port`, locked; BlockingIOError when another has it."""
    folder = Path(tempfile.gettempdir()) / f"clipwatch-ports-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise PermissionError(f"{folder}: not this user's")
    claim = os.open(folder / str(port), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(claim)
        raise
    return claim
