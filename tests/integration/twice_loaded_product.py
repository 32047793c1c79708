"""A program that loads its configuration file twice, as a product and a plugin of it may."""

import sys
import threading
from contextlib import suppress

from opentelemetry import metrics, trace
from opentelemetry.configuration import configure_sdk, load_config_file

from otel_posthog import track

for _ in range(2):
    configure_sdk(load_config_file(sys.argv[1]))

tracer = trace.get_tracer("product")
with tracer.start_as_current_span("pipeline.run", attributes={"pipeline.success": True}):
    pass
with suppress(ValueError), tracer.start_as_current_span("work"):
    int("boom")
track("report_made", {"pages": 3})
for provider in (trace.get_tracer_provider(), metrics.get_meter_provider()):
    provider.force_flush()

threads = sorted(thread.name for thread in threading.enumerate() if thread.name.startswith("otel-posthog"))
sys.stdout.write(" ".join(threads))
