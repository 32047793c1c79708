"""Build `$exception` events as PostHog's error tracking reads them (requirements R12, R15)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from uuid import UUID, uuid4, uuid5

from otel_posthog import attributes
from otel_posthog.scrubbing import Scrubber, scrub_text
from otel_posthog.scrubbing.scrubber import MARGIN_CHARS
from otel_posthog.tracebacks import MAX_MESSAGE_CHARS

from .base import BaseProperties
from .frames import bare_frame, carrying_frame, frame_of

MAX_VALUE_BYTES = 8_000  # PostHog cuts at 10,000; scrubbing may lengthen a text
MAX_TYPE_BYTES = 255  # PostHog cuts longer ones
MAX_STACK_TEXT_FRAMES = 50  # as `tracebacks.describe` keeps at most
UUID_NAMESPACE = UUID("6f2ae6b4-8a1f-5f0f-9f0b-2f0f6a0f9d51")
_HASHED_MESSAGE_CHARS = 1000
_SCRUBBER = Scrubber()

_STACK_LINE = re.compile(r'^  File "([^"\n]{1,500})", line (\d{1,9}), in ([^\n]{1,200})$', re.MULTILINE)


def exception_properties(
    recorded: Mapping[str, object], base: BaseProperties, *, trace_id: int, span_id: int
) -> dict[str, object]:
    """Return the properties of one `$exception` from a record's `exception.*` attributes."""
    properties = base.over(added_by_caller(recorded))
    properties["$exception_list"] = exception_list(recorded, base.scrubber, reads_source=base.reads_source)
    properties["$exception_level"] = "error"
    path = _of_request(recorded, attributes.URL_PATH)
    if isinstance(path, str):
        path = re.split(r"[?#]", path, maxsplit=1)[0]
        properties["$request_method"] = str(_of_request(recorded, attributes.HTTP_REQUEST_METHOD) or "")
        properties["$request_path"] = path
        properties["$current_url"] = base.url(
            _of_request(recorded, attributes.URL_SCHEME) or "http",
            _of_request(recorded, attributes.SERVER_ADDRESS),
            path,
        )
    if trace_id:
        properties["$trace_id"] = f"{trace_id:032x}"
        properties["$span_id"] = f"{span_id:016x}"
    return properties


def exception_list(
    recorded: Mapping[str, object], scrubber: Scrubber = _SCRUBBER, *, reads_source: bool = True
) -> list[dict[str, object]]:
    """Return `$exception_list`: outermost first, each with its frames, oldest call first.

    Without our own structured attribute only type, value and the frames named in the stack text
    are known. Whoever wrote that attribute names the files of which lines are read: without
    `reads_source` only the lines that it carries are shown.
    """
    handled = bool(recorded.get(attributes.EXCEPTION_HANDLED, False))
    chain = chain_of(recorded.get(attributes.EXCEPTION_CHAIN))
    if chain:
        return [
            _entry(
                index,
                item,
                _frames(item.get("frames"), scrubber, frame_of if reads_source else bare_frame),
                scrubber,
                handled=handled,
            )
            for index, item in enumerate(chain)
        ]
    module, _, name = str(recorded.get(attributes.EXCEPTION_TYPE) or "Exception").rpartition(".")
    stack = str(recorded.get(attributes.EXCEPTION_STACKTRACE) or "")
    # Without source lines: a message can forge these, and name any file of this machine.
    frames = [
        bare_frame(file, int(line), function, "", scrubber)
        for file, line, function in _STACK_LINE.findall(stack)
    ]
    item = {
        "type": name,
        "module": module or None,
        "value": str(recorded.get(attributes.EXCEPTION_MESSAGE) or ""),
    }
    return [_entry(0, item, frames[:MAX_STACK_TEXT_FRAMES], scrubber, handled=handled)]


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


def scrubbed_message(text: str, scrubber: Scrubber) -> str:
    """Return the message as it may be shown.

    It is scrubbed before the cut, or half a secret stays; of a text that came cut, its end goes as well.
    """
    scrubbed = scrubber.text(text)
    return scrubbed[:-MARGIN_CHARS] if len(text) >= MAX_MESSAGE_CHARS else scrubbed


def _entry(
    index: int,
    item: Mapping[str, object],
    frames: list[dict[str, object]],
    scrubber: Scrubber,
    *,
    handled: bool,
) -> dict[str, object]:
    mechanism: dict[str, object] = {"exception_id": index, "synthetic": False}
    if index == 0:
        mechanism |= {"type": "generic", "handled": handled}
    else:
        mechanism |= {"type": "chained", "source": item.get("source"), "parent_id": item.get("parent")}
    if item.get("group"):
        mechanism["is_exception_group"] = True
    module = item.get("module")
    entry: dict[str, object] = {
        "type": _cut(scrubber.text(str(item.get("type") or "Exception")), MAX_TYPE_BYTES),
        "module": None if module == "builtins" else module,
        "value": _cut(scrubbed_message(str(item.get("value") or ""), scrubber), MAX_VALUE_BYTES),
        "mechanism": mechanism,
    }
    if frames:
        entry["stacktrace"] = {"type": "raw", "frames": frames}
    return entry


def _cut(text: object, max_bytes: int) -> str:
    return str(text).encode("utf-8", "replace")[:max_bytes].decode("utf-8", "ignore")


def _frames(
    recorded: object, scrubber: Scrubber, frame: Callable[..., dict[str, object]]
) -> list[dict[str, object]]:
    if not isinstance(recorded, list):
        return []
    kept = []
    for entry in recorded:
        match entry:
            case [str(filename), int(lineno), str(function), str(module)]:
                kept.append(frame(filename, lineno, function, module, scrubber))
            case [
                str(filename),
                int(lineno),
                str(function),
                str(module),
                list(before),
                str(line),
                list(after),
            ]:
                made = bare_frame(filename, lineno, function, module, scrubber)
                kept.append(carrying_frame(made, before, line, after, scrubber))
    return kept
