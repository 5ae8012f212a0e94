"""Logging in and out, who is logged in, and the first user of all."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from services.recorder.access.accounts import Accounts, Client, NewSession
from services.recorder.access.authenticator import COOKIE, cookie_hash, identity_of_session
from services.recorder.access.site import SiteAccess, TriedTooOften
from services.recorder.access.token_text import hash_secret
from services.recorder.access.values import SCOPES, NameTaken, SiteIdentity, Way
from services.recorder.http.state import ApiState, starting
from shared.access import Caller, Refusal
from shared.errors import ConfigError
from shared.http_access import caller_of, identity_of, refusal_of
from shared.http_api import ApiFault, documented
from shared.permissions import Identity, Permission, Role

NAME_CHARS, PASSWORD_CHARS = 256, 1024  # of what is read; access/names.py says what is taken
NameText = Annotated[str, Field(max_length=NAME_CHARS)]
PasswordText = Annotated[str, Field(max_length=PASSWORD_CHARS)]


class LoginIn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: NameText
    password: PasswordText


class MeOut(BaseModel):
    """Who is logged in. `way`: a user's session, a token, open (this machine, while there is neither), or none.

    `cameras` null: all. `setup`: the caller may make the first user by /api/setup. `oidc`: there is /api/oidc/login.
    """

    name: str | None
    role: Role | None
    permissions: list[Permission]
    cameras: list[str] | None
    signed_in: bool
    way: Way
    setup: bool
    oidc: bool


def login_routes(api: ApiState) -> APIRouter:
    """Return the routes of logging in and out."""
    router = APIRouter(prefix="/api", tags=["users"])

    @router.get("/me")
    async def me(request: Request, response: Response) -> MeOut:
        """Who is logged in, and what that user, token or machine may do."""
        access, _ = opened(api)
        response.headers["cache-control"] = "no-store"
        caller = caller_of(request)
        return await _me(access, caller, refusal_of(request) or identity_of(request))

    @router.post("/login")
    async def login(wanted: LoginIn, request: Request, response: Response) -> MeOut:
        """Log in by name and password; the answer sets the session's cookie."""
        access, accounts = opened(api)
        caller = caller_of(request)
        try:
            made = await access.login(accounts, wanted.name, wanted.password, client_of(request))
        except TriedTooOften as exc:
            raise tried_too_often(exc) from exc
        if made is None:
            raise ApiFault(401, "a wrong name or password", "those of a user", "try again")
        await _end_previous(accounts, caller)
        return await _welcome(access, request, response, made)

    @router.post("/logout", status_code=204)
    async def logout(request: Request, response: Response) -> None:
        """End the session of the cookie, and forget the cookie."""
        _, accounts = opened(api)
        caller = caller_of(request)
        await _end_previous(accounts, caller)
        response.delete_cookie(
            COOKIE,
            path=cookie_path(request),
            secure=caller.scheme == "https",
            httponly=True,
            samesite="lax",
        )

    _add_setup(router, api)
    return router


def _add_setup(router: APIRouter, api: ApiState) -> None:
    @router.post("/setup", responses=documented(409), status_code=201)
    async def setup(wanted: LoginIn, request: Request, response: Response) -> MeOut:
        """Make the first user, an admin, and log in; from this machine only, while there is neither user nor token."""
        access, accounts = opened(api)
        if not await _may_set_up(access, caller_of(request)):
            raise ApiFault(
                403,
                "somebody who may not make the first user",
                "a browser on this machine, while there is neither user nor token",
                "log in as an admin, or run: clipwatch user add NAME --role admin",
            )
        try:
            user = await accounts.add_first_admin(wanted.name, wanted.password)
        except ConfigError as exc:
            raise fault_of(exc) from exc
        made = await accounts.begin_session(user, client_of(request))
        if made is None:
            raise starting()
        return await _welcome(access, request, response, made)


def opened(api: ApiState) -> tuple[SiteAccess, Accounts]:
    """Return who may use the site; raise a 503 while the recorder starts."""
    access = api.access
    if access is None or access.accounts is None:
        raise starting()
    return access, access.accounts


def client_of(request: Request) -> Client:
    """Return what is known of who asks."""
    return Client(caller_of(request).address or "", request.headers.get("user-agent", ""))


def tried_too_often(exc: TriedTooOften) -> ApiFault:
    """Return the answer to somebody who tried too often."""
    wait_s = max(1, round(exc.wait_s))
    fault = ApiFault(429, "too many logins", "fewer of them", f"wait {wait_s} s")
    fault.headers = {"retry-after": str(wait_s)}
    return fault


def fault_of(exc: ConfigError) -> ApiFault:
    """Return the answer to a change of users or tokens that cannot be made."""
    status = 409 if isinstance(exc, NameTaken) else 400
    return ApiFault.of_lines(status, exc.faults, "values that fit", "change them")


def set_session_cookie(request: Request, response: Response, made: NewSession, longest: timedelta) -> None:
    """Give the browser a session: no script and no other site can read or send it."""
    response.set_cookie(
        COOKIE,
        made.cookie,
        max_age=int(longest.total_seconds()),
        path=cookie_path(request),
        secure=caller_of(request).scheme == "https",
        httponly=True,
        samesite="lax",
    )


async def _me(access: SiteAccess, caller: Caller, identity: Identity | Refusal) -> MeOut:
    if isinstance(identity, Refusal) and identity.status != 401:
        raise ApiFault(identity.status, identity.found, identity.wanted, identity.message)
    may_set_up = await _may_set_up(access, caller)
    if not isinstance(identity, SiteIdentity):
        return MeOut(
            name=None,
            role=None,
            permissions=[],
            cameras=[],
            signed_in=False,
            way="none",
            setup=may_set_up,
            oidc=access.oidc is not None,
        )
    return MeOut(
        name=identity.name,
        role=identity.role,
        permissions=[scope for scope in SCOPES if identity.may(scope)],
        cameras=None if identity.cameras is None else sorted(identity.cameras),
        signed_in=identity.way == "user",
        way=identity.way,
        setup=may_set_up,
        oidc=access.oidc is not None,
    )


async def _may_set_up(access: SiteAccess, caller: Caller) -> bool:
    return caller.is_local and await access.authenticator.is_open()


async def _welcome(access: SiteAccess, request: Request, response: Response, made: NewSession) -> MeOut:
    set_session_cookie(request, response, made, access.authenticator.limits.longest)
    response.headers["cache-control"] = "no-store"
    caller = caller_of(request)
    return await _me(access, caller, identity_of_session(made.session, hash_secret(made.cookie)))


async def _end_previous(accounts: Accounts, caller: Caller) -> None:
    """End the session that the browser had so far."""
    secret_hash = cookie_hash(caller.cookie)
    if secret_hash is not None:
        await accounts.end_cookie(secret_hash)


def cookie_path(request: Request) -> str:
    """Return the part of this host that is the site's."""
    return caller_of(request).prefix or "/"
