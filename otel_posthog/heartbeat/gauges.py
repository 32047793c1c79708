"""Define the gauges of the heartbeat, and read them within time limits.

A gauge that fails costs only itself.
"""

from __future__ import annotations

import asyncio
import contextvars
import importlib
import importlib.util
import inspect
import os
import re
import shutil
import stat
import time
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TypeAlias, cast

from opentelemetry.metrics import CallbackOptions, Observation

from otel_posthog._runtime.process import follow_forks
from otel_posthog._runtime.threads import in_thread
from otel_posthog.errors import MissingExtraError, RegistryError
from otel_posthog.otel import attributes
from otel_posthog.otel.api import suppressed_instrumentation
from otel_posthog.registry import (
    BASE_PROPERTIES,
    DROPPED_PREFIX,
    FAILED_GAUGES,
    SHORT_TEXT_MAX_CHARS,
    Property,
)
from otel_posthog.registry.builtin import gauge_property
from otel_posthog.registry.domains import Scalar, Words
from otel_posthog.scrubbing.keys import is_sensitive
from otel_posthog.store import Database

Value: TypeAlias = float | bool | str | None
Callback: TypeAlias = Callable[[], Value] | Callable[[], Awaitable[Value]]

# Returns the number of users, sync or async.
UserCount: TypeAlias = Callable[[], int] | Callable[[], Awaitable[int]]

