"""Where the page is: for this machine, for phones, and behind its own certificate."""

from __future__ import annotations

import ifaddr
import pytest

from services.local.launcher.page_address import PageAddress, own_addresses
from services.local.run_settings import ListenAddress


class _Address:
    """One that ifaddr finds."""

    def __init__(self, ip: str | tuple[str, int, int]) -> None:
        self.ip = ip


class _Adapter:
    """One that ifaddr finds."""

    def __init__(self, name: str, *ips: str | tuple[str, int, int]) -> None:
        self.name = name
        self.ips = [_Address(ip) for ip in ips]


@pytest.fixture
def a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with one network, a bridge of containers, and the addresses that no phone can use."""
    adapters = [
        _Adapter("lo", "127.0.0.1", ("::1", 0, 0)),
        _Adapter("docker0", "172.17.0.1"),
        _Adapter("eth0", "192.168.1.5", "169.254.3.4", ("fd00::5", 0, 0), ("fe80::1", 0, 2)),
    ]
    monkeypatch.setattr(ifaddr, "get_adapters", lambda: adapters)


@pytest.mark.usefixtures("a_home")
def test_only_addresses_that_a_phone_can_reach_are_named() -> None:
    assert own_addresses() == ["192.168.1.5", "fd00::5"]


@pytest.mark.usefixtures("a_home")
@pytest.mark.parametrize(
    ("listen", "own", "others"),
    [
        ("127.0.0.1:8080", "http://127.0.0.1:8080/", []),
        ("0.0.0.0:8080", "http://127.0.0.1:8080/", ["http://192.168.1.5:8080/"]),
        ("[::]:8080", "http://[::1]:8080/", ["http://192.168.1.5:8080/", "http://[fd00::5]:8080/"]),
        ("192.168.1.5:8080", "http://192.168.1.5:8080/", ["http://192.168.1.5:8080/"]),
        ("[fd00::5]:8080", "http://[fd00::5]:8080/", ["http://[fd00::5]:8080/"]),
    ],
)
def test_each_way_to_listen_has_its_addresses(listen: str, own: str, others: list[str]) -> None:
    page = PageAddress(ListenAddress.parse(listen), 8080)
    assert (page.url, page.urls_of_others()) == (own, others)


@pytest.mark.usefixtures("a_home")
def test_prefix_and_certificate_are_in_the_address() -> None:
    site = {"PATH_PREFIX": "/clipwatch/", "TLS_CERT_FILE": "/c.pem"}
    page = PageAddress(ListenAddress.parse("0.0.0.0:8443"), 8443, site)
    assert page.url == "https://127.0.0.1:8443/clipwatch/"
    assert page.origin == "https://127.0.0.1:8443"
    assert page.urls_of_others() == ["https://192.168.1.5:8443/clipwatch/"]
