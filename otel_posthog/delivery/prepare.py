"""Prepare events for delivery: registry, scrubbing, the product's hook, limits, batches."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from otel_posthog._runtime.reporting import Counts, LogLimiter
from otel_posthog.config.settings import Config
from otel_posthog.consent.state import Consent, Grant
from otel_posthog.errors import HookError
from otel_posthog.events import UNSTAMPED, Event, Stamp
from otel_posthog.registry import EVENT_NAME_MAX_BYTES, TRIMMED, Kind, Registry
from otel_posthog.scrubbing import BeforeSend, Scrubber, ask

_log = logging.getLogger(__name__)

MAX_PROPERTIES = 4096  # then the cache starts again, so that new values cannot fill memory
MAX_TEXT_CHARS = 400
_TYPES = frozenset({str, bool, int})  # each value of these is written in one way only
_MARK = "…[trimmed]"
_TRUNCATIONS = ((10_000, 200), (2_000, 100), (500, 50), (100, 20))  # characters of a text, items of a list

_json = json.JSONEncoder().encode
_Property = tuple[str, object, type]  # with its type, since 1 is equal to True


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """Events of one kind that are sent together."""

    kind: Kind
    events: tuple[Event, ...]
    size_bytes: int
    stamp: Stamp = UNSTAMPED  # the consent under which the events were accepted
    grant: Grant | None = None  # to which the events were narrowed; None if that is to be done again

    @property
    def oldest_ns(self) -> int:
        """When the first of its events was accepted."""
        return min(event.accepted_ns for event in self.events)


class AdmittedCache:
    """Properties that passed registry and scrubbing unchanged, with their JSON. Safe in threads."""

    # A property that passed once passes again, since neither check looks at its neighbours. Most properties
    # repeat, so this saves three fifths of the time (docs/adr/0038). It holds nothing that may not be sent.
    def __init__(self) -> None:
        self._known: dict[tuple[str, str | None], dict[_Property, str]] = {}
        self._number = 0

    def written(self, event: Event, granted: str | None) -> str | None:
        """Return the JSON of the event's properties if each of them passed before."""
        known, properties = self._known.get((event.name, granted)), event.properties
        # A subclass could claim to be equal to what was admitted.
        if known is None or type(event.name) is not str or type(properties) is not dict:
            return None
        values = properties.values()
        try:
            found = map(known.__getitem__, zip(properties, values, map(type, values), strict=True))
            return f"{{{', '.join(found)}}}"
        except (KeyError, TypeError):  # one that is new, or has no hash
            return None

    def add(self, event: Event, granted: str | None) -> None:
        """Remember the properties of an event that passed unchanged, if all are short and plain."""
        properties = [(name, value, type(value)) for name, value in event.properties.items()]
        if type(event.name) is not str or not all(map(_is_plain, properties)):
            return
        if self._number > MAX_PROPERTIES:
            self._known, self._number = {}, 0
        known = self._known.setdefault((event.name, granted), {})
        new = {each: f"{_json(each[0])}: {_json(each[1])}" for each in properties if each not in known}
        known.update(new)
        self._number += len(new) + 1


