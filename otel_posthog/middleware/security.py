"""Pure ASGI middleware: security headers and a Content Security Policy (requirement R25).

What the application sends itself stays. PostHog's hosts are let into a policy, the product's or the
application's own, only while error reports are on.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable
from dataclasses import dataclass, fields
from time import monotonic

from otel_posthog.analytics import tell_fault
from otel_posthog.errors import ConfigError, OtelPosthogError
from otel_posthog.outlook import Outlook
from otel_posthog.request_state import RequestUnderWay, begin, end, request_under_way

from .asgi import ASGIApp, Message, Receive, Scope, Send, as_coroutine_function
from .csp import Sources, allow, allow_script_nonce

Header = tuple[bytes, bytes]

DEFAULT_POLICY = (
    "default-src 'self'; base-uri 'self'; connect-src 'self'; font-src 'self'; form-action 'self'; "
    "frame-ancestors 'none'; img-src 'self' data:; object-src 'none'; script-src 'self'; "
    "style-src 'self' 'unsafe-inline'"
)
"""Without `unsafe-inline` and `unsafe-eval` for scripts; inline styles are what most frameworks emit."""
DEFAULT_PERMISSIONS = (
    "camera=(), display-capture=(), geolocation=(), microphone=(), midi=(), payment=(), usb=()"
)
NONCE_BYTES = 16  # CSP Level 3, section 2.3.1, asks for 128 bits at least
FINAL_STATUS = 200
"""Below it answers are informational and pass untouched."""
_POLICY = b"content-security-policy"
_POLICY_REPORT_ONLY = b"content-security-policy-report-only"
_POLICIES = frozenset({_POLICY, _POLICY_REPORT_ONLY})


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityHeaders:
    """Response headers that the product wants on each answer; None leaves one out.

    One that the application sends itself stays as it is. With `content_security_policy=None` no
    policy is made, and PostHog's hosts are still let into the application's own.
    """

    content_security_policy: str | None = DEFAULT_POLICY
    is_report_only: bool = False
    """Send the policy as `Content-Security-Policy-Report-Only`: browsers report and block nothing."""
    strict_transport_security: str | None = "max-age=31536000"
    """Sent over https only, as RFC 6797, section 7.2, wants it; 31,536,000 s are a year."""
    x_content_type_options: str | None = "nosniff"
    referrer_policy: str | None = "same-origin"
    """Links out of a self-hosted product do not tell its host name."""
    permissions_policy: str | None = DEFAULT_PERMISSIONS
    cross_origin_opener_policy: str | None = "same-origin"
    """`same-origin-allow-popups` where users sign in through a popup of another site."""

    def __post_init__(self) -> None:
        """Raise `ConfigError` for a value that no header can hold."""
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, str) and not (value.isascii() and value.isprintable() and value.strip()):
                raise ConfigError(f"{each.name}={value!r} cannot be a header. Use printable ASCII, or None.")

    def as_headers(self, *, is_secure: bool) -> list[Header]:
        """Return names and values as ASGI wants them, over https or not."""
        policy_name = _POLICY_REPORT_ONLY if self.is_report_only else _POLICY
        wanted = (
            (policy_name, self.content_security_policy),
            (b"strict-transport-security", self.strict_transport_security if is_secure else None),
            (b"x-content-type-options", self.x_content_type_options),
            (b"referrer-policy", self.referrer_policy),
            (b"permissions-policy", self.permissions_policy),
            (b"cross-origin-opener-policy", self.cross_origin_opener_policy),
        )
        return [(name, value.encode("ascii")) for name, value in wanted if value is not None]


class SecurityHeadersMiddleware:
    """Set the headers on each answer of the wrapped application."""

    def __init__(self, app: ASGIApp, *, headers: SecurityHeaders, sources: Sources, outlook: Outlook) -> None:
        self.app = app
        self._outlook = outlook
        self._sources = sources
        self._plain = _Own(headers.as_headers(is_secure=False), sources)
        self._secure = _Own(headers.as_headers(is_secure=True), sources)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application, where nobody else watches the request; see the class."""
        try:
            is_http = (scope.get("type") == "http") is True
        except Exception:  # noqa: BLE001 - no ASGI scope; the application will say so
            is_http = False
        if not is_http:
            return await self.app(scope, receive, send)
        request = _Request()
        place, token = begin(request, scope, send)
        request.security = self
        try:
            return await self.app(scope, receive, request.pass_on)
        finally:
            end(request, place, token)

    def secured(self, message: Message, status: int, request: RequestUnderWay) -> Message:
        """Return a copy of an answer's start with our headers; the application may send it again."""
        if status < FINAL_STATUS:
            return message
        try:
            own = self._secure if request.scope.get("scheme") == "https" else self._plain
        except Exception:  # noqa: BLE001 - of a foreign class; the application will say so
            own = self._plain
        given = message.get("headers", ())
        headers = list(given)
        is_reporting = monotonic() <= self._outlook.reporting_until_s
        ours = own.reporting if is_reporting else own.silent
        try:
            for name, _ in headers:
                if name.lower() in own.names:
                    headers = self._merged(headers, ours, is_reporting=is_reporting)
                    break
            else:
                headers += ours
            if request.nonce:
                headers = [_with_nonce(header, request.nonce) for header in headers]
        except Exception as fault:  # noqa: BLE001 - a fault of ours never reaches the app
            tell_fault("security headers could not be set", fault)
            headers = headers if iter(given) is given else given  # what can be read once has been
        return {**message, "headers": headers}

    def _merged(self, headers: list[Header], ours: list[Header], *, is_reporting: bool) -> list[Header]:
        """Return the application's headers, its policies opened, and those of ours that it does not send."""
        sources = self._sources if is_reporting else ()
        present = {name.lower() for name, _ in headers}
        opened = [_opened(header, sources) for header in headers]
        return opened + [header for header in ours if header[0] not in present]


class _Request(RequestUnderWay):
    """One that nobody watches; `pass_on` is the `send` of its application."""

    __slots__ = ()

    @as_coroutine_function
    def pass_on(self, message: Message) -> Awaitable[None]:
        try:
            if "status" in message and message.get("type") == "http.response.start":
                message = self.security.secured(message, message["status"], self)
        except Exception:  # noqa: BLE001, S110 - no ASGI message; the server will say so
            pass
        return self.send(message)


class _Own:
    """The product's headers, while error reports are off and on."""

    __slots__ = ("names", "reporting", "silent")

    def __init__(self, headers: list[Header], sources: Sources) -> None:
        self.silent = headers
        self.reporting = [_opened(header, sources) for header in headers]
        self.names = _POLICIES.union(name for name, _ in headers)


def csp_nonce() -> str:
    """Return the nonce of the request under way, and allow scripts that carry it.

    For ``<script nonce="…">`` in a page that is not cached. Raises `OtelPosthogError` outside of a
    request of an application that is wrapped with `security_headers`.
    """
    request = request_under_way()
    if request is None or request.security is None:
        raise OtelPosthogError(
            "csp_nonce() works within a request only. Give Telemetry(security_headers=SecurityHeaders()) "
            "and serve the application that telemetry.wrap returns."
        )
    if request.nonce is None:
        request.nonce = secrets.token_urlsafe(NONCE_BYTES)
    return request.nonce


def _opened(header: Header, sources: Sources) -> Header:
    name, value = header
    return (name, allow(value, sources)) if name.lower() in _POLICIES else header


def _with_nonce(header: Header, nonce: str) -> Header:
    name, value = header
    return (name, allow_script_nonce(value, nonce)) if name.lower() in _POLICIES else header
