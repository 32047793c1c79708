"""Take reports of errors from the product's own pages, within limits."""

from __future__ import annotations

from ipaddress import ip_interface
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, request_response

from otel_posthog._runtime.reporting import Counts
from otel_posthog.emit.failures import RateLimit
from otel_posthog.telemetry import Telemetry
from otel_posthog.web.requests import Answering, Authorize, Gatekeeper, read_json, senders_of

from .reports import emit_report, is_report

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
        refuse_other_pages(request)
        # The client first, so that one that floods takes no token of the others.
        client = _client_of(request), "", 0, "", ""
        if not (self._of_client.admits(client) and self._of_all.admits(("", "", 0, "", ""))):
            raise HTTPException(429, "There are too many reports.", {"Retry-After": "60"})
        if self._config.browser_reports_need == "user":
            await self._gatekeeper.demand(request, "user")
        report = await read_json(request, self._config.browser_report_max_bytes)
        if not is_report(report):
            raise HTTPException(422, "This is no report of an error in a page; see docs/browser.md.")
        lifecycle, headers = self._telemetry.lifecycle, request.headers
        is_unwanted = "1" in (headers.get("sec-gpc"), headers.get("dnt"))  # by the visitor's browser
        if not is_unwanted and lifecycle.touch() and lifecycle.is_running:
            emit_report(report, lifecycle.owner, headers.get("host", "").lower())
        return Response(status_code=204)


def refuse_other_pages(request: Request) -> None:
    """Raise a 403 unless a page of this very origin sends the request."""
    sites, origins = senders_of(request)
    # Browsers leave the first header out over plain http. Behind a proxy the scheme may be unknown here.
    hosts = {urlsplit(origin).netloc for origin in origins}
    if sites != {"same-origin"} if sites else hosts != {request.headers.get("host", "").lower()}:
        raise HTTPException(403, "Only pages of this site report errors here.")


def _client_of(request: Request) -> str:
    """Return whose tokens a report takes; of IPv6 the network, since a client has addresses without end."""
    address = request.client.host if request.client else ""
    try:
        return str(ip_interface(f"{address}/64").network) if ":" in address else address
    except ValueError:  # with a zone
        return address
