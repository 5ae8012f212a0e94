"""Webhooks: a signed POST. Signature and headers are those of Standard Webhooks 1.0.0 (standardwebhooks.com):

    webhook-id: <id>.<digest>              of event or gap; the same at every repetition: the receiver drops it
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
from typing import Any

import httpx

from services.recorder.gaps.rows import BEGAN, ENDED
from services.recorder.gaps.values import Gap
from services.recorder.notify.file import WebhookTarget, signing_key
from services.recorder.notify.payload import gap_json, gap_type, notice_json
from services.recorder.notify.port import ChannelAway, NameOf, Notice, NoticeRefused


class Webhook:
    """The adapter; implements Channel."""

    is_proven_by_prepare = False

    def __init__(self, target: WebhookTarget, page: str, name_of: NameOf) -> None:
        self.cooldown_s = target.cooldown_s
        self._target = target
        self._page = page
        self._name_of = name_of
        self._key = signing_key(target.secret.get_secret_value())
        self._client: httpx.AsyncClient | None = None  # from `prepare` to `close`, again and again

    def digest(self, notice: Notice) -> str | None:
        event = notice.event
        if notice.match is None or (self._target.when == "end" and event.is_open):
            return None
        if notice.is_cooling and notice.last_sent is None:
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

    async def refresh(self) -> None:
        """No state is shown."""

    async def send(self, notice: Notice, now: datetime) -> None:
        kind = "event.ended" if not notice.event.is_open else "event.seen"
        identity = f"{notice.event.id}.{self.digest(notice)}"
        await self._post(identity, kind, notice_json(notice, self._page, self._name_of), now)

    async def send_gap(self, gap: Gap, now: datetime) -> None:
        identity = f"{gap.id}.{BEGAN if gap.ended_at is None else ENDED}"
        await self._post(identity, gap_type(gap), gap_json(gap, self._page, self._name_of), now)

    async def _post(self, identity: str, kind: str, data: dict[str, Any], now: datetime) -> None:  # Any: JSON
        assert self._client is not None, "prepare() comes first"
        document = {"type": kind, "timestamp": now.isoformat(), "data": data}
        body, seconds = json.dumps(document, ensure_ascii=False).encode(), str(int(now.timestamp()))
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
            raise ChannelAway(_said(status))
        if not 200 <= status < 300:
            raise NoticeRefused(_said(status))

    async def close(self, is_replaced: bool = False) -> None:  # noqa: ARG002 - the port has it
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()


def _said(status: int) -> str:
    meaning = {
        401: "our login is refused",
        403: "we may not post there",
        404: "nothing is at its address",
        410: "its address is gone for good",
    }.get(status)
    return f"status {status}" + (f", {meaning}" if meaning else "")


def signature(key: bytes, identity: str, seconds: str, body: bytes) -> str:
    """Return the value of webhook-signature."""
    signed = b".".join((identity.encode(), seconds.encode(), body))
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
