"""What the launcher tells its children of the network."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.local.launcher.stack import StackPlan, webrtc_environment
from services.local.run_settings import ListenAddress


@pytest.mark.parametrize(
    ("listen", "site", "addresses", "wanted"),
    [
        ("127.0.0.1:8080", {}, "", {"WEBRTC_BIND": "127.0.0.1"}),
        ("192.168.1.9:8080", {}, "", {"WEBRTC_BIND": "192.168.1.9"}),
        ("0.0.0.0:8080", {}, "", {}),
        ("[::]:8080", {}, "", {}),
        ("127.0.0.1:8080", {"TRUSTED_PROXIES": "127.0.0.1"}, "", {}),  # viewers come from elsewhere
        ("127.0.0.1:8080", {}, "203.0.113.9", {}),
    ],
)
def test_webrtc_is_opened_where_the_page_is(
    listen: str, site: dict[str, str], addresses: str, wanted: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEBRTC_ADDRESSES", addresses)
    nowhere = Path("nowhere")
    plan = StackPlan(nowhere, nowhere, "mini", nowhere, nowhere, ListenAddress.parse(listen), site)
    assert webrtc_environment(plan) == wanted
