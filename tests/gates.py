"""A gate with fakes at its seams: the settings row, the transport and the clock."""

from __future__ import annotations

from uuid import UUID, uuid4

from samples import some_event

from otel_posthog._runtime.reporting import Counts, LogLimiter
from otel_posthog.config.settings import Config
from otel_posthog.consent.state import Settings
from otel_posthog.consent.watch import ConsentWatch
from otel_posthog.delivery.gate import Gate
from otel_posthog.delivery.prepare import Preparation
from otel_posthog.delivery.spool import Spool
from otel_posthog.delivery.transport import Delivery, Result
from otel_posthog.otel import records
from otel_posthog.registry import Registry
from otel_posthog.registry.manifest import today_utc
from otel_posthog.scrubbing import Scrubber

ACCEPTED = Delivery(result=Result.ACCEPTED)
INSTANCE = UUID("11111111-2222-4333-8444-555555555555")
BREADCRUMBS = [
    {"$message": "run_finished", "$timestamp": "2026-01-02T03:04:05.678+00:00", "type": "event"},
    {"$message": "slow", "$timestamp": "2026-01-02T03:04:05.678+00:00", "type": "log"},
]


class Scripted:
    """A transport that answers from a list, then accepts, and remembers what it was given."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.batches = []
        self.is_closed = False

    def send(self, batch, _may_leave):
        self.batches.append(list(batch))
        return self.answers.pop(0) if self.answers else ACCEPTED

    def close(self):
        self.is_closed = True


class World:
    """A gate and all that it works with."""

    def __init__(
        self,
        *answers,
        row=None,
        registry=(),
        today=today_utc,
        max_age_s=0,
        memory_max_bytes=1_000_000,
        **settings,
    ):
        self.row = row or settings_row(enable_error_reporting=True, enable_telemetry=True)
        self.transport = Scripted(*answers)
        self.counts = Counts()
        self.on_read = lambda: None
        self.now_s = 1000.0
        log_limiter = LogLimiter()
        self.watch = ConsentWatch(
            self.read,
            max_age_s=max_age_s,
            is_disabled=False,
            log_limiter=log_limiter,
            on_change=lambda _consent: None,
        )
        self.spool = Spool(
            None, memory_max_bytes=memory_max_bytes, counts=self.counts, log_limiter=log_limiter
        )
        self.registry = Registry(registry, today=today)
        self.preparation = Preparation(
            Config.resolve(settings, {}),
            registry=self.registry,
            scrubber=Scrubber(),
            counts=self.counts,
            log_limiter=log_limiter,
        )
        self.use(self.transport)

    def use(self, transport):
        self.gate = Gate(
            self.preparation,
            watch=self.watch,
            transport=transport,
            spool=self.spool,
            clock=lambda: self.now_s,
        )

    def read(self):
        self.on_read()
        row = self.row.pop(0) if isinstance(self.row, list) else self.row
        if isinstance(row, Exception):
            raise row
        return row

    @property
    def sent(self):
        return [[event["event"] for event in batch] for batch in self.transport.batches]


def settings_row(**changes):
    values = {
        "is_setup_completed": True,
        "enable_error_reporting": False,
        "enable_telemetry": False,
        "instance_id": INSTANCE,
        "errors_generation": 0,
        "telemetry_generation": 0,
    }
    return Settings(**{**values, **changes})


def accepted_now(name="happened", *, uuid=None, **properties):
    return some_event(properties, name=name, uuid=uuid or uuid4(), accepted_ns=records.now_ns())
