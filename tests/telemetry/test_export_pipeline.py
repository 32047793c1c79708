"""What a process leaves for another one to send."""

from __future__ import annotations

from waiting import wait_until

from otel_posthog import capture_exception, track


def _names(sink):
    return sorted(event.name for event in sink.events)


def test_held_report_is_spooled_by_a_process_that_leaves_sending(telemetry, make_telemetry, grant, sink):
    """What waits for an answer about consent is decided before the process may be killed."""
    telemetry.flush()
    grant()

    capture_exception(ValueError("after the grant"))
    is_spooled = telemetry.spool()
    found = _names(sink)
    another = make_telemetry()
    another.start()
    another.flush()

    assert (is_spooled, found, _names(sink)) == (True, [], ["$exception"])


def test_nothing_is_sent_once_another_process_sends(granted, sink):
    """From then on each batch goes to the spool, also one of a processor that was made before."""
    track("first")
    assert granted.flush()
    granted.spool()

    track("second")
    granted.spool()

    wait_until(lambda: granted.delivery().by_kind()["telemetry"].waiting == 1)
    assert _names(sink) == ["first"]
