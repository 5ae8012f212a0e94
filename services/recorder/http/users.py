"""Users, their passwords and sessions, and API tokens, for those who may change them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from services.recorder.access.accounts import UserChange
from services.recorder.access.site import TriedTooOften
from services.recorder.access.tokens import TokenRequest, Tokens
from services.recorder.access.values import ApiToken, LastAdmin, NoSuchUser, Session, SiteIdentity, User
from services.recorder.http.login import (
    NameText,
    PasswordText,
    client_of,
    fault_of,
    opened,
    tried_too_often,
)
from services.recorder.http.state import ApiState, starting
from shared.errors import ConfigError, shortened
from shared.http_access import identity_of
from shared.http_api import ApiFault, IsoTime, documented
from shared.permissions import Permission, Role

CameraNames = Annotated[list[Annotated[str, Field(max_length=64)]], Field(max_length=500)]


class UserOut(BaseModel):
    """A user; `cameras` null: all; `seen_at`: last login."""

    name: str
    role: Role
    cameras: list[str] | None
    has_password: bool
    created_at: AwareDatetime
    seen_at: AwareDatetime | None


class UserIn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: NameText
    password: PasswordText
    role: Role = Role.VIEWER
    cameras: CameraNames | None = None


class UserChangeIn(BaseModel):
    """What is to change; what is left out stays. `cameras` null: all."""

    model_config = ConfigDict(extra="forbid")

    role: Role | None = None
    cameras: CameraNames | None = None
    password: PasswordText | None = None


class PasswordIn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    old_password: PasswordText
    new_password: PasswordText


class SessionOut(BaseModel):
    """A login that lasts; `is_own`: the one that asks."""

    id: str
    user: str
    created_at: AwareDatetime
    seen_at: AwareDatetime
    ends_at: AwareDatetime
    address: str
    agent: str
    is_own: bool


class TokenOut(BaseModel):
    """A token without its secret; `cameras` null: all; `ends_at` null: no end."""

    id: str
    name: str
    scopes: list[Permission]
    cameras: list[str] | None
    created_at: AwareDatetime
    ends_at: AwareDatetime | None
    used_at: AwareDatetime | None


class NewTokenOut(TokenOut):
    """A token that was made; its text `token` is shown this once."""

    token: str


class TokenIn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: NameText
    scopes: Annotated[list[Annotated[str, Field(max_length=16)]], Field(max_length=8)] = ["look"]
    cameras: CameraNames | None = None
    ends_at: IsoTime | None = None


def user_routes(api: ApiState) -> APIRouter:
    """Return the routes of users, sessions and tokens."""
    router = APIRouter(prefix="/api", tags=["users"])
    _add_users(router, api)
    _add_password(router, api)
    _add_sessions(router, api)
    _add_tokens(router, api)
    return router


def _add_users(router: APIRouter, api: ApiState) -> None:
    @router.get("/users")
    async def users(response: Response) -> list[UserOut]:
        """All users, by name."""
        _, accounts = opened(api)
        response.headers["cache-control"] = "no-store"
        return [_user_out(user) for user in await accounts.users()]

    @router.post("/users", status_code=201, responses=documented(409))
    async def add(wanted: UserIn) -> UserOut:
        """Make a user."""
        _, accounts = opened(api)
        try:
            made = await accounts.add(wanted.name, wanted.password, wanted.role, wanted.cameras)
        except ConfigError as exc:
            raise _fault(exc) from exc
        return _user_out(made)

    @router.patch("/users/{name}", responses=documented(409))
    async def change(name: str, wanted: UserChangeIn) -> UserOut:
        """Change a user's role, cameras or password; each ends the user's sessions."""
        _, accounts = opened(api)
        cameras = None if wanted.cameras is None else frozenset(wanted.cameras)
        try:
            made = await accounts.change(
                name, UserChange(wanted.role, cameras, has_cameras="cameras" in wanted.model_fields_set)
            )
            if wanted.password is not None:
                await accounts.set_password(name, wanted.password)
        except ConfigError as exc:
            raise _fault(exc) from exc
        return _user_out(made)

    @router.delete("/users/{name}", status_code=204, responses=documented(409))
    async def remove(name: str) -> None:
        """Remove a user, and end the user's sessions."""
        _, accounts = opened(api)
        try:
            await accounts.remove(name)
        except ConfigError as exc:
            raise _fault(exc) from exc


