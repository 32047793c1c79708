"""Consent as attributes of a record for a Collector, and back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from otel_posthog.consent.stamps import RecordedConsent, RecordedGrant, read, stamps
from otel_posthog.consent.state import DENIED, UNKNOWN, Answer, Consent, Grant, KindConsent
from otel_posthog.events import Stamp
from otel_posthog.registry import Kind

ID = "11111111-2222-4333-8444-555555555555"
CONSENT = Consent(
    kinds={
        Kind.ERRORS: KindConsent(
            answer=Answer.GRANTED, stamp=Stamp(generation=3, instance_id=ID), grant=Grant(manifest="m")
        ),
        Kind.TELEMETRY: KindConsent(
            answer=Answer.DENIED, stamp=Stamp(generation=4, instance_id=ID), grant=Grant(manifest="n")
        ),
    },
    instance_id=ID,
)
WRITTEN = {
    "posthog.instance_id": ID,
    "posthog.consent.errors": True,
    "posthog.consent.errors_generation": 3,
    "posthog.consent.errors_manifest": "m",
}


def test_grant_is_written_with_generation_and_manifest():
    """The receiver learns under which generation and manifest the event's kind is granted."""
    assert stamps(CONSENT, Kind.ERRORS, 1) == WRITTEN


def test_manifest_is_that_of_the_time():
    """What was accepted before a wider manifest was agreed to names the earlier one."""
    grant = Grant(manifest="wide", since_ns=5, before="m")
    errors = replace(CONSENT.kinds[Kind.ERRORS], grant=grant)
    consent = replace(CONSENT, kinds={**CONSENT.kinds, Kind.ERRORS: errors})

    found = [stamps(consent, Kind.ERRORS, at)["posthog.consent.errors_manifest"] for at in (4, 5)]

    assert found == ["m", "wide"]


@pytest.mark.parametrize(
    ("consent", "kind"),
    [
        (UNKNOWN, Kind.ERRORS),
        (DENIED, Kind.ERRORS),
        (CONSENT, Kind.TELEMETRY),
        (replace(CONSENT, instance_id=None), Kind.ERRORS),
    ],
)
def test_nothing_is_written_without_a_grant(consent, kind):
    """Without a grant of the kind, or an installation, an event carries nothing."""
    assert stamps(consent, kind, 1) == {}


def test_what_was_written_is_read():
    """The receiver reads what the sender granted."""
    grant = RecordedGrant(stamp=Stamp(generation=3, instance_id=ID), manifest="m")

    assert read(WRITTEN) == RecordedConsent(instance_id=ID, grants={Kind.ERRORS: grant})


@pytest.mark.parametrize(
    "change",
    [
        {"posthog.instance_id": None},
        {"posthog.instance_id": "not an id"},
        {"posthog.instance_id": ID.upper().replace("1", "A")},
        {"posthog.instance_id": "00000000-0000-0000-0000-000000000000"},
        {"posthog.instance_id": 1},
        {"posthog.consent.errors": 1},
        {"posthog.consent.errors": "true"},
        {"posthog.consent.errors": False},
        {"posthog.consent.errors": ["unhashable"]},
    ],
    ids=str,
)
def test_forged_consent_is_none(change):
    """Whatever is no id in its usual form, or no plain True, is no consent."""
    assert read({**WRITTEN, **change}) is None


@pytest.mark.parametrize("generation", [None, True, "3", 3.5])
def test_generation_that_is_no_number_is_none(generation):
    """A generation of another type is not compared with one."""
    recorded = read({**WRITTEN, "posthog.consent.errors_generation": generation})

    assert recorded is None or recorded.grants[Kind.ERRORS].stamp.generation is None


def test_manifest_may_be_missing():
    """A grant without a manifest is one to the present manifest."""
    recorded = read({name: value for name, value in WRITTEN.items() if not name.endswith("manifest")})

    assert recorded.grants[Kind.ERRORS].manifest is None
