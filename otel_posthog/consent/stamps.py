"""Write consent beside an event for a Collector as attributes, and read it back.

The receiver decides by these, in another process and perhaps days later.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import NoneType
from uuid import UUID

from otel_posthog.events import Stamp
from otel_posthog.otel import attributes
from otel_posthog.registry import Kind

from .state import Answer, Consent

AttributeValue = bool | int | str
_PARTS = ("", "_generation", "_manifest")
_NAMES_OF = {kind: [f"{attributes.CONSENT_PREFIX}{kind}{part}" for part in _PARTS] for kind in Kind}
_NAMES = (attributes.INSTANCE_ID, *(name for names in _NAMES_OF.values() for name in names))
_PLAIN = (str, bool, int, NoneType)
_NIL_ID = UUID(int=0)
_CACHE_SIZE = 10_000  # combinations of installation and consent behind one gateway


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedGrant:
    """Consent to one kind, as recorded."""

    stamp: Stamp
    manifest: str | None  # hash of the manifest to which it was given; None means the present one


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedConsent:
    """The installation from which a record comes, and what it granted."""

    instance_id: str
    grants: Mapping[Kind, RecordedGrant]  # the kinds that are granted


def stamps(consent: Consent, accepted_ns: int) -> dict[str, AttributeValue]:
    """Return the attributes for an event that was accepted at that time; none if nothing is granted."""
    found: dict[str, AttributeValue] = {}
    for kind, known in consent.kinds.items():
        if known.answer is Answer.GRANTED:
            values = True, known.stamp.generation, known.grant.manifest_at(accepted_ns)
            named = zip(_NAMES_OF[kind], values, strict=True)
            found |= {name: value for name, value in named if value is not None}
    if not found or consent.instance_id is None:
        return {}
    return {attributes.INSTANCE_ID: consent.instance_id, **found}


def read(recorded: Mapping[str, object]) -> RecordedConsent | None:
    """Return the recorded consent; None without a valid id, or if nothing is granted."""
    written = tuple(recorded.get(name) for name in _NAMES)
    return _read(*written) if all(isinstance(value, _PLAIN) for value in written) else None


@lru_cache(maxsize=_CACHE_SIZE, typed=True)  # typed, or 1 would count as True
def _read(instance_id: object, *written: object) -> RecordedConsent | None:
    if not isinstance(instance_id, str) or not _is_id(instance_id):
        return None
    grants = {}
    for at, kind in enumerate(Kind):
        flag, generation, manifest = written[3 * at : 3 * at + 3]
        if flag is True:
            number = generation if type(generation) is int else None
            grants[kind] = RecordedGrant(
                stamp=Stamp(generation=number, instance_id=instance_id),
                manifest=None if manifest is None else str(manifest),
            )
    return RecordedConsent(instance_id=instance_id, grants=grants) if grants else None


def _is_id(text: str) -> bool:
    try:
        uuid = UUID(text)
    except ValueError:
        return False
    return str(uuid) == text and uuid != _NIL_ID
