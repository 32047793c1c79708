"""Build `$exception` events as PostHog's error tracking reads them (requirements R12, R15)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from uuid import UUID, uuid4, uuid5

from otel_posthog import attributes
from otel_posthog.scrubbing import Scrubber, scrub_text
from otel_posthog.scrubbing.scrubber import MARGIN_CHARS
from otel_posthog.tracebacks import MAX_MESSAGE_CHARS, MAX_NOTE_CHARS

from . import stack_text
from .base import BaseProperties
from .fingerprints import fingerprint_of
from .frames import bare_frame, carrying_frame, frame_of
from .routes import route_of
from .steps import steps_of

MAX_VALUE_BYTES = 8_000  # PostHog cuts at 10,000; scrubbing may lengthen a text
MAX_TYPE_BYTES = 255  # PostHog cuts longer ones
UUID_NAMESPACE = UUID("6f2ae6b4-8a1f-5f0f-9f0b-2f0f6a0f9d51")
GENERIC = "generic"
LEVELS = frozenset({"fatal", "error", "warning"})
_HASHED_MESSAGE_CHARS = 1000
_BASE = BaseProperties(environment="")

_MakeFrame = Callable[[str, int, str, str], dict[str, object]]


def exception_properties(
    recorded: Mapping[str, object], base: BaseProperties, *, trace_id: int, span_id: int
) -> dict[str, object]:
    """Return the properties of one `$exception` from a record's `exception.*` attributes."""
    properties = base.over(added_by_caller(recorded))
    told = _told(recorded)
    exceptions = _listed(told, recorded, _frame_maker(told, base), base.scrubber)
    properties["$exception_list"] = exceptions
    level = recorded.get(attributes.EXCEPTION_LEVEL)
    properties["$exception_level"] = level if level in LEVELS else "error"
    is_cut = any(item.get("omitted") for item in told.items)
    if (fingerprint := fingerprint_of(exceptions, is_cut=is_cut)) is not None:
        properties["$exception_fingerprint"] = fingerprint
    if steps := steps_of(recorded.get(attributes.EXCEPTION_STEPS), base.scrubber, base.steps_max_bytes):
        properties["$exception_steps"] = steps
    properties |= _request(recorded, base)
    if trace_id:
        properties["$trace_id"] = f"{trace_id:032x}"
        properties["$span_id"] = f"{span_id:016x}"
    return properties


def exception_list(recorded: Mapping[str, object], base: BaseProperties = _BASE) -> list[dict[str, object]]:
    """Return `$exception_list`: outermost first, each with its frames, oldest call first.

    Without our own structured attribute it is read off the stack text, and without that only type and
    value are known. Whoever wrote that attribute names the files of which lines are read: where `base`
    says that no source is read, only the lines that it carries are shown.
    """
    told = _told(recorded)
    return _listed(told, recorded, _frame_maker(told, base), base.scrubber)


def exception_uuid(recorded: Mapping[str, object], trace_id: int) -> UUID:
    """Return the event's uuid, the same for all reports of one exception within a trace.

    The message is scrubbed before it is hashed: the trace id leaves too, so a hash of a raw message
    could be tried against guesses.
    """
    if trace_id:
        name = str(recorded.get(attributes.EXCEPTION_TYPE) or "").rpartition(".")[2]
        message = scrub_text(str(recorded.get(attributes.EXCEPTION_MESSAGE) or "")[:_HASHED_MESSAGE_CHARS])
        return uuid5(UUID_NAMESPACE, f"{trace_id:032x}:{name}:{message}")
    return carried_uuid(recorded)


def carried_uuid(recorded: Mapping[str, object]) -> UUID:
    """Return the uuid that the record carries, or a new one."""
    try:
        return UUID(str(recorded.get(attributes.EVENT_UUID)))
    except ValueError:
        return uuid4()


def added_by_caller(recorded: Mapping[str, object]) -> dict[str, object]:
    """Return the properties that stand under `attributes.PROPERTY_PREFIX`, without the prefix."""
    prefix = attributes.PROPERTY_PREFIX
    return {key.removeprefix(prefix): value for key, value in recorded.items() if key.startswith(prefix)}


def _of_request(recorded: Mapping[str, object], name: str) -> object:
    value = recorded.get(name)
    return recorded.get(attributes.FORMER_NAMES[name]) if value is None else value


@dataclass(frozen=True, slots=True)
class _Told:
    """What a record tells of its exceptions, as `tracebacks.describe` would."""

    items: Sequence[Mapping[str, object]]
    is_ours: bool
    """Whether this program's own frames were walked; a text can be forged, and name any file of a machine."""


def _told(recorded: Mapping[str, object]) -> _Told:
    chain = chain_of(recorded.get(attributes.EXCEPTION_CHAIN))
    if chain:
        return _Told(chain, is_ours=True)
    name, message = _text(recorded, attributes.EXCEPTION_TYPE), recorded.get(attributes.EXCEPTION_MESSAGE)
    stack = _text(recorded, attributes.EXCEPTION_STACKTRACE)
    items = stack_text.read(stack, name, None if message is None else str(message)) if stack else []
    if not items:
        type_name, module = stack_text.split_type(name or "Exception")
        items = [{"type": type_name, "module": module, "value": "" if message is None else str(message)}]
    return _Told(items, is_ours=False)


