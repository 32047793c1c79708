"""Instrument a product for PostHog by OpenTelemetry's own convention.

`opentelemetry-instrument` and the operator's injection load it after they have made the exporters. Without
one named posthog it does nothing.
"""

from __future__ import annotations

from collections.abc import Collection

from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]  # untyped

from otel_posthog.declarative import shared

from .applications import Applications


class PostHogInstrumentor(BaseInstrumentor):  # type: ignore[misc]  # untyped
    """Wrap applications as `Telemetry.wrap` does, with the `Telemetry` that exporters request."""

    _applications: Applications | None = None

    def instrumentation_dependencies(self) -> Collection[str]:
        """Return no package: each framework and server is optional."""
        return ()

    def _instrument(self, **_options: object) -> None:
        if shared.is_wanted:
            shared.is_instrumented = True
            self._applications = Applications(shared.telemetry)
            self._applications.watch_imports()

    def _uninstrument(self, **_options: object) -> None:
        shared.is_instrumented = False
        if self._applications is not None:
            self._applications.restore()
