"""Consent is for what was declared when it was given, as the local PostHog receives it."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import date
from typing import Annotated, Literal

import pytest
from asgi import client_of
from starlette.applications import Starlette
from waiting import wait_until

from otel_posthog import Buckets, Expires, MaxChars, Range, Registry, event, settings_api, track
from otel_posthog.errors import OtelPosthogError
from otel_posthog.registry import Kind
from otel_posthog.settings_api import Allowed
from otel_posthog.telemetry.consent_service import Reason

SYSTEM = "/api/settings/system"
CONSENT = "/api/settings/consent"
AUDIT = "/api/settings/consent-audit"


@event("run_finished", why="to know", since="1.0")
class Run1:
    """A run ended."""

    success: bool
    trigger: Literal["manual", "other"]
    steps: Annotated[int, Range(0, 10)]
    seconds: Annotated[float, Buckets(0, 10, 100)]


@event("run_finished", why="to know more", since="1.0")
class Run2:
    """A run ended."""

    success: bool
    trigger: Literal["manual", "webhook", "other"]
    steps: Annotated[int, Range(0, 100)]
    seconds: Annotated[float, Buckets(0, 1, 7, 50, 100)]
    label: Annotated[str, MaxChars(20)] | None = None


@event("user_counted", why="to know", since="2.0")
class Counted:
    """Users were counted."""

    many: bool


INPUT = {"success": True, "trigger": "webhook", "steps": 50, "seconds": 8.0, "label": "new"}


def _sent(sink, name="run_finished"):
    return [json.dumps(event.properties) for event in sink.events if event.name == name]


@pytest.fixture
def version_1(make_telemetry):
    """Return the product's first version, running, with consent to both kinds."""
    telemetry = make_telemetry(registry=[Run1])
    telemetry.start()
    telemetry.update_settings(
        is_setup_completed=True, enable_error_reporting=True, enable_telemetry=True, who="user-17"
    )
    return telemetry


@pytest.fixture
def upgraded(version_1, make_telemetry, sink):
    """Return its second version, which declares more, after the first has sent one event and ended."""
    track("run_finished", INPUT)
    assert version_1.flush()
    version_1.shutdown()
    telemetry = make_telemetry(registry=[Run2, Counted])
    telemetry.start()
    return telemetry


def _client(telemetry, who="user-18"):
    hook = lambda _connection, _need: Allowed(who)  # noqa: E731 - the shortest hook there is
    return client_of(Starlette(routes=[settings_api.mount(telemetry, authorize=hook)]))


def test_upgrade_sends_what_was_agreed_to_as_before(upgraded, sink):
    """After an upgrade the same input leaves byte for byte as before, and nothing that was added."""
    track("run_finished", INPUT)
    track(Counted(many=True))

    assert upgraded.flush()
    before, after = _sent(sink)
    assert after == before
    assert '"seconds": "0-10"' in after
    assert '"trigger": "other"' in after
    assert [event.name for event in sink.events] == ["run_finished"] * 2


def test_held_event_leaves_as_it_was_agreed_to(version_1, make_telemetry, sink, tmp_path):
    """What is accepted before consent is known leaves, once it is, no wider than what was agreed to."""
    track("run_finished", INPUT)
    assert version_1.flush()
    version_1.shutdown()
    telemetry = make_telemetry(registry=[Run2, Counted], database_timeout_s=0.1, consent_max_age_s=0.2)
    with closing(sqlite3.connect(tmp_path / "data" / "app.db")) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        telemetry.start()
        track("run_finished", {**INPUT, "seconds": 3})
        track(Counted(many=True))
        wait_until(lambda: len(telemetry.preview().waiting.events) == 2)

    sink.wait_for(count=2)
    assert telemetry.flush()
    before, after = _sent(sink)
    assert after == before
    assert _sent(sink, "user_counted") == []


def test_upgrade_changes_no_flag(version_1, upgraded):
    """An upgrade changes neither flags nor identity, nor what consent was given for."""
    row = upgraded.settings()

    assert (row.enable_error_reporting, row.enable_telemetry) == (True, True)
    assert row.instance_id == version_1.settings().instance_id is not None
    assert row.telemetry_manifest == version_1.registry.manifest(Kind.TELEMETRY).hash
    assert len(upgraded.audit()) == 1


