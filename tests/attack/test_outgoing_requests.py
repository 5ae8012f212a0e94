"""What clipwatch asks of others over HTTP: answers that send it elsewhere are not followed, endless ones are left."""

from __future__ import annotations

import re
import socket
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from services.recorder.gaps.values import Gap, GapKey
from services.recorder.metrics import RecorderMetrics
from services.recorder.notify.file import WebhookTarget
from services.recorder.notify.port import ChannelAway, NoticeRefused
from services.recorder.notify.webhook import Webhook
from services.recorder.weather.open_meteo import OpenMeteo
from services.recorder.weather.port import Place, WeatherAway, WeatherRefused
from shared.urls import SecretUrl
from tests.attack.canary import Talk, loopback_server, request_of

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 11, 30, 4, 0, tzinfo=UTC)
GAP = Gap("0" * 32, GapKey("camera.away", "gate"), "no answer", NOW, None)


def redirecting(location: str, status: int) -> Talk:
    def talk(connection: socket.socket) -> None:
        request_of(connection)
        connection.sendall(
            f"HTTP/1.1 {status} X\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()
        )

    return talk


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_webhook_is_sent_to_no_other_address(status: int) -> None:
    with loopback_server() as canary, loopback_server(redirecting(canary.url, status)) as server:
        target = WebhookTarget(url=SecretUrl(server.url), secret=SecretStr("a" * 16), timeout_s=2)
        hook = Webhook(target, "", str)
        await hook.prepare()
        with pytest.raises(NoticeRefused, match=f"status {status}"):
            await hook.send_gap(GAP, NOW)
        await hook.close()
        assert canary.n_visits == 0


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_the_weather_is_asked_of_no_other_address(status: int) -> None:
    with loopback_server() as canary, loopback_server(redirecting(canary.url, status)) as server:
        provider = OpenMeteo(server.url, 2, RecorderMetrics(CollectorRegistry()))
        with pytest.raises((WeatherRefused, WeatherAway)):
            await provider.current(Place.around(52.5, 13.4))
        await provider.close()
        assert canary.n_visits == 0


async def test_an_endless_answer_of_a_webhook_is_not_read() -> None:
    def talk(connection: socket.socket) -> None:
        request_of(connection)
        connection.sendall(b"HTTP/1.1 500 X\r\nContent-Length: 99999999999\r\n\r\n")
        while True:
            connection.sendall(bytes(65536))

    with loopback_server(talk) as server:
        target = WebhookTarget(url=SecretUrl(server.url), secret=SecretStr("a" * 16), timeout_s=2)
        hook = Webhook(target, "", str)
        await hook.prepare()
        with pytest.raises(ChannelAway, match="status 500"):
            await hook.send_gap(GAP, NOW)
        await hook.close()


def test_no_client_follows_redirects_by_itself() -> None:
    """httpx does not unless it is told to; urllib would, and is used with handlers of our own only."""
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for folder in ("services", "shared")
        for path in (ROOT / folder).rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(r"follow_redirects\s*=\s*True|urlopen\(|build_opener\(|import requests", line)
    ]
    assert found == []