def _add_password(router: APIRouter, api: ApiState) -> None:
    @router.post("/me/password", status_code=204, responses=documented(409))
    async def password(wanted: PasswordIn, request: Request) -> None:
        """Change the own password; all other sessions of the user end."""
        access, accounts = opened(api)
        identity = _identity(request)
        if identity.way != "user":
            raise ApiFault(409, "a caller without a password", "a user's session", "log in as a user")
        try:
            if not await access.is_password(accounts, identity.name, wanted.old_password, client_of(request)):
                raise ApiFault(403, "a wrong old password", "the present one", "try again")
            await accounts.set_password(identity.name, wanted.new_password, identity.session_id)
        except TriedTooOften as exc:
            raise tried_too_often(exc) from exc
        except ConfigError as exc:
            raise _fault(exc) from exc


def _add_sessions(router: APIRouter, api: ApiState) -> None:
    @router.get("/sessions")
    async def sessions(
        request: Request,
        response: Response,
        everybody: Annotated[bool, Query(alias="all", description="those of all users; for admins")] = False,
    ) -> list[SessionOut]:
        """The own logins that last, the last used first."""
        _, accounts = opened(api)
        identity = _identity(request)
        response.headers["cache-control"] = "no-store"
        is_admin = identity.may(Permission.ADMIN)
        if everybody and not is_admin:
            raise ApiFault(403, "all=true", "the permission 'admin'", "ask for the own sessions only")
        if identity.user_id is None and not everybody:
            return []
        found = await accounts.sessions(None if everybody else identity.user_id)
        return [_session_out(one, identity) for one in found]

    @router.delete("/sessions/{session_id}", status_code=204)
    async def end(session_id: str, request: Request) -> None:
        """End a login: an own one, or as an admin anybody's."""
        _, accounts = opened(api)
        identity = _identity(request)
        is_admin = identity.may(Permission.ADMIN)
        if identity.user_id is None and not is_admin:
            raise _none_of("session", session_id, "/api/sessions")
        if not await accounts.end_session(session_id, None if is_admin else identity.user_id):
            raise _none_of("session", session_id, "/api/sessions")


def _add_tokens(router: APIRouter, api: ApiState) -> None:
    def tokens_of() -> Tokens:
        if api.access is None or api.access.api_tokens is None:
            raise starting()
        return api.access.api_tokens

    @router.get("/tokens")
    async def tokens(response: Response) -> list[TokenOut]:
        """All API tokens, by name."""
        response.headers["cache-control"] = "no-store"
        return [TokenOut.model_validate(_token_fields(one)) for one in await tokens_of().list()]

    @router.post("/tokens", status_code=201, responses=documented(409))
    async def make(wanted: TokenIn, response: Response) -> NewTokenOut:
        """Make a token; its text is in this answer only."""
        ends_at: datetime | None = wanted.ends_at
        try:
            made = await tokens_of().make(TokenRequest(wanted.name, wanted.scopes, wanted.cameras, ends_at))
        except ConfigError as exc:
            raise _fault(exc) from exc
        response.headers["cache-control"] = "no-store"
        return NewTokenOut.model_validate({**_token_fields(made.token), "token": made.text})

    @router.delete("/tokens/{token_id}", status_code=204)
    async def end(token_id: str) -> None:
        """End a token."""
        if not await tokens_of().end(token_id):
            raise _none_of("token", token_id, "/api/tokens")


def _identity(request: Request) -> SiteIdentity:
    identity = identity_of(request)
    assert isinstance(identity, SiteIdentity)
    return identity


def _fault(exc: ConfigError) -> ApiFault:
    if isinstance(exc, NoSuchUser):
        return ApiFault.of_lines(404, exc.faults, "the name of a user", "look in /api/users")
    if isinstance(exc, LastAdmin):
        return ApiFault.of_lines(409, exc.faults, "another admin", "make one first")
    return fault_of(exc)


def _none_of(what: str, its_id: str, place: str) -> ApiFault:
    return ApiFault(404, f"no {what} '{shortened(its_id, 40)}'", f"the id of a {what}", f"look in {place}")


def _user_out(user: User) -> UserOut:
    return UserOut(
        name=user.name,
        role=user.role,
        cameras=None if user.cameras is None else sorted(user.cameras),
        has_password=user.has_password,
        created_at=user.created_at,
        seen_at=user.seen_at,
    )


def _session_out(session: Session, identity: SiteIdentity) -> SessionOut:
    return SessionOut(
        id=session.id,
        user=session.user.name,
        created_at=session.created_at,
        seen_at=session.seen_at,
        ends_at=session.ends_at,
        address=session.address,
        agent=session.agent,
        is_own=session.id == identity.session_id,
    )


def _token_fields(token: ApiToken) -> dict[str, object]:
    return {
        "id": token.id,
        "name": token.name,
        "scopes": sorted(token.scopes),
        "cameras": None if token.cameras is None else sorted(token.cameras),
        "created_at": token.created_at,
        "ends_at": token.ends_at,
        "used_at": token.used_at,
    }
