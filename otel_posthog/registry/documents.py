"""Write the registry for people and programs: TELEMETRY.md, manifest file, JSON Schema, release note."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from datetime import date

from otel_posthog.errors import RegistryError

from .declarations import EVENT_NAME_MAX_BYTES, EXCEPTION, EventSpec, Kind, Property
from .diff import Change, Effect, compare
from .domains import Scalar, canonical_json
from .manifest import FORMAT, TEST_MARKER, Manifest, parse
from .registry import Registry

DIALECT = "https://json-schema.org/draft/2020-12/schema"
# The transport adds these to every event, so no declaration lists them.
_EVERY_EVENT: Mapping[str, object] = {
    "uuid": {"type": "string", "format": "uuid"},
    "distinct_id": {"type": "string", "format": "uuid"},
    "timestamp": {"type": "string", "format": "date-time"},
}


PAGE_NAME = "TELEMETRY.md"
MANIFEST_NAME = "telemetry-manifest.json"
# Of a random UUID.
INSTANCE_ID_BITS = 122

_TITLES = {Kind.ERRORS: "Error reports", Kind.TELEMETRY: "Usage events"}
_HEAD = """# What this product sends

Nothing, until somebody who administers the installation has agreed. There are two switches, one for error
reports and one for usage events; each can be taken back at any time, and with it goes all that waits.
Refusing changes nothing in the product. Agreement covers exactly what this page lists: what a later
version adds is not sent until somebody agrees to it.

Events carry one random number for the installation, made when somebody agrees and deleted when both switches
are off. There are no user ids, names, e-mail addresses, host names or IP addresses in them.

This page is written by `otel-posthog docs`; `telemetry-manifest.json` says the same for programs.
"""
_FOOT = f"""## How far one event could tell installations apart

At most so far, leaving aside the random number ({INSTANCE_ID_BITS} bits), whose purpose it is, the time of
the event, and version and environment, which the product sets. A property that is left out counts as one
more value.

"""


def schema_of(manifest: Manifest) -> dict[str, object]:
    """Return the schema of the objects in PostHog's `batch` array that the manifest allows."""
    forms = [_event(manifest, {"const": spec.name}, spec) for spec in manifest.events.values()]
    if manifest.is_open:
        name = {"type": "string", "pattern": "^[^$]", "maxLength": EVENT_NAME_MAX_BYTES}
        undeclared = EventSpec(name="", description="", why="", since="", is_open=True)
        forms.append(_event(manifest, name, undeclared))
    allowed: dict[str, object] = {"anyOf": forms} if forms else {"not": {}}  # an empty list is no JSON Schema
    return {"$schema": DIALECT, "title": f"Events of the kind {manifest.kind.value}", **allowed}


def bits_of(properties: Iterable[Property]) -> float | None:
    """Return how many bits these properties can reveal at most; None without a bound.

    A property may also be absent, which counts as one more value.
    """
    sizes = [declared.values.size() for declared in properties]
    if None in sizes:
        return None
    return sum(math.log2(size + 1) for size in sizes if size is not None and size > 1)


def manifest_file(registry: Registry) -> str:
    """Return the content of the manifest file: both kinds with hash, JSON Schema and bounds in bits."""
    kinds = {kind.value: _kind_json(registry.manifest(kind)) for kind in Kind}
    return json.dumps({"format": FORMAT, "kinds": kinds}, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def read_manifest_file(text: str) -> dict[Kind, Manifest]:
    """Return the manifests of a manifest file."""
    try:
        kinds = json.loads(text)["kinds"]
        return {kind: parse(canonical_json(kinds[kind.value]["manifest"])) for kind in Kind}
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, RegistryError):
            raise
        raise RegistryError("this is no manifest file. `otel-posthog docs` writes one.") from None


def page(registry: Registry) -> str:
    """Return TELEMETRY.md."""
    manifests = [registry.manifest(kind) for kind in Kind]
    parts = [_HEAD, *map(_section, manifests), _base(manifests[0].base), _FOOT + _bounds(manifests)]
    return "\n".join(parts)


