"""Consent as attributes of a record: what a process knew when it handed the record to a Collector.

Whoever takes the record out again, in another process and perhaps days later, decides by these.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import NoneType
from uuid import UUID

from . import attributes
from .consent import Answer, Consent
from .events import Stamp
from .registry import Kind

AttributeValue = bool | int | str
_FLAG = {kind: f"{attributes.CONSENT_PREFIX}{kind.value}" for kind in Kind}
_GENERATION = {kind: f"{flag}_generation" for kind, flag in _FLAG.items()}
_MANIFEST = {kind: f"{flag}_manifest" for kind, flag in _FLAG.items()}
_NAMES = (
    attributes.INSTANCE_ID,
    *(name for kind in Kind for name in (_FLAG[kind], _GENERATION[kind], _MANIFEST[kind])),
)
_PLAIN = (str, bool, int, NoneType)
_NOBODY = UUID(int=0)
_KNOWN = 10_000  # answers that need not be read again


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """Consent to one kind."""

    stamp: Stamp
    manifest: str | None
    """Hash of the manifest to which it was given; None stands for the present one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamped:
    """What a record says of the installation from which it comes."""

    instance_id: str
    given: Mapping[Kind, Given]
    """The kinds that are granted."""


def stamps(consent: Consent) -> dict[str, AttributeValue]:
    """Return the attributes for a record that is handed over now; none where nothing is granted."""
    if not consent.is_on or consent.instance_id is None:
        return {}
    written: dict[str, AttributeValue] = {attributes.INSTANCE_ID: consent.instance_id}
    for kind in Kind:
        is_granted = consent.answer(kind) is Answer.GRANTED
        written[_FLAG[kind]] = is_granted
        generation, manifest = consent.stamp(kind).generation, consent.grant(kind).manifest
        if is_granted and generation is not None:
            written[_GENERATION[kind]] = generation
        if is_granted and manifest is not None:
            written[_MANIFEST[kind]] = manifest
    return written


class Stamper:
    """Know what to write on a record at this moment; made anew only when consent was looked at again."""

    def __init__(self, consent: Callable[[], Consent | None]) -> None:
        self._consent = consent
        self._last: tuple[Consent | None, dict[str, AttributeValue]] = (None, {})

    def current(self) -> Mapping[str, AttributeValue]:
        """Return the attributes; none where consent is denied, or not known for certain."""
        consent = self._consent()
        looked_at, written = self._last
        if consent is not looked_at:
            written = {} if consent is None else stamps(consent)
            self._last = (consent, written)
        return written


def read(recorded: Mapping[str, object]) -> Stamped | None:
    """Return what the record carries; None without a valid id, or where it carries no consent."""
    written = tuple(recorded.get(name) for name in _NAMES)
    return _read(*written) if all(isinstance(value, _PLAIN) for value in written) else None


@lru_cache(maxsize=_KNOWN, typed=True)  # typed, or 1 would count as True
def _read(instance_id: object, *written: object) -> Stamped | None:
    if not isinstance(instance_id, str) or not _is_id(instance_id):
        return None
    given = {}
    for at, kind in enumerate(Kind):
        flag, generation, manifest = written[3 * at : 3 * at + 3]
        if flag is True:
            number = generation if type(generation) is int else None
            given[kind] = Given(
                stamp=Stamp(generation=number, instance_id=instance_id),
                manifest=None if manifest is None else str(manifest),
            )
    return Stamped(instance_id=instance_id, given=given) if given else None


def _is_id(text: str) -> bool:
    try:
        uuid = UUID(text)
    except ValueError:
        return False
    return str(uuid) == text and uuid != _NOBODY
