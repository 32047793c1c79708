"""Decide which requests get a span of ours: those that a span rule wants and nothing else traces.

A span is made only while telemetry is not denied: it costs far more than all else in a request.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field

from opentelemetry.trace import INVALID_SPAN, Tracer, get_current_span

from otel_posthog._runtime.reporting import LogLimiter
from otel_posthog.consent.state import Answer
from otel_posthog.consent.watch import ConsentWatch
from otel_posthog.middleware.asgi import ASGIApp, Scope
from otel_posthog.registry import Kind
from otel_posthog.span_rules import SpanRules

_log = logging.getLogger(__name__)
# Set by the instrumentations of FastAPI and Starlette.
_INSTRUMENTED_MARK = "_is_instrumented_by_opentelemetry"
_MIDDLEWARE = "OpenTelemetryMiddleware"  # contrib's, and Starlette's own
# A proxy answers for any attribute, so the layers may never end.
_MAX_LAYERS = 100
_DENIED, _TELEMETRY = Answer.DENIED, Kind.TELEMETRY  # an enum's members are slow to look up


class AppTracing:
    """Decide for each request of one application whether it gets a span."""

    def __init__(self, app: ASGIApp, tracing: RequestTracing) -> None:
        self._app = app
        self._tracing = tracing
        self._traced: ASGIApp | None = None
        self._is_instrumented: bool | None = None

    def prepare(self) -> None:
        """Load the instrumentation once; call it off the event loop, since loading takes time."""
        if self._traced is not None:
            return
        try:
            from .traced_app import TracedApp  # noqa: PLC0415 - needs an extra

            self._traced = TracedApp(self._app, self._tracing.tracer())
        except ImportError:
            self._tracing.log_limiter.warning(
                _log,
                "Requests make no spans for the span rules. Install: pip install 'otel-posthog[spans]', "
                "or instrument the application yourself.",
            )
        except Exception as error:  # noqa: BLE001 - OpenTelemetry raises for a wrong variable
            self._tracing.log_limiter.warning(
                _log,
                "Requests make no spans for the span rules (%s). Check OTEL_PROPAGATORS and OTEL_PYTHON_*.",
                type(error).__name__,
            )

    def app_for(self, scope: Scope) -> ASGIApp | None:
        """Return the application to call for a span of this request, None if it gets no span."""
        if self._traced is None or not self._tracing.is_wanted():
            return None
        if get_current_span() is not INVALID_SPAN:  # another instrumentation traces, or decided not to
            return None
        if self._is_instrumented is None:
            self._is_instrumented = _is_instrumented(self._app, scope, self._tracing.receives)
        return None if self._is_instrumented else self._traced


@dataclass(eq=False)
class RequestTracing:
    """Trace every wrapped application; without span rules none is traced."""

    rules: SpanRules
    watch: ConsentWatch
    tracer: Callable[[], Tracer]
    receives: Callable[[object], bool]  # the spans of that provider, None for the process's
    log_limiter: LogLimiter
    # Whether a processor receives spans; set at start and stop.
    is_running: bool = field(default=False, init=False)
    _apps: weakref.WeakSet[AppTracing] = field(default_factory=weakref.WeakSet, init=False)

    def trace(self, app: ASGIApp) -> AppTracing | None:
        """Return the tracing of an application, None without span rules."""
        if not self.rules:
            return None
        tracing = AppTracing(app, self)
        self._apps.add(tracing)
        self.prepare()
        return tracing

    def prepare(self) -> None:
        """Load the instrumentation once telemetry may be on; call it off the event loop."""
        consent = self.watch.current
        if consent.kinds[_TELEMETRY].answer is not _DENIED and consent.was_read:
            for tracing in list(self._apps):
                tracing.prepare()

    def is_wanted(self) -> bool:
        """Return whether a span may become an event now."""
        return self.is_running and self.watch.current.kinds[_TELEMETRY].answer is not _DENIED


def _is_instrumented(app: ASGIApp, scope: Scope, receives: Callable[[object], bool]) -> bool:
    """Return whether an inner layer of the application makes spans of requests."""
    try:
        layer: object = app
        for _ in range(_MAX_LAYERS):
            if _is_marked(layer) or type(layer).__name__ == _MIDDLEWARE or _traces_itself(layer, receives):
                return True
            layer = getattr(layer, "app", None)
            if layer is None:
                break
        return _is_marked(scope.get("app"))
    except Exception:  # noqa: BLE001 - a third-party class may raise for any attribute
        return False


def _traces_itself(layer: object, receives: Callable[[object], bool]) -> bool:
    """Return whether it is a FastAPI (0.160 and newer) or Starlette whose own spans we receive."""
    config = getattr(getattr(layer, "_native_telemetry", None), "config", {"tracing": False})
    if config["tracing"]:
        return receives(config["tracer_provider"])
    inner = [each for each in getattr(layer, "user_middleware", ()) if each.cls.__name__ == _MIDDLEWARE]
    return bool(inner) and receives(inner[0].kwargs.get("tracer_provider"))


def _is_marked(layer: object) -> bool:
    return getattr(layer, _INSTRUMENTED_MARK, False) is True
