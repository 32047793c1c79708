"""Run the commands on a product's Telemetry: `docs`, `preview`, `status`, `audit`, `heartbeat`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otel_posthog.config.declared_events import object_at, registry_of
from otel_posthog.errors import ConfigError, StoreError
from otel_posthog.registry import Registry
from otel_posthog.registry.documents import (
    MANIFEST_NAME,
    PAGE_NAME,
    differences,
    manifest_file,
    page,
    read_manifest_file,
    release_note,
)

if TYPE_CHECKING:
    from otel_posthog.delivery.balance import Balance
    from otel_posthog.registry import Kind
    from otel_posthog.registry.diff import Change
    from otel_posthog.telemetry import Telemetry
    from otel_posthog.telemetry.consent_service import KindStatus

STALE = 1
UNREADABLE = 1
_APP = "the product's Telemetry, as module:name; modules are found from the current folder on"
_ALLOWED = ("not_started", "replaced")
_THREAD_DELAY_S = 3600.0  # or the object's own thread may send it before the command does
_MESSAGES = {
    "SENT": "The heartbeat has been sent.",
    "HELD": "The heartbeat waits, and is sent once PostHog can be reached.",
    "NOT_DUE": "No heartbeat is due now: this day is done, or consent was given after its time.",
    "TAKEN": "Another worker is sending the heartbeat at this moment.",
    "OFF": "Nothing is sent: telemetry is off, or no gauge is registered.",
    "FAILED": "The heartbeat could not be sent; the log says why.",
}


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands; each sets `run`."""
    docs = commands.add_parser("docs", help=f"write {PAGE_NAME} and {MANIFEST_NAME} from the registry")
    docs.add_argument("--app", metavar="MODULE:NAME", help=f"{_APP}; or a Registry, or a list of events")
    docs.add_argument("--out", type=Path, default=Path(), help="folder of the two files (default: this one)")
    docs.add_argument("--check", action="store_true", help="write nothing; end with code 1 if they are stale")
    help_on_diff = "compare two manifest files: narrowing, widening or wording, and the note for the release"
    docs.add_argument("--diff", nargs=2, type=Path, metavar=("OLD", "NEW"), help=help_on_diff)
    docs.set_defaults(run=_docs)
    heartbeat = commands.add_parser("heartbeat", help="print today's heartbeat, or send it if it is due")
    heartbeat.add_argument(
        "--app", required=True, metavar="MODULE:NAME", help="your Telemetry, such as product.main:telemetry"
    )
    heartbeat.add_argument("--now", action="store_true", required=True, help="send it now if it is due")
    heartbeat.add_argument("--dry-run", action="store_true", help="print it, send nothing")
    heartbeat.set_defaults(run=_heartbeat)
    for name, run, text in (
        ("preview", _preview, "print what would be sent now, without sending anything"),
        ("status", _status, "print what is sent now, and why"),
        ("audit", _audit, "print who changed the decision and when, as JSON"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("--app", metavar="MODULE:NAME", required=True, help=_APP)
        if run is not _audit:
            command.add_argument("--json", action="store_true", help="print JSON")
        command.set_defaults(run=run)


def _docs(options: argparse.Namespace) -> int:
    if options.diff:
        return _diff(*options.diff)
    if options.app is None:
        raise ConfigError("docs needs --app module:name, or --diff OLD NEW.")
    written = _files(options.app)
    if options.check:
        return _check(options, written)
    for name, content in written.items():
        (options.out / name).write_text(content, encoding="utf-8")
        print(f"Wrote {options.out / name}")
    return 0


def load_telemetry(location: str) -> Telemetry:
    """Return the Telemetry at `module:name`; raise `ConfigError` if there is none."""
    from otel_posthog.telemetry import Telemetry

    found = _load(location)
    if not isinstance(found, Telemetry):
        raise ConfigError(f"--app {location}: that is a {type(found).__name__}, not a Telemetry.")
    return found


def _files(location: str) -> dict[str, str]:
    from otel_posthog.telemetry import Telemetry

    found = _load(location)
    if isinstance(found, Telemetry):
        registry = found.registry
    elif isinstance(found, Registry | Iterable):
        registry = registry_of(found)
    else:
        kind = type(found).__name__
        raise ConfigError(f"--app {location}: that is a {kind}, not a Telemetry, Registry or list of events.")
    return {PAGE_NAME: page(registry), MANIFEST_NAME: manifest_file(registry)}


def _load(location: str) -> object:
    try:
        return object_at(location)
    except ConfigError as error:
        raise ConfigError(f"--app {error}") from error


def _check(options: argparse.Namespace, written: dict[str, str]) -> int:
    stale = [name for name, content in written.items() if _text(options.out / name) != content]
    advice = f"Run: otel-posthog docs --app {options.app} --out {options.out}"
    for name in stale:
        print(f"{options.out / name} is stale. {advice}", file=sys.stderr)
    return STALE if stale else 0


def _diff(old: Path, new: Path) -> int:
    texts = {path: _text(path) for path in (old, new)}
    for path, text in texts.items():
        if text is None:
            raise ConfigError(f"{path} cannot be read.")
    changes = differences(*(read_manifest_file(text or "") for text in texts.values()))
    for change in changes:
        print(f"{change.effect.value:<10} {_subject(change)}: {change.text}")
    print(("\n" if changes else "") + release_note(changes))
    return 0


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return None


def _status(options: argparse.Namespace) -> int:
    telemetry = load_telemetry(options.app)
    status, problem = telemetry.status(), ""
    balances: Mapping[Kind, Balance] = {}
    try:
        balances = telemetry.delivery().by_kind()
    except StoreError as error:  # the consent is known all the same
        problem = str(error)
    telemetry.shutdown()
    if options.json:
        deliveries = {kind: balance.to_json() for kind, balance in balances.items()}
        _print_json(
            {
                kind.value: {**state.to_json(), "delivery": deliveries.get(kind)}
                for kind, state in status.items()
            }
        )
    else:
        _print_status(status, balances)
    if problem:
        print(f"otel-posthog: {problem}", file=sys.stderr)
    return UNREADABLE if problem else 0


def _print_status(status: Mapping[Kind, KindStatus], balances: Mapping[Kind, Balance]) -> None:
    for kind, state in status.items():
        no_key = "" if state.has_key else "  (no project API key is set)"
        print(f"{_shown(kind, state)}{no_key}")
        for change in state.question.changes if state.question else ():
            print(f"           asks for  {_subject(change)}: {change.text}")
        if kind in balances:
            print(f"           {balances[kind]}")


def _audit(options: argparse.Namespace) -> int:
    telemetry = load_telemetry(options.app)
    entries: list[dict[str, Any]] = []
    while more := telemetry.audit(after_id=entries[-1]["id"] if entries else 0):
        entries += more
    telemetry.shutdown()
    _print_json(entries)
    return 0


def _preview(options: argparse.Namespace) -> int:
    telemetry = load_telemetry(options.app)
    preview = telemetry.preview()
    telemetry.shutdown()
    if options.json:
        _print_json(preview.to_json())
        return 0
    for kind, state in preview.status.items():
        print(_shown(kind, state))
    print("\nThis is what would be sent with consent to both. Nothing was sent.")
    for title, part in (
        ("waiting", preview.waiting),
        ("heartbeat as of now", preview.heartbeat),
        ("samples", preview.samples),
    ):
        print(f"\n{title}" if part.requests else f"\n{title}: none")
        for request in part.requests:
            size = f"{request.json_bytes} bytes, {request.sent_bytes} compressed"
            print(f"\n{request.method} {request.url}  ({size})")
            for name, value in request.headers.items():
                print(f"{name}: {value}")
            print(json.dumps({**request.body, "batch": request.batch}, indent=2, ensure_ascii=False))
    data = preview.to_json()
    for title in ("next", "added_by_receiver"):
        print(f"\n{title.replace('_', ' ')}")
        section = data[title]
        for name, text in section.items() if isinstance(section, dict) else ():
            print(f"  {name}: {text or 'none'}")
    return 0


def _print_heartbeat(app: str) -> int:
    from otel_posthog.delivery.dry_run import RecordingTransport

    telemetry = load_telemetry(app)
    recorder = RecordingTransport()
    is_on = telemetry.heartbeat.preview(recorder)
    telemetry.shutdown()
    for event in recorder.events:
        print(json.dumps(event, indent=2, sort_keys=True, ensure_ascii=False))
    if not is_on:
        print("Telemetry is off here: this would not be sent.", file=sys.stderr)
    return 0


def _heartbeat(options: argparse.Namespace) -> int:
    from otel_posthog.heartbeat import Result

    if options.dry_run:
        return _print_heartbeat(options.app)
    found = load_telemetry(options.app)
    found.heartbeat.delay(_THREAD_DELAY_S)
    with found as telemetry:
        result = telemetry.heartbeat.send_if_due()
    print(_MESSAGES[result.name])
    return 1 if result is Result.FAILED else 0


def _shown(kind: Kind, state: KindStatus) -> str:
    # A command does not start the product's object, so consent is all that it can know.
    is_allowed = state.granted is not None and state.reason.value in _ALLOWED
    word = "sending" if state.is_sending else "allowed" if is_allowed else "off"
    return f"{kind.value:<10} {word:<8} {state.reason.value}{f' ({state.switch})' if state.switch else ''}"


def _subject(change: Change) -> str:
    return ".".join(name for name in (change.event, change.property) if name) or "all events"


def _print_json(content: object) -> None:
    print(json.dumps(content, indent=2, ensure_ascii=False))