def test_question_is_open_with_just_the_difference(upgraded):
    """GET system says what the new version asks for, and nothing that was agreed to already."""
    answer = _client(upgraded).get(SYSTEM).json()

    question = answer["consent_question"]["telemetry"]
    places = {(change["event"], change["property"]) for change in question["changes"]}
    assert set(answer["consent_question"]) == {"telemetry"}
    assert question["manifest"] == upgraded.registry.manifest(Kind.TELEMETRY).hash
    assert places == {
        ("run_finished", "label"),
        ("run_finished", "seconds"),
        ("run_finished", "steps"),
        ("run_finished", "trigger"),
        ("user_counted", ""),
    }


def test_agreeing_is_one_put(upgraded, sink):
    """After one PUT that agrees all of it leaves, and no question is open."""
    client = _client(upgraded)
    manifest = client.get(CONSENT).json()["telemetry"]["question"]["manifest"]

    answer = client.put(CONSENT, json={"telemetry": {"answer": "agree", "manifest": manifest}})

    track("run_finished", INPUT)
    track(Counted(many=True))
    assert upgraded.flush()
    assert answer.json()["telemetry"]["question"] is None
    assert "consent_question" not in client.get(SYSTEM).json()
    assert '"label": "new"' in _sent(sink)[-1]
    assert len(_sent(sink, "user_counted")) == 1


def test_declining_is_one_put(upgraded, sink):
    """After one PUT that declines, what was agreed to goes on as before and nothing is asked again."""
    client = _client(upgraded)
    manifest = client.get(CONSENT).json()["telemetry"]["question"]["manifest"]

    answer = client.put(CONSENT, json={"telemetry": {"answer": "decline", "manifest": manifest}})

    track("run_finished", INPUT)
    track(Counted(many=True))
    assert upgraded.flush()
    state = answer.json()["telemetry"]
    assert (state["question"], state["reason"]) == (None, "granted")
    assert len(set(_sent(sink))) == 1
    assert _sent(sink, "user_counted") == []


def test_declined_question_returns_with_something_new(upgraded, make_telemetry):
    """A third version that asks for more than what was declined opens the question again."""
    upgraded.answer(declined=[Kind.TELEMETRY])
    upgraded.shutdown()

    @event("third", why="to know", since="3.0")
    class Third:
        """Something else happened."""

    same, more = make_telemetry(registry=[Run2, Counted]), make_telemetry(registry=[Run2, Counted, Third])

    assert same.status()[Kind.TELEMETRY].question is None
    assert more.status()[Kind.TELEMETRY].question is not None


def test_agreement_does_not_reach_back(upgraded, sink, make_telemetry):
    """What was accepted before somebody agreed leaves as it was agreed to then."""
    upgraded.shutdown()
    slow = make_telemetry(registry=[Run2, Counted], batch_delay_s=60)
    slow.start()
    track("run_finished", INPUT)
    track(Counted(many=True))

    slow.answer(agreed=[Kind.TELEMETRY])
    track("run_finished", INPUT)

    assert slow.flush()
    first, before, after = _sent(sink)
    assert before == first
    assert '"label": "new"' in after
    assert _sent(sink, "user_counted") == []


def test_other_flag_does_not_agree(upgraded):
    """A PUT that repeats the flags, as a settings page sends them, agrees to nothing."""
    client = _client(upgraded)

    client.put(SYSTEM, json={"is_setup_completed": True, "enable_telemetry": True})

    assert "consent_question" in client.get(SYSTEM).json()


def test_off_and_on_agrees_to_the_present_manifest(upgraded):
    """Whoever switches a kind off and on again agrees to what it holds now."""
    upgraded.update_settings(enable_telemetry=False)

    row = upgraded.update_settings(enable_telemetry=True)

    assert row.telemetry_manifest == upgraded.registry.manifest(Kind.TELEMETRY).hash


