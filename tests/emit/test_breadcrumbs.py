"""What happened before an exception: `$exception_steps`."""

from __future__ import annotations

import asyncio
import json
import logging
import threading

import pytest
from asgi import call, http_scope
from opentelemetry.sdk.trace import TracerProvider
from waiting import wait_until

from otel_posthog import capture_exception, track
from otel_posthog.emit.breadcrumbs import EVENT, LOG, SPAN, Breadcrumbs
from otel_posthog.mapping.steps import MAX_SHOWN_CHARS, steps_of
from otel_posthog.scrubbing import Scrubber
from otel_posthog.testing.faults import Fault

WAIT_S = 60
BOTH = {"enable_error_reporting": True, "enable_telemetry": True}


def _started(make_telemetry, flags, **settings):
    telemetry = make_telemetry(**settings)
    telemetry.start()
    telemetry.update_settings(**flags)
    return telemetry


def _failures(sink):
    return [event for event in sink.events if event.name == "$exception"]


def _steps(event):
    return [(step["type"], step["$message"]) for step in event.properties.get("$exception_steps", ())]


def _failing(*names):
    """Return an application that tracks these events and fails."""

    async def app(_scope, _receive, _send):
        for name in names:
            track(name, {"planted_property": 1})
        raise ValueError("the application's own")

    return app


def test_tracked_events_of_the_request_are_steps(make_telemetry, sink):
    """The names of what the request tracked go with its exception, oldest first, without properties."""
    telemetry = _started(make_telemetry, BOTH)

    with pytest.raises(ValueError, match="the application's own"):
        call(telemetry.wrap(_failing("first_thing", "second_thing")), http_scope())

    assert telemetry.flush(timeout_s=60)
    [failure] = _failures(sink)
    assert _steps(failure) == [(EVENT, "first_thing"), (EVENT, "second_thing")]
    assert set(failure.properties["$exception_steps"][0]) == {"$message", "$timestamp", "type"}
    assert failure.issues == ()


def test_requests_do_not_see_each_others_steps(make_telemetry, sink):
    """Each request has its own."""
    telemetry = _started(make_telemetry, BOTH)
    track("before_any_request", {})

    for name in ("of_the_first", "of_the_second"):
        with pytest.raises(ValueError, match="the application's own"):
            call(telemetry.wrap(_failing(name)), http_scope())

    assert telemetry.flush(timeout_s=60)
    assert sorted(map(_steps, _failures(sink))) == [[(EVENT, "of_the_first")], [(EVENT, "of_the_second")]]


def test_tracked_events_are_no_steps_without_consent_to_usage_events(make_telemetry, sink):
    """What the product tracks leaves with an exception only while it may leave by itself (R2)."""
    telemetry = _started(make_telemetry, {"enable_error_reporting": True})

    with pytest.raises(ValueError, match="the application's own"):
        call(telemetry.wrap(_failing("planted_event")), http_scope())

    assert telemetry.flush(timeout_s=60)
    assert len(_failures(sink)) == 1
    assert not sink.contains("planted_event")


def test_tracked_events_go_with_the_consent_to_them(make_telemetry, sink):
    """After a withdrawal nothing of what was tracked before leaves, also with a later exception (R4)."""
    telemetry = _started(make_telemetry, BOTH)
    track("planted_event", {})
    assert telemetry.flush(timeout_s=60)
    sink.clear()

    telemetry.update_settings(enable_telemetry=False)
    telemetry.update_settings(enable_telemetry=True)
    capture_exception(ValueError("later"))

    assert telemetry.flush(timeout_s=60)
    [failure] = _failures(sink)
    assert _steps(failure) == []


def test_steps_of_errors_stay_while_usage_events_are_off(make_telemetry, sink):
    """What is no usage event needs no consent to these, however often consent is looked at."""
    provider = TracerProvider(shutdown_on_exit=False)
    telemetry = make_telemetry(tracer_provider=provider, consent_max_age_s=0.02)
    telemetry.start()
    telemetry.update_settings(enable_error_reporting=True)
    with provider.get_tracer("product").start_as_current_span("sync repository"):
        watch = telemetry._pipeline.watch
        before_s = watch.current.read_at_s
        wait_until(lambda: watch.cached().read_at_s > before_s, timeout_s=WAIT_S)

        capture_exception(ValueError("after it"))

    assert telemetry.flush(timeout_s=60)
    assert _steps(_failures(sink)[0]) == [(SPAN, "sync repository")]


def test_tracked_events_do_not_wait_on_disk_with_an_exception(make_telemetry, sink):
    """Who may read them later nobody knows, so what is spooled names none."""
    _started(make_telemetry, BOTH, retry_initial_s=0.01, retry_max_s=0.05)
    sink.script([Fault(status=503, holding="$exception_list")])
    track("planted_event", {})

    capture_exception(ValueError("after it"))

    wait_until(lambda: _failures(sink), timeout_s=WAIT_S)
    assert _steps(_failures(sink)[0]) == []


def test_warnings_are_steps_where_that_is_wanted(make_telemetry, sink):
    """With `steps_from_logs` what was logged at warning and above is a step, scrubbed, with its level."""
    telemetry = _started(make_telemetry, BOTH, steps_from_logs=True)
    logger = logging.getLogger("product")

    logger.info("not worth a step")
    logger.warning("no answer from %s, password=planted-in-log", "the repository")
    capture_exception(ValueError("after it"))

    assert telemetry.flush(timeout_s=60)
    [failure] = _failures(sink)
    [step] = failure.properties["$exception_steps"]
    assert (step["type"], step["level"]) == (LOG, "warning")
    assert step["$message"].startswith("no answer from the repository, password=")
    assert not sink.contains("planted-in-log")


