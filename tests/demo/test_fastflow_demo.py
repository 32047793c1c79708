"""The demonstration with the whole example product."""

from __future__ import annotations

import signal

import pytest
from demo_process import eventually, running
from fastflow_product import Person
from frontends import need_frontend

from otel_posthog.demo.running import build, built_frontend

CONSENT = {"is_setup_completed": True, "enable_error_reporting": True, "enable_telemetry": True}


@pytest.fixture
def product(tmp_path):
    """Return the running demonstration."""
    need_frontend()
    with running(tmp_path, is_plain=False) as found:
        yield found


@pytest.mark.browser
def test_demo_shows_the_example_product(product, tmp_path):
    """With Node the demo is Fast-Flow: one signs in, agrees, runs a pipeline, and sees its events arrive."""
    admin = Person(product.url)
    admin.sign_in("ada")
    page = admin.call("GET", "/").text
    admin.run("hello")
    before = product.received()

    admin.call("PUT", "/api/settings/system", CONSENT)
    admin.run("hello")
    eventually(lambda: _names(product) >= {"pipeline_run_started", "pipeline_run_finished"}, 30)
    code, out, err = product.stop(signal.SIGINT)

    assert "Fast-Flow" in product.greeting
    assert '<div id="root">' in page
    assert before == []
    assert (code, err) == (0, "")
    assert out.endswith("threads: MainThread\n")
    assert list(tmp_path.iterdir()) == []


def _names(product):
    return {event["name"] for event in product.received()}


@pytest.mark.browser
def test_front_end_is_built_once(product):
    """A second build of the same sources does nothing."""
    told = []

    build(told.append)

    assert told == []


def test_demo_without_node_says_why_it_is_plain(tmp_path, monkeypatch):
    """Without Node the plain page is shown, and the reason is told."""
    monkeypatch.setenv("PATH", str(tmp_path))
    told = []

    assert built_frontend(told.append) is None
    assert "Node with npm is not installed" in told[0]
