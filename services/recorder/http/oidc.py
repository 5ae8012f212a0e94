"""Login by an OpenID provider: the way there, and the way back."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse

from services.recorder.access.oidc import BEGUN_S, LoginRefused, OidcLogins, ProviderAway
from services.recorder.http.login import client_of, cookie_path, opened, set_session_cookie
from services.recorder.http.state import ApiState
from shared.errors import ConfigError
from shared.http_access import caller_of
from shared.http_api import ApiFault, documented
from shared.logs import get_logger

log = get_logger(__name__)

STATE_COOKIE = "clipwatch-oidc"
_Text = Annotated[str | None, Query(max_length=4096)]


def oidc_routes(api: ApiState) -> APIRouter:
    """Return the routes of logging in by a provider; without OIDC_ISSUER they answer 404."""
    router = APIRouter(prefix="/api/oidc", tags=["users"])

    @router.get("/login", status_code=302, response_class=RedirectResponse)
    async def login(request: Request) -> Response:
        """Go to the provider."""
        opened(api)
        logins = _logins(api)
        caller = caller_of(request)
        own = f"{caller.scheme}://{caller.host}{caller.prefix}/api/oidc/callback"
        try:
            address, state = await logins.begin(own)
        except ProviderAway as exc:
            raise _away(exc) from exc
        answer = RedirectResponse(address, status_code=302, headers={"cache-control": "no-store"})
        answer.set_cookie(
            STATE_COOKIE,
            state,
            max_age=int(BEGUN_S),
            path=cookie_path(request),
            secure=caller.scheme == "https",
            httponly=True,
            samesite="lax",
        )
        return answer

    _add_callback(router, api)
    return router


def _add_callback(router: APIRouter, api: ApiState) -> None:
    @router.get("/callback", status_code=303, response_class=RedirectResponse, responses=documented(409))
    async def callback(  # noqa: PLR0917  # what providers send along
        request: Request,
        state: _Text = None,
        code: _Text = None,
        iss: _Text = None,
        error: _Text = None,
        error_description: _Text = None,  # noqa: ARG001
        session_state: _Text = None,  # noqa: ARG001
        scope: _Text = None,  # noqa: ARG001
        authuser: _Text = None,  # noqa: ARG001
        prompt: _Text = None,  # noqa: ARG001
        hd: _Text = None,  # noqa: ARG001
    ) -> Response:
        """Come back from the provider: begin a session, and go to the page."""
        access, accounts = opened(api)
        logins = _logins(api)
        try:
            if error is not None or code is None or state is None:
                raise LoginRefused("no login by the provider")
            came = await logins.finish(state, request.cookies.get(STATE_COOKIE, ""), code, iss)
            user = await accounts.user_of_provider(came)
            made = await accounts.begin_session(user, client_of(request))
        except ProviderAway as exc:
            raise _away(exc) from exc
        except (LoginRefused, ConfigError) as exc:
            access.metrics.logins.labels("wrong").inc()
            log.warning("a login by the provider was refused", error=exc)
            raise ApiFault(401, str(exc), "a login of the provider", "go to the login page again") from exc
        if made is None:
            raise ApiFault(401, "a user who was just removed", "another one", "go to the login page again")
        access.metrics.logins.labels("ok").inc()
        answer = RedirectResponse("../../", status_code=303, headers={"cache-control": "no-store"})
        set_session_cookie(request, answer, made, accounts.limits.longest)
        answer.delete_cookie(STATE_COOKIE, path=cookie_path(request))
        return answer


def _logins(api: ApiState) -> OidcLogins:
    if api.access is None or api.access.oidc is None:
        raise ApiFault(404, "no provider", "OIDC_ISSUER", "set it, or log in by name and password")
    return api.access.oidc


def _away(exc: ProviderAway) -> ApiFault:
    log.warning("the OpenID provider does not answer", error=exc)
    return ApiFault(503, "the OpenID provider does not answer", "one that does", "try again, or see the log")
