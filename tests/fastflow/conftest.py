"""The example product, for its tests."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from fastflow_product import Person, running


@pytest.fixture
def start(tmp_path, sink_url):
    """Return a function that starts the product; it ends with the test."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(running(tmp_path, sink_url, **options))


@pytest.fixture
def fastflow(start):
    """Return the running product as it is set up by default, and its address."""
    return start()


@pytest.fixture
def url(fastflow):
    """Return the product's address."""
    return fastflow[1]


@pytest.fixture
def visitor(url):
    """Return somebody who is not signed in."""
    return Person(url)


@pytest.fixture
def admin(url):
    """Return who came first, and so administers the installation."""
    person = Person(url)
    person.sign_in("ada")
    return person


@pytest.fixture
def user(admin):
    """Return somebody who is signed in and no admin."""
    person = Person(admin.url)
    person.sign_in("bob", "google")
    return person