def _frame_maker(told: _Told, base: BaseProperties) -> _MakeFrame:
    make = frame_of if told.is_ours and base.reads_source else bare_frame
    return partial(make, scrubber=base.scrubber, roots=base.roots)


def _listed(
    told: _Told, recorded: Mapping[str, object], make: _MakeFrame, scrubber: Scrubber
) -> list[dict[str, object]]:
    caught = {
        "type": _text(recorded, attributes.EXCEPTION_MECHANISM) or GENERIC,
        "handled": bool(recorded.get(attributes.EXCEPTION_HANDLED, False)),
    }
    return [
        _entry(_mechanism(index, item, caught), item, _frames(item.get("frames"), make, scrubber), scrubber)
        for index, item in enumerate(told.items)
    ]


def _request(recorded: Mapping[str, object], base: BaseProperties) -> dict[str, object]:
    path = _of_request(recorded, attributes.URL_PATH)
    if not isinstance(path, str):
        return {}
    path = re.split(r"[?#]", path, maxsplit=1)[0]
    return {
        "$request_method": str(_of_request(recorded, attributes.HTTP_REQUEST_METHOD) or ""),
        "$request_path": path,
        "$request_route": route_of(recorded, base.scrubber.text(path)),
        "$current_url": base.url(
            _of_request(recorded, attributes.URL_SCHEME) or "http",
            _of_request(recorded, attributes.SERVER_ADDRESS),
            path,
        ),
    }


def _text(recorded: Mapping[str, object], key: str) -> str:
    value = recorded.get(key)
    return "" if value is None else str(value)


def chain_of(text: object) -> list[Mapping[str, object]]:
    """Return the entries of a chain's text; none where it is cut or not ours."""
    if not isinstance(text, str):
        return []
    try:
        chain = json.loads(text)
    except (ValueError, RecursionError):  # cut by an attribute length limit, or not ours
        return []
    if not isinstance(chain, list):
        return []
    return [item for item in chain if isinstance(item, dict)]


def scrubbed_message(text: str, scrubber: Scrubber, max_chars: int = MAX_MESSAGE_CHARS) -> str:
    """Return a message as it may be shown.

    It is scrubbed before the cut, or half a secret stays; of a text that came cut to so many characters,
    its end goes as well.
    """
    scrubbed = scrubber.text(text)
    return scrubbed[:-MARGIN_CHARS] if len(text) >= max_chars else scrubbed


def _mechanism(index: int, item: Mapping[str, object], caught: Mapping[str, object]) -> dict[str, object]:
    """Return how the first exception was caught, of another one how it hangs on its parent."""
    mechanism: dict[str, object] = {"exception_id": index, "synthetic": item.get("synthetic") is True}
    if index:
        mechanism |= {"type": "chained", "source": item.get("source"), "parent_id": item.get("parent")}
    else:
        mechanism |= caught
    if item.get("group"):
        mechanism["is_exception_group"] = True
    if isinstance(errno := item.get("errno"), int):
        mechanism["meta"] = {"errno": {"number": errno}}
    return mechanism


def _entry(
    mechanism: dict[str, object],
    item: Mapping[str, object],
    frames: list[dict[str, object]],
    scrubber: Scrubber,
) -> dict[str, object]:
    name, module = _named(item, scrubber)
    entry: dict[str, object] = {
        "type": _cut(name, MAX_TYPE_BYTES),
        "module": None if module == "builtins" else module,
        "value": _cut(_value(item, scrubber), MAX_VALUE_BYTES),
        "mechanism": mechanism,
    }
    if frames:
        entry["stacktrace"] = {"type": "raw", "frames": frames}
    return entry


def _named(item: Mapping[str, object], scrubber: Scrubber) -> tuple[str, object]:
    """Return type and module, scrubbed each and in one: what holds a dot may have been taken apart."""
    name, module = str(item.get("type") or "Exception"), item.get("module")
    parts = [str(module), name] if module else [name]
    scrubbed = scrubber.text(".".join(map(scrubber.text, parts)))
    scrubbed = ".".join(map(scrubber.text, scrubbed.split(".")))
    return (name, module) if scrubbed == ".".join(parts) else (scrubbed, None)


def _value(item: Mapping[str, object], scrubber: Scrubber) -> str:
    """Return message and notes, as a traceback shows them."""
    notes = item.get("notes")
    message = scrubbed_message(str(item.get("value") or ""), scrubber)
    added = [str(note) for note in notes] if isinstance(notes, list) else []
    return "\n".join([message, *(scrubbed_message(note, scrubber, MAX_NOTE_CHARS) for note in added)])


def _cut(text: object, max_bytes: int) -> str:
    return str(text).encode("utf-8", "replace")[:max_bytes].decode("utf-8", "ignore")


def _frames(recorded: object, make: _MakeFrame, scrubber: Scrubber) -> list[dict[str, object]]:
    if not isinstance(recorded, list):
        return []
    kept = []
    for entry in recorded:
        match entry:
            case [str(filename), int(lineno), str(function), str(module)]:
                kept.append(make(filename, lineno, function, module))
            case [
                str(filename),
                int(lineno),
                str(function),
                str(module),
                list(before),
                str(line),
                list(after),
            ]:
                made = make(filename, lineno, function, module)
                kept.append(carrying_frame(made, before, line, after, scrubber))
    return kept
