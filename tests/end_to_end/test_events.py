"""Product events, as the local PostHog receives them."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from otel_posthog import MaxChars, Range, event, track


@event("report_generated", why="which formats are worth improving", since="1.0")
class ReportGenerated:
    """A report was generated."""

    format: Literal["pdf", "html"]
    pages: Annotated[int, Range(1, 1000)]
    template: Annotated[str, MaxChars(20)] | None = None


def test_tracked_event_is_one_event(granted, sink):
    """`track` gives one event with its properties and the base ones (R17, R18)."""
    track("sync_completed", {"duration_s": 2.5, "is_first": True})

    assert granted.flush()
    [received] = sink.events
    assert received.name == "sync_completed"
    assert received.properties == {
        "duration_s": 2.5,
        "is_first": True,
        "source": "backend",
        "environment": "production",
        "$process_person_profile": False,
        "$geoip_disable": True,
        "$ip": "0.0.0.0",  # the constant in place of an address
        "$lib": "otel-posthog",
        "$lib_version": received.properties["$lib_version"],
    }
    assert received.issues == ()


def test_version_of_the_product_is_a_base_property(make_telemetry, sink):
    """Version and environment of the product stand in each event (R18)."""
    telemetry = make_telemetry(service_version="2.1.0", environment="staging")
    with telemetry:
        telemetry.update_settings(enable_telemetry=True)
        track("sync_completed")

    assert sink.events[0].properties["service_version"] == "2.1.0"
    assert sink.events[0].properties["environment"] == "staging"


def test_distinct_id_is_the_instances_random_uuid(granted, sink):
    """Events carry the UUID of the settings row and nothing that names a person or host (R3)."""
    track("sync_completed")

    assert granted.flush()
    assert UUID(sink.events[0].distinct_id) == granted.settings().instance_id


def test_new_identity_after_both_flags_were_off(granted, sink):
    """After both flags were off a new grant gives a new UUID (R3)."""
    before = granted.settings().instance_id
    granted.update_settings(enable_error_reporting=False, enable_telemetry=False)

    granted.update_settings(enable_telemetry=True)
    track("sync_completed")

    assert granted.flush()
    assert UUID(sink.events[0].distinct_id) not in (before, None)


def test_declared_event_is_checked(make_telemetry, sink):
    """Once an event is declared, only declared names and values inside their domain leave."""
    telemetry = make_telemetry(registry=[ReportGenerated])
    with telemetry:
        telemetry.update_settings(enable_telemetry=True)
        track(ReportGenerated(format="pdf", pages=3))
        track("report_generated", {"format": "docx", "pages": 4, "author": "somebody"})
        track("something_else", {"pages": 4})

    own = [
        {k: e.properties[k] for k in e.properties.keys() & {"format", "pages", "author"}} for e in sink.events
    ]
    assert own == [{"format": "pdf", "pages": 3}, {"pages": 4}]


def test_secrets_never_leave(granted, sink):
    """Secrets under telling keys, inside texts and in nested values are taken out (R21)."""
    track(
        "sync_failed",
        {
            "apiKey": "planted-one",
            "note": "password=planted-two and https://u:planted-three@git.example/x?k=planted-four",
            "nested": {"deep": [{"token": "planted-five"}]},
            "max_tokens": 12,
        },
    )

    assert granted.flush()
    assert sink.events[0].properties["max_tokens"] == 12
    assert not sink.contains("planted-")


def test_properties_cannot_steer_posthog(granted, sink):
    """Names with `$` in an event's properties do not override what protects people (R18)."""
    track("sync_completed", {"$process_person_profile": True, "$set": {"email": "x"}, "$ip": "192.0.2.7"})

    assert granted.flush()
    properties = sink.events[0].properties
    assert properties["$process_person_profile"] is False
    assert properties["$ip"] == "0.0.0.0"  # the constant in place of an address
    assert "$set" not in properties


def test_many_properties_do_not_crowd_out_the_base_ones(granted, sink):
    """However many properties an event has, what protects people stays in it (R18)."""
    track("sync_completed", {f"number_{number}": number for number in range(2000)})

    assert granted.flush()
    assert sink.events[0].properties["$process_person_profile"] is False
    assert sink.events[0].properties["$ip"] == "0.0.0.0"  # the constant in place of an address


def test_product_events_need_their_own_flag(telemetry, sink):
    """With error reporting granted and telemetry denied no product event leaves (R2)."""
    telemetry.update_settings(enable_error_reporting=True)

    track("sync_completed")

    assert telemetry.flush()
    assert sink.requests == []


def test_wrong_use_never_raises(granted, sink, caplog):
    """A wrong call of `track` drops the event and says so in the log, without its values."""
    track(12345)
    track(ReportGenerated)
    track(ReportGenerated(format="pdf", pages=1), {"planted": "planted-value"})

    assert granted.flush()
    assert sink.requests == []
    assert "track() was called wrongly" in caplog.text
    assert "planted" not in caplog.text


def test_product_event_is_never_an_error(telemetry, sink):
    """Whatever properties `track` is given, what it records needs the flag of product events (R2)."""
    telemetry.update_settings(enable_error_reporting=True)

    track("sync_failed", {"exception.type": "ValueError", "exception.message": "m"})

    assert telemetry.flush()
    assert sink.requests == []
