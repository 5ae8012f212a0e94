"""A camera that any number of clients watch at once, by HTTP (MJPEG): all see the same frames at the same time.

Run it with a port: /any/path gives a square that crosses the picture for MOVES_S of every PERIOD_S, by the wall clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time

import cv2

from tests.unit.motion.videos import scene

FPS = 5
PERIOD_S, MOVES_S = 12, (2, 6)
HEAD = b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n"


def pictures() -> list[bytes]:
    """Return the parts of one period, as they are sent."""
    moves = range(MOVES_S[0] * FPS, MOVES_S[1] * FPS)
    parts = []
    for plane in scene(PERIOD_S * FPS, moves=moves):
        jpeg = cv2.imencode(".jpg", plane)[1].tobytes()
        parts.append(
            b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(jpeg) + jpeg + b"\r\n"
        )
    return parts


async def serve(port: int) -> None:
    """Serve until killed."""
    parts = pictures()

    async def watch(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(HEAD)
            while not writer.is_closing():
                number = int(time.time() * FPS) + 1
                await asyncio.sleep(number / FPS - time.time())
                writer.write(parts[number % len(parts)])
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(watch, "127.0.0.1", port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
