"""Hold the events of one product: what may be sent, and under which consent."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import date
from typing import Self

from otel_posthog.errors import RegistryError

from .builtin import BASE, ERRORS, ERRORS_BASE, gauge_property, gauges_of, heartbeat_spec
from .declarations import HEARTBEAT, EventSpec, Kind, Property, kind_of, spec_of
from .diff import Change, narrowed, widenings
from .manifest import Admission, Manifest, hash_of, parse, today_utc


class Registry:
    """The events that a product has declared; empty in a quick start."""

    def __init__(self, events: Iterable[type] = (), *, today: Callable[[], date] = today_utc) -> None:
        self.today = today
        self._specs: dict[str, EventSpec] = {}
        self._gauges: dict[str, Property] = {}
        self._manifests: dict[Kind, Manifest] = {}
        # Manifests that an admin agreed to before, and what each still allows today, by their hashes.
        self._earlier: dict[str, Manifest] = {}
        self._narrowed: dict[tuple[str, str], Manifest] = {}
        for cls in events:
            spec = spec_of(cls)
            if spec is None:
                raise RegistryError(f"{cls!r} is not an event. Decorate it with @event(…).")
            if spec.name in self._specs:
                raise RegistryError(f"The event {spec.name!r} is declared twice.")
            if reserved := BASE.keys() & spec.properties.keys():
                names = ", ".join(sorted(reserved))
                raise RegistryError(f"{spec.name}: every event carries {names} already. Use another name.")
            self._specs[spec.name] = spec

    @classmethod
    def from_manifests(
        cls,
        manifests: Mapping[Kind, Manifest],
        events: Iterable[type] = (),
        *,
        today: Callable[[], date] = today_utc,
    ) -> Self:
        """Return the registry of a product that runs elsewhere, plus what these classes declare.

        Its manifests are taken as they are, so consent to them counts. Raises `RegistryError` if a
        class and the manifest declare one event differently.
        """
        made = cls(events, today=today)
        made._manifests = {} if made._specs else dict(manifests)
        for name, spec in manifests[Kind.TELEMETRY].events.items():
            if name == HEARTBEAT:
                made._gauges = gauges_of(spec)
            elif made._specs.setdefault(name, spec) != spec:
                raise RegistryError(f"The manifest and the class of {name!r} differ. Run: otel-posthog docs")
        return made

    def __len__(self) -> int:
        return len(self._specs)

    def knows(self, name: str) -> bool:
        """Return whether the product has declared an event of this name."""
        return name in self._specs

    def names(self) -> list[str]:
        """Return the names of the declared events."""
        return list(self._specs)

    def spec(self, name: str) -> EventSpec | None:
        """Return the declaration of this event, or None."""
        return self._specs.get(name)

    def closed_properties(self, name: str) -> frozenset[str] | None:
        """Return the properties with listed or bounded values; None for an undeclared event."""
        spec = self._specs.get(name)
        return None if spec is None else spec.closed

    def declare_gauge(self, gauge: Property) -> None:
        """Add a property to the heartbeat; call before the start, since consent covers all of it."""
        self._gauges[gauge.name] = gauge_property(gauge)
        before = self._manifests.pop(Kind.TELEMETRY, None)
        if before is not None:  # an admin may have agreed to it already
            self._earlier[before.hash] = before

    def manifest(self, kind: Kind) -> Manifest:
        """Return everything that may be sent under this kind of consent."""
        found = self._manifests.get(kind)
        if found is None:
            found = self._manifests[kind] = self._errors() if kind is Kind.ERRORS else self._telemetry()
        return found

    def remember(self, name: str, read: Callable[[str], str]) -> None:
        """Load the manifest with this hash, to which an admin consented; `read` returns its text.

        Raises `RegistryError` if the text does not have the hash.
        """
        if name in self._earlier or name in {self.manifest(kind).hash for kind in Kind}:
            return
        text = read(name)
        if hash_of(text) != name:
            raise RegistryError(f"The manifest {name} was changed after consent to it. Restore its text.")
        self._earlier[name] = parse(text)

    def allowed(self, kind: Kind, granted: str | None) -> Manifest:
        """Return what may be sent under consent to the manifest with that hash; None is the present one.

        Later additions are withheld; everything else is sent as before.
        """
        present = self.manifest(kind)
        if granted is None or granted == present.hash:
            return present
        both = (granted, present.hash)
        found = self._narrowed.get(both)
        if found is None:
            earlier = self._earlier.get(granted)
            if earlier is None:  # its text is unknown, so it allows nothing
                return Manifest(kind=kind, base={})
            found = self._narrowed[both] = narrowed(earlier, present)
        return found

    def added(self, kind: Kind, granted: str) -> tuple[Change, ...]:
        """Return what the present manifest allows beyond the one with that hash."""
        present, earlier = self.manifest(kind), self._earlier.get(granted)
        return () if granted == present.hash or earlier is None else widenings(earlier, present)

    def examine(
        self, name: str, properties: Mapping[str, object], granted: str | None = None
    ) -> Admission | None:
        """Return what of an event may be sent and what was left out, or None if the event may not.

        While no event is declared, every event may be sent with numbers, booleans and short texts.
        Afterwards unknown names, unknown properties and values outside their domain are dropped.
        """
        return self.allowed(kind_of(name), granted).examine(name, properties, self.today)

    def admit(self, name: str, properties: Mapping[str, object]) -> dict[str, object] | None:
        """Return only the properties that may be sent, or None if the event may not."""
        admission = self.examine(name, properties)
        return None if admission is None else admission.properties

    @staticmethod
    def _errors() -> Manifest:
        return Manifest(kind=Kind.ERRORS, base=ERRORS_BASE, events=ERRORS)

    def _telemetry(self) -> Manifest:
        specs = dict(self._specs)
        if self._gauges:
            specs[HEARTBEAT] = heartbeat_spec(self._gauges)
        return Manifest(
            kind=Kind.TELEMETRY, base=BASE, events=dict(sorted(specs.items())), is_open=not self._specs
        )