def test_warnings_are_no_steps_otherwise(make_telemetry, sink):
    """Log messages are words that people wrote, so a product has to ask for them."""
    telemetry = _started(make_telemetry, BOTH)

    logging.getLogger("product").warning("planted warning")
    capture_exception(ValueError("after it"))

    assert telemetry.flush(timeout_s=60)
    assert "$exception_steps" not in _failures(sink)[0].properties


def test_spans_are_steps(make_telemetry, sink):
    """The names of the spans that began before the exception go with it, also of those still open."""
    provider = TracerProvider(shutdown_on_exit=False)
    telemetry = _started(make_telemetry, BOTH, tracer_provider=provider)
    tracer = provider.get_tracer("product")

    with tracer.start_as_current_span("sync repository"):
        with tracer.start_as_current_span("git fetch"):
            pass
        capture_exception(ValueError("after it"))

    assert telemetry.flush(timeout_s=60)
    assert _steps(_failures(sink)[0]) == [(SPAN, "sync repository"), (SPAN, "git fetch")]


@pytest.mark.parametrize(("number", "expected"), [(3, ["e7", "e8", "e9"]), (0, [])])
def test_number_of_steps_is_a_setting(make_telemetry, sink, number, expected):
    """The last ones count; with 0 there are none."""
    telemetry = _started(make_telemetry, BOTH, error_steps=number)
    for index in range(10):
        track(f"e{index}", {})

    capture_exception(ValueError("after it"))

    assert telemetry.flush(timeout_s=60)
    assert [text for _, text in _steps(_failures(sink)[0])] == expected


def test_steps_are_bounded_in_bytes(make_telemetry, sink):
    """The oldest give way where the JSON would be too long."""
    telemetry = _started(make_telemetry, BOTH, error_steps_max_bytes=500)
    for index in range(10):
        track(f"event_number_{index}_with_a_rather_long_name", {})

    capture_exception(ValueError("after it"))

    assert telemetry.flush(timeout_s=60)
    steps = _failures(sink)[0].properties["$exception_steps"]
    assert 0 < len(json.dumps(steps)) <= 500 + 2 * len(steps)
    assert steps[-1]["$message"] == "event_number_9_with_a_rather_long_name"


def _noted(breadcrumbs):
    return [
        text for _, _, text, _ in json.loads(breadcrumbs.as_json(None, allows_events=lambda: True) or "[]")
    ]


def test_tasks_go_on_with_what_led_to_them():
    """A task begins with the steps of whoever started it, and neither sees what the other does then."""
    breadcrumbs, seen = Breadcrumbs(number=10), {}

    async def child(name):
        breadcrumbs.note(SPAN, f"of {name}")
        await asyncio.sleep(0)
        seen[name] = _noted(breadcrumbs)

    async def run():
        breadcrumbs.note(SPAN, "before")
        await asyncio.gather(asyncio.create_task(child("one")), asyncio.create_task(child("two")))
        seen["parent"] = _noted(breadcrumbs)

    asyncio.run(run())

    assert seen == {"one": ["before", "of one"], "two": ["before", "of two"], "parent": ["before"]}


def test_another_telemetry_begins_with_none():
    """What was noted for one is not told by another one in the same process."""
    Breadcrumbs(number=10).note(SPAN, "of another one")
    breadcrumbs = Breadcrumbs(number=10)

    breadcrumbs.note(SPAN, "of this one")

    assert _noted(breadcrumbs) == ["of this one"]


def test_threads_have_their_own():
    """What another thread did is no step of this one."""
    breadcrumbs, seen = Breadcrumbs(number=10), []
    breadcrumbs.note(SPAN, "of this one")
    thread = threading.Thread(target=lambda: seen.extend(_noted(breadcrumbs)))
    thread.start()
    thread.join(WAIT_S)

    assert seen == []


def test_nothing_noted_is_nothing_told():
    """An exception before which nothing happened has no list of steps."""
    thread_says = []
    thread = threading.Thread(
        target=lambda: thread_says.append(Breadcrumbs(number=10).as_json(None, allows_events=lambda: True))
    )
    thread.start()
    thread.join(WAIT_S)

    assert thread_says == [None]


@pytest.mark.parametrize(
    "recorded",
    [
        None,
        5,
        "",
        "{}",
        "[1]",
        "[[1]]",
        '[["x", "event", "t", null]]',
        '[[1, "other", "t", null]]',
        "[" * 99_999,
    ],
    ids=repr,
)
def test_foreign_steps_are_survived(recorded):
    """What others record under our name has to have our form."""
    assert steps_of(recorded, Scrubber(), 8_000) == []


def test_secret_at_the_cut_does_not_leave_by_half():
    """A message is scrubbed whole and cut afterwards."""
    secret = "gh" + "p_16C7e42F292c6912E7710c838347Ae178B4a"
    text = "x" * (MAX_SHOWN_CHARS - 10) + " " + secret

    [step] = steps_of(json.dumps([[1, LOG, text, "warning"]]), Scrubber(), 8_000)

    assert len(step["$message"]) <= MAX_SHOWN_CHARS
    assert "p_16C7" not in step["$message"]
