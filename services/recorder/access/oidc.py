"""Login by an OpenID provider: authorization code with PKCE, state and nonce. Knows HTTP to the provider, no route.

What the provider says counts only as an ID token that is signed by a key of the issuer, is for this client, and carries
the nonce of a login that this process began for this browser (OpenID Connect Core 1.0, 3.1; RFC 7636; RFC 9207).
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from shared.errors import ClipwatchError, Transient, reason
from shared.permissions import Role

BEGUN_MAX, BEGUN_S = 1000, 600.0  # logins that wait for the provider
ANSWER_MAX, ANSWER_S = 256 * 1024, 10.0  # bytes and seconds of an answer of the provider
KEPT_S = 3600.0  # its addresses are asked for again after this long
LEEWAY_S = 60  # its clock and ours
# signatures by a key pair; never "none", nor HMAC, whose key would be a public one
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
_ENDPOINTS = ("authorization_endpoint", "token_endpoint", "jwks_uri")
_RANK = (Role.VIEWER, Role.OPERATOR, Role.ADMIN)
Claims = Mapping[str, Any]  # Any: JSON


class LoginRefused(ClipwatchError):
    """The provider, or what it answered, lets nobody in."""


class ProviderAway(Transient):
    """The provider does not answer, or not as one."""


@dataclass(frozen=True, slots=True)
class OidcSettings:
    """Which provider, and what its claims mean. `roles`: by values of `role_claim`; `usual_role` None: nobody else."""

    issuer: str
    client_id: str
    client_secret: str | None = field(default=None, repr=False)
    role_claim: str = ""
    roles: Mapping[str, Role] = field(default_factory=dict)
    usual_role: Role | None = Role.VIEWER


@dataclass(frozen=True, slots=True)
class OidcUser:
    """Who the provider says it is: `subject_hash` is the same for ever, `names` are proposals."""

    subject_hash: str
    names: tuple[str, ...]
    role: Role
    is_role_said: bool  # by the claim: it counts at each login, and not only for a new user


@dataclass(frozen=True, slots=True)
class _BegunLogin:
    nonce: str
    verifier: str
    redirect_uri: str
    begun_s: float


@dataclass(slots=True)
class OidcLogins:
    """Logins by one provider."""

    settings: OidcSettings
    client: httpx.AsyncClient = field(default_factory=lambda: httpx.AsyncClient(timeout=ANSWER_S))
    seconds: Callable[[], float] = time.monotonic
    _begun: OrderedDict[str, _BegunLogin] = field(default_factory=OrderedDict)
    _addresses: tuple[float, dict[str, str]] | None = None

    async def begin(self, redirect_uri: str) -> tuple[str, str]:
        """Return the provider's address for a browser and the state that the browser keeps; raise ProviderAway."""
        addresses = await self._provider()
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        self._begun[state] = _BegunLogin(nonce, verifier, redirect_uri, self.seconds())
        while len(self._begun) > BEGUN_MAX:
            self._begun.popitem(last=False)
        address = prepare_grant_uri(
            addresses["authorization_endpoint"],
            self.settings.client_id,
            "code",
            redirect_uri=redirect_uri,
            scope="openid profile email",
            state=state,
            nonce=nonce,
            code_challenge=create_s256_code_challenge(verifier),
            code_challenge_method="S256",
        )
        return str(address), state

    async def finish(self, state: str, browser_state: str, code: str, issuer: str | None) -> OidcUser:
        """Return who came back from the provider; raise LoginRefused or ProviderAway. A state counts once."""
        begun = self._begun.pop(state, None)
        is_known = begun is not None and self.seconds() - begun.begun_s < BEGUN_S
        if (
            begun is None
            or not is_known
            or not secrets.compare_digest(state.encode(), browser_state.encode())
        ):
            raise LoginRefused("a login that this browser did not begin, or too long ago")
        if issuer is not None and issuer != self.settings.issuer:
            raise LoginRefused("an answer of another provider")
        addresses = await self._provider()
        token = await self._id_token(addresses["token_endpoint"], code, begun)
        claims = await self._claims(token, addresses["jwks_uri"], begun.nonce)
        role = role_of(claims, self.settings)
        if role is None:
            raise LoginRefused("a user without a role here")
        return OidcUser(
            subject_hash(self.settings.issuer, str(claims["sub"])),
            _names(claims),
            role,
            bool(self.settings.role_claim),
        )

    async def close(self) -> None:
        """Close the connections to the provider."""
        await self.client.aclose()

    async def _provider(self) -> dict[str, str]:
        if self._addresses is not None and self.seconds() - self._addresses[0] < KEPT_S:
            return self._addresses[1]
        issuer = self.settings.issuer
        found = await self._json("GET", f"{issuer.rstrip('/')}/.well-known/openid-configuration")
        if found.get("issuer") != issuer:
            raise ProviderAway(f"OIDC_ISSUER={issuer}: the provider calls itself another name")
        addresses = {name: str(found.get(name, "")) for name in _ENDPOINTS}
        for name, address in addresses.items():
            if urlsplit(address).scheme != urlsplit(issuer).scheme:
                raise ProviderAway(f"OIDC_ISSUER={issuer}: its {name} is no address like it")
        self._addresses = self.seconds(), addresses
        return addresses

    async def _id_token(self, endpoint: str, code: str, begun: _BegunLogin) -> str:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": begun.redirect_uri,
            "code_verifier": begun.verifier,
            "client_id": self.settings.client_id,
        }
        if self.settings.client_secret is not None:
            form["client_secret"] = self.settings.client_secret
        token = (await self._json("POST", endpoint, form)).get("id_token")
        if not isinstance(token, str):
            raise LoginRefused("an answer of the provider without an ID token")
        return token

    async def _claims(self, token: str, jwks_uri: str, nonce: str) -> Claims:
        keys = await self._json("GET", jwks_uri)
        registry = jwt.JWTClaimsRegistry(
            leeway=LEEWAY_S,
            iss={"essential": True, "value": self.settings.issuer},
            aud={"essential": True, "value": self.settings.client_id},
            nonce={"essential": True, "value": nonce},
            sub={"essential": True},
            exp={"essential": True},
            iat={"essential": True},
        )
        try:
            claims = jwt.decode(token, KeySet.import_key_set(keys), algorithms=ALGORITHMS).claims  # type: ignore[arg-type]  # JSON
            registry.validate(claims)
        except (JoseError, ValueError, TypeError, KeyError) as exc:
            raise LoginRefused(f"an ID token that does not count: {reason(exc)}") from exc
        if claims.get("azp", self.settings.client_id) != self.settings.client_id or not claims["sub"]:
            raise LoginRefused("an ID token that is for another program")
        return claims

    async def _json(self, method: str, url: str, form: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Return an answer of the provider; redirects are not followed. Raises ProviderAway or LoginRefused."""
        try:
            async with self.client.stream(method, url, data=form) as answer:
                body = bytearray()
                async for part in answer.aiter_bytes():
                    body += part
                    if len(body) > ANSWER_MAX:
                        raise ProviderAway("the provider answers too much")
            found = json.loads(body)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as exc:
            raise ProviderAway(f"the provider does not answer: {reason(exc)}") from exc
        if form is not None and answer.status_code in (400, 401, 403):
            raise LoginRefused("a code that the provider does not take")
        if answer.status_code != 200 or not isinstance(found, dict):
            raise ProviderAway(f"the provider answers with status {answer.status_code}")
        return found


def role_of(claims: Claims, settings: OidcSettings) -> Role | None:
    """Return the highest role that the claim names, else the usual one."""
    said = claims.get(settings.role_claim) if settings.role_claim else None
    values = said if isinstance(said, list) else [said]
    found = {settings.roles[value] for value in values if isinstance(value, str) and value in settings.roles}
    return max(found, key=_RANK.index, default=settings.usual_role)


def subject_hash(issuer: str, subject: str) -> str:
    """Return what a user of a provider is known by."""
    return hashlib.sha256(f"{issuer}\n{subject}".encode("utf-8", "surrogatepass")).hexdigest()


def _names(claims: Claims) -> tuple[str, ...]:
    proposed = (claims.get(name) for name in ("preferred_username", "email", "name"))
    return tuple(name for name in proposed if isinstance(name, str))
