"""Values of which the tests need one, whatever it holds."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from otel_posthog.events import Event

MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)


def some_event(properties, *, name="something", accepted_ns=1, **fields):
    """Return an event whose uuid is the number of its acceptance, unless another is given."""
    given = {"timestamp": MOMENT, "uuid": UUID(int=accepted_ns), **fields}
    return Event(name=name, properties=properties, accepted_ns=accepted_ns, **given)
