"""Security headers and a Content Security Policy (requirement R25).

Headers of the application are kept. PostHog's hosts are allowed in a policy, the product's or the
application's own, only while error reports are on and browsers report directly. The application's policy
is extended rather than another one added, since browsers enforce the intersection of two policies.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, fields
from time import monotonic

from otel_posthog.emit.capture import log_fault
from otel_posthog.emit.request_context import WatchedRequest, current_request
from otel_posthog.errors import ConfigError, OtelPosthogError

from .asgi import ConsentSnapshot, Message
from .csp import Sources, allow, allow_script_nonce, posthog_sources

Header = tuple[bytes, bytes]
Text = tuple[str, str]

# No `unsafe-inline` or `unsafe-eval` for scripts; most frameworks emit inline styles.
DEFAULT_POLICY = (
    "default-src 'self'; base-uri 'self'; connect-src 'self'; font-src 'self'; form-action 'self'; "
    "frame-ancestors 'none'; img-src 'self' data:; object-src 'none'; script-src 'self'; "
    "style-src 'self' 'unsafe-inline'"
)
DEFAULT_PERMISSIONS = (
    "camera=(), display-capture=(), geolocation=(), microphone=(), midi=(), payment=(), usb=()"
)
NONCE_BYTES = 16  # CSP Level 3, section 2.3.1, asks for 128 bits at least
# Responses below it are informational and stay unchanged.
FINAL_STATUS = 200
_POLICY = b"content-security-policy"
_POLICY_REPORT_ONLY = b"content-security-policy-report-only"
_OVER_TLS = b"strict-transport-security"
_POLICIES = frozenset({_POLICY, _POLICY_REPORT_ONLY})


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityHeaders:
    """Headers for each response of the product; None omits one.

    A header that the application sends itself is kept. With `content_security_policy=None` no policy is
    added, and PostHog's hosts are still allowed in the application's own.
    """

    content_security_policy: str | None = DEFAULT_POLICY
    is_report_only: bool = False
    """Send the policy as `Content-Security-Policy-Report-Only`: browsers report and block nothing."""
    strict_transport_security: str | None = "max-age=31536000"
    """Sent over https only, as RFC 6797, section 7.2, requires; 31,536,000 s are a year."""
    x_content_type_options: str | None = "nosniff"
    referrer_policy: str | None = "same-origin"
    """Links out of a self-hosted product do not reveal its host name."""
    permissions_policy: str | None = DEFAULT_PERMISSIONS
    cross_origin_opener_policy: str | None = "same-origin"
    """`same-origin-allow-popups` if users sign in through a popup of another site."""

    def __post_init__(self) -> None:
        """Raise `ConfigError` for a value that is not valid in a header."""
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, str) and not (value.isascii() and value.isprintable() and value.strip()):
                raise ConfigError(f"{each.name}={value!r} cannot be a header. Use printable ASCII, or None.")

    def as_headers(self, *, is_secure: bool) -> list[Header]:
        """Return names and values for ASGI, over https or not."""
        headers = []
        for each in fields(self):
            value, name = getattr(self, each.name), each.name.replace("_", "-").encode()
            if isinstance(value, str) and (is_secure or name != _OVER_TLS):
                is_silent = name == _POLICY and self.is_report_only
                headers.append((_POLICY_REPORT_ONLY if is_silent else name, value.encode("ascii")))
        return headers


class ResponseHeaders:
    """Set the headers on each response."""

    def __init__(self, headers: SecurityHeaders, host: str, snapshot: ConsentSnapshot) -> None:
        self._snapshot = snapshot
        self._sources = sources = posthog_sources(host)
        # Built once: a response only picks one of four lists.
        self._plain = _Variants(headers.as_headers(is_secure=False), sources)
        self._secure = _Variants(headers.as_headers(is_secure=True), sources)

    def secured(self, message: Message, status: int, request: WatchedRequest) -> Message:
        """Return a copy of a response's start with our headers; the application may send it again."""
        if status < FINAL_STATUS:
            return message
        try:
            own = self._secure if request.scope.get("scheme") == "https" else self._plain
        except Exception:  # noqa: BLE001 - of a third-party class; the application will report it
            own = self._plain
        given = message.get("headers", ())
        headers = list(given)
        # Under an answer of the last second only: a page keeps its policy while it is open (docs/adr/0016).
        is_reporting = monotonic() <= self._snapshot.reporting_until_s
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
            log_fault("security headers could not be set", fault)
            headers = headers if iter(given) is given else given  # an iterator is exhausted now
        return {**message, "headers": headers}

    def secured_texts(self, headers: list[Text], status: int, request: WatchedRequest) -> list[Text]:
        """Return the headers of a WSGI response with ours."""
        given = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        message = self.secured({"headers": given}, status, request)
        return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in message["headers"]]

    def _merged(self, headers: list[Header], ours: list[Header], *, is_reporting: bool) -> list[Header]:
        """Return the application's headers with its policies extended, and ours that it does not send."""
        sources = self._sources if is_reporting else ()
        present = {name.lower() for name, _ in headers}
        extended = [_extended(header, sources) for header in headers]
        return extended + [header for header in ours if header[0] not in present]


class _Variants:
    """The product's headers while error reports are off, and while they are on."""

    __slots__ = ("names", "reporting", "silent")

    def __init__(self, headers: list[Header], sources: Sources) -> None:
        self.silent = headers
        self.reporting = [_extended(header, sources) for header in headers]
        self.names = _POLICIES.union(name for name, _ in headers)


def csp_nonce() -> str:
    """Return the nonce of the current request, and allow scripts that carry it.

    For ``<script nonce="…">`` in a page that is not cached. Raises `OtelPosthogError` outside of a
    request to an application that is wrapped with `security_headers`.
    """
    request = current_request()
    if request is None or request.security is None:
        raise OtelPosthogError(
            "csp_nonce() works within a request only. Give Telemetry(security_headers=SecurityHeaders()) "
            "and serve the application that telemetry.wrap returns."
        )
    if request.nonce is None:
        request.nonce = secrets.token_urlsafe(NONCE_BYTES)
    return request.nonce


def _extended(header: Header, sources: Sources) -> Header:
    name, value = header
    return (name, allow(value, sources)) if name.lower() in _POLICIES else header


def _with_nonce(header: Header, nonce: str) -> Header:
    name, value = header
    return (name, allow_script_nonce(value, nonce)) if name.lower() in _POLICIES else header
