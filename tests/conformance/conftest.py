"""The ways in which an application is wrapped, one at a time: the process has one emitter."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from waiting import wait_until

from otel_posthog import SecurityHeaders, SpanRule, Telemetry
from otel_posthog.testing import PostHogSink, serve

from .harness import Noop

FLUSH_S = 10.0
CLOSED_PORT = 9


@dataclass(frozen=True, kw_only=True)
class Wrapping:
    """One way to wrap, and what the local PostHog has received because of it."""

    name: str
    wrap: Callable[..., object]
    telemetry: Telemetry | None = None
    sink: PostHogSink | None = None
    adds_headers: bool = False

    @property
    def is_reporting(self) -> bool:
        """Whether errors are reported."""
        return self.name not in {"noop", "off", "down"}

    def begin(self) -> None:
        """Start the telemetry, which a lifespan played before may have stopped."""
        if self.telemetry is not None:
            _wait_for_shutdowns()
            self.telemetry.start()
            self.telemetry.flush(FLUSH_S)
            self.sink.clear()

    def reports(self, *, at_least: int) -> int:
        """Return how many error reports arrived since `begin`, once there are so many."""
        if self.telemetry is None:
            return 0
        _wait_for_shutdowns()
        self.telemetry.start()
        self.telemetry.flush(FLUSH_S)
        wait_until(lambda: self._arrived() >= at_least)
        return self._arrived()

    def _arrived(self) -> int:
        return len([event for event in self.sink.events if event.name == "$exception"])


def _wait_for_shutdowns() -> None:
    """Return when no shutdown is under way any more that a cancelled lifespan has left behind."""
    wait_until(lambda: all(thread.name != "otel-posthog-call" for thread in threading.enumerate()))


@pytest.fixture(scope="module", params=["noop", "off", "down", "errors", "twice", "headers", "spans"])
def wrapping(request, tmp_path_factory):
    """Return each way to wrap in turn.

    Not at all, consent off, consent unknown since the database is down, errors on, twice, with
    security headers, with a span for each request.
    """
    if request.param == "noop":
        yield Wrapping(name="noop", wrap=Noop)
        return
    sink = PostHogSink()
    database = f"sqlite:///{tmp_path_factory.mktemp('conformance')}/app.db"
    if request.param == "down":
        database = f"postgresql://nobody@127.0.0.1:{CLOSED_PORT}/none"
    with serve(sink) as url:
        telemetry = Telemetry(
            api_key="phc_test_key_of_no_project",
            host=url,
            database=database,
            batch_delay_s=0.02,
            environ={},
            security_headers=SecurityHeaders() if request.param == "headers" else None,
            span_rules=[SpanRule(kind="server", event="odd_request")] if request.param == "spans" else (),
        )
        is_on = request.param != "off"
        if request.param != "down":
            telemetry.update_settings(enable_error_reporting=is_on, enable_telemetry=is_on)
        once = telemetry.wrap
        wrap = (lambda app: once(once(app))) if request.param == "twice" else once
        yield Wrapping(
            name=request.param,
            wrap=wrap,
            telemetry=telemetry,
            sink=sink,
            adds_headers=request.param == "headers",
        )
        telemetry.shutdown(timeout_s=5)
