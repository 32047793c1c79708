"""The commands that show what consent is about: `docs`, `preview`, `status`, `audit`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import ConfigError
from .registry.documents import (
    MANIFEST_NAME,
    PAGE_NAME,
    differences,
    manifest_file,
    page,
    read_manifest_file,
    release_note,
)

if TYPE_CHECKING:
    from .preview import Preview
    from .registry import Registry
    from .telemetry import Telemetry

STALE = 1
_APP = "where the product's Telemetry stands, as module:name; looked for from the current folder on"


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands; each sets `run`."""
    docs = commands.add_parser("docs", help=f"write {PAGE_NAME} and {MANIFEST_NAME} from the registry")
    docs.add_argument("--app", metavar="MODULE:NAME", help=f"{_APP}; a Registry or list of events will do")
    docs.add_argument("--out", type=Path, default=Path(), help="folder of the two files (default: this one)")
    docs.add_argument("--check", action="store_true", help="write nothing; end with code 1 if they are stale")
    docs.add_argument(
        "--diff",
        nargs=2,
        type=Path,
        metavar=("OLD", "NEW"),
        help="compare two manifest files: narrowing, widening or wording, and the note for the release",
    )
    docs.set_defaults(run=_docs)
    for name, run, told in (
        ("preview", _preview, "print what would be sent now, without sending anything"),
        ("status", _status, "print what is sent at present, and why"),
        ("audit", _audit, "print who changed the decision and when, as JSON"),
    ):
        command = commands.add_parser(name, help=told)
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


def _telemetry(place: str) -> Telemetry:
    from ._app import load_telemetry  # noqa: PLC0415 - SQLAlchemy and the SDK, which the demo starts without

    return load_telemetry(place)


def _files(place: str) -> dict[str, str]:
    from ._app import load_registry  # noqa: PLC0415 - the same

    registry: Registry = load_registry(place)
    return {PAGE_NAME: page(registry), MANIFEST_NAME: manifest_file(registry)}


def _check(options: argparse.Namespace, written: dict[str, str]) -> int:
    stale = [name for name, content in written.items() if _text(options.out / name) != content]
    for name in stale:
        print(
            f"{options.out / name} is stale. Run: otel-posthog docs --app {options.app} --out {options.out}",
            file=sys.stderr,
        )
    return STALE if stale else 0


def _diff(old: Path, new: Path) -> int:
    texts = {path: _text(path) for path in (old, new)}
    for path, text in texts.items():
        if text is None:
            raise ConfigError(f"{path} cannot be read.")
    changes = differences(*(read_manifest_file(text or "") for text in texts.values()))
    for change in changes:
        place = ".".join(name for name in (change.event, change.property) if name) or "all events"
        print(f"{change.effect.value:<10} {place}: {change.text}")
    print(("\n" if changes else "") + release_note(changes))
    return 0


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return None


def _status(options: argparse.Namespace) -> int:
    telemetry = _telemetry(options.app)
    status = telemetry.status()
    telemetry.shutdown()
    if options.json:
        _print_json({kind.value: state.to_json() for kind, state in status.items()})
        return 0
    for kind, state in status.items():
        no_key = "" if state.has_key else "  (no project API key is set)"
        print(f"{kind.value:<10} {'sending' if state.is_sending else 'off':<8} {state.reason.value}{no_key}")
        for change in state.question.changes if state.question else ():
            place = ".".join(name for name in (change.event, change.property) if name) or "all events"
            print(f"           asks for  {place}: {change.text}")
    return 0


def _audit(options: argparse.Namespace) -> int:
    telemetry = _telemetry(options.app)
    entries: list[dict[str, Any]] = []
    while more := telemetry.audit(after_id=entries[-1]["id"] if entries else 0):
        entries += more
    telemetry.shutdown()
    _print_json(entries)
    return 0


def _preview(options: argparse.Namespace) -> int:
    telemetry = _telemetry(options.app)
    preview = telemetry.preview()
    telemetry.shutdown()
    if options.json:
        _print_json(preview.to_json())
    else:
        _print_preview(preview)
    return 0


def _print_preview(preview: Preview) -> None:
    for kind, state in preview.status.items():
        print(f"{kind.value:<10} {'sending' if state.is_sending else 'off':<8} {state.reason.value}")
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


def _print_json(content: object) -> None:
    print(json.dumps(content, indent=2, ensure_ascii=False))
