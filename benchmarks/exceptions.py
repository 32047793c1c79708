"""Cost of reporting an exception on the thread that has it: ours beside peers, interleaved in one run.

Each call gets a fresh exception with 20 frames. Promised are at most 60 µs for the walk over them, a tenth
of the cheaper of sentry-sdk and posthog for the whole report, and 30 µs for one that a storm leaves out.
"""

from __future__ import annotations

import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version

import sentry_sdk
from opentelemetry._logs import SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor, ReadWriteLogRecord
from opentelemetry.sdk.resources import Resource
from posthog import Posthog

from otel_posthog import Telemetry, capture_exception
from otel_posthog.delivery.transport import Delivery, Result
from otel_posthog.emit.tracebacks import describe

ROUNDS = 40
REPORTS = 25  # in a round
STORM = 10_000
FRAMES = 20
WALK_MAX_US, STORM_MAX_US, SHARE_OF_PEERS = 60, 30, 0.1
NOBODY = "http://127.0.0.1:9"
PACKAGES = ("otel-posthog", "posthog", "sentry-sdk", "opentelemetry-sdk")
Report = Callable[[BaseException], object]


class Swallowing:
    """A PostHog that takes everything at once."""

    def send(self, _events: Sequence[Mapping[str, object]], _may_send: Callable[[], bool]) -> Delivery:
        """Take them."""
        return Delivery(result=Result.ACCEPTED)

    def close(self) -> None:
        """Do nothing."""


class Ignoring(LogRecordProcessor):
    """A processor that does nothing, so that the record alone is measured."""

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        """Do nothing."""

    def shutdown(self) -> None:
        """Do nothing."""

    def force_flush(self, timeout_millis: int = 0) -> bool:  # noqa: ARG002 - the interface's
        """Do nothing."""
        return True


def fresh() -> BaseException:
    """Return an exception that went through as many frames."""
    try:
        _deeper(FRAMES - 2)
    except LookupError as error:
        return error
    raise AssertionError


def _deeper(left: int, request: object = "of a request", step: int = 7) -> None:
    if left:
        _deeper(left - 1, request, step + 1)
    else:
        raise LookupError(f"no step {step}")


def with_otel() -> Report:
    """Return OpenTelemetry's own way: a log record with the exception."""
    provider = LoggerProvider(resource=Resource({}), shutdown_on_exit=False)
    provider.add_log_record_processor(Ignoring())
    logger = provider.get_logger("benchmark")
    return lambda error: logger.emit(severity_number=SeverityNumber.ERROR, exception=error)


def with_sentry() -> Report:
    """Return sentry-sdk with what it does by default, but for the network."""
    sentry_sdk.init("http://key@127.0.0.1:9/1", transport=lambda _envelope: None, default_integrations=False)
    return sentry_sdk.capture_exception


def with_posthog() -> Report:
    """Return posthog-python with what it does by default, but for the network."""
    return Posthog("phc_benchmark", host=NOBODY, send=False).capture_exception


def microseconds(report: Report, errors: Sequence[BaseException]) -> float:
    """Return the time of one report."""
    began = time.perf_counter()
    for error in errors:
        report(error)
    return (time.perf_counter() - began) / len(errors) * 1e6


def compared(reports: Mapping[str, Report]) -> dict[str, float]:
    """Return the median over the rounds for each way, taken in turn."""
    times: dict[str, list[float]] = {name: [] for name in reports}
    for _ in range(ROUNDS):
        for name, report in reports.items():
            times[name].append(microseconds(report, [fresh() for _ in range(REPORTS)]))
    return {name: statistics.median(values) for name, values in times.items()}


def storm(report: Report) -> float:
    """Return what a report costs that is left out, as a median over parts of the storm."""
    for _ in range(200):
        report(fresh())
    parts = [microseconds(report, [fresh() for _ in range(100)]) for _ in range(STORM // 100)]
    return statistics.median(parts)


def main() -> None:
    """Print the table, and whether the promises hold."""
    with tempfile.TemporaryDirectory() as folder:

        def started(**limits: int) -> Telemetry:
            telemetry = Telemetry(
                database=f"sqlite:///{folder}/app.db", transport=Swallowing(), environ={}, **limits
            )
            telemetry.start()
            telemetry.update_settings(enable_error_reporting=True)
            return telemetry

        telemetry = started(error_burst=1_000_000)
        costs = compared(
            {
                "walk of the frames alone (`tracebacks.describe`)": describe,
                "otel-posthog, `capture_exception`": capture_exception,
                "opentelemetry-sdk, `emit(exception=…)`": with_otel(),
                "posthog, `capture_exception`": with_posthog(),
                "sentry-sdk, `capture_exception`": with_sentry(),
            }
        )
        telemetry.shutdown(timeout_s=5)
        telemetry = started()
        costs["otel-posthog, left out of a storm"] = storm(capture_exception)
        telemetry.shutdown(timeout_s=5)
    _print(costs)


def _print(costs: Mapping[str, float]) -> None:
    walk, ours, _, posthog, sentry, left_out = costs.values()
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    print(f"Python {platform.python_version()}, {versions}\n")
    print("| on the thread of the exception | median µs | × ours |\n|---|---:|---:|")
    for name, cost in costs.items():
        print(f"| {name} | {cost:.1f} | {cost / ours:.2f} |")
    cheaper = min(posthog, sentry)
    print(f"\nwalk at most {WALK_MAX_US} µs: {walk <= WALK_MAX_US}")
    is_cheap = ours <= cheaper * SHARE_OF_PEERS
    print(f"a report at most a tenth of the cheaper peer: {is_cheap} (1/{cheaper / ours:.1f})")
    print(f"in a storm at most {STORM_MAX_US} µs: {left_out <= STORM_MAX_US}")


if __name__ == "__main__":
    main()
