"""Compare two manifests, and compute what both of them allow.

Only a widening needs a new answer: an event, a property or a value that was not allowed before. A
narrowing or a rewording never does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date
from enum import StrEnum

from .declarations import EventSpec, Property
from .domains import NOTHING, Scalar
from .manifest import Manifest

# What an open event may hold under any name.
_OPEN = Scalar()


class Effect(StrEnum):
    """What a change means for consent."""

    WIDENING = "widening"
    """More may be sent than before."""
    NARROWING = "narrowing"
    """Less is sent than before."""
    WORDING = "wording"
    """The same is sent; its description changed."""


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between two manifests, as an admin reads it."""

    effect: Effect
    event: str
    """Name of the event, or empty for what all events share."""
    property: str
    """Name of the property, or empty for the event itself."""
    text: str

    def to_json(self) -> dict[str, str]:
        """Return the change as data."""
        return {**asdict(self), "effect": self.effect.value}


def compare(old: Manifest, new: Manifest) -> tuple[Change, ...]:
    """Return the differences, event by event."""
    changes = [*_opening(old, new), *_properties_changed("", old.base, new.base)]
    for name in sorted({*old.events, *new.events}):
        changes += _event_changed(old.spec(name), new.spec(name))
    return tuple(changes)


def widenings(old: Manifest, new: Manifest) -> tuple[Change, ...]:
    """Return only the changes that need a new answer."""
    return tuple(change for change in compare(old, new) if change.effect is Effect.WIDENING)


def narrowed(granted: Manifest, present: Manifest) -> Manifest:
    """Return the manifest of what both allow; widenings are left out."""
    events = {}
    for name in {*granted.events, *present.events}:
        before, now = granted.spec(name), present.spec(name)
        if before is not None and now is not None:
            events[name] = _met(before, now)
    return Manifest(
        kind=present.kind,
        base=_met_properties(granted.base, present.base, are_open=False),
        events=events,
        is_open=granted.is_open and present.is_open,
    )


def _opening(old: Manifest, new: Manifest) -> Iterator[Change]:
    text = "any event may leave, with numbers, booleans and short texts"
    if new.is_open and not old.is_open:
        yield Change(Effect.WIDENING, "", "", text)
    elif old.is_open and not new.is_open:
        yield Change(Effect.NARROWING, "", "", f"no longer: {text}")


def _event_changed(old: EventSpec | None, new: EventSpec | None) -> Iterator[Change]:
    if old is None and new is not None:
        yield Change(Effect.WIDENING, new.name, "", f"new event: {new.description} Why: {new.why}")
    elif new is None and old is not None:
        yield Change(Effect.NARROWING, old.name, "", "no longer sent")
    elif old is not None and new is not None:
        yield from _longer(old.name, "", old.expires, new.expires)
        if old.is_open != new.is_open:
            effect = Effect.WIDENING if new.is_open else Effect.NARROWING
            yield Change(effect, new.name, "", "numbers, booleans and short texts under any name")
        before, now = _both(old, new)
        yield from _properties_changed(new.name, before, now)
        words = [(spec.description, spec.why, spec.owner, spec.since) for spec in (old, new)]
        if words[0] != words[1] and old.description:  # an open manifest describes nothing
            text = f"new description: {new.description} Why: {new.why}".strip()
            yield Change(Effect.WORDING, new.name, "", text)


def _both(old: EventSpec, new: EventSpec) -> tuple[Mapping[str, Property], Mapping[str, Property]]:
    # An open side gets the other's names, or each of them would count as new.
    names = {*old.properties, *new.properties}
    return _opened(old, names), _opened(new, names)


def _opened(spec: EventSpec, names: set[str]) -> Mapping[str, Property]:
    if not spec.is_open:
        return spec.properties
    others = {name for name in names if not name.startswith("$")} - {*spec.properties}
    return {**spec.properties, **{name: Property(name=name, values=_OPEN) for name in others}}


def _properties_changed(
    event: str, old: Mapping[str, Property], new: Mapping[str, Property]
) -> Iterator[Change]:
    for name in sorted({*old, *new}):
        before, now = old.get(name), new.get(name)
        if before is None and now is not None:
            yield Change(Effect.WIDENING, event, name, _described(f"new: {now.domain}", now))
        elif now is None and before is not None:
            yield Change(Effect.NARROWING, event, name, "no longer sent")
        elif before is not None and now is not None:
            yield from _property_changed(event, before, now)


def _property_changed(event: str, old: Property, new: Property) -> Iterator[Change]:
    yield from _longer(event, new.name, old.expires, new.expires)
    is_wider, is_narrower = not old.values.covers(new.values), not new.values.covers(old.values)
    if is_wider or is_narrower:
        effect = Effect.WIDENING if is_wider else Effect.NARROWING
        yield Change(effect, event, new.name, f"was {old.domain}, is {new.domain}")
    elif replace(old, values=new.values, expires=new.expires) != new:
        yield Change(Effect.WORDING, event, new.name, _described("new description", new))


def _longer(event: str, name: str, old: date | None, new: date | None) -> Iterator[Change]:
    if old == new:
        return
    is_longer = (new or date.max) > (old or date.max)
    effect = Effect.WIDENING if is_longer else Effect.NARROWING
    yield Change(effect, event, name, f"was sent {_until(old)}, is sent {_until(new)}")


def _until(day: date | None) -> str:
    return "without an end" if day is None else f"until {day.isoformat()}"


def _described(what: str, declared: Property) -> str:
    return f"{what}. {declared.description}" if declared.description else what


def _met(granted: EventSpec, present: EventSpec) -> EventSpec:
    before, now = _both(granted, present)
    are_open = granted.is_open and present.is_open
    return replace(
        present,
        expires=_earlier(granted.expires, present.expires),
        is_open=are_open,
        properties=_met_properties(before, now, are_open=are_open),
    )


def _met_properties(
    granted: Mapping[str, Property], present: Mapping[str, Property], *, are_open: bool
) -> dict[str, Property]:
    met = {}
    for name in {*granted, *present}:
        before, now = granted.get(name), present.get(name)
        if before is not None and now is not None:
            values = before.values.meet(now.values)
            met[name] = replace(now, values=values, expires=_earlier(before.expires, now.expires))
        elif are_open:  # otherwise it would count as undeclared and be sent
            met[name] = Property(name=name, values=NOTHING)
    return met


def _earlier(one: date | None, other: date | None) -> date | None:
    days = [day for day in (one, other) if day is not None]
    return min(days, default=None)
