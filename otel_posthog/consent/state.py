"""The settings row and the consent that follows from it, as immutable values.

Importing this module does not load SQLAlchemy; `otel_posthog.store` reads and writes the row.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from otel_posthog.events import AFTER_A_NO, UNSTAMPED, Stamp
from otel_posthog.registry import Kind

if TYPE_CHECKING:
    from uuid import UUID

FLAG_OF = {Kind.ERRORS: "enable_error_reporting", Kind.TELEMETRY: "enable_telemetry"}
_NS_PER_MS = 1_000_000
_CLOCK_MS = 2  # both times of the database's clock are rounded to milliseconds
_decision = attrgetter("is_granted", "generation", "granted_ms")
FLAGS = ("is_setup_completed", *FLAG_OF.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class KindSettings:
    """What the settings row holds about one kind."""

    is_granted: bool
    generation: int  # how often consent was withdrawn
    manifest: str | None  # hash of the manifest to which consent was given
    declined: str | None  # hash of the wider manifest that was declined since
    granted_ms: int | None  # when it was switched on, by the database's clock; None after a grant by SQL


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One row of `system_settings`, as read."""

    is_setup_completed: bool  # the first-run wizard has been answered
    enable_error_reporting: bool
    enable_telemetry: bool
    instance_id: UUID | None
    """Random and anonymous; None until the first grant, and again once both flags are off."""
    errors_generation: int  # raised at each withdrawal of `enable_error_reporting`
    telemetry_generation: int  # raised at each withdrawal of `enable_telemetry`
    errors_manifest: str | None = None
    """Hash of the manifest to which consent was given; None while the flag is off."""
    telemetry_manifest: str | None = None
    errors_declined: str | None = None
    """Hash of the wider manifest that was declined since; what was granted before is still sent."""
    telemetry_declined: str | None = None
    errors_granted_ms: int | None = None
    """When it was switched on, by the database's clock; None while it is off, and after a grant by SQL."""
    telemetry_granted_ms: int | None = None
    read_ms: int = field(default=0, repr=False, compare=False)  # by the same clock, when the row was read
    read_ns: int = field(default=0, repr=False, compare=False)  # just after that, by that of `otel.records`
    kinds: Mapping[Kind, KindSettings] = field(init=False, repr=False, compare=False)
    """The same by kind, for code that treats both alike."""

    def __post_init__(self) -> None:
        """Sort the columns by kind, once for all readers."""
        kinds = {
            kind: KindSettings(
                is_granted=getattr(self, flag),
                generation=getattr(self, f"{kind}_generation"),
                manifest=getattr(self, f"{kind}_manifest"),
                declined=getattr(self, f"{kind}_declined"),
                granted_ms=getattr(self, f"{kind}_granted_ms"),
            )
            for kind, flag in FLAG_OF.items()
        }
        object.__setattr__(self, "kinds", kinds)


class ReadTimes(NamedTuple):
    """When the row was read, by the clock of `otel.records`."""

    asked_ns: int  # when what caused the read was accepted; without such a record, when the read began
    ended_ns: int
    before_ns: int  # when the read before began, 0 for none
    oldest_ns: int  # what was accepted earlier may be older than a withdrawal that the first read cannot date


class Answer(Enum):
    """Whether events of one kind may be sent."""

    GRANTED = "granted"
    DENIED = "denied"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """The manifest to which consent was given; None means the present one."""

    manifest: str | None = None
    since_ns: int = 0
    before: str | None = None
    """The manifest that counts for what was accepted before a wider one was agreed to."""

    def manifest_at(self, accepted_ns: int) -> str | None:
        """Return the hash of the manifest for something accepted at that time."""
        return self.manifest if accepted_ns >= self.since_ns else self.before


