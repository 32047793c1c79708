"""Write consent on records for a Collector as attributes, and read it back.

The receiver decides by these, in another process and perhaps days later.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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


def stamps(consent: Consent) -> dict[str, AttributeValue]:
    """Return the attributes for a record accepted now; none where nothing is granted."""
    if not consent.is_on or consent.instance_id is None:
        return {}
    written: dict[str, AttributeValue] = {attributes.INSTANCE_ID: consent.instance_id}
    for kind, known in consent.kinds.items():
        is_granted = known.answer is Answer.GRANTED
        flag_name, generation_name, manifest_name = _NAMES_OF[kind]
        written[flag_name] = is_granted
        generation, manifest = known.stamp.generation, known.grant.manifest
        if is_granted and generation is not None:
            written[generation_name] = generation
        if is_granted and manifest is not None:
            written[manifest_name] = manifest
    return written


class Stamper:
    """Cache the attributes of the current consent until it is read again."""

    def __init__(self, consent: Callable[[], Consent | None]) -> None:
        self._consent = consent
        self._last: tuple[Consent | None, dict[str, AttributeValue]] = (None, {})

    def current(self) -> Mapping[str, AttributeValue]:
        """Return the attributes; none where consent is denied, or not known for certain."""
        consent = self._consent()
        last, written = self._last
        if consent is not last:
            written = {} if consent is None else stamps(consent)
            self._last = (consent, written)
        return written


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
