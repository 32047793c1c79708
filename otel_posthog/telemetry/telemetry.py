"""Compose everything behind the one object of a product."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Self

from opentelemetry.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider

from otel_posthog._runtime.reporting import LogLimiter
from otel_posthog.config.declared_events import declared_events, registry_of
from otel_posthog.config.settings import Config
from otel_posthog.consent.state import Answer, Consent, Settings
from otel_posthog.delivery.balance import Delivered
from otel_posthog.emit.request_context import within
from otel_posthog.middleware import SecurityHeaders, watch
from otel_posthog.middleware.asgi import ASGIApp
from otel_posthog.middleware.wsgi import WSGIApp, watch_wsgi
from otel_posthog.otel.sdk import LoggerProvider
from otel_posthog.pipeline.providers import Providers, resource_of
from otel_posthog.pipeline.request_tracing import RequestTracing
from otel_posthog.registry import Kind, Registry
from otel_posthog.scrubbing import BeforeSend, Scrubber, ScrubRules
from otel_posthog.span_rules import SpanRule, SpanRules
from otel_posthog.store import DatabaseSource

from .consent_service import Activity, KindStatus, Question
from .error_capture import emit_test_exception
from .export_pipeline import ExportPipeline, PipelineOptions
from .lifecycle import TelemetryLifecycle
from .preview import Preview, preview

if TYPE_CHECKING:
    from otel_posthog.config.block import Block
    from otel_posthog.delivery.transport import Transport


class Telemetry:
    """Error reports and product events of one installation.

    Wrap the application with `wrap`, or use the object as a context manager in scripts and tests.
    Nothing happens before `start`: no file, no connection, no thread. Each keyword is a row of the
    settings table (`otel-posthog config show`); arguments win over the environment.
    """

    def __init__(  # noqa: PLR0913 - the public face of the settings table
        self,
        *,
        api_key: str | None = None,
        host: str | None = None,
        database: DatabaseSource | None = None,
        environment: str | None = None,
        service_version: str | None = None,
        registry: Registry | Iterable[type] | None = None,
        security_headers: SecurityHeaders | None = None,
        span_rules: Iterable[SpanRule] = (),
        scrub_rules: ScrubRules | None = None,
        before_send: BeforeSend | None = None,
        transport: Transport | None = None,
        tracer_provider: TracerProvider | None = None,
        logger_provider: LoggerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        clock: Callable[[], float] | None = None,
        environ: Mapping[str, str] | None = None,
        default: bool = False,
        **limits: str | float | bool,
    ) -> None:
        """Resolve the settings and wire the parts; raise `ConfigError` for a bad setting.

        `RegistryError` is raised for a span rule that names what the registry does not know.

        If several run in one process, that with `default=True` gets what belongs to no wrapped application.

        `clock` returns seconds since 1970 and decides when a heartbeat is due; by default the
        database's clock does.
        """
        url = database if isinstance(database, str) else None
        given = {"api_key": api_key, "host": host, "database": url, "environment": environment}
        config = Config.resolve({**given, "service_version": service_version, **limits}, environ)
        config = config.over(resource_of(tracer_provider, logger_provider))
        declared = declared_events(config) if registry is None else registry_of(registry)
        options = PipelineOptions(
            config=config,
            database=database or config.database,
            registry=declared,
            span_rules=SpanRules(span_rules, declared),
            scrubber=Scrubber(scrub_rules, registry=declared),
            before_send=before_send,
            transport=transport,
            meter_provider=meter_provider,
            clock=clock,
            environ=environ,
            is_default=default,
        )
        self._compose(options, logger_provider, tracer_provider, security_headers)

    @classmethod
    def from_block(cls, block: Block) -> Self:
        """Return the one that a `posthog:` block defines; it reads the host's providers."""
        made = cls.__new__(cls)
        options = PipelineOptions(
            config=block.config.over(resource_of()),
            database=block.config.database,
            registry=block.registry,
            span_rules=block.span_rules,
            scrubber=Scrubber(block.scrub_rules, registry=block.registry),
            is_of_file=True,
        )
        cls._compose(made, options)
        return made

    def _compose(
        self,
        options: PipelineOptions,
        logger_provider: LoggerProvider | None = None,
        tracer_provider: TracerProvider | None = None,
        security_headers: SecurityHeaders | None = None,
    ) -> None:
        self.config, self.registry, rules = options.config, options.registry, options.span_rules
        self.log_limiter = LogLimiter()
        self._pipeline = ExportPipeline(options, self.log_limiter)
        self._consent = self._pipeline.consent
        self._watch = self._pipeline.watch
        self.heartbeat = self._pipeline.heartbeat
        providers = Providers(
            logs=self._pipeline.logs,
            spans=self._pipeline.spans,
            logger_provider=logger_provider,
            tracer_provider=tracer_provider,
            reads_host=options.is_of_file,
        )
        # What the middleware uses.
        self.lifecycle = TelemetryLifecycle(
            self._pipeline,
            providers=providers,
            tracing=RequestTracing(
                rules,
                watch=self._watch,
                tracer=providers.request_tracer,
                receives=providers.receives,
                log_limiter=self.log_limiter,
            ),
            security_headers=security_headers,
        )

    def wrap(self, app: ASGIApp) -> ASGIApp:
        """Return the application with exceptions reported; its lifespan starts and stops this object."""
        return watch(app, self.lifecycle)

    def wrap_wsgi(self, app: WSGIApp) -> WSGIApp:
        """Return the WSGI application with exceptions reported; its first request starts this object."""
        return watch_wsgi(app, self.lifecycle)

    def start(self) -> None:
        """Start: `track` and the middleware emit here from now on. Does nothing while running.

        Returns once consent is known, or after `consent_max_age_s`; what is accepted before is held.
        Raises `ConfigError` if another `Telemetry(default=True)` runs and this is one, too.
        """
        self.lifecycle.start()

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Send what waits; return whether all of it was sent within the timeout. Never raises."""
        return self._pipeline.flush(timeout_s)

    def spool(self) -> bool:
        """Write what waits to disk, and leave sending to another process from now on.

        For a process that may be killed, such as the child of a worker: call it at the start and after each
        task. Returns False if the spool is in memory or its disk fails; then `flush` at the end.
        """
        return self._pipeline.leave_sending(self.config.shutdown_timeout_s)

    def shutdown(self, timeout_s: float | None = None) -> None:
        """Send what waits within the timeout (default: `shutdown_timeout_s`), and stop every thread."""
        self.lifecycle.shutdown(timeout_s)

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        """Report an error that leaves the block, flush and stop."""
        self._pipeline.error_capture.report(error)
        self.shutdown()

    async def __aenter__(self) -> Self:
        """Start, without blocking the event loop."""
        await self.lifecycle.enter()
        return self

    async def __aexit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        """Do the same without blocking the event loop."""
        self._pipeline.error_capture.report(error)
        await self.lifecycle.ashutdown()

    def settings(self) -> Settings:
        """Return the settings row and create it if it is absent; raise `StoreError` if that fails."""
        return self._consent.row()

    def update_settings(
        self,
        *,
        is_setup_completed: bool | None = None,
        enable_error_reporting: bool | None = None,
        enable_telemetry: bool | None = None,
        who: str | None = None,
    ) -> Settings:
        """Change the given flags and return the new row; raise `StoreError` if that fails.

        A withdrawal has taken effect when this returns: waiting events are discarded, and no delivery of
        that kind starts afterwards in this process. A grant is one for the present registry. `who` is
        recorded in the audit trail, and never sent.
        """
        update = partial(
            self._consent.store.update,
            is_setup_completed=is_setup_completed,
            enable_error_reporting=enable_error_reporting,
            enable_telemetry=enable_telemetry,
            who=who,
        )
        row = self._watch.change(partial(self._consent.apply, update))
        # A POST that has begun may still carry events of the kind, so it gets this time to end.
        for kind, known in self._watch.current.kinds.items():
            if known.answer is Answer.DENIED:
                self._pipeline.gate.wait_until_idle(kind, self.config.consent_max_age_s)
        return row

    def answer(
        self, *, agreed: Collection[Kind] = (), declined: Collection[Kind] = (), who: str | None = None
    ) -> Settings:
        """Agree to what the registry contains beyond the last grant, or decline it; raise `StoreError`.

        Declined properties are not sent; what was granted before still is.
        """
        answer = partial(self._consent.store.answer, agreed=agreed, declined=declined, who=who)
        return self._watch.change(partial(self._consent.apply, answer))

    def status(self) -> dict[Kind, KindStatus]:
        """Return for each kind whether this process sends it, and why; creates nothing in the database."""
        activity = Activity(
            has_key=self._pipeline.has_transport,
            obstacle=self.lifecycle.obstacle(),
            last_s=self._pipeline.counts.last_s,
            unread_spans=self.lifecycle.unread_spans,
        )
        return self._consent.status(activity)

    def questions(self, row: Settings) -> dict[Kind, Question]:
        """Return what this version would send beyond what was agreed to, by kind; raise `StoreError`."""
        return self._consent.questions(row)

    def preview(self) -> Preview:
        """Return what would be sent now, through the same gate; makes no connection and writes nothing.

        Consent that has not been given is assumed, so that an admin can decide with the data in view.
        """
        row, _ = self._consent.read()
        return preview(self._pipeline, row or self._watch.last_row, self.status())

    def audit(self, *, after_id: int = 0, limit: int = 1000) -> list[dict[str, object]]:
        """Return who changed the decision and when, oldest first, after the entry `after_id`."""
        return self._consent.store.audit(after_id=after_id, limit=limit)

    def recent_consent(self) -> Consent | None:
        """Return what this process may send, or None if the last answer is older than `consent_max_age_s`.

        Never waits: an older answer is refreshed in the background, once at a time.
        """
        self._watch.cached()
        return self._watch.fresh()

    def delivery(self) -> Delivered:
        """Return how many events were sent, and how many were dropped for which reason, since the start.

        Its `by_kind()` returns the balance of the installation: all its processes, and those before them.
        """
        return Delivered(self._pipeline.counts.as_dict(), self._pipeline.spool.balances)

    def send_test_exception(self) -> None:
        """Report a test exception through the normal consent path (requirement R10)."""
        with within(self.lifecycle.owner):
            emit_test_exception(self.config)
