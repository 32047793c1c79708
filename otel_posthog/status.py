"""What is really sent at present, and why: one word for each kind, the same everywhere it is shown."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from .registry import Kind, Registry
from .registry.changes import Change
from .settings import Settings


class Reason(StrEnum):
    """Why a kind is sent or not."""

    UNDECIDED = "undecided"
    """Nobody has answered yet, or the wizard is to be shown again."""
    DECLINED = "declined"
    """Somebody has answered no, or taken a yes back."""
    ENV = "env"
    """`DO_NOT_TRACK` or `OTEL_POSTHOG_DISABLED` switches everything off."""
    STORE_UNREADABLE = "store_unreadable"
    """The database does not answer, so what was agreed to is unknown."""
    EXPIRED = "expired"
    """There is consent, but the day has passed until which the events were to be collected."""
    GRANTED = "granted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a newer version would send beyond what was agreed to; it stays behind until somebody agrees."""

    manifest: str
    """Hash of the manifest that is asked for."""
    changes: tuple[Change, ...]

    def to_json(self) -> dict[str, object]:
        """Return the question as data."""
        return {"manifest": self.manifest, "changes": [change.to_json() for change in self.changes]}


@dataclass(frozen=True, slots=True, kw_only=True)
class KindStatus:
    """The effective state of one kind."""

    kind: Kind
    reason: Reason
    has_key: bool
    """Whether a project API key is set; without one nothing is sent."""
    granted: str | None
    """Hash of the manifest that was agreed to."""
    present: str
    """Hash of the manifest of this version."""
    question: Question | None

    @property
    def is_sending(self) -> bool:
        """Whether events of this kind leave."""
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
        }


def status_of(
    kind: Kind, reason: Reason, row: Settings | None, registry: Registry, *, has_key: bool
) -> KindStatus:
    """Return the state of the kind, given why it is so."""
    return KindStatus(
        kind=kind,
        reason=reason,
        has_key=has_key,
        granted=None if row is None else row.manifest(kind),
        present=registry.manifest(kind).hash,
        question=None if row is None else question_of(kind, row, registry),
    )


def reason_of(kind: Kind, row: Settings, registry: Registry) -> Reason:
    """Return why the kind is sent or not, as far as the row tells."""
    if not row.is_granted(kind):
        return Reason.DECLINED if row.is_setup_completed else Reason.UNDECIDED
    is_over = registry.allowed(kind, row.manifest(kind)).has_ended(registry.today())
    return Reason.EXPIRED if is_over else Reason.GRANTED


def question_of(kind: Kind, row: Settings, registry: Registry) -> Question | None:
    """Return what has to be asked, or None; what was declined once is not asked again."""
    granted, declined = row.manifest(kind), row.declined(kind)
    if not row.is_granted(kind) or granted is None:
        return None
    changes = registry.added(kind, granted)
    if not changes or (declined is not None and not registry.added(kind, declined)):
        return None
    return Question(manifest=registry.manifest(kind).hash, changes=changes)
