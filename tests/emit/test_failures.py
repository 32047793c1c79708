"""Which exceptions were reported before."""

from __future__ import annotations

import logging
from pathlib import Path
from types import ModuleType

import pytest
from asgi import call, http_scope

from otel_posthog import capture_exception
from otel_posthog.emit.failures import subject_of
from otel_posthog.middleware import exceptions
from otel_posthog.otel import attributes


@pytest.fixture(params=[exceptions.__name__, "renamed", "the_application.views"])
def watch(request):
    """Return `watch` of the middleware, from a module with that name."""
    module = ModuleType(request.param)
    module.__package__ = exceptions.__package__
    path = Path(exceptions.__file__)
    exec(compile(path.read_text(encoding="utf-8"), path, "exec"), vars(module))
    return module.watch


async def _fail(_scope, _receive, _send):
    raise LookupError("failure of the application")


def _exceptions(sink):
    return [event for event in sink.events if event.name == "$exception"]


def _raised_by(app):
    with pytest.raises(LookupError) as caught:
        call(app, http_scope())
    return caught.value


def test_exception_is_reported_once_whatever_the_middleware_is_called(watch, granted, sink):
    """A server that reports what the middleware has reported adds no second report."""
    error = _raised_by(watch(_fail, granted.lifecycle))

    capture_exception(error)

    assert granted.flush()
    [event] = _exceptions(sink)
    assert event.properties["$exception_list"][0]["mechanism"]["handled"] is False


def test_reported_stack_begins_in_the_application(watch, granted, sink):
    """The frame of the middleware is left out of the report, whatever its module is called."""
    _raised_by(watch(_fail, granted.lifecycle))

    assert granted.flush()
    [event] = _exceptions(sink)
    frames = event.properties["$exception_list"][0]["stacktrace"]["frames"]
    assert [frame["function"] for frame in frames] == ["_fail"]


def test_module_of_the_application_may_have_our_name(granted, sink):
    """A function of another package is not taken for the middleware, whatever its module is called."""
    namespace = {"__name__": "otel_posthog.middleware.exceptions", "fail": _fail}
    exec("async def watched(scope, receive, send):\n    await fail(scope, receive, send)", namespace)
    error = _raised_by(namespace["watched"])

    capture_exception(error)

    assert granted.flush()
    assert len(_exceptions(sink)) == 1


def test_logged_exception_is_known_after_its_handling():
    """A server may log an exception later, and other instrumentation records it without the object."""
    found = []

    class Recording(logging.Handler):
        def emit(self, record):
            recorded = {attributes.EXCEPTION_TYPE: type(record.exc_info[1]).__name__}
            found.append(subject_of(recorded))

    logger, error, handler = logging.getLogger("of.a.server"), LookupError("failed"), Recording()
    logger.addHandler(handler)

    logger.error("Exception inside application", exc_info=error)

    logger.removeHandler(handler)
    assert found == [error]
    assert subject_of({attributes.EXCEPTION_TYPE: "LookupError"}) is None
