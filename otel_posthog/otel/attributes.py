"""Names of the log-record attributes that emitters and the mapping share.

The standard ones come from OpenTelemetry's semantic conventions (exceptions, HTTP, URL, server);
the `posthog.*` ones are ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

# Instrumentation scope of our own records; scopes below it (`otel_posthog.…`) are our log lines.
SCOPE: Final = "otel_posthog"

# The version of the conventions whose names are used.
SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.44.0"

# Name of the log record of an exception, as of the event that a span records.
EXCEPTION_EVENT: Final = "exception"
EXCEPTION_TYPE: Final = "exception.type"
EXCEPTION_MESSAGE: Final = "exception.message"
EXCEPTION_STACKTRACE: Final = "exception.stacktrace"
# Of the request: the path without its query, which may hold tokens, and the host as the client named it,
# which is sent only with `send_host`.
HTTP_REQUEST_METHOD: Final = "http.request.method"
HTTP_ROUTE: Final = "http.route"
URL_SCHEME: Final = "url.scheme"
URL_PATH: Final = "url.path"
SERVER_ADDRESS: Final = "server.address"

# Names that instrumentations write unless OTEL_SEMCONV_STABILITY_OPT_IN says otherwise.
FORMER_NAMES: Final = {
    HTTP_REQUEST_METHOD: "http.method",
    URL_SCHEME: "http.scheme",
    URL_PATH: "http.target",
    SERVER_ADDRESS: "http.host",
}
FORMER_URL: Final = "http.url"
# On a span that serves no request they describe one that the product makes to somebody else.
_OF_REQUEST = frozenset({HTTP_ROUTE, FORMER_URL, *FORMER_NAMES, *FORMER_NAMES.values()})

# A record keeps its uuid on every way to PostHog, which counts two events with one uuid as one.
EVENT_UUID: Final = "posthog.event_uuid"
EVENT_NAME: Final = "posthog.event"
# JSON text built by `emit.tracebacks.describe`.
EXCEPTION_CHAIN: Final = "posthog.exception_chain"
EXCEPTION_HANDLED: Final = "posthog.exception_handled"
# Its severity, if that is not `error`.
EXCEPTION_LEVEL: Final = "posthog.exception_level"
# How it was caught, if neither by the middleware nor by `capture_exception`.
EXCEPTION_MECHANISM: Final = "posthog.exception_mechanism"
# `frontend` for an error of a page, which the server reports on its behalf.
SOURCE: Final = "posthog.source"
# JSON text made by `emit.breadcrumbs.Breadcrumbs.as_json`.
EXCEPTION_STEPS: Final = "posthog.exception_steps"
# Where the server has placed the application, which is no part of the route.
ROOT_PATH: Final = "posthog.root_path"
# Before each property that a caller of `capture_exception` adds.
PROPERTY_PREFIX: Final = "posthog.property."

# JSON text of an event that has passed the gate of its process; a gateway sends it under the same uuid.
FINISHED_EVENT: Final = "posthog.finished_event"
# A gateway has no consent of its own: it reads on each record what its installation had allowed, and
# drops the names again before it sends.
INSTANCE_ID: Final = "posthog.instance_id"
# Before each attribute that `consent.stamps` writes beside an event for a Collector.
CONSENT_PREFIX: Final = "posthog.consent."

# Of the host's resource, the preferred name first.
BASE_NAMES: Final = {
    "service_version": ("service.version",),
    "environment": ("deployment.environment.name", "deployment.environment"),  # the latter until semconv 1.27
}
MAX_BASE_CHARS: Final = 200

# Name of the meter whose gauges become the daily heartbeat.
HEARTBEAT_SCOPE: Final = "otel_posthog.heartbeat"
# Attribute of a constant 1 that carries a text or a boolean, which a metric cannot hold itself.
GAUGE_VALUE: Final = "posthog.gauge_value"


def of_product(recorded: Mapping[str, object], *, is_server: bool) -> Mapping[str, object]:
    """Return a span's attributes, without those of a request unless the span serves it."""
    return recorded if is_server else {key: recorded[key] for key in recorded if key not in _OF_REQUEST}
