"""One telemetry for all requests of a module, since six frameworks make many."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from frameworks import faults

from otel_posthog import Telemetry
from otel_posthog.testing import PostHogSink, serve


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One `$exception` as the local PostHog received it; `chain` is every type and value in it."""

    error: tuple[str, str]
    method: object
    path: object
    chain: list[tuple[str, str]]


class Reports:
    """A running `Telemetry`, and what came of it."""

    def __init__(self, telemetry, sink):
        self._sink = sink
        self.telemetry = telemetry
        self.wrap = telemetry.wrap

    def all(self):
        """Return what was reported since the test began."""
        assert self.telemetry.flush(60)
        return [_report(event.properties) for event in self._sink.events if event.name == "$exception"]


def _report(properties):
    chain = [(each["type"], each["value"]) for each in properties["$exception_list"]]
    return Report(
        error=chain[0],
        method=properties.get("$request_method"),
        path=properties.get("$request_path"),
        chain=chain,
    )


@pytest.fixture(scope="module")
def _served_sink():
    """Serve one PostHog for the product of this file."""
    sink = PostHogSink()
    with serve(sink) as url:
        yield sink, url


@pytest.fixture(scope="module")
def _running(_served_sink, tmp_path_factory):
    _, url = _served_sink
    database = f"sqlite:///{tmp_path_factory.mktemp('frameworks')}/app.db"
    with Telemetry(
        api_key="phc_test_key_of_no_project", host=url, database=database, batch_delay_s=0.02, environ={}
    ) as telemetry:
        telemetry.update_settings(enable_error_reporting=True)
        yield telemetry


@pytest.fixture
def reports(_running, sink):
    """Return a `Telemetry` with error reports granted, and what it reports."""
    assert _running.flush()
    sink.clear()
    return Reports(_running, sink)


@pytest.fixture(autouse=True)
def _no_faults_yet():
    faults.made.clear()
