"""The JSON Schema of the block, made from the table of settings and the fields of a span rule.

It serves editors, and is what a block is checked against.
"""

from __future__ import annotations

from otel_posthog.config import SETTINGS, Setting
from otel_posthog.registry import EVENT_NAME_MAX_BYTES
from otel_posthog.scrubbing.custom import KEPT_ALWAYS
from otel_posthog.scrubbing.patterns import RULE_NAMES
from otel_posthog.span_rules.rule import KINDS, STATUSES

Schema = dict[str, object]

_TYPES = {str: "string", bool: "boolean", int: "integer", float: "number"}
_PATTERNS = {
    "host": (r"^https?://[^@?#\s]+$", "an address such as https://eu.posthog.com"),
    "marker_prefix": (r"^[a-z0-9_]{1,40}$", "1 to 40 of a to z, 0 to 9 and _"),
    "heartbeat_time": (r"^([01][0-9]|2[0-3]):[0-5][0-9]$", 'a time of day in quotes, such as "03:00"'),
}
_SCALARS = ["string", "number", "boolean"]
_NAMES = {"type": "array", "items": {"type": "string"}}


def block_schema() -> Schema:
    """Return the schema of what stands under `posthog:`; it may be empty."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "posthog",
        "description": "Exporter to PostHog (otel-posthog). One block serves traces, logs and metrics.",
        "type": ["object", "null"],
        "properties": {
            **{row.name: _setting(row) for row in SETTINGS},
            "spans": {
                "type": "array",
                "description": "Which spans become product events; the first rule that matches wins.",
                "items": _SPAN_RULE,
            },
            "scrub": _SCRUB,
        },
        "additionalProperties": False,
    }


def _setting(row: Setting) -> Schema:
    schema: Schema = {"type": _TYPES[row.type], "description": row.help}
    if row.default is not None:
        schema["default"] = row.default
    if row.type in (int, float):
        schema["minimum"] = row.minimum
        if row.maximum < float("inf"):
            schema["maximum"] = row.maximum
    if row.unit:
        schema["x-unit"] = row.unit
    if row.name == "api_key":
        schema["minLength"] = 1
    if row.name in _PATTERNS:
        schema["pattern"], schema["x-expected"] = _PATTERNS[row.name]
    return schema


_SPAN_RULE: Schema = {
    "type": "object",
    "properties": {
        "event": {
            "type": "string",
            "description": "Name of the product event.",
            "pattern": r"^[^\W\d]\w*$",
            "maxLength": EVENT_NAME_MAX_BYTES,
            "x-expected": "an event's name in lower_snake_case",
        },
        "name": {"type": "string", "minLength": 1, "description": "Pattern for the span's name."},
        "kind": {"enum": list(KINDS), "description": "Kind of the span."},
        "status": {"enum": list(STATUSES), "description": "Status of the span."},
        "scope": {"type": "string", "minLength": 1, "description": "Pattern for the instrumentation's name."},
        "attributes": {
            "type": "object",
            "description": "For each attribute the value wanted, or a list of them.",
            "additionalProperties": {
                "type": [*_SCALARS, "array"],
                "items": {"type": _SCALARS},
            },
        },
        "properties": {
            "type": "object",
            "description": "The attributes that leave, each with the name of its property.",
            "additionalProperties": {
                "type": "string",
                "pattern": r"^[^$]",
                "x-expected": "a property's name",
            },
        },
        "buckets": {
            "type": "object",
            "description": "For a property with a number, where each range begins.",
            "additionalProperties": {"type": "array", "items": {"type": "integer"}, "minItems": 1},
        },
        "sample": {
            "type": "number",
            "exclusiveMinimum": 0,
            "maximum": 1,
            "default": 1,
            "description": "Share of the matching spans that become events.",
        },
    },
    "required": ["event"],
    "additionalProperties": False,
}
_SCRUB: Schema = {
    "type": "object",
    "description": "Changes to what is taken out of every event.",
    "properties": {
        "add": {
            "type": "object",
            "description": "Rules of your own: a name and a regular expression.",
            "propertyNames": {
                "pattern": r"^[a-z][a-z0-9-]{0,40}$",
                "x-expected": "a name of a to z, 0 to 9 and -",
            },
            "additionalProperties": {"type": "string"},
        },
        "switch_off": {
            "type": "array",
            "items": {"enum": sorted(RULE_NAMES - KEPT_ALWAYS)},
            "description": "Built-in rules that do not run.",
        },
        "sensitive_names": {**_NAMES, "description": "More names whose values never leave."},
        "innocent_names": {**_NAMES, "description": "Names that look sensitive and are not."},
    },
    "additionalProperties": False,
}
