"""Webhooks: a signed POST. Signature and headers are those of Standard Webhooks 1.0.0 (standardwebhooks.com):

    webhook-id: <event id>.<digest>        the same for every repetition: the receiver drops what it has
    webhook-timestamp: <seconds since 1970>
    webhook-signature: v1,<base64 of HMAC-SHA256(secret, "<id>.<timestamp>.<body>")>

Any 2xx is taken for "I have it". Redirects are not followed: what is signed for one host is not sent to another.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from datetime import datetime

import httpx

from services.recorder.notify.file import WebhookTarget, signing_key
from services.recorder.notify.payload import notice_json
from services.recorder.notify.port import ChannelAway, Notice, NoticeRefused


class Webhook:
    """The adapter; implements Channel."""

    def __init__(self, target: WebhookTarget, page: str) -> None:
        self.cooldown_s = target.cooldown_s
        self._target = target
        self._page = page
        self._key = signing_key(target.secret.get_secret_value())
        self._client: httpx.AsyncClient | None = (
            None  # from `prepare` to `close`, which may follow each other
        )

    def digest(self, notice: Notice) -> str | None:
        event = notice.event
        if notice.match is None or (self._target.when == "end" and event.is_open):
            return None
        if notice.is_cooling and notice.said is None:
            return None
        if self._target.when != "changes":
            return self._target.when
        state = json.dumps([sorted(d.label for d in event.detections), event.is_open])
        return hashlib.sha256(state.encode()).hexdigest()[:32]

    async def prepare(self) -> None:
        """Open a client unless there is one: a recorder that had lost its lease may hold it again."""
        if self._client is None:
            self._client = httpx.AsyncClient(
                timeout=self._target.timeout_s,
                limits=httpx.Limits(max_connections=1),
                headers={"user-agent": "clipwatch", "content-type": "application/json"},
            )

    async def send(self, notice: Notice, now: datetime) -> None:
        assert self._client is not None, "prepare() comes first"
        said = self.digest(notice)
        body = json.dumps(
            {
                "type": "event.ended" if not notice.event.is_open else "event.seen",
                "timestamp": now.isoformat(),
                "data": notice_json(notice, self._page),
            },
            ensure_ascii=False,
        ).encode()
        identity, seconds = f"{notice.event.id}.{said}", str(int(now.timestamp()))
        headers = {
            "webhook-id": identity,
            "webhook-timestamp": seconds,
            "webhook-signature": signature(self._key, identity, seconds, body),
        }
        try:
            async with (
                asyncio.timeout(self._target.timeout_s),
                self._client.stream(
                    "POST", self._target.url.get_secret_value(), content=body, headers=headers
                ) as answer,
            ):
                status = answer.status_code  # the body is not read: it may be endless
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as exc:
            # not the message: it may hold the address, which is a secret
            raise ChannelAway(f"no answer: {type(exc).__name__}") from None
        if status >= 500 or status in (408, 425, 429):
            raise ChannelAway(f"status {status}")
        if not 200 <= status < 300:
            raise NoticeRefused(f"status {status}")

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()


def signature(key: bytes, identity: str, seconds: str, body: bytes) -> str:
    """Return the value of webhook-signature."""
    signed = b".".join((identity.encode(), seconds.encode(), body))
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
