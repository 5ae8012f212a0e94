"""Who calls: by which name, through which proxies, from which page. Nothing here needs a server."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.access import (
    FORWARDING_HEADERS,
    Caller,
    NetworkTrust,
    RequestHead,
    host_refusal,
    origin_refusal,
)

LOCAL = {"host": "127.0.0.1:8080"}
PROXY = NetworkTrust(frozenset({"cam.example.org"}), (ip_network("172.18.0.0/16"), ip_network("::1")))


def caller(
    headers: dict[str, str], peer: str | None = "127.0.0.1", trust: NetworkTrust | None = None
) -> Caller:
    return (trust or NetworkTrust()).caller(RequestHead(peer, headers.get))


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8080", "[::1]:8080", "LOCALHOST:1", "localhost."])
@pytest.mark.parametrize("peer", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "127.9.9.9"])
def test_a_peer_and_a_host_of_this_machine_are_local(host: str, peer: str) -> None:
    assert caller({"host": host}, peer).is_local


@pytest.mark.parametrize(
    ("headers", "peer"),
    [
        (LOCAL, "10.0.0.9"),
        (LOCAL, None),
        ({"host": "cam.example.org"}, "127.0.0.1"),
        ({"host": "localhost.example.org"}, "127.0.0.1"),
        ({"host": "127.0.0.1.example.org"}, "127.0.0.1"),
        ({"host": "10.0.0.7"}, "127.0.0.1"),
        ({}, "127.0.0.1"),
    ],
)
def test_whoever_comes_from_elsewhere_or_by_another_name_is_not_local(
    headers: dict[str, str], peer: str | None
) -> None:
    assert not caller(headers, peer).is_local


@pytest.mark.parametrize("name", FORWARDING_HEADERS)
@pytest.mark.parametrize("value", ["127.0.0.1", ""])
def test_a_forwarding_header_makes_a_caller_not_local(name: str, value: str) -> None:
    assert not caller({**LOCAL, name: value}).is_local


def test_with_a_proxy_configured_nobody_is_local() -> None:
    assert not caller(LOCAL, trust=PROXY).is_local
    assert not caller(LOCAL, "::1", PROXY).is_local


@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        ("203.0.113.5", "203.0.113.5"),
        ("198.51.100.1, 203.0.113.5", "203.0.113.5"),
        ("198.51.100.1, 203.0.113.5, 172.18.0.9", "203.0.113.5"),
        ("127.0.0.1, 203.0.113.5:4711", "203.0.113.5"),
        ("[2001:db8::7]:443", "2001:db8::7"),
        ("2001:db8::7", "2001:db8::7"),
        ("172.18.0.9", "172.18.0.9"),
        ("unknown", "172.18.0.2"),
        ("203.0.113.5, nonsense", "172.18.0.2"),
        ("nonsense, 172.18.0.9", "172.18.0.9"),
        ("", "172.18.0.2"),
        (",".join(["127.0.0.1"] * 100_000), "127.0.0.1"),
    ],
)
def test_of_a_trusted_proxy_the_last_address_that_is_no_proxy_counts(forwarded: str, address: str) -> None:
    found = caller({"host": "x", "x-forwarded-for": forwarded}, "172.18.0.2", PROXY)
    assert (found.peer, found.address) == ("172.18.0.2", address)


def test_of_a_trusted_proxy_host_scheme_and_prefix_count() -> None:
    headers = {
        "host": "recorder:8080",
        "x-forwarded-host": "evil.example, cam.example.org",
        "x-forwarded-proto": "https",
        "x-forwarded-prefix": "/clipwatch/",
    }
    found = caller(headers, "172.18.0.2", PROXY)
    assert (found.host, found.scheme, found.prefix) == ("cam.example.org", "https", "/clipwatch")


@pytest.mark.parametrize(
    "prefix", ["clipwatch", "//evil.example", "/a b", "/a;path=/", "/" + "a" * 5000, "/\r\nx"]
)
def test_a_prefix_that_is_no_path_does_not_count(prefix: str) -> None:
    assert caller({"host": "x", "x-forwarded-prefix": prefix}, "::1", PROXY).prefix == ""


def test_from_anybody_else_no_forwarding_header_counts() -> None:
    headers = dict.fromkeys(FORWARDING_HEADERS, "203.0.113.5") | {
        "host": "recorder",
        "x-forwarded-proto": "https",
    }
    found = caller(headers, "10.0.0.9", PROXY)
    assert (found.address, found.host, found.scheme, found.prefix) == ("10.0.0.9", "recorder", "http", "")


@pytest.mark.parametrize(
    ("host", "is_known"),
    [
        ("localhost:8080", True),
        ("127.0.0.1", True),
        ("192.168.1.20:8080", True),
        ("[fe80::1]:8080", True),
        ("cam.example.org", True),
        ("CAM.example.org:443", True),
        ("cam.example.org.", True),
        ("evil.example", False),
        ("cam.example.org.evil.example", False),
        ("evil.example#cam.example.org", False),
        ("evil@cam.example.org", False),
        ("cam.example.org:80:80", False),
        ("localhost\t", False),
        ("", False),
        (None, False),
        ("a" * 64_000, False),
    ],
)
def test_only_known_names_and_addresses_are_answered(host: str | None, is_known: bool) -> None:
    found = caller({"host": host} if host is not None else {}, trust=PROXY)
    refusal = host_refusal(found, PROXY)
    assert (refusal is None) == is_known
    assert refusal is None or (refusal.status == 421 and len(refusal.found) < 120)


def test_a_machine_answers_to_its_own_name() -> None:
    import socket

    own = socket.gethostname().lower()
    trust = NetworkTrust.of()
    assert trust.knows(own)
    assert trust.knows(f"{own.partition('.')[0]}.local:8080")


@pytest.mark.parametrize(
    ("change", "is_fine"),
    [
        ({}, True),
        ({"origin": "http://localhost:8080"}, True),
        ({"origin": "https://localhost:8080", "fetch_site": "same-origin"}, True),
        ({"fetch_site": "none"}, True),
        ({"origin": "http://evil.example"}, False),
        ({"origin": "http://localhost:3000"}, False),
        ({"origin": "null"}, False),
        ({"origin": "http://[", "fetch_site": None}, False),
        ({"fetch_site": "cross-site"}, False),
        ({"fetch_site": "same-site"}, False),
        ({"fetch_site": "nonsense"}, False),
        ({"host": None, "origin": "http://localhost:8080"}, False),
    ],
)
def test_pages_of_other_sites_are_refused(change: dict[str, str | None], is_fine: bool) -> None:
    asked = Caller(**{"peer": "::1", "host": "localhost:8080", **change})  # type: ignore[arg-type]
    refusal = origin_refusal(asked)
    assert (refusal is None) == is_fine
    assert refusal is None or (refusal.status, refusal.reason) == (403, "origin")


def test_a_page_of_another_port_is_shown_only_what_it_may() -> None:
    shown = Caller("::1", "localhost:8080", fetch_site="same-site", origin="http://localhost:3000")
    assert origin_refusal(shown) is not None
    assert origin_refusal(shown, is_same_site_fine=True) is None
    for foreign in (
        Caller("::1", "localhost:8080", fetch_site="cross-site"),
        Caller("::1", "localhost:8080", fetch_site="same-site", method="POST"),
        Caller("::1", "localhost:8080", origin="http://localhost:3000"),
    ):
        assert origin_refusal(foreign, is_same_site_fine=True) is not None


@given(
    st.dictionaries(st.sampled_from([*FORWARDING_HEADERS, "host", "origin"]), st.text()),
    st.text() | st.none(),
)
def test_no_header_or_peer_breaks_the_check(headers: dict[str, str], peer: str | None) -> None:
    for trust in (NetworkTrust(), PROXY):
        found = caller(headers, peer, trust)
        assert found.address == peer or trust is PROXY
        host_refusal(found, trust)
        origin_refusal(found)
