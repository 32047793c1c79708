"""Run an application with a span for each request, by OpenTelemetry's semantic conventions."""

from __future__ import annotations

from collections.abc import Awaitable

from opentelemetry.context import Context, attach, detach
from opentelemetry.instrumentation.asgi import (
    OpenTelemetryMiddleware,
    asgi_getter,
    collect_request_attributes,
    get_default_span_details,
    set_status_code,
)
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.propagate import extract
from opentelemetry.trace import (
    Span,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    get_current_span,
    set_span_in_context,
)

from otel_posthog.emit.request_context import WrappedSend
from otel_posthog.middleware.asgi import ASGIApp, Message, Receive, Scope, Send, as_coroutine_function


# OpenTelemetry's functions, not its middleware (docs/adr/0018): `OpenTelemetryMiddleware` answers `send`
# itself, loses the application's return value, fails on scopes and messages that it does not know, and
# records metrics that nothing reads.
class TracedApp:
    """The application, with a span for each request."""

    def __init__(self, app: ASGIApp, tracer: Tracer) -> None:
        self._app = app
        self._tracer = tracer
        self._conventions = conventions(tracer)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application; a request that cannot be described gets no span."""
        started = self._start(scope)
        if started is None:
            return await self._app(scope, receive, send)
        span, context = started
        token = attach(set_span_in_context(span, context))
        try:
            return await self._app(scope, receive, _Response(span, self._conventions, send).send_observed)
        except Exception as error:
            _record_failure(span, error)
            raise
        finally:
            if get_current_span() is span:  # a coroutine may be closed in another context than it ran in
                detach(token)
            if span.is_recording():
                span.end()

    def _start(self, scope: Scope) -> tuple[Span, Context] | None:
        try:
            described: dict[str, object] = dict(scope)
            if not isinstance(described.get("headers"), (list, tuple)):
                described["headers"] = ()  # an iterator can be read only once, by the application
            context = extract(described, getter=asgi_getter)
            name, _ = get_default_span_details(described)
            attributes = collect_request_attributes(described, self._conventions)  # type: ignore[no-untyped-call]
            return self._tracer.start_span(name, context, SpanKind.SERVER, attributes), context
        except Exception:  # noqa: BLE001 - an odd scope; the application will raise
            return None


def conventions(tracer: Tracer) -> object:
    """Return which version of the conventions OTEL_SEMCONV_STABILITY_OPT_IN asks for."""
    middleware = OpenTelemetryMiddleware(_no_app, tracer=tracer, meter_provider=NoOpMeterProvider())
    return middleware._sem_conv_opt_in_mode  # noqa: SLF001 - tests/otel/test_seams.py


class _Response(WrappedSend):
    """The response's status and end, observed by the `send` that the application gets."""

    __slots__ = ("_conventions", "_span", "send")

    def __init__(self, span: Span, conventions: object, send: Send) -> None:
        self.send = send
        self._span = span
        self._conventions = conventions

    @as_coroutine_function
    def send_observed(self, message: Message) -> Awaitable[None]:
        try:
            kind = message.get("type") if self._span.is_recording() else None  # an ended span warns
            if kind == "http.response.start":
                status = message.get("status")
                set_status_code(self._span, status, None, self._conventions)  # type: ignore[no-untyped-call]
            elif kind == "http.response.body" and not message.get("more_body"):
                self._span.end()  # work after the response is not part of it
        except Exception:  # noqa: BLE001, S110 - no ASGI message; the server will raise
            pass
        return self.send(message)


def _record_failure(span: Span, error: Exception) -> None:
    try:
        if span.is_recording():
            span.record_exception(error)
            span.set_status(Status(StatusCode.ERROR, type(error).__name__))
    except BaseException:  # noqa: BLE001, S110 - the exception may raise for any attribute
        pass


async def _no_app(_scope: Scope, _receive: Receive, _send: Send) -> None:
    """Do nothing; the middleware needs an application."""
