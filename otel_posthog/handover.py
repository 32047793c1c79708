"""What this process says itself, emitted as log records where a Collector takes them."""

from __future__ import annotations

from collections.abc import Sequence

from . import analytics, attributes
from ._otel import SeverityNumber
from .events import Event
from .gate import Outcome
from .registry import BASE_PROPERTIES

_NS_PER_S = 1_000_000_000


class Handover:
    """Stand in for the gate; the gateway makes the same event of the record."""

    def send(self, events: Sequence[Event]) -> Outcome:
        """Emit the events under their own uuid and time."""
        for event in events:
            own = {name: value for name, value in event.properties.items() if name not in BASE_PROPERTIES}
            analytics.current().logger.emit(
                event_name=event.name,
                timestamp=int(event.timestamp.timestamp()) * _NS_PER_S,
                severity_number=SeverityNumber.INFO,
                attributes={**own, attributes.EVENT_UUID: str(event.uuid)},  # type: ignore[dict-item]  # scalars
            )
        return Outcome.SENT
