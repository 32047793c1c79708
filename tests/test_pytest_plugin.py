"""The fixtures for products, in real test runs of products."""

from __future__ import annotations

import base64

import pytest

from otel_posthog.testing.in_memory import leaks

# Plugins of other packages, which a product has or has not, load for seconds.
WITHOUT = [
    f"-pno:{plugin}" for plugin in ("cacheprovider", "faker", "schemathesis", "hypothesispytest", "xdist")
]
PRODUCT = """
    from typing import Annotated, Literal
    from otel_posthog import MaxChars, event

    @event("sync_completed", why="to know", since="1.0")
    class SyncCompleted:
        '''A sync ended.'''
        trigger: Literal["manual", "webhook"]
        note: Annotated[str, MaxChars(50)] | None = None
"""
CONFTEST = """
    import pytest
    from product import SyncCompleted

    @pytest.fixture(scope="session")
    def posthog_registry():
        return [SyncCompleted]
"""


@pytest.fixture
def product(pytester, monkeypatch):
    """Return a function that runs tests of a product in a process of its own."""
    monkeypatch.setenv("DO_NOT_TRACK", "1")  # as in many a CI
    pytester.makepyfile(product=PRODUCT)
    pytester.makeconftest(CONFTEST)

    def run(tests, *options):
        pytester.makepyfile(test_product=tests)
        return pytester.runpytest_subprocess(*WITHOUT, *options, timeout=120)

    return run


def test_events_are_what_would_leave(product):
    """`posthog_events` holds each event as PostHog would get it, scrubbed, of this test alone."""
    ran = product("""
        from otel_posthog import capture_exception, track
        from product import SyncCompleted

        def test_one(posthog_events):
            track(SyncCompleted(trigger="manual", note="mail to alice@example.com"))
            [event] = posthog_events
            assert event["event"] == "sync_completed"
            assert event["properties"]["trigger"] == "manual"
            assert "alice" not in str(posthog_events)
            assert event["properties"]["$process_person_profile"] is False

        def test_two(posthog_events):
            assert list(posthog_events) == []
            try:
                1 / 0
            except ZeroDivisionError as error:
                capture_exception(error, properties={"step": "sync"})
            track(SyncCompleted(trigger="webhook"))
            assert len(posthog_events) == 2
            assert len(posthog_events.named("$exception")) == 1
    """)

    ran.assert_outcomes(passed=2)


def test_what_is_not_declared_raises(product):
    """An unknown event, an unknown property and a value outside of its domain raise in the test."""
    ran = product("""
        import pytest
        from otel_posthog import RegistryError, capture_exception, track

        @pytest.mark.parametrize("name, properties", [
            ("sync_failed", {}),
            ("sync_completed", {"trigger": "manual", "branch": "main"}),
            ("sync_completed", {"trigger": "cron"}),
        ])
        def test_raises(posthog_events, name, properties):
            with pytest.raises(RegistryError, match="would not be sent"):
                track(name, properties)
            assert list(posthog_events) == []

        def test_raises_for_exceptions_too(posthog_events):
            with pytest.raises(RegistryError, match="would not be sent"):
                capture_exception(ValueError("x"), properties={"nested": {"a": 1}})

        def test_raises_only_here():
            track("sync_failed")
    """)

    ran.assert_outcomes(passed=5)


def test_own_telemetry_of_the_product_is_diverted(product):
    """Where the product's application starts its own Telemetry meanwhile, its events end in the fixture."""
    ran = product("""
        from otel_posthog import Telemetry, track
        from product import SyncCompleted

        def test_diverted(posthog_events, no_egress, tmp_path):
            with Telemetry(api_key="phc_x", host="http://127.0.0.1:9", database=f"sqlite:///{tmp_path}/a.db"):
                track(SyncCompleted(trigger="manual"))
            assert len(posthog_events) == 1
    """)

    ran.assert_outcomes(passed=1)


