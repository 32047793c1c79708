"""The names of this machine and of its user."""

from __future__ import annotations

import socket

import pytest

from otel_posthog.scrubbing import Machine, Scrubber
from otel_posthog.scrubbing.host_identity import this_machine

MACHINE = Machine(
    hosts=frozenset({"mercury-7.corp.example", "db"}),
    users=frozenset({"mmuster", "max", "root"}),
    homes=frozenset({"/srv/people/mmuster", "/root", "/app"}),
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no route to mercury-7.corp.example:80", "no route to [scrubbed:host]:80"),
        ("MERCURY-7 is down", "[scrubbed:host] is down"),
        ("owned by mmuster.", "owned by [scrubbed:user]."),
        ("/srv/people/mmuster/x.txt", "[scrubbed:home]/x.txt"),
        ("ssh max@db refused", "ssh max@[scrubbed:host] refused"),
        ("worker.mmuster_1", "worker.[scrubbed:user]_1"),
    ],
)
def test_names_of_the_machine_are_taken_out(text, expected):
    """Host, user and home folder do not leave, in whatever case."""
    assert Scrubber(machine=MACHINE).text(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "max retries exceeded",
        "the db is locked",
        "root cause",
        "/root/x",
        "/app/x.py",
        "mmustermann",
        "max_tokens",
    ],
)
def test_short_and_generic_names_leave_innocents_alone(text):
    """A name that is an ordinary word is taken out only where it plainly names the machine."""
    assert Scrubber(machine=MACHINE).text(text) == text


def test_names_are_collected_from_the_system():
    """Without anything given the running machine's own names count."""
    assert socket.gethostname() in this_machine().hosts