@dataclass(frozen=True, slots=True, kw_only=True)
class KindConsent:
    """What this process knows about the consent to one kind."""

    answer: Answer
    stamp: Stamp = UNSTAMPED
    """The generation of the row and the installation, both None before any read has succeeded.

    It is kept with events, so that a later process can judge them.
    """
    withdrawn_before_ns: int = 0
    """What was accepted earlier may have been accepted before a withdrawal and is never sent."""
    grant: Grant = Grant()
    discard_before_ns: float = field(init=False, repr=False)
    """What carries no generation and was accepted earlier is to be discarded."""

    def __post_init__(self) -> None:
        """Work out the limit once, since the gate compares each event with it."""
        is_denied = self.answer is Answer.DENIED
        object.__setattr__(self, "discard_before_ns", math.inf if is_denied else self.withdrawn_before_ns)

    def allows(self, accepted_ns: int, stamp: Stamp = UNSTAMPED) -> bool:
        """Return whether something accepted at that time, or under that stamp, may be sent now."""
        return self.answer is Answer.GRANTED and accepted_ns >= self.discard_stamped_before_ns(stamp)

    def discard_stamped_before_ns(self, stamp: Stamp) -> float:
        """Return the time before which what carries this stamp is to be discarded.

        A generation decides alone, so the time is never or always: the event may come from a worker
        that knew of a grant long before this one did.
        """
        if stamp.generation is None or self.answer is Answer.DENIED:
            return self.discard_before_ns
        own = self.stamp
        if None not in (stamp.instance_id, own.instance_id) and stamp.instance_id != own.instance_id:
            return math.inf
        is_earlier = own.generation is not None and stamp.generation < own.generation
        return math.inf if is_earlier else -math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent:
    """The answer of one read of the settings row."""

    kinds: Mapping[Kind, KindConsent]
    instance_id: str | None = None
    read_at_s: float = -math.inf  # monotonic time at which the read began
    is_on: bool = field(init=False, repr=False)  # whether any kind is granted
    is_off: bool = field(init=False, repr=False)  # whether both kinds are known to be denied

    def __post_init__(self) -> None:
        """Work out the summary once, since each record and request asks for it."""
        answers = {known.answer for known in self.kinds.values()}
        object.__setattr__(self, "is_on", Answer.GRANTED in answers)
        object.__setattr__(self, "is_off", answers == {Answer.DENIED})

    @property
    def was_read(self) -> bool:
        """Whether the row was read, or a read has failed."""
        return self.read_at_s > -math.inf

    def unknown(self, read_at_s: float) -> Consent:
        """Return this with unknown answers: a failed read forgets neither a withdrawal nor a grant."""
        kinds = {}
        for kind, known in self.kinds.items():
            # A grant raises no generation: what is accepted from now on may be older than the next one.
            stamp = AFTER_A_NO if known.answer is Answer.DENIED else known.stamp
            kinds[kind] = replace(known, answer=Answer.UNKNOWN, stamp=stamp)
        return replace(self, kinds=kinds, read_at_s=read_at_s)

    def followed_by(
        self, row: Settings, before: Settings | None, *, times: ReadTimes, read_at_s: float
    ) -> Consent:
        """Return the consent that the row states; `before` is the row of the last read."""
        instance_id = str(row.instance_id) if row.instance_id else None
        is_same_instance = before is None or before.instance_id == row.instance_id
        kinds = {}
        for kind, present in row.kinds.items():
            last, earlier = self.kinds[kind], None if before is None else before.kinds[kind]
            is_same = earlier is None or (is_same_instance and _decision(earlier) == _decision(present))
            is_unbroken = is_same and present.is_granted
            if is_unbroken and last.answer is Answer.GRANTED and last.grant.manifest == present.manifest:
                kinds[kind] = last
                continue
            withdrawn_before_ns = times.ended_ns
            if is_unbroken and earlier is not None:
                withdrawn_before_ns = last.withdrawn_before_ns
            elif present.is_granted:
                withdrawn_before_ns = _granted_ns(row, present, earlier, last.withdrawn_before_ns, times)
            grant = last.grant
            if present.manifest != grant.manifest:
                is_wider = earlier is not None and earlier.is_granted
                since_ns, former = (times.ended_ns, grant.manifest) if is_wider else (0, None)
                grant = Grant(manifest=present.manifest, since_ns=since_ns, before=former)
            kinds[kind] = KindConsent(
                answer=Answer.GRANTED if present.is_granted else Answer.DENIED,
                stamp=Stamp(generation=present.generation, instance_id=instance_id),
                withdrawn_before_ns=withdrawn_before_ns,
                grant=grant,
            )
        return Consent(kinds=kinds, instance_id=instance_id, read_at_s=read_at_s)


def _granted_ns(
    row: Settings, present: KindSettings, earlier: KindSettings | None, no_ns: int, times: ReadTimes
) -> int:
    """Return from when on a grant counts that this process did not know; `no_ns` is the last known no."""
    if present.granted_ms is not None and (earlier is None or earlier.granted_ms != present.granted_ms):
        # The latest possible time. The database's clock may have been set since, or this machine suspended:
        # the grant is no older than the last read, which did not know it.
        age_ms = max(0, row.read_ms - present.granted_ms - _CLOCK_MS)
        return max(times.before_ns, (row.read_ns or times.ended_ns) - age_ms * _NS_PER_MS)
    if earlier is None:  # this process does not know when an earlier withdrawal was
        return times.oldest_ns if present.generation else no_ns
    if not earlier.is_granted and earlier.generation == present.generation:
        return max(times.asked_ns, no_ns)  # by SQL
    return times.ended_ns


def _all(answer: Answer) -> Consent:
    return Consent(kinds={kind: KindConsent(answer=answer) for kind in Kind})


UNKNOWN = _all(Answer.UNKNOWN)
DENIED = _all(Answer.DENIED)
