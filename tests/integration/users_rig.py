"""The app of a site's users, behind the access check, on a real database; no process and no port."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
from argon2 import PasswordHasher
from prometheus_client import CollectorRegistry

from services.recorder.access.authenticator import RecorderAuthenticator
from services.recorder.access.oidc import OidcLogins, OidcSettings
from services.recorder.access.passwords import Passwords
from services.recorder.access.site import SiteAccess
from services.recorder.http.login import login_routes
from services.recorder.http.oidc import oidc_routes
from services.recorder.http.rules import PATTERNS, RULES
from services.recorder.http.state import ApiState
from services.recorder.http.users import user_routes
from services.recorder.metrics import RecorderMetrics
from services.recorder.record.bootstrap import open_database
from shared.access import NetworkTrust
from shared.http_access import AccessControl, HttpAccess
from shared.http_api import make_app
from shared.permissions import Role

PASSWORD = "correct horse"


@dataclass
class Rig:
    """The app of one site, with its parts at hand."""

    app: HttpAccess
    access: SiteAccess
    api: ApiState

    def client(
        self, peer: str = "192.0.2.7", base: str = "http://192.0.2.1:8080", token: str | None = None
    ) -> httpx.AsyncClient:
        """Return a browser or program at this address; it keeps its cookies."""
        transport = httpx.ASGITransport(self.app, client=(peer, 50000))
        headers = {"authorization": f"Bearer {token}"} if token else {}
        return httpx.AsyncClient(transport=transport, base_url=base, headers=headers)

    def here(self) -> httpx.AsyncClient:
        return self.client("127.0.0.1", "http://127.0.0.1:8080")

    async def add(self, name: str, role: Role, cameras: list[str] | None = None) -> None:
        assert self.access.accounts is not None
        await self.access.accounts.add(name, PASSWORD, role, cameras)

    async def browser(self, name: str, role: Role, cameras: list[str] | None = None) -> httpx.AsyncClient:
        """Return a browser in which a new user is logged in."""
        await self.add(name, role, cameras)
        client = self.client()
        answer = await client.post("/api/login", json={"name": name, "password": PASSWORD})
        assert answer.status_code == 200, answer.text
        return client


@contextlib.asynccontextmanager
async def running_site(url: str, oidc: OidcSettings | None = None) -> AsyncIterator[Rig]:
    """Yield a site on this database."""
    database = await open_database(url, asyncio.Event(), connect_s=10, transaction_s=20)
    metrics = RecorderMetrics(CollectorRegistry())
    authenticator = RecorderAuthenticator()
    quick = Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    access = SiteAccess(authenticator, metrics, quick, oidc=OidcLogins(oidc) if oidc else None)
    access.open(database)
    api = ApiState(lambda: True, access=access)
    app = make_app("clipwatch recorder")
    for routes in (login_routes, user_routes, oidc_routes):
        app.include_router(routes(api))
    control = AccessControl(authenticator=authenticator, network=NetworkTrust.of(["cam.example.org"]))
    control.rules.update(RULES)
    control.patterns.update(PATTERNS)
    yield Rig(HttpAccess(app, control), access, api)
    if access.oidc is not None:
        await access.oidc.close()
    await database.close()