def test_narrowing_never_asks(upgraded, make_telemetry):
    """A version that sends less than what was agreed to opens no question."""
    upgraded.answer(agreed=[Kind.TELEMETRY])
    upgraded.shutdown()

    @event("run_finished", why="to know", since="3.0")
    class Run3:
        """A run ended."""

        trigger: Literal["manual", "other"]
        seconds: Annotated[float, Buckets(0, 7, 100)]
        label: Literal["long", "short"]

    smaller = make_telemetry(registry=[Run3])

    assert smaller.status()[Kind.TELEMETRY].question is None
    assert smaller.status()[Kind.TELEMETRY].reason is Reason.NOT_STARTED


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"telemetry": {"answer": "agree", "manifest": "0" * 64}}, 409),
        ({"telemetry": {"answer": "yes", "manifest": "0" * 64}}, 422),
        ({"telemetry": {"answer": "agree"}}, 422),
        ({"telemetry": True}, 422),
        ({"replay": {"answer": "agree", "manifest": "0" * 64}}, 422),
        ({}, 422),
        ([], 422),
    ],
)
def test_wrong_answer_is_refused(upgraded, body, status):
    """An answer to another manifest, or none that is known, is refused with a reason and changes nothing."""
    client = _client(upgraded)

    answer = client.put(CONSENT, json=body)

    assert (answer.status_code, bool(answer.json()["detail"])) == (status, True)
    assert "consent_question" in client.get(SYSTEM).json()


def test_answer_needs_the_kind_to_be_on(upgraded):
    """What is off cannot be agreed to in part."""
    upgraded.update_settings(enable_telemetry=False)
    manifest = upgraded.registry.manifest(Kind.TELEMETRY).hash

    answer = _client(upgraded).put(CONSENT, json={"telemetry": {"answer": "agree", "manifest": manifest}})

    assert answer.status_code == 409
    assert upgraded.settings().telemetry_manifest is None


def test_grant_of_an_earlier_version_is_one_for_the_present_manifest(version_1, make_telemetry, tmp_path):
    """A flag that is on without a note of what for counts as granted for what is there at the first look."""
    version_1.shutdown()
    with closing(sqlite3.connect(tmp_path / "data" / "app.db")) as connection:
        for table in ("consent_grant", "consent_audit", "consent_manifest", "consent_moment"):
            connection.execute(f"DROP TABLE {table}")
        connection.commit()

    telemetry = make_telemetry(registry=[Run1])
    telemetry.start()

    row = telemetry.settings()
    assert row.telemetry_manifest == telemetry.registry.manifest(Kind.TELEMETRY).hash
    assert [entry["who"] for entry in telemetry.audit()] == [None]


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM consent_manifest",
        "UPDATE consent_manifest SET content = replace(content, 'true', 'false')",
    ],
)
def test_lost_manifest_sends_nothing(version_1, make_telemetry, sink, tmp_path, damage):
    """Where the text of what was agreed to is gone or changed, consent is unknown and nothing leaves."""
    version_1.shutdown()
    with closing(sqlite3.connect(tmp_path / "data" / "app.db")) as connection:
        connection.execute(damage)
        connection.commit()

    telemetry = make_telemetry(registry=[Run2])
    telemetry.start()
    track("run_finished", INPUT)

    assert not telemetry.flush(timeout_s=0.5)
    assert sink.requests == []
    assert telemetry.status()[Kind.TELEMETRY].reason is Reason.STORE_UNREADABLE
    with pytest.raises(OtelPosthogError, match=r"consent_manifest has no row|changed after consent"):
        telemetry.questions(telemetry.settings())


def test_each_change_is_in_the_audit_trail(version_1):
    """The trail tells time, old and new state, the manifests, and who; nothing is entered for no change."""
    client = _client(version_1, who="user-99")
    client.put(SYSTEM, json={"enable_telemetry": True})
    client.put(SYSTEM, json={"enable_telemetry": False})

    first, second = client.get(AUDIT).json()["entries"]
    assert (first["who"], second["who"]) == ("user-17", "user-99")
    assert first["old_state"]["enable_telemetry"] is False
    assert second["old_state"] == first["new_state"]
    assert second["old_state"]["telemetry_manifest"] == version_1.registry.manifest(Kind.TELEMETRY).hash
    assert second["new_state"]["enable_telemetry"] is False
    assert second["new_state"]["telemetry_manifest"] is None
    assert first["at"].endswith("+00:00")
    assert client.get(AUDIT, params={"after": first["id"]}).json()["entries"] == [second]


def test_who_decided_is_never_sent(version_1, sink):
    """The id of whoever decided stays in the database."""
    track("run_finished", INPUT)

    assert version_1.flush()
    assert sink.events
    assert not sink.contains("user-17")