class Preparation:
    """What an event has to pass before it is sent or kept; what does not pass is counted."""

    def __init__(
        self,
        config: Config,
        *,
        registry: Registry,
        scrubber: Scrubber,
        counts: Counts,
        log_limiter: LogLimiter,
        before_send: BeforeSend | None = None,
    ) -> None:
        self.config = config
        self.counts = counts
        self.log_limiter = log_limiter
        self.admitted_before = AdmittedCache()
        self.registry = registry
        self._scrubber = scrubber
        self._before_send = before_send

    def batches(self, kind: Kind, events: Sequence[Event], consent: Consent) -> list[Batch]:
        """Return batches, within the configured limits, of what was not withdrawn."""
        batches: list[Batch] = []
        config, known = self.config, consent.kinds[kind]
        stamp, grant = known.stamp, known.grant
        chosen: list[Event] = []
        size_bytes = 0

        def close_batch() -> None:
            events = tuple(chosen)
            batches.append(Batch(kind=kind, events=events, size_bytes=size_bytes, stamp=stamp, grant=grant))

        for event in self._not_withdrawn(kind, events, consent):
            prepared = self.prepared(event, grant.manifest_at(event.accepted_ns), consent.instance_id)
            if prepared is None:
                continue
            event_bytes = prepared.size_bytes()
            is_full = len(chosen) >= config.batch_max_events
            if chosen and (is_full or size_bytes + event_bytes > config.batch_max_bytes):
                close_batch()
                chosen, size_bytes = [], 0
            chosen.append(prepared)
            size_bytes += event_bytes
        if chosen:
            close_batch()
        return batches

    def prepared(self, event: Event, granted: str | None, instance_id: str | None) -> Event | None:
        """Return what of the event may be sent under consent to that manifest, or None. Never raises."""
        try:
            properties = self.admitted_before.written(event, granted)
            max_bytes = self.config.event_max_bytes
            if properties is not None and event.write(instance_id, properties) <= max_bytes:
                return event
            passed = self._passed(event, granted)
            if passed is None:
                return None
            is_fitting = passed.write(instance_id) <= max_bytes
            return self._within_limits(passed if is_fitting else truncated(passed, max_bytes), passed)
        except Exception as error:  # noqa: BLE001 - an event that cannot be scrubbed is never sent raw
            self.counts.add("unscrubbable", kind=event.kind.value)
            self.log_limiter.warning(
                _log, "An event could not be scrubbed and is dropped (%s)", type(error).__name__
            )
            return None

    def admitted(self, event: Event, granted: str | None) -> Event | None:
        """Reduce the event to what is declared, and was in the manifest to which consent was given."""
        registry = self.registry
        manifest = registry.allowed(event.kind, granted)
        admission = manifest.examine(event.name, event.properties, registry.today)
        if admission is None:
            self.counts.add("unregistered", kind=event.kind.value)
            return None
        if admission.outside:
            self.counts.add("outside_declaration", len(admission.outside))
        return event.with_properties(admission.properties)

    def _not_withdrawn(self, kind: Kind, events: Sequence[Event], consent: Consent) -> Iterator[Event]:
        known = consent.kinds[kind]
        for event in events:
            is_here = event.stamp is UNSTAMPED
            before_ns = known.discard_before_ns if is_here else known.discard_stamped_before_ns(event.stamp)
            if event.accepted_ns >= before_ns:
                yield event
            else:
                self.counts.add("withdrawn", kind=kind.value)

    def _passed(self, event: Event, granted: str | None) -> Event | None:
        admitted = self.admitted(event, granted)
        if admitted is None:
            return None
        scrubbed = self._scrubber.scrub(admitted)
        if self._before_send is not None:
            edited = self._edited(self._before_send, scrubbed, granted)
            if edited is None:
                return None
            scrubbed = edited
        elif scrubbed is event and self.registry.allowed(event.kind, granted).is_lasting(event.name):
            self.admitted_before.add(event, granted)
        if scrubbed is admitted or scrubbed == admitted:
            return scrubbed
        # The registry once more: a placeholder may be longer than the text, and outside of its declaration.
        return self.admitted(scrubbed, granted)

    def _edited(self, before_send: BeforeSend, event: Event, granted: str | None) -> Event | None:
        """Let the product's hook change the scrubbed event; registry and scrubbing have the last word."""
        try:
            wanted = ask(before_send, event)  # on a deep copy, of what is scrubbed already
        except HookError as error:
            self.counts.add("before_send_failed", kind=event.kind.value)
            self.log_limiter.warning(_log, "An event is dropped: %s", error)
            return None
        if wanted is None:
            self.counts.add("before_send", kind=event.kind.value)
            return None
        admitted = self.admitted(wanted, granted)
        return None if admitted is None else self._scrubber.scrub(admitted)

    def _within_limits(self, fitting: Event | None, event: Event) -> Event | None:
        if fitting is None or len(fitting.name.encode()) > EVENT_NAME_MAX_BYTES:
            self.counts.add("too_large", kind=event.kind.value)
            self.log_limiter.warning(
                _log, "An event of more than %d bytes is dropped", self.config.event_max_bytes
            )
            return None
        if fitting is not event:
            self.counts.add("trimmed")
        return fitting


def truncated(event: Event, max_bytes: int) -> Event | None:
    """Return the event if it fits, else shortened and marked, or None if that is not enough."""
    if event.size_bytes() <= max_bytes:
        return event
    for max_chars, max_items in _TRUNCATIONS:
        properties: dict[str, object] = {
            name: _cut(value, max_chars, max_items) for name, value in event.properties.items()
        }
        shorter = replace(event, properties=properties | {TRIMMED: True})
        if shorter.size_bytes() <= max_bytes:
            return shorter
    return None


def _cut(value: object, max_chars: int, max_items: int) -> object:
    if isinstance(value, str):
        return value if len(value) <= max_chars else value[:max_chars] + _MARK
    if isinstance(value, Mapping):
        return {key: _cut(inner, max_chars, max_items) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_cut(inner, max_chars, max_items) for inner in _ends(value, max_items)]
    return value


def _ends(values: list[object] | tuple[object, ...], max_items: int) -> list[object]:
    """Keep both ends of a list: of a stack, the entry point and the failing frame."""
    if len(values) <= max_items:
        return list(values)
    half = max_items // 2
    return [*values[:half], *values[-half:]]


def _is_plain(each: _Property) -> bool:
    name, value, kind = each
    is_short = not isinstance(value, str) or len(value) <= MAX_TEXT_CHARS
    return type(name) is str and kind in _TYPES and is_short
