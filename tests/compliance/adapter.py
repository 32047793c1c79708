"""Serve one `Telemetry` to PostHog's SDK test harness, by its ADAPTER_GUIDE.md and our public calls."""

from __future__ import annotations

import tempfile
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

from opentelemetry.sdk._logs import LoggerProvider
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse
from starlette.routing import Route

from otel_posthog import MaxChars, Range, Telemetry, event, track

CAPABILITIES = ["capture_v0", "capture_v1", "encoding_gzip"]
BATCH_DELAY_S = 30.0  # the harness flushes when it wants a request
RETRY_INITIAL_S = 0.5  # four retries in the 15 s for which `max_retries_respected` waits
FLUSH_S = 10.0  # the first one imports the HTTP client


def _declared(name):
    @event(name, why="The harness captures it.", since="1.0")
    class _Captured:
        """What the suites `capture` and `capture_v1` send."""

        custom_bool: bool | None = None
        custom_number: Annotated[int, Range(0, 100)] | None = None
        custom_string: Annotated[str, MaxChars(20)] | None = None
        key: Annotated[str, MaxChars(20)] | None = None
        timestamp_like: Annotated[str, MaxChars(30)] | None = None

    return _Captured


EVENTS = [_declared(name) for name in ("test_event", *(f"test_event_{number}" for number in range(5)))]


class Adapter:
    """One installation that has granted both kinds, made by `/init` and forgotten by `/reset`."""

    def __init__(self, folder):
        self._folder = folder
        self._telemetry = None
        self._logs = None
        self._captured = 0

    def __enter__(self):
        return self

    def __exit__(self, *_raised):
        self._reset({})

    def app(self):
        """Return the adapter as an ASGI application."""
        calls = {"health": self._health, "init": self._init, "capture": self._capture, "flush": self._flush}
        calls |= {"state": self._state, "reset": self._reset}
        return Starlette(routes=[_route(name, call) for name, call in calls.items()])

    def _health(self, _asked):
        return {
            "sdk_name": "otel-posthog",
            "sdk_version": version("otel-posthog"),
            "adapter_version": "1",
            "capabilities": CAPABILITIES,
        }

    def _init(self, asked):
        """Start with a new database; `max_retries` and `enable_compression` have no setting here."""
        self._reset(asked)
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        delay_ms, batch = asked.get("flush_interval_ms"), asked.get("flush_at")
        self._logs = LoggerProvider(shutdown_on_exit=False)
        self._telemetry = Telemetry(
            api_key=asked["api_key"],
            host=asked["host"],
            database=f"sqlite:///{folder}/app.db",
            registry=EVENTS,
            logger_provider=self._logs,
            environ={},
            retry_initial_s=RETRY_INITIAL_S,
            batch_delay_s=BATCH_DELAY_S if delay_ms is None else delay_ms / 1000,
            **({} if batch is None else {"batch_max_events": batch}),
        )
        self._telemetry.update_settings(enable_error_reporting=True, enable_telemetry=True)
        self._telemetry.start()
        return {"success": True}

    def _capture(self, asked):
        """Track the event. Only a record of the host's own logger can have another time than now."""
        name, properties, time = asked["event"], asked.get("properties") or {}, asked.get("timestamp")
        if time is None:
            track(name, properties)
        else:
            at_ns = int(datetime.fromisoformat(time).timestamp()) * 1_000_000_000
            self._logs.get_logger("harness").emit(timestamp=at_ns, event_name=name, attributes=properties)
        self._captured += 1
        return {"success": True, "uuid": None}  # `track` returns none

    def _flush(self, _asked):
        before = self._sent()
        self._telemetry.flush(FLUSH_S)
        return {"success": True, "events_flushed": self._sent() - before}

    def _state(self, _asked):
        """Report what a product can know: of requests nothing, but the harness records them itself."""
        counts = self._telemetry.delivery() if self._telemetry else {}
        sent = counts.get("sent", 0)
        return {
            "pending_events": self._captured - sum(counts.values()),
            "total_events_captured": self._captured,
            "total_events_sent": sent,
            "total_retries": 0,
            "last_error": None,
            "requests_made": [],
        }

    def _reset(self, _asked):
        """Withdraw consent before the end: what waits would be sent to the mock server of the next test."""
        if self._telemetry is not None:
            self._telemetry.update_settings(enable_error_reporting=False, enable_telemetry=False)
            self._telemetry.shutdown()
            self._logs.shutdown()
        self._telemetry, self._captured = None, 0
        return {"success": True}

    def _sent(self):
        return self._telemetry.delivery().get("sent", 0)


def _route(name, call):
    async def endpoint(request):
        asked = await request.json() if await request.body() else {}
        return JSONResponse(await run_in_threadpool(call, asked))

    return Route(f"/{name}", endpoint, methods=["GET", "POST"])