def test_expired_property_stops_leaving(make_telemetry, sink):
    """After its last day a property stays behind without an upgrade, and the event after its own."""
    days = [date(2027, 6, 30)]

    @event("tried", why="to know", since="1.0", expires="2027-12-31")
    class Tried:
        """Something was tried."""

        worked: bool
        first: Annotated[bool, Expires("2027-06-30")]

    telemetry = make_telemetry(registry=Registry([Tried], today=lambda: days[-1]))
    telemetry.start()
    telemetry.update_settings(enable_telemetry=True)
    for day in (date(2027, 6, 30), date(2027, 7, 1), date(2028, 1, 1)):
        days.append(day)
        track(Tried(worked=True, first=True))
        assert telemetry.flush()

    own = [{key for key in event.properties if key in ("worked", "first")} for event in sink.events]
    assert own == [{"worked", "first"}, {"worked"}]
    assert telemetry.status()[Kind.TELEMETRY].reason is Reason.EXPIRED


def test_reasons_of_the_effective_state(make_telemetry, tmp_path):
    """Each state has its word: undecided, granted, declined, env, store_unreadable."""
    telemetry, off = make_telemetry(), make_telemetry(environ={"DO_NOT_TRACK": "1"})
    telemetry.start()
    words = [telemetry.status()[Kind.ERRORS].reason]
    telemetry.update_settings(enable_error_reporting=True)
    words += [telemetry.status()[Kind.ERRORS].reason, off.status()[Kind.ERRORS].reason]
    telemetry.update_settings(enable_error_reporting=False, is_setup_completed=True)
    words.append(telemetry.status()[Kind.ERRORS].reason)
    telemetry.shutdown()
    (tmp_path / "data" / "app.db").write_bytes(b"this is no database" * 100)
    words.append(telemetry.status()[Kind.ERRORS].reason)

    assert words == ["undecided", "granted", "env", "declined", "store_unreadable"]


def test_every_state_has_the_same_words_everywhere(make_telemetry, tmp_path):
    """In each state the API answers what `status()` says, word for word, and sends only where it says so."""
    expired = event("over", why="to know", since="1.0", expires="2020-01-01")(
        type("Over", (), {"__doc__": "It was."})
    )
    telemetry = make_telemetry(registry=[expired])
    telemetry.start()
    off = make_telemetry(registry=[expired], environ={"OTEL_POSTHOG_DISABLED": "yes"})
    words = [_words_of(telemetry)]
    telemetry.update_settings(enable_telemetry=True, enable_error_reporting=True)
    words += [_words_of(telemetry), _words_of(off)]
    telemetry.update_settings(enable_telemetry=False, is_setup_completed=True)
    words.append(_words_of(telemetry))
    telemetry.shutdown()
    (tmp_path / "data" / "app.db").write_bytes(b"this is no database" * 100)
    words.append(_words_of(telemetry))

    assert words == [
        ("undecided", "undecided"),
        ("granted", "expired"),
        ("env", "env"),
        ("granted", "declined"),
        ("store_unreadable", "store_unreadable"),
    ]


def _words_of(telemetry):
    answer = _client(telemetry).get(CONSENT).json()
    assert answer == {kind.value: state.to_json() for kind, state in telemetry.status().items()}
    assert all(state["is_sending"] == (state["reason"] == "granted") for state in answer.values())
    return answer["errors"]["reason"], answer["telemetry"]["reason"]


def test_id_may_be_a_number(version_1):
    """A host that knows its users by number finds the number in the trail."""
    client = _client(version_1, who=17)

    assert client.put(SYSTEM, json={"enable_telemetry": False}).status_code == 200
    assert client.get(AUDIT).json()["entries"][-1]["who"] == "17"


def test_status_makes_nothing(make_telemetry, tmp_path):
    """Asking for the state leaves no file behind."""
    status = make_telemetry().status()

    assert {state.reason for state in status.values()} == {Reason.UNDECIDED}
    assert list(tmp_path.iterdir()) == []


def test_first_declaration_narrows_the_quick_start(make_telemetry, sink):
    """Consent to any event covers the first declared one; going back to undeclared ones asks again."""
    quick = make_telemetry()
    quick.update_settings(enable_telemetry=True)
    quick.shutdown()

    declared = make_telemetry(registry=[Run2])
    assert declared.status()[Kind.TELEMETRY].question is None
    declared.update_settings(enable_telemetry=False)
    declared.update_settings(enable_telemetry=True)
    declared.shutdown()

    assert make_telemetry().status()[Kind.TELEMETRY].question is not None
