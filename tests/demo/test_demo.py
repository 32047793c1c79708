"""The demonstration, as a newcomer meets it."""

import signal
import socket
import sys

import pytest
import requests
from demo_process import WAIT_TIMEOUT_S, eventually, running, start

from otel_posthog.demo import run
from otel_posthog.demo.app import EVENTS, PLANTED, example_app
from otel_posthog.errors import MissingExtraError
from otel_posthog.telemetry import Telemetry
from otel_posthog.testing import PostHogSink, serve


@pytest.fixture
def demo(tmp_path):
    with running(tmp_path) as found:
        yield found


def _ports_in_use():
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    return listener


def test_demo_answers_at_both_addresses(demo):
    """The addresses that the demo prints show the example app and the local PostHog."""
    page = demo.http.get(demo.url, timeout=10)
    sink = demo.http.get(demo.sink_url, timeout=10)

    assert (page.status_code, sink.status_code) == (200, 200)
    assert "See what leaves" in page.text
    assert "Local PostHog sink" in sink.text


def test_nothing_leaves_before_consent(demo):
    """Ten failures and ten events without consent make no request, and none is kept for later (R2)."""
    statuses = {demo.act(name) for name in ("fail", "track") * 10}
    before = demo.state()

    demo.decide(enable_error_reporting=True, enable_telemetry=True)
    demo.act("track")
    demo.act("fail")
    names = eventually(lambda: sorted(e["name"] for e in demo.received()) if len(demo.received()) > 1 else [])

    assert statuses == {500, 200}
    assert (before["actions"], before["requests"]) == (20, 0)
    assert names == ["$exception", "report_generated"]


def test_consent_to_errors_lets_one_report_out(demo):
    """With error reports on, one failure is one event at the sink, and usage stays behind."""
    demo.decide(enable_error_reporting=True)
    demo.act("missing")
    demo.act("track")
    demo.act("fail")

    [event] = eventually(demo.received)

    assert event["name"] == "$exception"
    assert event["issues"] == []
    assert event["properties"]["$request_path"] == "/api/fail"
    assert event["properties"]["$current_url"] == "http://host.invalid/api/fail"


def test_no_planted_secret_leaves_in_any_byte(tmp_path):
    """Password, e-mail address, query and token of the example are in no URL, header or body (R21)."""
    sink = PostHogSink()
    with serve(sink) as sink_url, requests.Session() as http:
        telemetry = Telemetry(
            api_key="phc_test",
            host=sink_url,
            database=f"sqlite:///{tmp_path}/a.db",
            registry=EVENTS,
            environ={},
        )
        app = example_app(telemetry, sink_url=sink_url, received=lambda: len(sink.requests))
        with serve(telemetry.wrap(app)) as url:
            telemetry.update_settings(enable_error_reporting=True, enable_telemetry=True)
            for name in ("fail", "track-secret"):
                http.post(f"{url}/api/{name}?coupon=WINTER-4711", timeout=10)
            events = sink.wait_for(count=2, timeout_s=WAIT_TIMEOUT_S)

    found = [text for text in PLANTED if sink.contains(text)]

    assert found == []
    assert {event.name for event in events} == {"$exception", "integration_connected"}
    assert "api_token" not in next(e for e in events if e.name == "integration_connected").properties


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_the_demo_cleanly(demo, tmp_path, number):
    """Ctrl-C and SIGTERM end it with code 0, no traceback, no thread and no temporary folder."""
    demo.decide(enable_error_reporting=True)
    demo.act("fail")
    eventually(demo.received)

    code, out, err = demo.stop(number)

    assert (code, err) == (0, "")
    assert out.endswith("threads: MainThread\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", ["port", "sink_port"])
def test_taken_port_is_one_clear_line(tmp_path, option):
    """A port that is taken is named in one line on stderr, with code 2 and nothing left behind."""
    with _ports_in_use() as listener:
        port = listener.getsockname()[1]
        process = start(tmp_path, **{option: port})
        _, err = process.communicate(timeout=30)

    assert process.returncode == 2
    assert err.count("\n") == 1
    assert f"port {port} cannot be used" in err
    assert f"--{option.replace('_', '-')}" in err
    assert list(tmp_path.iterdir()) == []


def test_folder_keeps_the_database(tmp_path):
    """With a folder the decision is still there the next time."""
    folder = tmp_path / "kept"
    with running(tmp_path, folder=str(folder)) as first:
        first.decide(is_setup_completed=True, enable_telemetry=True)
        first.stop()

    with running(tmp_path, folder=str(folder)) as second:
        settings = second.http.get(f"{second.url}/api/settings/system", timeout=10).json()

    assert settings == {
        "is_setup_completed": True,
        "enable_telemetry": True,
        "enable_error_reporting": False,
    }
    assert str(folder) in second.greeting


@pytest.mark.parametrize("name", ["a file", "what?"])
def test_unusable_folder_is_one_clear_line(tmp_path, capsys, name):
    """A folder that cannot hold the database is named in one line on stderr, with code 2."""
    folder = tmp_path / name
    (tmp_path / "a file").touch()

    code = run(folder=folder)

    err = capsys.readouterr().err
    assert code == 2
    assert err.count("\n") == 1
    assert str(folder) in err


@pytest.mark.parametrize("package", ["starlette", "uvicorn"])
def test_missing_package_names_the_extra(monkeypatch, package):
    """Without starlette or uvicorn the error says what to install."""
    monkeypatch.setitem(sys.modules, package, None)

    with pytest.raises(MissingExtraError, match=rf"{package} is needed here.*\[demo\]"):
        run()


def test_page_refuses_other_host_names(demo):
    """A foreign name that leads to this computer gets neither the page nor the settings."""
    answer = demo.http.get(f"{demo.url}/api/settings/system", headers={"Host": "evil.example"}, timeout=10)

    assert answer.status_code == 400


def test_page_allows_itself_and_the_sink_only(demo):
    """The page's policy names a fresh nonce, the app and the sink, and nothing else."""
    first, second = (demo.http.get(demo.url, timeout=10) for _ in range(2))

    policy = first.headers["content-security-policy"]
    assert policy != second.headers["content-security-policy"]
    assert f"connect-src 'self' {demo.sink_url};" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
