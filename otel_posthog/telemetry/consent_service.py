"""Load the manifests that the settings row names; explain what is sent, and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from otel_posthog.config.settings import Config
from otel_posthog.consent.state import Settings
from otel_posthog.errors import OtelPosthogError, RegistryError, StoreError
from otel_posthog.registry import Kind, Registry
from otel_posthog.registry.diff import Change
from otel_posthog.store import AbsentError, DatabaseSource, SettingsStore


class Reason(StrEnum):
    """Why a kind is sent or not."""

    UNDECIDED = "undecided"  # the admin has not answered yet, or the wizard is to be shown again
    DECLINED = "declined"  # the admin has answered no, or withdrawn a yes
    ENV = "env"  # a setting or a variable of the environment switches everything off
    STORE_UNREADABLE = "store_unreadable"  # the database does not answer, so the decision is unknown
    EXPIRED = "expired"  # consent was given, but the last day of collection has passed
    NOT_STARTED = "not_started"  # consent is given, but this `Telemetry` was not started, or is stopped
    GRANTED = "granted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacle:
    """Why this process sends nothing, although consent is given."""

    reason: Reason
    switch: str | None = None
    """Name of the variable, or of the argument, that is the cause."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """What this process does with events: why not, and when it last did."""

    has_key: bool
    obstacle: Obstacle | None
    last_s: Mapping[tuple[str, str], float]
    """As in `Counts`."""
    unread_spans: str | None

    def last(self, what: str, kind: Kind) -> datetime | None:
        """Return when an event of the kind was last `accepted` or `sent`, None if never."""
        at_s = self.last_s.get((what, kind))
        return None if at_s is None else datetime.fromtimestamp(at_s, UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a newer version would send beyond the grant; none of it is sent until an admin agrees."""

    manifest: str  # hash of the manifest that needs agreement
    changes: tuple[Change, ...]

    def to_json(self) -> dict[str, object]:
        """Return the question as data."""
        return {"manifest": self.manifest, "changes": [change.to_json() for change in self.changes]}


@dataclass(frozen=True, slots=True, kw_only=True)
class KindStatus:
    """Whether one kind is sent, and why."""

    kind: Kind
    reason: Reason
    has_key: bool  # whether a project API key is set; without one nothing is sent
    granted: str | None  # hash of the manifest that was agreed to
    present: str  # hash of the manifest of this version
    question: Question | None
    switch: str | None  # what switches it off, by name, if that is no admin
    last_accepted: datetime | None  # when this process last accepted such an event
    last_sent: datetime | None  # when PostHog last accepted one from this process
    unread_spans: str | None  # class of a tracer provider whose spans cannot become events

    @property
    def is_sending(self) -> bool:
        """Whether events of this kind are sent."""
        return self.reason is Reason.GRANTED and self.has_key

    def to_json(self) -> dict[str, object]:
        """Return the state as data."""
        return {
            "is_sending": self.is_sending,
            "reason": self.reason.value,
            "has_key": self.has_key,
            "granted_manifest": self.granted,
            "present_manifest": self.present,
            "question": None if self.question is None else self.question.to_json(),
            "switch": self.switch,
            "last_accepted": _iso(self.last_accepted),
            "last_sent": _iso(self.last_sent),
            "unread_spans": self.unread_spans,
        }


