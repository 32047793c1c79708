"""The registry as people read it: TELEMETRY.md, the manifest file, and the note of a release."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import date

from otel_posthog.errors import RegistryError

from .changes import Change, Effect, compare
from .declarations import EventSpec, Kind, Property
from .domains import canonical_json
from .manifest import FORMAT, Manifest
from .reading import parse
from .registry import Registry
from .schema import bits_of, schema_of

PAGE_NAME = "TELEMETRY.md"
MANIFEST_NAME = "telemetry-manifest.json"
INSTANCE_ID_BITS = 122  # of a random UUID

_TITLES = {Kind.ERRORS: "Error reports", Kind.TELEMETRY: "Usage events"}
_HEAD = """# What this product sends

Nothing, until somebody who administers the installation has agreed. There are two switches, one for error
reports and one for usage events; each can be taken back at any time, and with it goes all that waits.
Refusing changes nothing in the product. Agreement is given to exactly what stands on this page: what a
later version would add stays behind until somebody agrees to it.

Events carry one random number for the installation, made when somebody agrees and deleted when both switches
are off. There are no user ids, names, e-mail addresses, host names or IP addresses in them.

This page is written by `otel-posthog docs`; `telemetry-manifest.json` says the same for programs.
"""
_FOOT = f"""## How far one event could tell installations apart

At most so far, leaving aside the random number ({INSTANCE_ID_BITS} bits), whose purpose it is, the time of
the event, and version and environment, which the product sets. A property that is left out counts as one
more value.

"""


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
    return list(dict.fromkeys(changes))  # what every event carries stands in both


def release_note(changes: Iterable[Change]) -> str:
    """Return the paragraph for the release notes."""
    told = list(changes)
    more = [_told(change) for change in told if change.effect is Effect.WIDENING]
    less = [_told(change) for change in told if change.effect is Effect.NARROWING]
    if more:
        fewer = f" No longer sent, or less of it: {'; '.join(less)}." if less else ""
        return (
            f"Telemetry: this version asks to send more than before: {'; '.join(more)}. Nothing of it leaves "
            f"until an administrator agrees; what was agreed to goes on as before.{fewer}"
        )
    if less:
        return (
            f"Telemetry: this version sends less than before: {'; '.join(less)}. Nothing has to be decided."
        )
    if told:
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


def _section(manifest: Manifest) -> str:
    head = f"## {_TITLES[manifest.kind]}\n\nManifest `{manifest.hash}`.\n"
    if manifest.is_open:
        head += "\nNo event is declared yet: any may leave, with numbers, booleans and short texts.\n"
    return "\n".join([head, *map(_event, manifest.events.values())])


def _event(spec: EventSpec) -> str:
    facts = [f"Why: {spec.why}", f"Since: {spec.since}"]
    facts += [f"Owner: {spec.owner}"] if spec.owner else []
    facts += [f"Until: {_day(spec.expires)}"] if spec.expires else []
    also = (
        "\nThe product may add numbers, booleans and short texts that name a step.\n" if spec.is_open else ""
    )
    table = _table(spec.properties.values()) if spec.properties else "It carries nothing of its own.\n"
    lines = "\n".join(f"- {fact}" for fact in facts)
    return f"### `{spec.name}`\n\n{spec.description}\n\n{lines}\n\n{table}{also}"


def _base(base: Mapping[str, Property]) -> str:
    return f"## What every event carries\n\n{_table(base.values())}"


def _table(properties: Iterable[Property]) -> str:
    lines = ["| property | what it says | holds | sensitivity | until |", "|---|---|---|---|---|"]
    for declared in properties:
        cells = [
            f"`{declared.name}`",
            declared.description or "–",
            declared.domain,
            declared.sensitivity.value,
            _day(declared.expires),
        ]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _bounds(manifests: Iterable[Manifest]) -> str:
    lines = ["| event | bits at most |", "|---|---|"]
    for manifest in manifests:
        for spec in manifest.events.values():
            bound = bits_of(spec.properties.values())
            lines.append(f"| `{spec.name}` | {'free text: no bound' if bound is None else f'{bound:.1f}'} |")
    return "\n".join(lines) + "\n"


def _told(change: Change) -> str:
    place = " ".join(f"`{name}`" for name in (change.event, change.property) if name)
    return f"{place}: {change.text}".rstrip(".") if place else change.text


def _day(day: date | None) -> str:
    return "–" if day is None else day.isoformat()
