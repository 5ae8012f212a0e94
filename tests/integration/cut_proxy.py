"""A way to a server on this machine that a test cuts and mends: connections are refused, or what is sent vanishes."""

from __future__ import annotations

import contextlib
import socket
import threading
from enum import StrEnum

from tests.servers import HOST

PIECE_BYTES = 65536


class Cut(StrEnum):
    """What a client meets while the way is cut."""

    REFUSED = "refused"  # connections end, and new ones are refused
    SILENT = "silent"  # connections stay and nothing passes; what was sent meanwhile arrives when the way is mended


class CutProxy:
    """Passes on what clients and the server at `target` send each other; `port` is its own."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._passes = threading.Event()
        self._passes.set()
        self._sockets: set[socket.socket] = set()
        self._listener = self._listen(0)
        self.port = int(self._listener.getsockname()[1])

    def cut(self, how: Cut) -> None:
        if how is Cut.SILENT:
            self._passes.clear()
            return
        self._listener.close()
        self._close_connections()

    def mend(self) -> None:
        if self._listener.fileno() < 0:
            self._listener = self._listen(self.port)
        self._passes.set()

    def close(self) -> None:
        self._listener.close()
        self._passes.set()
        self._close_connections()

    def _close_connections(self) -> None:
        for one in list(self._sockets):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _listen(self, port: int) -> socket.socket:
        listener = socket.create_server((HOST, port))
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        return listener

    def _accept(self, listener: socket.socket) -> None:
        listener.settimeout(0.1)  # so that its end is seen
        while listener.fileno() >= 0:
            with contextlib.suppress(OSError):  # TimeoutError among them
                client = listener.accept()[0]
                client.settimeout(None)
                threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        self._sockets.add(client)
        self._passes.wait()
        try:
            server = socket.create_connection((HOST, self._target))
        except OSError:
            client.close()
            return
        self._sockets.add(server)
        back = threading.Thread(target=self._pass, args=(server, client), daemon=True)
        back.start()
        self._pass(client, server)
        back.join()
        for one in (client, server):
            self._sockets.discard(one)
            one.close()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(PIECE_BYTES):
                self._passes.wait()
                target.sendall(piece)
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
