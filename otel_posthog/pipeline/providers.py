"""Attach the processors to the host's providers, or to private ones.

Processors cannot be removed from a provider, so each gets ours once.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import cast

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import NoOpTracerProvider, ProxyTracerProvider, Tracer

from otel_posthog.emit.values import name_of
from otel_posthog.mapping import LIBRARY
from otel_posthog.otel import attributes
from otel_posthog.otel.api import (
    Logger,
    get_logger_provider,
    process_meter_provider,
    process_tracer_provider,
)
from otel_posthog.otel.records import claim
from otel_posthog.otel.sdk import (
    LoggerProvider,
    LogRecordLimits,
    LogRecordProcessor,
    ReadWriteLogRecord,
    put_first,
    put_span_processor_first,
)

from .processors import ConsentLogRecordProcessor, ConsentSpanProcessor

_log = logging.getLogger(__name__)
_UNREAD = (
    "The tracer provider (%s) takes no span processors: span rules and errors on its spans yield nothing. "
    "Pass an SDK provider as tracer_provider, or use track() and capture_exception()."
)
_MAX_ATTRIBUTES = 128
_MAX_ATTRIBUTE_CHARS = 1_000_000  # room for an exception's whole chain as JSON
_SPAN_LIMITS = SpanLimits(  # each is given, for the same reason as those of log records
    max_attributes=_MAX_ATTRIBUTES,
    max_events=_MAX_ATTRIBUTES,
    max_links=_MAX_ATTRIBUTES,
    max_span_attributes=_MAX_ATTRIBUTES,
    max_event_attributes=_MAX_ATTRIBUTES,
    max_link_attributes=_MAX_ATTRIBUTES,
    max_attribute_length=_MAX_ATTRIBUTE_CHARS,
    max_span_attribute_length=_MAX_ATTRIBUTE_CHARS,
)


class HostLogRecordProcessor(LogRecordProcessor):
    """Pass the records of a provider that is the host's to ours, which does not end with it."""

    def __init__(self, processor: ConsentLogRecordProcessor, *, claims: bool) -> None:
        self._processor = processor
        self._claims = claims  # where declared exporters get the same records

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        """Queue the record, unless a declared exporter has sent it."""
        if not self._claims or claim(log_record.log_record):
            self._processor.on_emit(log_record)

    def shutdown(self) -> None:
        """Do nothing: `track` may go on."""

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Export the queue."""
        return self._processor.force_flush(timeout_millis)


def resource_of(*given: object) -> Mapping[str, object]:
    """Return the attributes of the host's resource, by the first of these providers that has one."""
    for provider in (*given, process_tracer_provider()):
        if isinstance(found := getattr(getattr(provider, "resource", None), "attributes", None), Mapping):
            return found
    return {}


def own_logger_provider(processor: LogRecordProcessor) -> LoggerProvider:
    """Return a private provider: what it emits passes this processor, and no exporter of the host."""
    provider = LoggerProvider(
        # Built by hand, like the tracer's: `Resource.create` copies OTEL_RESOURCE_ATTRIBUTES and can add user
        # name and command line.
        resource=Resource({"service.name": LIBRARY}),
        shutdown_on_exit=False,
        meter_provider=process_meter_provider(),
        # Each limit is given, or the SDK reads OTEL_*_LIMIT and raises for a wrong one.
        log_record_limits=LogRecordLimits(
            max_attributes=_MAX_ATTRIBUTES,
            max_attribute_length=_MAX_ATTRIBUTE_CHARS,
            max_log_record_attributes=_MAX_ATTRIBUTES,
            max_log_record_attribute_length=_MAX_ATTRIBUTE_CHARS,
        ),
    )
    provider.add_log_record_processor(processor)
    return provider


def logger_of(provider: LoggerProvider) -> Logger:
    """Return the logger of our scope."""
    return provider.get_logger(attributes.SCOPE, version(LIBRARY), attributes.SCHEMA_URL)


@dataclass(slots=True, kw_only=True)
class Providers:
    """Attach the processors to the given providers, or to those of the process."""

    logs: ConsentLogRecordProcessor
    spans: ConsentSpanProcessor
    logger_provider: LoggerProvider | None
    tracer_provider: TracerProvider | None
    # Whether the records of the process's provider become events, as a file says; in code, of a given one.
    reads_host: bool = False
    _own_logger: LoggerProvider | None = field(default=None, init=False)
    _extended_tracer: TracerProvider | None = field(default=None, init=False)
    _read_logger: LoggerProvider | None = field(default=None, init=False)
    # Class of a provider that takes no processor, so that its spans cannot be read.
    unread: str | None = field(default=None, init=False)

    def logger(self) -> Logger:
        """Return a logger of a private provider: what it emits passes no exporter of the host."""
        if self._own_logger is None:
            self._own_logger = own_logger_provider(self.logs)
        return logger_of(self._own_logger)

    def extend(self) -> None:
        """Attach the processors to what the host has made so far."""
        self.extend_tracer()
        provider = self.logger_provider or (get_logger_provider() if self.reads_host else None)
        if isinstance(provider, LoggerProvider) and self._read_logger is not provider:
            self._read_logger = provider
            put_first(provider, HostLogRecordProcessor(self.logs, claims=self.reads_host))

    def extend_tracer(self) -> None:
        """Attach the span processor to the given tracer provider, or to the process's if the host set one."""
        provider = self.tracer_provider or process_tracer_provider()
        if self._extended_tracer is not None or isinstance(
            provider, (ProxyTracerProvider, NoOpTracerProvider)
        ):
            return
        # Not only the SDK's own class: a wrapper passes this call on.
        if callable(getattr(provider, "add_span_processor", None)):
            self._extend(cast("TracerProvider", provider))
        elif self.unread is None:
            self.unread = ".".join(reversed(name_of(type(provider))))
            _log.warning(_UNREAD, self.unread)

    def receives(self, provider: object) -> bool:
        """Return whether spans of this provider, by default the process's, reach the processor."""
        return self._extended_tracer is (provider or process_tracer_provider())

    def request_tracer(self) -> Tracer:
        """Return a tracer of the host's provider, else of a private one."""
        self.extend_tracer()  # the host may have made its provider since the start
        provider = self._extended_tracer or self._extend(
            # Samples everything; otherwise a client's traceparent decides which events exist.
            TracerProvider(
                sampler=ALWAYS_ON,
                resource=Resource({"service.name": LIBRARY}),
                shutdown_on_exit=False,
                span_limits=_SPAN_LIMITS,
                meter_provider=process_meter_provider(),
            )
        )
        return provider.get_tracer(attributes.SCOPE, version(LIBRARY))

    def _extend(self, provider: TracerProvider) -> TracerProvider:
        self._extended_tracer = provider
        if self.reads_host:  # a declared exporter knows nothing of the request
            put_span_processor_first(provider, self.spans)
        else:
            provider.add_span_processor(self.spans)
        return provider
