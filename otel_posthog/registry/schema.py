"""The manifest as JSON Schema: what an event looks like on its way out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from .declarations import EVENT_NAME_MAX_BYTES, EXCEPTION, EventSpec, Property
from .domains import Scalar
from .manifest import TEST_MARKER, Manifest

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_EVERY_EVENT: Mapping[str, object] = {
    "uuid": {"type": "string", "format": "uuid"},
    "distinct_id": {"type": "string", "format": "uuid"},
    "timestamp": {"type": "string", "format": "date-time"},
}


def schema_of(manifest: Manifest) -> dict[str, object]:
    """Return the schema of the objects in PostHog's `batch` array that may leave under the manifest."""
    forms = [_event(manifest, {"const": spec.name}, spec) for spec in manifest.events.values()]
    if manifest.is_open:
        name = {"type": "string", "pattern": "^[^$]", "maxLength": EVENT_NAME_MAX_BYTES}
        undeclared = EventSpec(name="", description="", why="", since="", is_open=True)
        forms.append(_event(manifest, name, undeclared))
    allowed: dict[str, object] = {"anyOf": forms} if forms else {"not": {}}  # an empty list is no JSON Schema
    return {"$schema": DIALECT, "title": f"Events of the kind {manifest.kind.value}", **allowed}


def bits_of(properties: Iterable[Property]) -> float | None:
    """Return how many bits at most these properties can tell of an installation; None without a bound.

    Each one may also be left out, which counts as a value.
    """
    bits = 0.0
    for declared in properties:
        size = declared.values.size()
        if size is None:
            return None
        bits += math.log2(size + 1) if size > 1 else 0.0
    return bits


def _event(manifest: Manifest, name: Mapping[str, object], spec: EventSpec) -> dict[str, object]:
    declared = {**manifest.base, **spec.properties}
    open_names: dict[str, object] = {}
    if spec.is_open:
        open_names["^[^$]"] = Scalar().schema()
    if spec.name == EXCEPTION:
        open_names[f"^{TEST_MARKER.pattern}$"] = {"type": "boolean"}
    return {
        "type": "object",
        "properties": {
            **_EVERY_EVENT,
            "event": dict(name),
            "properties": {
                "type": "object",
                "properties": {key: inner.values.schema() for key, inner in declared.items()},
                "patternProperties": open_names,
                "additionalProperties": False,
            },
        },
        "required": ["event", "properties"],
        "additionalProperties": False,
    }
