"""Variables of OpenTelemetry that the operator's environment holds by mistake."""

from __future__ import annotations

import pytest
from programs import run_python

PROGRAM = """
    import logging, tempfile
    from otel_posthog import SpanRule, Telemetry, track
    from otel_posthog.testing import PostHogSink, serve

    logging.basicConfig(format="%(name)s %(message)s")
    sink = PostHogSink()
    with serve(sink) as url:
        rules = [SpanRule(name="GET /x", event="seen")]
        database = f"sqlite:///{tempfile.mkdtemp()}/a.db"
        telemetry = Telemetry(api_key="phc_x", host=url, database=database, span_rules=rules, environ={})
        app = telemetry.wrap(lambda scope, receive, send: None)
        with telemetry:
            telemetry.update_settings(enable_telemetry=True)
            track("started")
            telemetry.flush(30)
        print([event.name for event in sink.events])
"""
READ_BY_THE_HOST = ["OTEL_PYTHON_METER_PROVIDER", "OTEL_PYTHON_TRACER_PROVIDER", "OTEL_PROPAGATORS"]


@pytest.mark.parametrize(
    "variable", ["OTEL_ATTRIBUTE_COUNT_LIMIT", "OTEL_SPAN_EVENT_COUNT_LIMIT", *READ_BY_THE_HOST]
)
def test_wrong_variable_stops_nothing(variable):
    """The product starts and its events are sent; a variable that had to be ignored is named."""
    run = run_python(PROGRAM, **{variable: "planted-nonsense"})

    assert run.stdout == "['started']\n"
    ours = [line for line in run.stderr.splitlines() if line.startswith("otel_posthog.")]
    assert any(variable in line for line in ours) == (variable in READ_BY_THE_HOST), run.stderr
    assert not any("planted-nonsense" in line for line in ours)
