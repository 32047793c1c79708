"""Who is calling, by cookie, and whether a page of ours made them call.

Pure ASGI around the whole application, so that every endpoint is covered, those of otel_posthog's
settings API too.
"""

from __future__ import annotations

import secrets

from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from .accounts import SIGN_IN_S, Accounts, Caller
from .config import LOOPBACK

COOKIE = "fastflow_session"
CSRF_HEADER = "X-CSRF-Token"
WEBHOOKS = "/api/hooks/"
"""Callers from outside carry a secret of their own, and no cookie of theirs counts."""
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class SessionMiddleware:
    """Put the caller into `connection.state.caller`, and refuse what another site made a browser send."""

    def __init__(self, app: ASGIApp, *, accounts: Accounts) -> None:
        self.app = app
        self._accounts = accounts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application, or answer 403."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        connection = HTTPConnection(scope)
        is_hook = connection.url.path.startswith(WEBHOOKS)
        token = None if is_hook else connection.cookies.get(COOKIE)
        caller = await run_in_threadpool(self._accounts.caller, token) if token else None
        connection.state.caller = caller
        if not is_hook and scope["method"] not in SAFE_METHODS and not is_own(connection, caller):
            refusal = JSONResponse({"detail": "This request does not come from a page of Fast-Flow."}, 403)
            return await refusal(scope, receive, send)
        return await self.app(scope, receive, send)


def is_own(connection: HTTPConnection, caller: Caller | None) -> bool:
    """Tell whether a page of this installation sent the request.

    Browsers name the origin in each unsafe request. Who is signed in proves it with a token besides,
    which no other site can read.
    """
    origin = connection.headers.get("origin")
    if origin is not None and origin.partition("://")[2] != connection.headers.get("host"):
        return False
    if caller is None:
        return True
    given = connection.headers.get(CSRF_HEADER, "")
    return secrets.compare_digest(given.encode(), caller.csrf_token.encode())


def set_session(response: Response, connection: HTTPConnection, token: str) -> None:
    """Hand the browser its token, out of reach of scripts and of other sites."""
    response.set_cookie(
        COOKIE,
        token,
        max_age=SIGN_IN_S,
        httponly=True,
        samesite="lax",
        secure=_needs_https(connection),
    )


def end_session(response: Response, connection: HTTPConnection) -> None:
    """Have the browser forget its token."""
    response.delete_cookie(COOKIE, httponly=True, samesite="lax", secure=_needs_https(connection))


def _needs_https(connection: HTTPConnection) -> bool:
    """Everywhere but on this computer, where there is no network to listen on."""
    return connection.url.scheme == "https" or connection.url.hostname not in LOOPBACK
