"""What the store keeps of a decision, on each kind of database."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from otel_posthog.errors import StoreError
from otel_posthog.registry import Kind
from otel_posthog.registry.manifest import hash_of

A_MINUTE_MS = 60_000
OLD, NEW = {Kind.ERRORS: "errors 1", Kind.TELEMETRY: "telemetry 1"}, {Kind.TELEMETRY: "telemetry 2"}


@pytest.fixture
def version_1(database, open_store):
    return open_store(database.target, manifests=lambda: OLD)


@pytest.fixture
def version_2(database, open_store):
    return open_store(database.target, manifests=lambda: {**OLD, **NEW})


def test_grant_is_for_the_present_manifest(version_1):
    """A grant names the manifest of that moment, whose text can be read back; the other kind has none."""
    row = version_1.update(enable_telemetry=True)

    assert (row.telemetry_manifest, row.errors_manifest) == (hash_of("telemetry 1"), None)
    assert version_1.manifest(row.telemetry_manifest) == "telemetry 1"


def test_upgrade_keeps_what_the_grant_was_for(version_1, version_2):
    """A later version changes neither the grant nor the flag, whatever else is saved."""
    before = version_1.update(enable_telemetry=True)

    after = version_2.update(is_setup_completed=True, enable_telemetry=True)

    assert after.telemetry_manifest == before.telemetry_manifest
    assert version_2.settle() == after


def test_answers_are_kept(version_1, version_2):
    """Declining notes the wider manifest beside the grant; agreeing puts it in its place. Both texts stay."""
    version_1.update(enable_telemetry=True)

    declined = version_2.answer(declined=[Kind.TELEMETRY])
    agreed = version_2.answer(agreed=[Kind.TELEMETRY])

    old, new = hash_of("telemetry 1"), hash_of("telemetry 2")
    assert (declined.telemetry_manifest, declined.telemetry_declined) == (old, new)
    assert (agreed.telemetry_manifest, agreed.telemetry_declined) == (new, None)
    assert version_2.manifest(old) == "telemetry 1"


def test_answer_for_a_kind_that_is_off_changes_nothing(version_1):
    """There is nothing to agree to in part where a kind is off."""
    before = version_1.update(is_setup_completed=True)

    assert version_1.answer(agreed=[Kind.TELEMETRY]) == before


def test_withdrawal_ends_the_grant(version_1):
    """With the flag the grant goes; the text stays, since the audit trail names it."""
    granted = version_1.update(enable_telemetry=True)

    row = version_1.update(enable_telemetry=False)

    assert row.telemetry_manifest is None
    assert version_1.manifest(granted.telemetry_manifest) == "telemetry 1"


def test_grant_by_sql_is_bound_at_the_first_look(version_1, database):
    """A flag that SQL switched on counts as granted for what is there when somebody first looks, once."""
    version_1.create()
    database.sql(f"UPDATE system_settings SET enable_telemetry = {'true' if database.is_postgresql else 1}")

    with ThreadPoolExecutor(4) as threads:
        rows = list(threads.map(lambda _: version_1.settle(), range(8)))

    assert {row.telemetry_manifest for row in rows} == {hash_of("telemetry 1")}
    assert [entry["who"] for entry in version_1.audit()] == [None]


def test_audit_tells_who_changed_what(version_1):
    """Each change has an entry with old and new state; saving the same again has none."""
    version_1.update(enable_telemetry=True, who="user-1")
    version_1.update(enable_telemetry=True, who="user-2")
    version_1.update(enable_telemetry=False, is_setup_completed=True, who="u" * 300)

    first, second = version_1.audit()
    assert (first["who"], second["who"]) == ("user-1", "u" * 200)
    assert (first["old_state"]["enable_telemetry"], first["new_state"]["enable_telemetry"]) == (False, True)
    assert first["new_state"]["telemetry_manifest"] == hash_of("telemetry 1")
    assert second["old_state"] == first["new_state"]
    assert first["id"] < second["id"]


def test_odd_id_keeps_nobody_from_deciding(version_1):
    """An id that no database can hold as it is stands in the trail without what cannot be held."""
    version_1.update(enable_telemetry=True, who="user\0 \ud800\u00fc")

    assert [entry["who"] for entry in version_1.audit()] == ["user ?\u00fc"]


def test_audit_is_read_in_parts(version_1):
    """Entries can be read from one on, so many at a time."""
    for number in range(5):
        version_1.update(enable_telemetry=number % 2 == 0)
    every = version_1.audit()

    assert version_1.audit(after_id=every[1]["id"], limit=2) == every[2:4]


def test_change_that_fails_leaves_no_entry(version_1, database):
    """An update that is taken back takes its entry with it."""
    version_1.create()
    before = version_1.audit()
    database.sql("UPDATE system_settings SET instance_id = 'banana'")

    with pytest.raises(StoreError, match="instance_id holds no UUID"):
        version_1.update(enable_telemetry=True)

    assert version_1.audit() == before


def test_lost_manifest_is_told(version_1):
    """A manifest that is not there is an error that says what to do."""
    version_1.create()

    with pytest.raises(StoreError, match="Restore it, or switch the flag off and on"):
        version_1.manifest("0" * 64)


def test_database_of_an_earlier_version_gets_the_tables(version_1, database):
    """A database that has the row and not the tables of consent gets them at the first use."""
    version_1.update(enable_telemetry=True)
    for table in ("consent_audit", "consent_grant", "consent_manifest", "consent_moment"):
        database.sql(f"DROP TABLE {table}")

    version_1.create()

    assert version_1.settle().telemetry_manifest == hash_of("telemetry 1")


def test_grant_is_dated_by_the_database(version_1):
    """A row that was switched on says when, and each read says what time it is by then, in milliseconds."""
    granted = version_1.update(enable_telemetry=True)
    read = version_1.read()

    assert granted.telemetry_granted_ms == read.telemetry_granted_ms
    assert read.telemetry_granted_ms <= granted.read_ms <= read.read_ms
    assert read.read_ms - read.telemetry_granted_ms < A_MINUTE_MS
    assert read.errors_granted_ms is None


def test_withdrawal_ends_the_time_of_a_grant(version_1):
    """A later grant by SQL is not taken for the one that was withdrawn."""
    version_1.update(enable_telemetry=True)

    assert version_1.update(enable_telemetry=False).telemetry_granted_ms is None


def test_grant_by_sql_has_no_time(version_1, database):
    """The first reader records the manifest of such a grant, and no time, which nobody knows."""
    version_1.update(enable_error_reporting=True)
    database.sql("UPDATE system_settings SET enable_telemetry = TRUE")

    row = version_1.settle()

    assert row.telemetry_manifest is not None
    assert row.telemetry_granted_ms is None


def test_wider_agreement_keeps_the_time_of_the_grant(version_1, version_2):
    """What was accepted since the grant may be sent still."""
    granted = version_1.update(enable_telemetry=True)

    assert version_2.answer(agreed=[Kind.TELEMETRY]).telemetry_granted_ms == granted.telemetry_granted_ms
