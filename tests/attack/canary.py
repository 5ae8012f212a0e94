"""A server that nobody may ask: it listens on the loopback, answers nothing of use, and remembers who came."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

Talk = Callable[[socket.socket], None]


class LoopbackServer:
    """Takes TCP connections and has `talk` speak on each; `n_visits` says how many came."""

    def __init__(self, talk: Talk | None = None) -> None:
        self.n_visits = 0
        self.heard: list[bytes] = []
        self._talk = talk or self._hear
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._threads: list[threading.Thread] = []
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        """Hang up on everybody."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in self._open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in (self._thread, *self._threads):
            thread.join(5)
        for one in self._open:
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.n_visits += 1
            self._open.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            connection.settimeout(30)
            self._talk(connection)
            connection.shutdown(socket.SHUT_RDWR)

    def _hear(self, connection: socket.socket) -> None:
        self.heard.append(connection.recv(65536))
        connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


@contextlib.contextmanager
def loopback_server(talk: Talk | None = None) -> Iterator[LoopbackServer]:
    """Run one for the time of a block."""
    server = LoopbackServer(talk)
    try:
        yield server
    finally:
        server.close()


def request_of(connection: socket.socket, most_bytes: int = 65536) -> bytes:
    """Read one request, up to the end of its header; b"" when the other side left."""
    heard = b""
    while b"\r\n\r\n" not in heard and len(heard) < most_bytes:
        data = connection.recv(4096)
        if not data:
            return b""
        heard += data
    return heard
