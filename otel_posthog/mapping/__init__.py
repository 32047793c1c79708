"""Pure functions from records to events."""

from .base import LIBRARY, BaseProperties
from .carried import with_source_lines
from .exceptions import exception_properties
from .logs import event_from_log, kind_of_log
from .metrics import Beat, heartbeat_event
from .spans import events_from_span, fatal_exceptions, kinds_of_span
from .steps import without_events

__all__ = [
    "LIBRARY",
    "BaseProperties",
    "Beat",
    "event_from_log",
    "events_from_span",
    "exception_properties",
    "fatal_exceptions",
    "heartbeat_event",
    "kind_of_log",
    "kinds_of_span",
    "with_source_lines",
    "without_events",
]