class ConsentService:
    """The settings row and the manifests that it names; each call asks the database.

    The registry needs every one of these manifests, since it judges by them what may be sent.
    """

    def __init__(self, database: DatabaseSource, config: Config, registry: Registry) -> None:
        self.store = SettingsStore(
            database,
            timeout_s=config.database_timeout_s,
            manifests=lambda: {kind: registry.manifest(kind).text for kind in Kind},
        )
        self._registry = registry
        source = config.sources.get("disabled", "") if config.disabled else None
        self._switch = source if source is None or source.isupper() else "disabled"
        self._has_created_row = False
        self._loaded: set[str] = set()

    def row(self) -> Settings:
        """Return the row, creating it if necessary."""
        row = self.store.read() if self._has_created_row else None
        return row or self.store.update()

    def settled_row(self) -> Settings | None:
        """Return the repaired row with its manifests loaded, as it counts for what is sent."""
        if not self._has_created_row:
            self.store.create()
            self._has_created_row = True
        row = self.store.settle()
        if row is not None:
            self._load_manifests(row)
        return row

    def apply(self, change: Callable[[], Settings]) -> Settings:
        """Change the row and return it; where a manifest is missing, the next refresh reports it."""
        row = change()
        with suppress(OtelPosthogError):
            self._load_manifests(row)
        return row

    def status(self, activity: Activity) -> dict[Kind, KindStatus]:
        """Return for each kind whether it is sent and why; creates nothing in the database."""
        row, overruling = self.read()
        return {kind: self._kind_status(kind, row, overruling, activity) for kind in Kind}

    def _kind_status(
        self, kind: Kind, row: Settings | None, overruling: Reason | None, activity: Activity
    ) -> KindStatus:
        reason = overruling or (_reason_of(kind, row, self._registry) if row else Reason.UNDECIDED)
        switch = self._switch if reason is Reason.ENV else None
        if reason is Reason.GRANTED and activity.obstacle is not None:
            reason, switch = activity.obstacle.reason, activity.obstacle.switch
        return KindStatus(
            kind=kind,
            reason=reason,
            has_key=activity.has_key,
            granted=row.kinds[kind].manifest if row else None,
            present=self._registry.manifest(kind).hash,
            question=_question_of(kind, row, self._registry) if row else None,
            switch=switch,
            last_accepted=activity.last("accepted", kind),
            last_sent=activity.last("sent", kind),
            unread_spans=activity.unread_spans,
        )

    def read(self) -> tuple[Settings | None, Reason | None]:
        """Return the row, if it can be read, and the reason that overrules it; creates nothing."""
        off = None if self._switch is None else Reason.ENV
        try:
            row = self.store.read()
            if row is not None:
                self._load_manifests(row)
        # Without a file or table nobody has decided, which is no failure.
        except AbsentError:
            return None, off
        except OtelPosthogError:
            return None, off or Reason.STORE_UNREADABLE
        return row, off or (Reason.STORE_UNREADABLE if row is None else None)

    def questions(self, row: Settings) -> dict[Kind, Question]:
        """Return what this version would send beyond what was agreed to, by kind."""
        self._load_manifests(row)
        found = ((kind, _question_of(kind, row, self._registry)) for kind in Kind)
        return {kind: question for kind, question in found if question is not None}

    def _load_manifests(self, row: Settings) -> None:
        """Load every manifest the row references; raise `StoreError` if one is missing."""
        named = {name for kind in row.kinds.values() for name in (kind.manifest, kind.declined)}
        for name in named - self._loaded - {None}:
            try:
                self._registry.remember(str(name), self.store.manifest)
            except RegistryError as error:
                raise StoreError(str(error)) from error
            self._loaded.add(str(name))


def _iso(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat(timespec="milliseconds")


def _reason_of(kind: Kind, row: Settings, registry: Registry) -> Reason:
    held = row.kinds[kind]
    if not held.is_granted:
        return Reason.DECLINED if row.is_setup_completed else Reason.UNDECIDED
    is_over = registry.allowed(kind, held.manifest).has_ended(registry.today())
    return Reason.EXPIRED if is_over else Reason.GRANTED


def _question_of(kind: Kind, row: Settings, registry: Registry) -> Question | None:
    """Return what needs agreement, or None; what was declined once is not asked again."""
    held = row.kinds[kind]
    if not held.is_granted or held.manifest is None:
        return None
    changes = registry.added(kind, held.manifest)
    if not changes or (held.declined is not None and not registry.added(kind, held.declined)):
        return None
    return Question(manifest=registry.manifest(kind).hash, changes=changes)
