"""The smallest product with otel_posthog: one event, one failure, shown by a PostHog on this computer.

Run it from anywhere: `python examples/quickstart.py`. Nothing leaves the computer.
"""

from __future__ import annotations

import tempfile
from typing import Annotated, Literal

from otel_posthog import Range, Telemetry, capture_exception, event, track
from otel_posthog.testing import PostHogSink, serve


@event("report_generated", why="which formats are worth improving", since="1.0")
class ReportGenerated:
    """A report was generated."""

    format: Literal["pdf", "html"]
    pages: Annotated[int, Range(1, 1000)]


def use_product() -> None:
    """Do something worth an event, and fail at something else."""
    track(ReportGenerated(format="pdf", pages=3))
    try:
        open("/no/such/template?token=secret")  # noqa: PTH123, SIM115 - fails on purpose
    except OSError as error:
        capture_exception(error, properties={"step": "layout"})


def main() -> None:
    """Use the product without consent, then with it, and print what arrived."""
    sink = PostHogSink()
    with tempfile.TemporaryDirectory() as folder, serve(sink) as address:
        database = f"sqlite:///{folder}/app.db"
        with Telemetry(
            api_key="phc_quickstart", host=address, database=database, registry=[ReportGenerated]
        ) as telemetry:
            use_product()
            telemetry.flush()
            print(f"Before consent: {len(sink.events)} events")

            telemetry.update_settings(enable_error_reporting=True, enable_telemetry=True)
            use_product()
            telemetry.flush()
            print("After consent:", ", ".join(sorted(event.name for event in sink.events)))


if __name__ == "__main__":
    main()
