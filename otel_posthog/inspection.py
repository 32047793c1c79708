"""Make an event ready to leave: registry, scrubbing, the product's hook, registry again, limits."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from .counts import Counts
from .errors import HookError
from .events import Event
from .familiar import Familiar
from .notices import Notices
from .registry import EVENT_NAME_MAX_BYTES, Registry
from .scrubbing import BeforeSend, Scrubber, ask
from .trimming import trimmed

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What an event has to pass before it may be sent or kept; what does not pass is counted."""

    registry: Registry
    scrubber: Scrubber
    counts: Counts
    notices: Notices
    max_bytes: int
    before_send: BeforeSend | None = None
    familiar: Familiar = field(default_factory=Familiar)

    def ready(self, event: Event, granted: str | None, instance_id: str | None) -> Event | None:
        """Return of the event what may leave under consent to that manifest, if anything; fail closed."""
        try:
            properties = self.familiar.written(event, granted)
            if properties is not None:
                event.write(instance_id, properties)
                if event.size_bytes() <= self.max_bytes:
                    return event
            passed = self._looked_at(event, granted)
            if passed is None:
                return None
            passed.write(instance_id)
            return self._fitting(passed)
        except Exception as error:  # noqa: BLE001 - what cannot be scrubbed never leaves raw
            self.counts.add("unscrubbable")
            self.notices.warn(
                _log, "An event could not be scrubbed and is dropped (%s)", type(error).__name__
            )
            return None

    def _looked_at(self, event: Event, granted: str | None) -> Event | None:
        """Look at the event, and remember it if it passed as it is and no hook is to be asked each time."""
        passed = self._inspected(event, granted)
        if passed is event and self.before_send is None and self.registry.is_lasting(event.name, granted):
            self.familiar.add(event, granted)
        return passed

    def _fitting(self, event: Event) -> Event | None:
        """Apply the limits."""
        fitting = trimmed(event, self.max_bytes)
        if fitting is None or len(fitting.name.encode()) > EVENT_NAME_MAX_BYTES:
            self.counts.add("too_large")
            self.notices.warn(_log, "An event of more than %d bytes is dropped", self.max_bytes)
            return None
        if fitting is not event:
            self.counts.add("trimmed")
        return fitting

    def admitted(self, event: Event, granted: str | None) -> Event | None:
        """Keep of the event what is declared, and was in the manifest to which consent was given."""
        admission = self.registry.examine(event.name, event.properties, granted)
        if admission is None:
            self.counts.add("unregistered")
            return None
        if admission.outside:
            self.counts.add("outside_declaration", len(admission.outside))
        return event.with_properties(admission.properties)

    def _inspected(self, event: Event, granted: str | None) -> Event | None:
        admitted = self.admitted(event, granted)
        if admitted is None:
            return None
        scrubbed = self._edited(self.scrubber.scrub(admitted), granted)
        if scrubbed is None or scrubbed is admitted or scrubbed == admitted:
            return scrubbed
        # What stands in for a secret may lie outside of what was declared.
        return self.admitted(scrubbed, granted)

    def _edited(self, event: Event, granted: str | None) -> Event | None:
        """Let the product's hook change the scrubbed event; registry and scrubbing have the last word."""
        if self.before_send is None:
            return event
        try:
            wanted = ask(self.before_send, event)
        except HookError as error:
            self.counts.add("before_send_failed")
            self.notices.warn(_log, "An event is dropped: %s", error)
            return None
        if wanted is None:
            self.counts.add("before_send")
            return None
        admitted = self.admitted(wanted, granted)
        return None if admitted is None else self.scrubber.scrub(admitted)
