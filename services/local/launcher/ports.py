"""Free TCP ports of this machine: any, the usual one, and the one that the page keeps."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path

from services.local.launcher.private_folder import FILE_MODE
from services.local.run_settings import PAGE_PORT, ListenAddress
from shared.errors import ConfigError
from shared.files import write_durably
from shared.logs import get_logger

log = get_logger(__name__)

PORT_FILE = "port"  # in the data folder: the page's, so that bookmarks go on working
NEXT_PORTS = 50  # that are tried after a taken one, before any will do
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class PagePort:
    """Where the page will listen; `taken` is the port that it should have had."""

    port: int
    taken: int | None = None


def page_port(address: ListenAddress, data_dir: Path, held: contextlib.ExitStack) -> PagePort:
    """Return a port for the page, claimed until `held` is closed; raises ConfigError when the only one is taken.

    Where none is asked for, the first that was found free is kept in the data folder.
    """
    if address.port == 0:
        return PagePort(free_port(host=address.host))
    if address.is_exact and address.port is not None:
        if claimed_port(address.port, held, address.host) != address.port:
            raise ConfigError(
                f"settings.listen={address}: in use, or no address of this machine; stop the other program, or choose "
                "another port"
            )
        return PagePort(address.port)
    is_kept = address.port is None
    wanted = address.port or _kept(data_dir) or PAGE_PORT
    for port in (*range(wanted, min(wanted + NEXT_PORTS, 65535) + 1), 0):
        found = claimed_port(port, held, address.host)
        if port in (found, 0):
            break
    if is_kept and found != _kept(data_dir):
        _keep(data_dir, found)
    return PagePort(found, None if found == wanted else wanted)


def _kept(data_dir: Path) -> int | None:
    try:
        port = int((data_dir / PORT_FILE).read_text(encoding="ascii")[:16])
    except (OSError, ValueError):
        return None
    return port if 0 < port <= 65535 else None


def _keep(data_dir: Path, port: int) -> None:
    try:
        write_durably(data_dir / PORT_FILE, f"{port}\n".encode(), mode=FILE_MODE)
    except OSError as exc:  # the next start may find another
        log.warning("the page's port cannot be kept", error=exc)


def free_port(usual: int = 0, host: str = LOOPBACK) -> int:
    """Return `usual` when nobody listens on it at `host`, else any free port.

    Between this answer and its use another program may take the port; whoever binds it must still say so clearly.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in (usual, 0):
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise ConfigError(f"{host}: no address of this machine; choose 127.0.0.1, 0.0.0.0 or [::]")


def claimed_port(usual: int, held: contextlib.ExitStack, host: str = LOOPBACK) -> int:
    """Return a free port like `free_port`, but not one that another of this user's launchers is about to use.

    Launchers that start within the seconds that a service needs to bind its port would all find the usual one free.
    The claim on it lasts until `held` is closed, or the process has ended.
    """
    if not usual:
        return free_port(host=host)
    try:
        claim = _claim(usual)
    except BlockingIOError:
        return free_port(host=host)
    except OSError:  # no folder for claims: as good as it goes without
        return free_port(usual, host)
    port = free_port(usual, host)
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
