"""What the pipeline does with records once another process sends."""

from __future__ import annotations

import time

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from waiting import wait_until

from otel_posthog import capture_exception, track

ROUNDED_S = 0.01  # a grant is dated to the millisecond


def test_spooling_keeps_what_waits_for_a_new_answer(telemetry, make_telemetry):
    """What is tracked between a no and the next read of a grant is on disk once `spool` has returned."""
    track("before")
    telemetry.flush()  # so that the next read is due a second later
    make_telemetry().update_settings(enable_telemetry=True)
    granted_s = time.monotonic()
    wait_until(lambda: time.monotonic() > granted_s + ROUNDED_S)
    track("after")

    assert telemetry.spool()

    batch = telemetry.lifecycle.open().spool.first()
    assert [event.name for event in batch.events] == ["after"]


def test_held_report_that_finds_its_queue_closed_is_counted(telemetry, make_telemetry):
    """The host may end a provider while a report waits for an answer: what is lost has a number."""
    telemetry.flush()  # so that the next read is due a second later
    make_telemetry(spool_dir=":memory:").update_settings(enable_error_reporting=True)
    granted_s = time.monotonic()
    wait_until(lambda: time.monotonic() > granted_s + ROUNDED_S)
    capture_exception(ValueError("after the grant"))

    telemetry.lifecycle.open().logs.shutdown()
    telemetry.flush()

    assert telemetry.delivery()["unqueued"] == 1


def test_exporters_made_earlier_spool_as_well(granted, sink):
    """After `spool` an exporter behind a third-party processor sends nothing, whenever it was made."""
    pipeline = granted.lifecycle.open()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(pipeline.span_exporter()))
    granted.spool()

    with provider.get_tracer("host").start_as_current_span("any", attributes={"posthog.event": "seen"}):
        pass

    assert not pipeline.spool.is_empty()
    assert sink.events == []