BYTES_PER_MB = 1_000_000
BYTES_PER_GB = 1_000_000_000
CPU_SAMPLE_S = 1.0  # psutil's value is the share over a time
# Enough to see a trend, too little to recognise an installation.
DECIMALS = 1
MAX_NUMBER = 2**53  # larger ones lose digits in PostHog's JSON
BUCKETS = ("1", "2-5", "6-10", "11-50", "51+")
_UPPER_EDGES = (1, 5, 10, 50)
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_UNIT = re.compile(r"[!-~]{0,63}")  # OpenTelemetry accepts ASCII, at most 63 characters


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauge:
    """One gauge, as registered."""

    # Also the name of the event's property.
    name: str
    callback: Callback
    # Whether the callback needs an event loop.
    is_async: bool
    unit: str
    description: str
    declared: Property

    def admits(self, value: object) -> bool:
        """Return whether the heartbeat can carry the value."""
        if isinstance(value, str):
            is_sound = len(value) <= SHORT_TEXT_MAX_CHARS
        else:
            is_sound = isinstance(value, (bool, int, float)) and abs(value) <= MAX_NUMBER  # false for NaN
        return is_sound and self.declared.admits(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """Values of the gauges, and the reason for each that is missing."""

    values: Mapping[str, object]
    failures: Mapping[str, str] = field(default_factory=dict)


def bucket(count: int) -> str | None:
    """Return the bucket of a count, `1`, `2-5`, `6-10`, `11-50` or `51+`; None for 0, which is omitted.

    Raises ValueError for anything but a whole number from 0 on.
    """
    if type(count) is not int or count < 0:  # True is an int too
        raise ValueError("A count is a whole number from 0 on.")
    return BUCKETS[bisect_left(_UPPER_EDGES, count)] if count else None


def make_gauge(
    callback: Callback, *, name: str, unit: str, description: str, one_of: Collection[str] | None
) -> Gauge:
    """Return the gauge; raise `RegistryError` if its name or unit cannot be used."""
    if not _NAME.fullmatch(name):
        raise RegistryError(f"{name!r} cannot name a gauge. Use lower_snake_case, 63 characters at most.")
    if name in BASE_PROPERTIES or name == FAILED_GAUGES or name.startswith(DROPPED_PREFIX):
        raise RegistryError(f"The heartbeat carries {name!r} already. Use another name.")
    if is_sensitive(name):
        raise RegistryError(f"The value of {name!r} would be scrubbed for its name. Use another name.")
    if not _UNIT.fullmatch(unit):
        raise RegistryError(f"{unit!r} is not a unit. Use a short one such as 1, %, s, MBy or {{file}}.")
    values = Scalar() if one_of is None else Words(tuple(one_of))
    declared = gauge_property(Property(name=name, values=values, description=description))
    return Gauge(
        name=name,
        callback=callback,
        is_async=inspect.iscoroutinefunction(callback),
        unit=unit,
        description=description,
        declared=declared,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class GaugeInputs:
    """What built-in gauges measure, as far as the product has named it."""

    database: Database
    folder: Path | None
    count: UserCount | None


def built_in_gauge(name: str, inputs: GaugeInputs) -> Gauge:
    """Return the gauge of that name; raise if it is unknown or an input is missing."""
    if name not in _BUILT_IN:
        raise RegistryError(
            f"There is no built-in gauge {name!r}. There are: {', '.join(sorted(_BUILT_IN))}."
        )
    make, unit, description, one_of = _BUILT_IN[name]
    return make_gauge(make(inputs), name=name, unit=unit, description=description, one_of=one_of)


def _free_disk_gb(inputs: GaugeInputs) -> Callback:
    # The process may change its directory before the next heartbeat.
    folder = (inputs.folder or Path()).resolve()
    return lambda: round(shutil.disk_usage(folder).free / BYTES_PER_GB, DECIMALS)


def _of_log_files(measure: Callable[[Iterator[int]], float]) -> Callable[[GaugeInputs], Callback]:
    def make(inputs: GaugeInputs) -> Callback:
        if inputs.folder is None:
            raise RegistryError("log_files_count and log_files_size_mb need folder=, where the logs are.")
        folder = inputs.folder.resolve()
        return lambda: measure(_file_sizes(folder))

    return make


def _database_size_mb(inputs: GaugeInputs) -> Callback:
    return lambda: _mb(inputs.database.size_bytes())


def _db_kind(inputs: GaugeInputs) -> Callback:
    return lambda: inputs.database.kind


def _total_users_bucket(inputs: GaugeInputs) -> Callback:
    count = inputs.count
    if count is None:
        raise RegistryError("total_users_bucket needs count=, a callable that returns the number of users.")
    if inspect.iscoroutinefunction(count):
        count_async = cast("Callable[[], Awaitable[int]]", count)

        async def bucket_async() -> str | None:
            return bucket(await count_async())

        return bucket_async
    count_sync = cast("Callable[[], int]", count)
    return lambda: bucket(count_sync())


def _of_system(measure: Callable[[ModuleType], float]) -> Callable[[GaugeInputs], Callback]:
    def make(_inputs: GaugeInputs) -> Callback:
        if importlib.util.find_spec("psutil") is None:
            raise MissingExtraError("psutil", "system")
        return lambda: round(measure(importlib.import_module("psutil")), DECIMALS)

    return make


def _file_sizes(folder: Path) -> Iterator[int]:
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                status = (Path(parent) / name).lstat()
            except FileNotFoundError:  # rotated away meanwhile
                continue
            if stat.S_ISREG(status.st_mode):  # a link beside its file would count twice
                yield status.st_size


def _mb(size_bytes: int) -> float:
    return round(size_bytes / BYTES_PER_MB, DECIMALS)


def _ram_mb(psutil: ModuleType) -> float:
    return _mb(psutil.virtual_memory().total)


def _ram_percent(psutil: ModuleType) -> float:
    return float(psutil.virtual_memory().percent)


def _cpu_percent(psutil: ModuleType) -> float:
    return float(psutil.cpu_percent(interval=CPU_SAMPLE_S))


# What makes the callback, the unit, the description, and the only texts that it may return.
_BUILT_IN: Mapping[str, tuple[Callable[[GaugeInputs], Callback], str, str, Collection[str] | None]] = {
    "free_disk_gb": (_free_disk_gb, "GBy", "Free space of the disk.", None),
    "log_files_count": (_of_log_files(lambda sizes: len([*sizes])), "{file}", "Number of log files.", None),
    "log_files_size_mb": (
        _of_log_files(lambda sizes: _mb(sum(sizes))),
        "MBy",
        "Size of the log files.",
        None,
    ),
    "database_size_mb": (_database_size_mb, "MBy", "Size of the database.", None),
    "db_kind": (_db_kind, "1", "Kind of the database.", ("sqlite", "postgresql")),
    "total_users_bucket": (_total_users_bucket, "1", "Number of users, as a bucket.", BUCKETS),
    "system_ram_total_mb": (_of_system(_ram_mb), "MBy", "Memory of the machine.", None),
    "system_ram_percent": (_of_system(_ram_percent), "%", "Share of the memory in use.", None),
    "system_cpu_percent": (_of_system(_cpu_percent), "%", "Share of the CPU in use, over one second.", None),
}


class GaugeError(Exception):
    """Raised if a gauge has no usable value; the message gives the reason, never the value."""


class GaugeReader:
    """Read gauges one at a time, from a thread that may wait."""

    def __init__(self) -> None:
        # Async callbacks run on it; None for a private one.
        self.loop: asyncio.AbstractEventLoop | None = None
        self._calls: dict[str, tuple[Future[object], asyncio.AbstractEventLoop | None]] = {}
        # A context of its own: a callback sees nothing of the request or task that causes the reading.
        self._context = contextvars.Context().run(_suppressed_context)
        follow_forks(self)

    def collect(
        self, gauges: Iterable[Gauge], *, timeout_s: float, budget_s: float, is_wanted: Callable[[], bool]
    ) -> Collected:
        """Return the values of all gauges; one reached after the budget, or no longer wanted, has failed."""
        from .exporter import collect_once  # noqa: PLC0415 - the metrics SDK takes 20 ms, once a day

        deadline_s = time.monotonic() + budget_s
        failures: dict[str, str] = {}

        def observe(gauge: Gauge, _options: CallbackOptions) -> Sequence[Observation]:
            if not is_wanted():
                failures[gauge.name] = "was not called, since telemetry was switched off"
                return []
            try:
                left_s = deadline_s - time.monotonic()
                return _observations(self.read(gauge, min(timeout_s, left_s)))
            except GaugeError as error:
                failures[gauge.name] = str(error)
            except Exception as error:  # noqa: BLE001 - a value's own methods may raise anything
                failures[gauge.name] = f"could not be read ({type(error).__name__})"
            return []

        return Collected(values=collect_once(gauges, observe), failures=failures)

    def read(self, gauge: Gauge, timeout_s: float) -> Value:
        """Return the gauge's value, None if it has none today; raise `GaugeError`."""
        if timeout_s <= 0:
            raise GaugeError("was not reached in time")
        # Not called again while it hangs, so there is at most one such thread for each gauge.
        if self._is_busy(gauge.name):
            raise GaugeError("still hangs from an earlier time")
        loop, context = self.loop, self._context.copy()
        if gauge.is_async and loop is not None and loop.is_running():
            try:
                answer, cancel = _begin_on_loop(loop, context, gauge)
            except RuntimeError:  # the loop has just been closed
                raise GaugeError("could not be called") from None
        else:
            loop, cancel = None, lambda: None
            call = partial(_on_private_loop, gauge, timeout_s) if gauge.is_async else gauge.callback
            # A thread for each call, since one that hangs cannot be stopped.
            answer = in_thread(partial(context.run, call), "otel-posthog-gauge")
        self._calls[gauge.name] = answer, loop
        wait([answer], timeout_s)
        if not answer.done():
            cancel()
            raise GaugeError(f"took longer than {timeout_s:g} s")
        error = answer.exception()
        if error is not None:
            raise GaugeError(f"raised {type(error).__name__}")
        return _checked(answer.result(), gauge)

    def after_fork(self) -> None:
        """Forget loop and threads in a child: they are the parent's."""
        self.loop = None
        self._calls = {}

    def _is_busy(self, name: str) -> bool:
        answer, loop = self._calls.get(name, (None, None))
        # A call on a closed loop never ends, so it does not count.
        return answer is not None and not answer.done() and (loop is None or not loop.is_closed())


def _begin_on_loop(
    loop: asyncio.AbstractEventLoop, context: contextvars.Context, gauge: Gauge
) -> tuple[Future[object], Callable[[], object]]:
    answer: Future[object] = Future()
    tasks: list[asyncio.Task[object]] = []  # a loop holds its tasks weakly

    def begin() -> None:
        task = loop.create_task(_call(gauge), context=context)
        tasks.append(task)
        task.add_done_callback(settle)

    def settle(done: asyncio.Task[object]) -> None:
        try:
            answer.set_result(done.result())
        except BaseException as error:  # noqa: BLE001 - it costs only this gauge, even SystemExit
            answer.set_exception(error)

    def cancel() -> None:
        for task in tasks:
            task.cancel()

    loop.call_soon_threadsafe(begin)
    # Runs after `begin`, even if the loop was blocked.
    return answer, lambda: loop.call_soon_threadsafe(cancel)


def _suppressed_context() -> contextvars.Context:
    with suppressed_instrumentation():
        return contextvars.copy_context()


async def _call(gauge: Gauge) -> object:
    value = gauge.callback()
    return await value if inspect.isawaitable(value) else value


def _on_private_loop(gauge: Gauge, timeout_s: float) -> object:
    # With a factory, the runner does not replace the thread's current event loop.
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        return runner.run(asyncio.wait_for(_call(gauge), timeout_s))


def _checked(value: object, gauge: Gauge) -> Value:
    if value is None or gauge.admits(value):
        return cast("Value", value)
    if inspect.iscoroutine(value):
        value.close()  # or Python warns that it was never awaited
    raise GaugeError(f"returned a value that is not allowed ({type(value).__name__})")


def _observations(value: Value) -> Sequence[Observation]:
    if value is None:
        return []
    # OpenTelemetry measures numbers only, so a text or boolean is an attribute of the number 1.
    if isinstance(value, (bool, str)):
        return [Observation(1, {attributes.GAUGE_VALUE: value})]
    return [Observation(value)]
