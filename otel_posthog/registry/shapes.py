"""Describe the nested values that this library builds, in a subset of JSON Schema.

The subset: `const`, `enum`, `type` with `items` and `minItems`, or with `properties`, `required` and
`additionalProperties: false`. A full validator would cost an import and milliseconds per report.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from otel_posthog._runtime.process import lazy

from .domains import NOTHING, REFUSED, Domain, canonical_json, plain

Form = Mapping[str, Any]
Check = Callable[[object], object]

# In JSON Schema an integer is a number, too.
_TYPES: Mapping[type, frozenset[str]] = {
    type(None): frozenset({"null"}),
    bool: frozenset({"boolean"}),
    int: frozenset({"integer", "number"}),
    float: frozenset({"number"}),
    str: frozenset({"string"}),
    list: frozenset({"array"}),
    dict: frozenset({"object"}),
}
_OBJECT_WORDS = ("properties", "required", "additionalProperties")


def check_of(form: Form) -> Check:
    """Return a check that removes from a value what the form does not allow.

    It returns a fitting value unchanged, and `REFUSED` if nothing remains.
    """
    words = _words(form)
    if words is not None:
        return partial(_fitted_word, words)
    types = frozenset(cls for cls, names in _TYPES.items() if names & _types(form))
    if "items" in form and list in types:
        return partial(_fitted_list, types, check_of(form["items"]), _plain_types(form["items"]), form)
    if _is_closed(form) and dict in types:
        known = {name: check_of(inner) for name, inner in form["properties"].items()}
        return partial(_fitted_object, types, known, frozenset(form.get("required", ())))
    return partial(_fitted_leaf, types)


def fitted(value: object, form: Form) -> object:
    """Return the value without what its form does not allow, or `REFUSED`."""
    return check_of(form)(value)


def covers(wide: Form, narrow: Form) -> bool:
    """Return whether every value of the narrow form has the wide form."""
    words = _words(narrow)
    if words is not None:
        return all(fitted(word, wide) is not REFUSED for word in words)
    return (
        _words(wide) is None
        and _types(narrow) <= _types(wide)
        and _covers_items(wide, narrow)
        and _covers_properties(wide, narrow)
    )


def common(one: Form, other: Form) -> Form | None:
    """Return the form of values that have both, or None if none can."""
    if covers(one, other):
        return other
    if covers(other, one):
        return one
    if _words(one) is not None or _words(other) is not None:
        return _common_words(one, other)
    types = sorted(_types(one) & _types(other))
    items = _common_items(one, other)
    properties = _common_properties(one, other)
    if not types or items is None or properties is None:
        return None
    return {"type": types, **items, **properties}


def _words(form: Form) -> list[object] | None:
    return [form["const"]] if "const" in form else form.get("enum")


def _types(form: Form) -> frozenset[str]:
    named = form.get("type", ())
    return frozenset({named} if isinstance(named, str) else named)


def _is_closed(form: Form) -> bool:
    return form.get("additionalProperties", True) is False


def _plain_types(form: Form) -> frozenset[type]:
    # A list of types whose every value has the form needs no look at its items.
    is_leaf = _words(form) is None and "items" not in form and not _is_closed(form)
    return frozenset(cls for cls, names in _TYPES.items() if names & _types(form)) if is_leaf else frozenset()


def _fitted_word(words: list[object], value: object) -> object:
    # As JSON compares: true is not 1, and 1.0 is.
    kind = type(value)
    for word in words:
        if kind is type(word) and value == word:
            return value
    value = plain(value)
    for word in words:
        if value == word and (type(value) is bool) == (type(word) is bool):
            return value
    return REFUSED


def _fitted_leaf(types: frozenset[type], value: object) -> object:
    if type(value) in types:
        return value
    value = plain(value)
    return value if type(value) in types else REFUSED


def _fitted_list(
    types: frozenset[type], check: Check, plain_types: frozenset[type], form: Form, value: object
) -> object:
    if type(value) is not list:
        return _fitted_leaf(types - {list}, value)
    if len(value) < form.get("minItems", 0):
        return REFUSED
    if plain_types.issuperset(map(type, value)):
        return value
    items = [check(item) for item in value]
    if all(new is old for new, old in zip(items, value, strict=True)):
        return value
    left = [item for item in items if item is not REFUSED]
    return left if len(left) >= form.get("minItems", 0) else REFUSED


def _fitted_object(
    types: frozenset[type], known: Mapping[str, Check], required: frozenset[str], value: object
) -> object:
    if type(value) is not dict:
        return _fitted_leaf(types - {dict}, value)
    left: dict[str, object] = {}
    is_whole = True
    for key, inner in value.items():
        check = known.get(key)
        kept = REFUSED if check is None else check(inner)
        is_whole = is_whole and kept is inner
        if kept is not REFUSED:
            left[key] = kept
    if not left.keys() >= required:
        return REFUSED
    # The same object tells the caller that nothing was cut, without a comparison.
    return value if is_whole else left


def _covers_items(wide: Form, narrow: Form) -> bool:
    if wide.get("minItems", 0) > narrow.get("minItems", 0):
        return False
    return "items" not in wide or ("items" in narrow and covers(wide["items"], narrow["items"]))


def _covers_properties(wide: Form, narrow: Form) -> bool:
    if not _is_closed(wide):
        return True
    if not _is_closed(narrow) or not set(wide.get("required", ())) <= set(narrow.get("required", ())):
        return False
    known = wide["properties"]
    return all(name in known and covers(known[name], inner) for name, inner in narrow["properties"].items())


def _common_words(one: Form, other: Form) -> Form | None:
    words = [word for word in _words(one) or _words(other) or () if _fits(word, one) and _fits(word, other)]
    return {"enum": words} if words else None


def _fits(value: object, form: Form) -> bool:
    return fitted(value, form) is not REFUSED


def _common_items(one: Form, other: Form) -> Form | None:
    given = [form["items"] for form in (one, other) if "items" in form]
    items = common(*given) if len(given) > 1 else next(iter(given), {})
    if items is None:
        return None
    fewest = max(one.get("minItems", 0), other.get("minItems", 0))
    return {**({"items": items} if items else {}), **({"minItems": fewest} if fewest else {})}


def _common_properties(one: Form, other: Form) -> Form | None:
    closed = [form for form in (one, other) if _is_closed(form)]
    if len(closed) < 2:  # noqa: PLR2004 - one of both
        return {word: form[word] for form in closed for word in _OBJECT_WORDS if word in form}
    met = {
        name: common(one["properties"][name], inner)
        for name, inner in other["properties"].items()
        if name in one["properties"]
    }
    properties = {name: inner for name, inner in met.items() if inner is not None}
    required = {*one.get("required", ()), *other.get("required", ())}
    if not required <= properties.keys():
        return None
    return {"properties": properties, "required": sorted(required), "additionalProperties": False}


@dataclass(frozen=True)
class Made:
    """A value that this library builds; parts that do not have the form are cut out."""

    what: str
    json_schema: str
    """Canonical JSON, so that two can be compared."""

    def __str__(self) -> str:
        return self.what

    def covers(self, other: Domain) -> bool:
        return isinstance(other, Made) and covers(self.form, other.form)

    def meet(self, other: Domain) -> Domain:
        """Return what both forms share: a report keeps the form that was agreed to."""
        if not isinstance(other, Made):
            return NOTHING
        shared = common(self.form, other.form)
        return NOTHING if shared is None else Made(self.what, canonical_json(shared))

    def size(self) -> int | None:
        return 1 if "const" in self.form else None

    def sample(self) -> object:
        return [] if self.form.get("type") == "array" else self.form.get("const")

    def to_json(self) -> dict[str, object]:
        return {"type": "made", "what": self.what, "schema": self.schema()}

    def schema(self) -> dict[str, object]:
        return cast("dict[str, object]", json.loads(self.json_schema))

    @lazy
    def admit(self) -> Check:
        """Return the part of a value that has the form, or `REFUSED`."""
        return check_of(self.form)

    @lazy
    def form(self) -> Form:
        """The JSON Schema, read once."""
        return self.schema()


def made(what: str, **schema: object) -> Made:
    """Return the domain of a value that this library builds, from its JSON Schema."""
    return Made(what, canonical_json(schema))
