"""The addresses of the page: this machine's own, and those by which a phone reaches it."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

import ifaddr

from services.local.run_settings import ListenAddress

URL_FILE = "page-url"  # in the data folder: where the command line finds the page
LOCAL_TOKEN_FILE = "local-token"  # noqa: S105  # a file's name
_BRIDGES = ("docker", "br-", "veth", "virbr", "cni", "podman", "tun", "tap")  # of containers and tunnels


@dataclass(frozen=True, slots=True)
class PageAddress:
    """Where the page is. `site`: the recorder's settings of it (RunSettings.environment)."""

    listen: ListenAddress
    port: int
    site: Mapping[str, str] = field(default_factory=dict)

    @property
    def certificate(self) -> Path | None:
        name = self.site.get("TLS_CERT_FILE")
        return Path(name) if name else None

    @property
    def origin(self) -> str:
        """How this machine reaches the recorder, without a path."""
        return self._origin(self.listen.own_host)

    @property
    def url(self) -> str:
        """The page's address on this machine."""
        return f"{self.origin}{self._path}"

    def urls_of_others(self) -> list[str]:
        """Return the page's addresses for phones and other machines; none on loopback."""
        if self.listen.is_loopback:
            return []
        hosts = own_addresses() if self.listen.is_everywhere else [self.listen.host]
        is_dual = ":" in self.listen.host
        return [
            f"{self._origin(f'[{host}]' if ':' in host else host)}{self._path}"
            for host in hosts
            if is_dual or ":" not in host
        ]

    @property
    def _path(self) -> str:
        return f"{self.site.get('PATH_PREFIX', '').rstrip('/')}/"

    def _origin(self, host: str) -> str:
        return f"{'https' if self.certificate else 'http'}://{host}:{self.port}"


def own_addresses() -> list[str]:
    """Return this machine's addresses in its networks, IPv4 first: none of loopback, links, or container bridges."""
    found = [
        str(one.ip[0] if isinstance(one.ip, tuple) else one.ip)
        for adapter in ifaddr.get_adapters()
        if not adapter.name.startswith(_BRIDGES)
        for one in adapter.ips
    ]
    usable = [one for one in map(ip_address, found) if not (one.is_loopback or one.is_link_local)]
    return [str(one) for one in sorted(usable, key=lambda one: (one.version, int(one)))]


def own_certificate(path: Path) -> ssl.SSLContext:
    """Return what trusts the certificate in `path` and no other: programs on this machine call it by an address."""
    context = ssl.create_default_context(cafile=str(path))
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # the file need not hold a root
    return context
