"""The composition root: one object that wires everything and that a product holds on to."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from opentelemetry.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider

from ._otel_sdk import LoggerProvider
from .config import Config
from .consent import Answer, Consent
from .decisions import AUDIT_MAX_ENTRIES, Decisions
from .declared_events import declared_events, registry_of
from .deliberate import emit_test_exception
from .errors import ConfigError
from .export_half import ExportHalf, Given
from .lifecycle import Startable
from .middleware import SecurityHeaders, SecurityHeadersMiddleware, watch
from .middleware.asgi import ASGIApp
from .middleware.csp import posthog_sources
from .notices import Notices
from .outlook import Outlook
from .preview import Preview, preview
from .providers import Providers
from .registry import Kind, Registry
from .scrubbing import BeforeSend, Scrubber, ScrubRules
from .settings import Settings
from .span_rules import SpanRule, SpanRules
from .status import KindStatus, Question
from .store import DatabaseSource
from .tracing import RequestTracing, RequestTracings
from .transport import Transport

_GRANTED, _DENIED = Answer.GRANTED, Answer.DENIED  # an enum's members are slow to look up


class Telemetry(Startable):
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
        **limits: str | float | bool,
    ) -> None:
        """Resolve the settings and wire the parts; raise `ConfigError` for a bad setting.

        `RegistryError` is raised for a span rule that names what the registry does not know.

        `clock` returns seconds since 1970 and decides when a heartbeat is due; by default the
        database's clock does.
        """
        url = database if isinstance(database, str) else None
        given = {"api_key": api_key, "host": host, "database": url, "environment": environment}
        self.config = Config.resolve({**given, "service_version": service_version, **limits}, environ)
        if self.config.through_collector and logger_provider is None:
            raise ConfigError("through_collector needs your logger_provider, with an OTLP exporter.")
        self.registry = declared_events(self.config) if registry is None else registry_of(registry)
        rules = SpanRules(span_rules, self.registry)
        self.notices = Notices()
        self.outlook = Outlook()
        self._decisions = Decisions(database or self.config.database, self.config, self.registry)
        self._exports = ExportHalf(
            Given(
                config=self.config,
                registry=self.registry,
                span_rules=rules,
                scrubber=Scrubber(scrub_rules, registry=self.registry),
                before_send=before_send,
                transport=transport,
                meter_provider=meter_provider,
                clock=clock,
                environ=environ,
            ),
            decisions=self._decisions,
            notices=self.notices,
            on_change=self._follow,
        )
        self._watch = self._exports.watch
        self.heartbeat = self._exports.heartbeat
        self._providers = Providers(
            logs=self._exports.logs,
            spans=self._exports.spans,
            logger_provider=logger_provider,
            tracer_provider=tracer_provider,
        )
        self._tracings = RequestTracings(
            rules, watch=self._watch, tracer=self._providers.request_tracer, notices=self.notices
        )
        self._security_headers = security_headers
        super().__init__()

    def wrap(self, app: ASGIApp) -> ASGIApp:
        """Return the application with exceptions reported; its lifespan starts and stops this object."""
        return watch(app, self)

    def secure(self, app: ASGIApp) -> SecurityHeadersMiddleware | None:
        """Return what sets the security headers that were given, None where none were."""
        if self._security_headers is None:
            return None
        return SecurityHeadersMiddleware(
            app,
            headers=self._security_headers,
            sources=posthog_sources(self.config.host),
            outlook=self.outlook,
        )

    def trace(self, app: ASGIApp) -> RequestTracing | None:
        """Return what gives requests a span while telemetry is not denied, None without span rules."""
        return self._tracings.trace(app)

    def settings(self) -> Settings:
        """Return the settings row, creating it if need be; raise `StoreError` where that fails."""
        return self._decisions.row()

    def update_settings(
        self,
        *,
        is_setup_completed: bool | None = None,
        enable_error_reporting: bool | None = None,
        enable_telemetry: bool | None = None,
        who: str | None = None,
    ) -> Settings:
        """Change the given flags and return the new row; raise `StoreError` where that fails.

        A withdrawal has taken effect when this returns: what waited is discarded, and no delivery of
        that kind starts afterwards in this process. A grant is one for what the registry holds now.
        `who` stands in the audit trail, and is never sent.
        """
        row = self._watch.change(
            lambda: self._decisions.update(
                is_setup_completed=is_setup_completed,
                enable_error_reporting=enable_error_reporting,
                enable_telemetry=enable_telemetry,
                who=who,
            )
        )
        for kind in Kind:
            if self._watch.current.answer(kind) is _DENIED:
                self._exports.gate.wait_until_idle(kind, self.config.consent_max_age_s)
        return row

    def answer(
        self, *, agreed: Collection[Kind] = (), declined: Collection[Kind] = (), who: str | None = None
    ) -> Settings:
        """Agree to what the registry holds beyond the last grant, or decline it; raise `StoreError`.

        What was declined stays behind, and what was granted before goes on leaving.
        """
        return self._watch.change(lambda: self._decisions.answer(agreed=agreed, declined=declined, who=who))

    def status(self) -> dict[Kind, KindStatus]:
        """Return for each kind whether it is sent and why; asks the database, and makes nothing there."""
        return self._decisions.status(has_key=self._exports.has_transport)

    def questions(self, row: Settings) -> dict[Kind, Question]:
        """Return what this version would send beyond what was agreed to, by kind; raise `StoreError`."""
        return self._decisions.questions(row)

    def preview(self) -> Preview:
        """Return what would be sent now, through the same gate; makes no connection and writes nothing.

        Where consent has not been given it is assumed, so that one can look before one decides.
        """
        row, _ = self._decisions.look()
        return preview(self._exports.preview_sources(), row or self._watch.last_row, self.status())

    def audit(self, *, after_id: int = 0, limit: int = AUDIT_MAX_ENTRIES) -> list[dict[str, object]]:
        """Return who changed the decision when, oldest first, from the entry after `after_id` on."""
        return self._decisions.audit(after_id=after_id, limit=limit)

    def recent_consent(self) -> Consent | None:
        """Return what this process may send, if it is known from a look at most `consent_max_age_s` old.

        Never waits: where it is older, a look begins in the background, and one does at a time.
        """
        self._watch.peek()
        return self._watch.recent()

    def delivery(self) -> dict[str, int]:
        """Return how many events were sent, and how many dropped for which reason, since the start."""
        return self._exports.counts.as_dict()

    def send_test_exception(self) -> None:
        """Report a test exception through the normal consent path (requirement R10)."""
        emit_test_exception(self.config)

    def _follow(self, consent: Consent) -> None:
        self.outlook.follow(
            is_granted=consent.errors is _GRANTED,
            is_denied=consent.errors is _DENIED,
            is_started=self._emitter is not None,
            until_s=consent.looked_at_s + self.config.consent_max_age_s,
        )
        self._exports.follow(consent)
        self._tracings.prepare()
