"""Map records to events."""

from .exceptions import LIBRARY, BaseProperties, exception_properties
from .records import event_from_log, events_from_span, fatal_exceptions, kind_of_log, kinds_of_span
from .steps import with_steps_since

__all__ = [
    "LIBRARY",
    "BaseProperties",
    "event_from_log",
    "events_from_span",
    "exception_properties",
    "fatal_exceptions",
    "kind_of_log",
    "kinds_of_span",
    "with_steps_since",
]
