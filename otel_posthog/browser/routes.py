"""Take reports of errors from the product's own pages, within limits."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address, ip_network

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, request_response

from otel_posthog._runtime.reporting import Counts
from otel_posthog.emit.failures import RateLimit
from otel_posthog.telemetry import Telemetry
from otel_posthog.web.requests import Answering, Authorize, Gatekeeper, read_json, senders_of

from .reports import emit_report, is_report

DIRECT = "direct"  # of the setting `browser_reports`
_MAX_CLIENT_CHARS = 64
PATH = "/api/settings/browser-report"


def route(telemetry: Telemetry, *, authorize: Authorize | None = None, path: str = PATH) -> Route:
    """Return the route alone, for Starlette's and FastAPI's `routes`; the settings API has it, too.

    `authorize(connection, need)` is asked for a `"user"` if the setting `browser_reports_need` is `user`.
    """
    reports = BrowserReports(telemetry, Gatekeeper(authorize, telemetry.log_limiter))
    return Route(path, Answering(request_response(reports.take), refuse_other_pages), methods=["POST"])


class BrowserReports:
    """Check each report and emit it as an error of the product."""

    def __init__(self, telemetry: Telemetry, gatekeeper: Gatekeeper) -> None:
        self._telemetry, self._config, self._gatekeeper = telemetry, telemetry.config, gatekeeper
        self._of_client, self._of_all = (
            RateLimit(Counts(), burst=number, refill_per_minute=number)
            for number in (self._config.browser_client_per_minute, self._config.browser_per_minute)
        )

    async def take(self, request: Request) -> Response:
        """Accept one report; nothing of it is kept while error reports are off."""
        if self._config.browser_reports == DIRECT:
            raise HTTPException(404, "Pages of this product report to PostHog itself.")
        refuse_other_pages(request)
        _take_token(self._of_client, _client_of(request))
        if self._config.browser_reports_need == "user":
            await self._gatekeeper.demand(request, "user")
        report = await read_json(request, self._config.browser_report_max_bytes)
        if not is_report(report):
            raise HTTPException(422, "This is no report of an error in a page; see docs/browser.md.")
        _take_token(self._of_all, "")  # last, so that what is refused takes none of the others'
        lifecycle, headers = self._telemetry.lifecycle, request.headers
        is_unwanted = "1" in (headers.get("sec-gpc"), headers.get("dnt"))  # by the visitor's browser
        if not is_unwanted and lifecycle.touch() and lifecycle.is_running:
            emit_report(report, lifecycle.owner, _hosts_of(request))
        return Response(status_code=204)


def refuse_other_pages(request: Request) -> None:
    """Raise a 403 unless a page of this very origin sends the request."""
    sites, origins = senders_of(request)
    # Browsers leave the first header out over plain http. Behind a proxy the scheme may be unknown here.
    host = request.headers.get("host", "").lower()
    is_own = bool(origins) and origins <= {f"http://{host}", f"https://{host}"}
    if sites != {"same-origin"} if sites else not is_own:
        raise HTTPException(403, "Only pages of this site report errors here.")


def _client_of(request: Request) -> str:
    """Return whose tokens a report takes; of IPv6 the network, since a client has addresses without end."""
    address = request.client.host if request.client else ""
    try:
        found = ip_address(address)
    except ValueError:  # with a zone, or what a proxy calls the client
        return address[:_MAX_CLIENT_CHARS]
    if isinstance(found, IPv6Address) and found.ipv4_mapped is None:
        return str(ip_network((found, 64), strict=False))
    return str(getattr(found, "ipv4_mapped", found))


def _take_token(limit: RateLimit, whose: str) -> None:
    if not limit.admits((whose, "", 0, "", "")):
        raise HTTPException(429, "There are too many reports.", {"Retry-After": "60"})


def _hosts_of(request: Request) -> set[str]:
    """Return the names by which the page may know this server, a proxy before it included."""
    named = [*request.headers.getlist("host"), *request.headers.getlist("x-forwarded-host")]
    origins = [origin.partition("//")[2] for origin in request.headers.getlist("origin")]
    return {name.strip().lower() for text in (*named, *origins) for name in text.split(",")}
