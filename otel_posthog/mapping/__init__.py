"""Pure functions from records to events."""

from .base import LIBRARY, BaseProperties
from .exceptions import exception_properties
from .logs import event_from_log, kind_of_log
from .spans import events_from_span, kinds_of_span

__all__ = [
    "LIBRARY",
    "BaseProperties",
    "event_from_log",
    "events_from_span",
    "exception_properties",
    "kind_of_log",
    "kinds_of_span",
]
