"""One telemetry for all requests of a module, since six frameworks make many."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from frameworks import faults
from frameworks.doors import DOORS

from otel_posthog.testing import PostHogSink, serve


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One `$exception` as the local PostHog received it; `chain` is every type and value in it."""

    error: tuple[str, str]
    method: object
    path: object
    route: object
    chain: list[tuple[str, str]]


class Reports:
    """A running `Telemetry`, and what came of it."""

    def __init__(self, door, sink):
        self._sink = sink
        self.telemetry = door.telemetry
        self.wrap, self.closed = door.wrap, door.closed

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
        route=properties.get("$request_route"),
        chain=chain,
    )


@pytest.fixture(scope="module")
def _served_sink():
    """Serve one PostHog for the product of this file."""
    sink = PostHogSink()
    with serve(sink) as url:
        yield sink, url


@pytest.fixture(scope="module", params=DOORS)
def _door(request, _served_sink, tmp_path_factory):
    database = f"sqlite:///{tmp_path_factory.mktemp('frameworks')}/app.db"
    with DOORS[request.param](_served_sink[1], database) as door:
        yield door


@pytest.fixture
def reports(_door, sink):
    """Return a `Telemetry` with error reports granted, and what it reports: in code, and by a file."""
    assert _door.telemetry.flush()
    sink.clear()
    with _door.open():
        yield Reports(_door, sink)


@pytest.fixture(params=DOORS)
def fresh_reports(request, sink, sink_url, database_url):
    """Return the same of this test alone, for what ends it."""
    with DOORS[request.param](sink_url, database_url) as door, door.open():
        yield Reports(door, sink)


@pytest.fixture(autouse=True)
def _no_faults_yet():
    faults.made.clear()
