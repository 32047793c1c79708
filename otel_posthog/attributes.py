"""Names of the log-record attributes that the two halves agree on.

The standard ones come from OpenTelemetry's semantic conventions (exceptions, HTTP, URL, server);
the `posthog.*` ones are ours.
"""

from __future__ import annotations

from typing import Final

SCOPE: Final = "otel_posthog"
"""Instrumentation scope of our own records; below it (`otel_posthog.…`) lie only our log lines."""

EXCEPTION_TYPE: Final = "exception.type"
EXCEPTION_MESSAGE: Final = "exception.message"
EXCEPTION_STACKTRACE: Final = "exception.stacktrace"
HTTP_REQUEST_METHOD: Final = "http.request.method"
HTTP_ROUTE: Final = "http.route"
URL_SCHEME: Final = "url.scheme"
URL_PATH: Final = "url.path"
SERVER_ADDRESS: Final = "server.address"

FORMER_NAMES: Final = {
    HTTP_REQUEST_METHOD: "http.method",
    URL_SCHEME: "http.scheme",
    URL_PATH: "http.target",
    SERVER_ADDRESS: "http.host",
}
"""What instrumentations write unless OTEL_SEMCONV_STABILITY_OPT_IN says otherwise."""

EVENT_UUID: Final = "posthog.event_uuid"
EVENT_NAME: Final = "posthog.event"
EXCEPTION_CHAIN: Final = "posthog.exception_chain"
"""JSON text made by `tracebacks.describe`."""
EXCEPTION_HANDLED: Final = "posthog.exception_handled"
EXCEPTION_LEVEL: Final = "posthog.exception_level"
"""How bad it is, where that is not `error`."""
EXCEPTION_MECHANISM: Final = "posthog.exception_mechanism"
"""How it was caught, where that was neither a request nor a call by hand."""
EXCEPTION_STEPS: Final = "posthog.exception_steps"
"""JSON text made by `steps.Steps.as_json`."""
PROPERTY_PREFIX: Final = "posthog.property."
"""Before each property that a caller of `capture_exception` adds."""

EXCEPTION_TOLD: Final = "posthog.exception_told"
"""On a span: somebody else reports what ended it, so that the span does not."""

INSTANCE_ID: Final = "posthog.instance_id"
CONSENT_PREFIX: Final = "posthog.consent."
"""Before what `stamps.py` writes on each record that leaves for a Collector."""

HEARTBEAT_SCOPE: Final = "otel_posthog.heartbeat"
"""Name of the meter whose gauges become the daily heartbeat."""
GAUGE_VALUE: Final = "posthog.gauge_value"
"""Attribute of a constant 1 that carries a text or a boolean, which a metric cannot hold itself."""
