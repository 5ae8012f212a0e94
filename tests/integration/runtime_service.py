"""A service for the tests of shared/runtime.py; the environment's BEHAVIOUR says what it does once it runs."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Literal

from fastapi.responses import StreamingResponse
from pydantic import Field, SecretStr

from shared.errors import ConfigError, Transient
from shared.http_rules import RouteRule
from shared.open_streams import StreamKind
from shared.permissions import Permission
from shared.runtime import Runtime, connect_redis, run
from shared.settings import ServiceSettings

_FOREVER = threading.Event()


class Settings(ServiceSettings):
    behaviour: Literal[
        "wait", "end", "fail", "config", "drain", "endless", "stuck", "stall", "redis", "sse"
    ] = "wait"
    batch: Annotated[int, Field(ge=1, le=64)] = 8
    api_key: SecretStr = SecretStr("")
    sizes: tuple[int, ...] = ()


def say(word: str) -> None:
    print(word, flush=True)


async def main(settings: Settings, runtime: Runtime) -> None:
    runtime.access.rules["GET", "/events"] = RouteRule(Permission.LOOK, stream=StreamKind.EVENTS)

    @runtime.app.get("/events")
    async def events() -> StreamingResponse:
        async def endless() -> AsyncIterator[bytes]:
            while True:
                yield b"data: tick\n\n"
                await asyncio.sleep(0.05)

        return StreamingResponse(endless(), media_type="text/event-stream")

    say(f"port {runtime.http_port}")
    runtime.health.is_ready = settings.behaviour != "redis"
    match settings.behaviour:
        case "end":
            return
        case "fail":
            raise Transient("the database rtsp://user:secret@host/x is away")
        case "config":
            raise ConfigError(["DATABASE_URL: is missing", "MODEL: unknown"])
        case "redis":
            await connect_redis(settings, runtime.stop)
            runtime.health.is_ready = True
        case "stall":
            beat = runtime.health.expect("camera gate", within_s=0.2)
            beat()
        case "stuck":
            say("stuck")
            await asyncio.to_thread(_FOREVER.wait)
    say("ready")
    await runtime.stop.wait()
    say("draining")
    if settings.behaviour == "drain":
        await asyncio.sleep(0.3)
        say("drained")
    if settings.behaviour == "endless":
        await asyncio.Event().wait()


async def check(settings: Settings) -> Sequence[str]:
    return ["MODEL=x: no such file", "LABELS: none"] if settings.behaviour == "config" else []


if __name__ == "__main__":
    if "--orphan" in sys.argv:  # play a launcher: start the service, say its process id, and die
        pid = os.fork()
        if pid:
            os._exit(0)
    run("testing", Settings, main, check)
