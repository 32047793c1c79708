"""One table: whichever way events leave, consent, registry, scrubbing, hook and preview hold alike.

Each column is an exit of `tests/exits.py`, each row a test here.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from exit_product import hash_of
from exits import EXITS, WAIT_S, File, refuses_hook
from waiting import wait_until

SECRET = "Planted7secret9"
PLANTED = f"password={SECRET}"


@pytest.fixture(params=EXITS)
def open_exit(request, sink, sink_url, tmp_path):
    """Return a function that starts a product with this exit; nothing is granted yet."""
    made = []

    def start(**options):
        made.append(EXITS[request.param](sink, sink_url, tmp_path, **options))
        return made[-1]

    yield start
    for each in made:
        each.close()


def _do_both(exit_):
    exit_.do("track", {"triggered_by": "manual", "note": PLANTED})
    exit_.do("fail", PLANTED)


def _events(exit_):
    return [event for batch in exit_.arrived() for event in batch]


def _names(exit_):
    return sorted(event["event"] for event in _events(exit_))


def test_off(open_exit):
    """While both kinds are off nothing leaves: no event, no text, no name, by no exporter."""
    exit_ = open_exit()
    exit_.do("set", False, False)

    _do_both(exit_)
    exit_.do("flush", WAIT_S)

    assert exit_.requests() == 0
    left = exit_.left()
    assert [part for part in (SECRET, "ValueError", "run_started", "manual") if part.encode() in left] == []


def test_unknown(open_exit):
    """While the database does not answer nothing leaves; what was granted arrives once it does."""
    exit_ = open_exit()
    exit_.do("set", True, True)
    with closing(sqlite3.connect(exit_.database, timeout=WAIT_S)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        _do_both(exit_)
        wait_until(lambda: exit_.do("waiting") == 2, timeout_s=WAIT_S)
        held = exit_.arrived()

    wait_until(lambda: len(_events(exit_)) == 2, timeout_s=WAIT_S)
    assert held == []
    assert SECRET.encode() not in exit_.left()


def test_withdrawn_while_under_way(open_exit):
    """What waits for the far end at a withdrawal never arrives, and a later grant does not bring it back."""
    exit_ = open_exit()
    exit_.do("set", True, True)
    exit_.close_far_end()
    _do_both(exit_)
    wait_until(lambda: exit_.do("waiting") == 2, timeout_s=WAIT_S)

    exit_.do("set", True, False)
    exit_.open_far_end()
    exit_.do("set", True, True)
    exit_.do("track", {"triggered_by": "webhook"})
    wait_until(lambda: len(_events(exit_)) == 2, timeout_s=WAIT_S)

    assert exit_.do("flush", WAIT_S)
    assert _names(exit_) == ["$exception", "run_started"]
    [kept] = [event for event in _events(exit_) if event["event"] == "run_started"]
    assert kept["properties"]["triggered_by"] == "webhook"


def test_unregistered_property(open_exit):
    """A property that is not declared leaves by no exporter; the event does without it."""
    exit_ = open_exit()
    exit_.do("set", False, True)

    exit_.do("track", {"triggered_by": "manual", "undeclared": "planted-value"})
    wait_until(lambda: len(_events(exit_)) == 1, timeout_s=WAIT_S)

    [event] = _events(exit_)
    assert event["properties"]["triggered_by"] == "manual"
    assert b"planted-value" not in exit_.left()


def test_secret_in_message_and_property(open_exit):
    """A secret is scrubbed before the event leaves the process, whoever is behind the exit."""
    exit_ = open_exit()
    exit_.do("set", True, True)

    _do_both(exit_)
    wait_until(lambda: len(_events(exit_)) == 2, timeout_s=WAIT_S)

    left = exit_.left()
    assert SECRET.encode() not in left
    assert b"[scrubbed:" in left


def test_before_send_veto(open_exit):
    """What the product's hook drops leaves by no exporter; a file can name no hook, and says so."""
    exit_ = open_exit(before_send=lambda event: None if event.name == "$exception" else event)
    if isinstance(exit_, File):
        assert refuses_hook()
        return
    exit_.do("set", True, True)

    exit_.do("fail", "vetoed-text")
    exit_.do("track", {"triggered_by": "manual"})
    wait_until(lambda: len(_events(exit_)) == 1, timeout_s=WAIT_S)

    assert exit_.do("flush", WAIT_S)
    assert _names(exit_) == ["run_started"]
    assert b"vetoed-text" not in exit_.left()


def test_preview_is_what_arrives(open_exit):
    """The SHA-256 of each batch in the preview is that of a batch that arrives."""
    exit_ = open_exit()
    exit_.do("set", True, True)
    exit_.close_far_end()
    _do_both(exit_)
    wait_until(lambda: exit_.do("waiting") == 2, timeout_s=WAIT_S)

    shown = exit_.do("preview")
    exit_.open_far_end()

    wait_until(lambda: len(_events(exit_)) == 2, timeout_s=WAIT_S)
    assert sorted(map(hash_of, exit_.arrived())) == sorted(shown)
