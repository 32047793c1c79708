"""OpenTelemetry's providers: the host's where there are any, else our own, which nobody but us sees.

Processors cannot be taken off a provider, so each gets ours once. The resources of our own are built
by hand: `Resource.create` copies OTEL_RESOURCE_ATTRIBUTES and can add user name and command line.
"""

from __future__ import annotations

from importlib.metadata import version

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Tracer, get_tracer_provider

from . import attributes
from ._otel import Logger
from ._otel_sdk import LoggerProvider, LogRecordLimits, put_first
from .mapping import LIBRARY
from .processors import ConsentLogRecordProcessor, ConsentSpanProcessor
from .tracing import own_provider, tracer_of

_MAX_ATTRIBUTES = 128
_MAX_ATTRIBUTE_CHARS = 1_000_000  # room for an exception's whole chain as JSON


class Providers:
    """Put the processors on the providers that were given, or that the process has."""

    def __init__(
        self,
        *,
        logs: ConsentLogRecordProcessor,
        spans: ConsentSpanProcessor,
        logger_provider: LoggerProvider | None,
        tracer_provider: TracerProvider | None,
    ) -> None:
        self._logs = logs
        self._spans = spans
        self._logger_provider = logger_provider
        self._tracer_provider = tracer_provider
        self._is_extending_logger = False
        self._extended_tracer: TracerProvider | None = None

    def logger(self) -> Logger:
        """Return the logger of the host's provider where it handed one over, else of one of our own."""
        provider = self._logger_provider
        if provider is None:
            provider = self._logger_provider = LoggerProvider(
                resource=Resource({"service.name": LIBRARY}),
                shutdown_on_exit=False,
                log_record_limits=LogRecordLimits(
                    max_log_record_attributes=_MAX_ATTRIBUTES,
                    max_log_record_attribute_length=_MAX_ATTRIBUTE_CHARS,
                ),
            )
        if not self._is_extending_logger:
            self._is_extending_logger = True
            put_first(provider, self._logs)
        return provider.get_logger(attributes.SCOPE, version(LIBRARY))

    def extend_tracer(self) -> None:
        """Put our processor on the tracer provider given, or on the process's own if the host made one."""
        provider = self._tracer_provider or get_tracer_provider()
        if isinstance(provider, TracerProvider) and self._extended_tracer is None:
            self._extended_tracer = provider
            provider.add_span_processor(self._spans)

    def request_tracer(self) -> Tracer:
        """Return a tracer of the host's provider, else of one of our own."""
        self.extend_tracer()  # the host may have made its provider since the start
        if self._extended_tracer is None:
            self._tracer_provider = own_provider()
            self.extend_tracer()
        return tracer_of(self._extended_tracer or own_provider())