def differences(old: Mapping[Kind, Manifest], new: Mapping[Kind, Manifest]) -> list[Change]:
    """Return what differs between two releases."""
    changes = [change for kind in Kind for change in compare(old[kind], new[kind])]
    return list(dict.fromkeys(changes))  # what every event carries is in both manifests


def release_note(changes: Iterable[Change]) -> str:
    """Return the paragraph for the release notes."""
    listed = list(changes)
    more = [_sentence(change) for change in listed if change.effect is Effect.WIDENING]
    less = [_sentence(change) for change in listed if change.effect is Effect.NARROWING]
    if more:
        fewer = f" No longer sent, or less of it: {'; '.join(less)}." if less else ""
        return (
            f"Telemetry: this version asks to send more than before: {'; '.join(more)}. Nothing of it leaves "
            f"until an administrator agrees; what was agreed to goes on as before.{fewer}"
        )
    if less:
        fewer = "; ".join(less)
        return f"Telemetry: this version sends less than before: {fewer}. Nothing has to be decided."
    if listed:
        return "Telemetry: the description has other words; exactly the same is sent."
    return "Telemetry: nothing has changed."


def _kind_json(manifest: Manifest) -> dict[str, object]:
    bits = {name: bits_of(spec.properties.values()) for name, spec in manifest.events.items()}
    return {
        "hash": manifest.hash,
        "manifest": manifest.to_json(),
        "schema": schema_of(manifest),
        "bits": {name: None if bound is None else round(bound, 1) for name, bound in bits.items()},
    }


def _event(manifest: Manifest, name: Mapping[str, object], spec: EventSpec) -> dict[str, object]:
    declared = {**manifest.base, **spec.properties}
    open_names: dict[str, object] = {"^[^$]": Scalar().schema()} if spec.is_open else {}
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


def _section(manifest: Manifest) -> str:
    head = f"## {_TITLES[manifest.kind]}\n\nManifest `{manifest.hash}`.\n"
    if manifest.is_open:
        head += "\nNo event is declared yet: any may leave, with numbers, booleans and short texts.\n"
    return "\n".join([head, *map(_described, manifest.events.values())])


def _described(spec: EventSpec) -> str:
    facts = [f"Why: {spec.why}", f"Since: {spec.since}"]
    facts += [f"Owner: {spec.owner}"] if spec.owner else []
    facts += [f"Until: {_day(spec.expires)}"] if spec.expires else []
    also = "\nThe product may add numbers, booleans and short texts that name a step.\n"
    table = _table(spec.properties.values()) if spec.properties else "It carries nothing of its own.\n"
    lines = "\n".join(f"- {fact}" for fact in facts)
    return f"### `{spec.name}`\n\n{spec.description}\n\n{lines}\n\n{table}{also if spec.is_open else ''}"


def _base(base: Mapping[str, Property]) -> str:
    return f"## What every event carries\n\n{_table(base.values())}"


def _table(properties: Iterable[Property]) -> str:
    lines = ["| property | what it says | holds | sensitivity | until |", "|---|---|---|---|---|"]
    for declared in properties:
        cells = [f"`{declared.name}`", declared.description or "–", declared.domain]
        cells += [declared.sensitivity.value, _day(declared.expires)]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _bounds(manifests: Iterable[Manifest]) -> str:
    lines = ["| event | bits at most |", "|---|---|"]
    for manifest in manifests:
        for spec in manifest.events.values():
            bound = bits_of(spec.properties.values())
            lines.append(f"| `{spec.name}` | {'free text: no bound' if bound is None else f'{bound:.1f}'} |")
    return "\n".join(lines) + "\n"


def _sentence(change: Change) -> str:
    place = " ".join(f"`{name}`" for name in (change.event, change.property) if name)
    return f"{place}: {change.text}".rstrip(".") if place else change.text


def _day(day: date | None) -> str:
    return "–" if day is None else day.isoformat()
