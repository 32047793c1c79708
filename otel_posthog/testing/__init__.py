"""Provide a PostHog that runs on this machine, for tests and demonstrations."""

from otel_posthog.testing.faults import Fault
from otel_posthog.testing.records import ReceivedEvent
from otel_posthog.testing.serving import serve
from otel_posthog.testing.sink import PostHogSink

__all__ = [
    "Fault",
    "PostHogSink",
    "ReceivedEvent",
    "serve",
]
