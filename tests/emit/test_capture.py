"""Random uuids that need no system call."""

from __future__ import annotations

import os
import pickle
import random
import subprocess
import sys
from uuid import UUID

import pytest

from otel_posthog.emit.capture import random_uuid
from otel_posthog.mapping.records import uuid_of


def test_uuids_are_of_version_4_and_differ():
    """Each is a uuid as the standard library makes them."""
    made = [random_uuid() for _ in range(10_000)]

    assert len(set(made)) == len(made)
    assert {(UUID(text).version, UUID(text).variant) for text in made} == {
        (4, UUID(int=0, version=4).variant)
    }


def test_uuids_do_not_follow_the_hosts_seed():
    """A product that seeds Python's own generator, as tests do, does not get the same ones again."""
    state = random.getstate()
    try:
        random.seed(1)
        first = random_uuid()
        random.seed(1)
        assert random_uuid() != first
    finally:
        random.setstate(state)


def test_uuid_of_a_number_is_the_standard_librarys():
    """It is equal to one that the constructor made, and lives like it."""
    number = 2**128 - 5

    made = uuid_of(number)

    assert (made, str(made), made.is_safe, hash(made)) == (
        UUID(int=number),
        str(UUID(int=number)),
        UUID(int=number).is_safe,
        hash(UUID(int=number)),
    )
    assert pickle.loads(pickle.dumps(made)) == made


FORKS = """
import os
from otel_posthog.emit.capture import random_uuid
reading, writing = os.pipe()
if not os.fork():
    os.write(writing, random_uuid().encode())
    os._exit(0)
os.wait()
print(os.read(reading, 100).decode(), random_uuid())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system knows no fork")
def test_uuids_of_a_child_are_its_own():
    """After a fork parent and child do not make the same ones."""
    ran = subprocess.run(
        [sys.executable, "-c", FORKS], capture_output=True, text=True, timeout=60, check=True
    )

    of_child, of_parent = ran.stdout.split()
    assert of_child != of_parent
