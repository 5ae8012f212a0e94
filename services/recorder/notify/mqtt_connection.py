"""One connection to an MQTT broker, made anew when it is lost. Knows no topic's meaning.

Every failure is ChannelAway. Retained topics are published when they change, and once at each connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import ssl

import aiomqtt
from paho.mqtt.reasoncodes import ReasonCode

from services.recorder.notify.file import MqttTarget
from services.recorder.notify.port import ChannelAway
from shared.errors import shortened

_LOGIN = {4, 5, 134, 135}  # CONNACK: bad user name or password, not authorized; MQTT 3.1.1 and 5


class MqttConnection:
    """The connection; `will` (topic, payload) is retained by the broker when it breaks."""

    def __init__(self, target: MqttTarget, will: tuple[str, bytes]) -> None:
        self._target = target
        self._will = will
        self._client: aiomqtt.Client | None = None
        self._watch: asyncio.Task[None] | None = None
        self._retained: dict[str, bytes] = {}  # topic: digest of what was published over this connection

    @property
    def is_open(self) -> bool:
        """Whether there is a client, lost or not."""
        return self._client is not None

    @property
    def is_lost(self) -> bool:
        """Whether there is no connection, or not any more."""
        return self._client is None or self._watch is None or self._watch.done()

    async def connect(self) -> None:
        """Connect anew; nothing counts as published then."""
        await self.drop()
        client = self._new_client()
        try:
            async with asyncio.timeout(self._target.timeout_s):
                await client.__aenter__()
        except (aiomqtt.MqttError, OSError, TimeoutError) as exc:
            raise ChannelAway(_why_not(exc)) from exc
        self._client, self._watch = client, asyncio.create_task(_until_lost(client), name="mqtt-watch")
        self._retained = {}

    def _new_client(self) -> aiomqtt.Client:
        target = self._target
        quiet = logging.getLogger("clipwatch.mqtt")
        quiet.setLevel(logging.CRITICAL)  # the notifier says it, once each way
        topic, payload = self._will
        return aiomqtt.Client(
            target.host,
            target.port,
            username=target.user or None,
            password=target.password.get_secret_value() or None,
            tls_context=ssl.create_default_context() if target.tls else None,
            will=aiomqtt.Will(topic, payload, qos=1, retain=True),
            timeout=target.timeout_s,
            keepalive=15,
            max_queued_outgoing_messages=16,
            max_queued_incoming_messages=1,  # nothing is subscribed
            logger=quiet,
        )

    async def retain(self, topic: str, payload: bytes) -> None:
        """Publish a retained topic unless it stands there already."""
        digest = hashlib.blake2b(payload, digest_size=16).digest()
        if self._retained.get(topic) != digest:
            await self.publish(topic, payload, is_retained=True)
            self._retained[topic] = digest

    async def remove(self, topic: str) -> None:
        """Remove a retained topic."""
        await self.publish(topic, b"", is_retained=True)
        self._retained.pop(topic, None)

    async def publish(self, topic: str, payload: bytes, is_retained: bool = False) -> None:
        """Return once the broker has acknowledged."""
        assert self._client is not None
        try:
            async with asyncio.timeout(self._target.timeout_s):
                await self._client.publish(topic, payload, qos=1, retain=is_retained)
        except (aiomqtt.MqttError, OSError, TimeoutError, ValueError) as exc:
            await self.drop()
            raise ChannelAway(f"the broker did not take it: {_text(exc)}") from exc

    async def drop(self) -> None:
        """Give up the connection, if there is one."""
        client, self._client = self._client, None
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
        if client is not None:
            with contextlib.suppress(aiomqtt.MqttError, OSError, TimeoutError):
                async with asyncio.timeout(2):
                    await client.__aexit__(None, None, None)


async def _until_lost(client: aiomqtt.Client) -> None:
    with contextlib.suppress(aiomqtt.MqttError):
        async for _ in client.messages:
            pass


def _why_not(exc: BaseException) -> str:
    if isinstance(exc, aiomqtt.MqttCodeError):
        code = exc.rc.value if isinstance(exc.rc, ReasonCode) else exc.rc
        if code in _LOGIN:
            return f"the broker refuses our login: {_text(exc)}"
    return f"the broker cannot be reached: {_text(exc)}"


def _text(exc: BaseException) -> str:
    return shortened(str(exc), 200) or type(exc).__name__
