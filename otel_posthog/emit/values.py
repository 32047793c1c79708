"""Copy what a caller gives into values that every exporter can encode, without calling its methods."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import islice
from typing import Any, cast
from uuid import UUID

from otel_posthog.registry.domains import plain

# As in scrubbing, which cuts the same again.
MAX_DEPTH = 12
MAX_ITEMS = 1_000
_INT64 = 2**63  # OTLP has no larger integers
_UNCHANGED = frozenset({bool, float, type(None)})
_AS_TEXT = frozenset({UUID, Decimal, date, datetime, time, timedelta})
_NAMING = (bool, int, float, type(None))
# Past the `__iter__` of a subclass.
_ITEMS: dict[type, Callable[[Any], Iterator[object]]] = {
    list: list.__iter__,
    tuple: tuple.__iter__,
    set: set.__iter__,
    frozenset: frozenset.__iter__,
}
_name_of = type.__dict__["__name__"].__get__  # a metaclass may override it
_qualname_of = type.__dict__["__qualname__"].__get__
_module_of = type.__dict__["__module__"].__get__


def carried(value: object, depth: int = 0) -> object:  # noqa: PLR0911 - one return for each shape
    """Return a copy in plain types; an object of another class becomes the name of that class.

    Nothing here can make an exporter fail: one OTLP batch also holds records of the host.
    """
    value = plain(value)
    # Never `isinstance`, which asks an object for its `__class__`.
    cls: type = type(value)
    if cls is str:
        return encodable(cast("str", value))
    if cls in _UNCHANGED or (cls is int and -_INT64 <= cast("int", value) < _INT64):
        return value
    if cls in _AS_TEXT:
        return _as_text(value)
    if depth >= MAX_DEPTH:
        return "[scrubbed:depth]"
    if issubclass(cls, dict):
        pairs = islice(dict.items(cast("dict[object, object]", value)), MAX_ITEMS)
        return {_key(key): carried(each, depth + 1) for key, each in pairs}
    for base, items_of in _ITEMS.items():
        if issubclass(cls, base):
            return [carried(each, depth + 1) for each in islice(items_of(value), MAX_ITEMS)]
    return f"[scrubbed:type {name_of(cls)[0]}]"


def carried_properties(properties: Mapping[str, object], max_number: int) -> dict[str, object]:
    """Return a copy of the first properties, as `carried`."""
    return {_key(key): carried(value) for key, value in islice(properties.items(), max_number)}


def encodable(text: str) -> str:
    """Return the text with each lone surrogate replaced: file names may hold some, and UTF-8 none."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def text_of(value: object) -> str:
    """Return a str, or the plain one behind an instance of a subclass; empty for anything else."""
    copied = plain(value)
    return copied if type(copied) is str else ""


def name_of(cls: type) -> tuple[str, str]:
    """Return name and module of a class; a metaclass, or an assignment, may have made these anything."""
    return text_of(_qualname_of(cls)), text_of(_module_of(cls))


def _as_text(value: object) -> object:
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - a time asks its zone, which may be of any class
        return None


def bare_name_of(cls: type) -> str:
    """Return the name of a class without those of the classes and functions around it."""
    return text_of(_name_of(cls))


def _key(key: object) -> str:
    key = plain(key)
    if type(key) is str:
        return encodable(key)
    return str(key) if type(key) in _NAMING else "[scrubbed:key]"