def test_egress_fails_the_test(product):
    """`no_egress` fails a test in which the library tries to connect, and lets the product's own pass."""
    ran = product("""
        import socket
        import pytest
        from otel_posthog import Telemetry, track
        from product import SyncCompleted

        def test_ours(no_egress, tmp_path):
            with Telemetry(api_key="phc_x", host="http://127.0.0.1:9", database=f"sqlite:///{tmp_path}/a.db",
                           environ={}) as telemetry:
                telemetry.update_settings(enable_telemetry=True)
                track(SyncCompleted(trigger="manual"))
                telemetry.flush()

        def test_others(no_egress):
            with socket.create_server(("127.0.0.1", 0)) as server:
                socket.create_connection(server.getsockname()).close()
    """)

    ran.assert_outcomes(passed=2, errors=1)
    ran.stdout.fnmatch_lines(
        [
            "*otel_posthog tried to reach the network:*",
            "*socket.getaddrinfo to *127.0.0.1* from otel_posthog.delivery.connection*",
        ]
    )


# Short enough to pass as no secret: what looks random in base64 is taken out before it could leak.
FORMS = ("SECRET", "SECRET.encode().hex()", "base64.b64encode(b'xy' + SECRET.encode()).decode()")


@pytest.mark.parametrize("form", FORMS)
def test_leak_fails_the_run(product, form):
    """`assert_no_leak` fails at the end of the run for a secret that left after the check, also encoded."""
    ran = product(f"""
        import base64
        import pytest
        from otel_posthog import track
        from product import SyncCompleted

        SECRET = "Tü-4711/x"

        @pytest.fixture(scope="session", autouse=True)
        def nothing_leaks(assert_no_leak):
            assert_no_leak([SECRET, "never seen"])

        def test_harmless():
            track(SyncCompleted(trigger="manual", note="all is well"))

        def test_leaking():
            track(SyncCompleted(trigger="manual", note={form}))
    """)

    ran.assert_outcomes(passed=2, errors=1)
    ran.stdout.fnmatch_lines(["*Secrets would have left:*", "*secret 1 (Tü*sync_completed*"])
    assert "4711/x" not in "\n".join(line for line in ran.outlines if "would have left" in line)


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("before", [b"", b"x", b"xy"])
@pytest.mark.parametrize("after", [b"", b"x", b"xy"])
def test_leak_is_found_in_base64_wherever_it_begins(encode, before, after):
    """A secret in base64 is found at each of its three offsets, in both alphabets."""
    secret = "Tübingen-4711/x?>~"

    found = leaks([{"event": "e", "note": encode(before + secret.encode() + after).decode()}], [secret])

    assert found == ["secret 1 (Tü…) is in an event 'e'"]


def test_run_without_a_leak_passes(product):
    """Where no secret is in what would have left the run passes."""
    ran = product("""
        from otel_posthog import track
        from product import SyncCompleted

        def test_harmless(assert_no_leak):
            track(SyncCompleted(trigger="manual", note="password=hunter2-of-the-test"))
            assert_no_leak(["hunter2-of-the-test"])
    """)

    ran.assert_outcomes(passed=1)


def test_plugin_costs_nothing_where_it_is_not_used(product, monkeypatch):
    """A run that asks for no fixture imports neither the SDK nor SQLAlchemy, Starlette or posthog."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # other plugins load some of them
    tests = """
        import sys

        def test_nothing_is_loaded():
            heavy = {"opentelemetry.sdk", "sqlalchemy", "starlette", "posthog", "requests"}
            assert heavy.isdisjoint(sys.modules)
            assert "otel_posthog.telemetry" not in sys.modules
    """

    ran = product(tests, "-p", "otel_posthog._pytest_plugin")

    ran.assert_outcomes(passed=1)


def test_plugin_is_found_by_its_entry_point(product):
    """Pytest loads the plugin wherever the library is installed."""
    ran = product("def test_nothing(): ...", "--fixtures")

    ran.stdout.fnmatch_lines(["posthog_events*", "*events sent with consent to both kinds*"])
