"""The state of each kind: what an admin has decided, and whether this process does it."""

from __future__ import annotations

import pytest
from opentelemetry.sdk._logs import LoggerProvider

from otel_posthog import capture_exception, track
from otel_posthog.registry import Kind
from otel_posthog.telemetry.consent_service import Reason


def _states(telemetry):
    states = telemetry.status().values()
    assert all(state.is_sending == (state.reason is Reason.GRANTED) for state in states)
    return {(state.reason, state.switch) for state in states}


def _grant(telemetry):
    telemetry.update_settings(enable_error_reporting=True, enable_telemetry=True)


def test_telemetry_that_does_not_run_sends_nothing(make_telemetry):
    """Consent alone is not sending: before the start, and after the end, the state says so."""
    telemetry = make_telemetry()
    _grant(telemetry)
    states = [_states(telemetry)]
    telemetry.start()
    states.append(_states(telemetry))
    telemetry.shutdown()
    states.append(_states(telemetry))

    assert states == [{(Reason.NOT_STARTED, None)}, {(Reason.GRANTED, None)}, {(Reason.NOT_STARTED, None)}]


def test_refusal_is_told_before_the_start(make_telemetry):
    """Where no admin has agreed, that is the reason, whether or not the object runs."""
    assert _states(make_telemetry()) == {(Reason.UNDECIDED, None)}


def test_second_telemetry_replaces_nothing(make_telemetry):
    """Both of two that run send what happens under their applications, and say so."""
    first, second = make_telemetry(), make_telemetry()
    first.start()
    _grant(first)
    second.start()

    assert _states(first) == {(Reason.GRANTED, None)}
    assert _states(second) == {(Reason.GRANTED, None)}


@pytest.mark.parametrize(
    ("variable", "value", "is_off"),
    [
        ("OTEL_SDK_DISABLED", "true", True),
        ("OTEL_SDK_DISABLED", " True ", True),
        ("OTEL_SDK_DISABLED", "1", False),
        ("DO_NOT_TRACK", "1", True),
        ("OTEL_POSTHOG_DISABLED", "yes", True),
    ],
)
def test_switch_is_named(make_telemetry, sink, variable, value, is_off):
    """Each variable that switches off shows by its name, and nothing is sent."""
    telemetry = make_telemetry(environ={variable: value})
    telemetry.start()
    _grant(telemetry)
    track("seen", {"n": 1})

    assert telemetry.flush(60)
    assert _states(telemetry) == {(Reason.ENV, variable) if is_off else (Reason.GRANTED, None)}
    assert bool(sink.events) is not is_off


def test_argument_that_switches_off_is_named(make_telemetry):
    """`disabled=True` shows by the name of the setting."""
    assert _states(make_telemetry(disabled=True)) == {(Reason.ENV, "disabled")}


def test_sdk_that_is_off_for_the_process_is_named(make_telemetry, monkeypatch):
    """OpenTelemetry reads its variable from the process, also if another environment is given here."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    telemetry = make_telemetry(environ={})
    telemetry.start()
    _grant(telemetry)

    assert _states(telemetry) == {(Reason.ENV, "OTEL_SDK_DISABLED")}


def test_host_that_shuts_its_provider_down_silences_nothing(make_telemetry, sink):
    """What the library emits goes through a provider of its own, whatever becomes of the host's."""
    provider = LoggerProvider(shutdown_on_exit=False)
    telemetry = make_telemetry(logger_provider=provider)
    telemetry.start()
    _grant(telemetry)
    provider.shutdown()

    track("seen", {"n": 1})

    assert telemetry.flush(60)
    assert [event.name for event in sink.events] == ["seen"]
    assert _states(telemetry) == {(Reason.GRANTED, None)}


def test_last_times_are_known(granted):
    """The state has the times of the last event accepted and sent, of each kind."""
    track("seen", {"n": 1})
    assert granted.flush(60)

    errors, telemetry = (granted.status()[kind] for kind in (Kind.ERRORS, Kind.TELEMETRY))
    assert (errors.last_accepted, errors.last_sent) == (None, None)
    assert telemetry.last_accepted <= telemetry.last_sent
    assert telemetry.to_json()["last_sent"].startswith(telemetry.last_sent.isoformat()[:19])

    capture_exception(ValueError("x"))
    assert granted.status()[Kind.ERRORS].last_accepted is not None


def test_accepted_is_not_sent(make_telemetry):
    """An event that waits is accepted, and not sent."""
    telemetry = make_telemetry(batch_delay_s=3600)
    telemetry.start()
    _grant(telemetry)
    track("waiting", {"n": 1})

    state = telemetry.status()[Kind.TELEMETRY]
    assert state.last_accepted is not None
    assert state.last_sent is None


def test_flush_never_raises(granted):
    """A wrong timeout is no reason to raise where a product cleans up."""
    assert granted.flush("soon") in (True, False)
