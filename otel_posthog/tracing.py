"""A span for each request, where a span rule wants one and nobody else makes it.

The span is made only while telemetry is not denied: it costs far more than all else here. The host's
tracer provider gets the spans if it has one, else one that nobody but us sees.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable
from importlib.metadata import version

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import INVALID_SPAN, Tracer, get_current_span

from . import attributes
from .consent import Answer, ConsentWatch
from .mapping import LIBRARY
from .middleware.asgi import ASGIApp, Scope
from .notices import Notices
from .span_rules import SpanRules

_log = logging.getLogger(__name__)
_INSTRUMENTED_MARK = (
    "_is_instrumented_by_opentelemetry"  # set by the instrumentations of FastAPI and Starlette
)
_MAX_LAYERS = 100
_DENIED = Answer.DENIED  # an enum's members are slow to look up


class RequestTracing:
    """Decide for each request whether it gets a span."""

    def __init__(
        self, app: ASGIApp, *, is_wanted: Callable[[], bool], tracer: Callable[[], Tracer], notices: Notices
    ) -> None:
        self._app = app
        self._is_wanted = is_wanted
        self._tracer = tracer
        self._notices = notices
        self._traced: ASGIApp | None = None
        self._is_traced_by_others: bool | None = None

    def prepare(self) -> None:
        """Load what makes spans, once; off the event loop, since loading takes time."""
        if self._traced is not None:
            return
        try:
            from .request_span import Traced  # noqa: PLC0415 - needs an extra
        except ImportError:
            self._notices.warn(
                _log,
                "Requests make no spans for the span rules. Install: pip install 'otel-posthog[spans]', "
                "or instrument the application yourself.",
            )
            return
        self._traced = Traced(self._app, self._tracer())

    def app_for(self, scope: Scope) -> ASGIApp | None:
        """Return the application to call for a span of this request, None where none is wanted."""
        if self._traced is None or not self._is_wanted():
            return None
        if get_current_span() is not INVALID_SPAN:  # someone traces already, or has decided not to
            return None
        if self._is_traced_by_others is None:
            self._is_traced_by_others = _is_instrumented(self._app, scope)
        return None if self._is_traced_by_others else self._traced


class RequestTracings:
    """The tracing of every wrapped application; none exists without span rules."""

    def __init__(
        self, rules: SpanRules, *, watch: ConsentWatch, tracer: Callable[[], Tracer], notices: Notices
    ) -> None:
        self._rules = rules
        self._watch = watch
        self._tracer = tracer
        self._notices = notices
        self._all: weakref.WeakSet[RequestTracing] = weakref.WeakSet()
        self.is_running = False
        """Whether there is anybody to take a span; set at start and stop."""

    def trace(self, app: ASGIApp) -> RequestTracing | None:
        """Return what gives requests a span while telemetry is not denied, None without span rules."""
        if not self._rules:
            return None
        tracing = RequestTracing(app, is_wanted=self._is_wanted, tracer=self._tracer, notices=self._notices)
        self._all.add(tracing)
        self.prepare()
        return tracing

    def prepare(self) -> None:
        """Load what is needed once telemetry may be on; off the event loop, since loading takes time."""
        consent = self._watch.current
        if consent.telemetry is not _DENIED and consent.was_looked_at:
            for tracing in list(self._all):
                tracing.prepare()

    def _is_wanted(self) -> bool:
        return self.is_running and self._watch.current.telemetry is not _DENIED


def own_provider() -> TracerProvider:
    """Return a provider that only we know of.

    Each span is recorded whatever a client's `traceparent` says, and the resource is built by hand:
    `Resource.create` copies OTEL_RESOURCE_ATTRIBUTES and can add user name and command line.
    """
    return TracerProvider(
        sampler=ALWAYS_ON, resource=Resource({"service.name": LIBRARY}), shutdown_on_exit=False
    )


def tracer_of(provider: TracerProvider) -> Tracer:
    """Return the tracer whose spans the mapping knows as ours."""
    return provider.get_tracer(attributes.SCOPE, version(LIBRARY))


def _is_instrumented(app: ASGIApp, scope: Scope) -> bool:
    """Tell whether the application makes spans of its requests itself, further inside."""
    try:
        layer: object = app
        for _ in range(_MAX_LAYERS):
            if _is_marked(layer) or type(layer).__name__ == "OpenTelemetryMiddleware":
                return True
            layer = getattr(layer, "app", None)
            if layer is None:
                break
        return _is_marked(scope.get("app"))
    except Exception:  # noqa: BLE001 - of a foreign class that refuses to be looked at
        return False


def _is_marked(layer: object) -> bool:
    return getattr(layer, _INSTRUMENTED_MARK, False) is True
