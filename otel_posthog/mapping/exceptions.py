"""Build the properties of every event, and of `$exception` as PostHog's error tracking reads them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from types import MappingProxyType
from uuid import UUID, uuid5

from otel_posthog.emit.request_context import template_of
from otel_posthog.emit.tracebacks import MAX_MESSAGE_CHARS, MAX_NOTE_CHARS
from otel_posthog.events import Event, time_from_ns, with_base
from otel_posthog.otel import attributes
from otel_posthog.otel.records import RecordedLog, RecordedSpan, recorded_uuid
from otel_posthog.registry import EXCEPTION
from otel_posthog.scrubbing import Scrubber, scrub_text

from . import traceback_parser
from .frames import HOST_WITHHELD, stacks_of
from .steps import json_list, steps_of, uncut

LIBRARY = "otel-posthog"
NO_ADDRESS = "0.0.0.0"  # noqa: S104 - a value, not a bind; without `$ip` PostHog adds the sender's
FRONTEND = "frontend"
MAX_FRAMES = 200  # of one record; with eleven lines each at most half a megabyte
MAX_VALUE_BYTES = 8_000  # PostHog cuts at 10,000; scrubbing may lengthen a text
MAX_TYPE_BYTES = 255  # PostHog cuts longer ones
UUID_NAMESPACE = UUID("6f2ae6b4-8a1f-5f0f-9f0b-2f0f6a0f9d51")
GENERIC = "generic"
LEVELS = frozenset({"fatal", "error", "warning"})
_HASHED_MESSAGE_CHARS = 1000
_RAISING_FRAMES = 3  # of a library
_NO_WORD = re.compile(r"\W+")
_MAX_WORDS_CHARS = 200
# Quoted texts, placeholders, numbers and hexadecimal ids: they differ between reports of one failure.
_VARIES = re.compile(
    r"\"[^\"\n]{0,200}\"|'[^'\n]{0,200}'|\[scrubbed:[^\]\n]{0,40}\]|(?<![^\W\d_])[-+]?(?:0x)?\d[\w.:-]*|"
    r"\b(?=[a-f]*\d)[0-9a-f]{8,}\b",
    re.IGNORECASE,
)
_ORIGIN = re.compile(r"\A\w{1,10}://[^/?#]*")
ID = "{id}"
_LONG_PART_CHARS = 40  # names of routes are shorter
_NUMBERED_CHARS = 16  # and so are those with a digit in them
_SINGLE = re.compile(
    r"\d+|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|(?=[a-f]*\d)[0-9a-f]{6,}|\d{4}-\d\d-\d\d",
    re.IGNORECASE,
)

Entry = Mapping[str, object]


@cache  # parsing the package's metadata takes half a millisecond
def _library_version() -> str:
    return version(LIBRARY)


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseProperties:
    """The properties that do not depend on the record, and the options of the mapping."""

    environment: str
    service_version: str | None = None
    send_host: bool = False
    # Whether source lines are read from this machine's disk: only if the frames are this program's.
    reads_source: bool = True
    # Top-level packages of the product; their frames are in-app wherever they are installed.
    roots: frozenset[str] = frozenset()
    steps_max_bytes: int = 8_000
    scrubber: Scrubber = field(default_factory=Scrubber, repr=False, compare=False)
    # As sent: no person profile, no address, no location. They win over an event's own names.
    properties: Mapping[str, object] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Build the properties once for all events."""
        properties: dict[str, object] = {
            "source": "backend",
            "environment": self.environment,
            "$process_person_profile": False,
            "$geoip_disable": True,
            "$ip": NO_ADDRESS,
            "$lib": LIBRARY,
            "$lib_version": _library_version(),
        }
        if self.service_version:
            properties["service_version"] = self.service_version
        object.__setattr__(self, "properties", MappingProxyType(properties))


def exception_event(
    recorded: Mapping[str, object], base: BaseProperties, record: RecordedLog | RecordedSpan, time_ns: int
) -> Event:
    """Return the `$exception` for the `exception.*` attributes of a record."""
    properties = exception_properties(recorded, base, trace_id=record.trace_id, span_id=record.span_id)
    return Event(
        name=EXCEPTION,
        properties=properties,
        timestamp=time_from_ns(time_ns),
        uuid=exception_uuid(recorded, record.trace_id, properties["$exception_list"]),  # type: ignore[arg-type]  # a list
        accepted_ns=record.accepted_ns,
    )


def exception_properties(
    recorded: Mapping[str, object], base: BaseProperties, *, trace_id: int, span_id: int
) -> dict[str, object]:
    """Return the properties of one `$exception` from a record's `exception.*` attributes."""
    properties = with_base(base.properties, added_by_caller(recorded))
    if recorded.get(attributes.SOURCE) == FRONTEND:
        properties["source"] = FRONTEND
    chain = chain_of(recorded.get(attributes.EXCEPTION_CHAIN))
    items = chain or _from_text(recorded)
    # Only our own walk is trusted to name files: a text can be forged, and name any file of a machine.
    exceptions = _exceptions(items, recorded, base, reads_source=bool(chain) and base.reads_source)
    properties["$exception_list"] = exceptions
    level = recorded.get(attributes.EXCEPTION_LEVEL)
    properties["$exception_level"] = level if level in LEVELS else "error"
    is_cut = any(item.get("omitted") for item in items)
    if (fingerprint := fingerprint_of(exceptions, is_cut=is_cut)) is not None:
        properties["$exception_fingerprint"] = fingerprint
    if steps := steps_of(recorded.get(attributes.EXCEPTION_STEPS), base.scrubber, base.steps_max_bytes):
        properties["$exception_steps"] = steps
    properties |= _request_properties(recorded, base)
    if trace_id:
        properties["$trace_id"] = f"{trace_id:032x}"
        properties["$span_id"] = f"{span_id:016x}"
    return properties


def exception_uuid(recorded: Mapping[str, object], trace_id: int, exceptions: Sequence[Entry] = ()) -> UUID:
    """Return the event's uuid, the same for all reports of one exception within a trace."""
    if not trace_id:
        return recorded_uuid(recorded)
    name = str(recorded.get(attributes.EXCEPTION_TYPE) or "").rpartition(".")[2]
    # Only what is sent is hashed, since the rest could be guessed (docs/adr/0004).
    words = scrub_text(str(recorded.get(attributes.EXCEPTION_MESSAGE) or "")[:_HASHED_MESSAGE_CHARS])
    if frames := [*_frames(exceptions[0])] if exceptions else []:
        # Instrumentations word a message differently, and their own calls are in what they record. So the
        # frames decide, from the product's innermost one on. A library raises one type for many reasons;
        # there the words count, too.
        own = max((at for at, frame in enumerate(frames) if frame.get("in_app")), default=len(frames) - 1)
        words = "" if frames[-1].get("in_app") else _NO_WORD.sub("", words)
        for frame in (frames[own], *frames[own + 1 :][-_RAISING_FRAMES:]):
            file = str(frame["filename"]).rpartition("/")[2]
            words += f":{file}:{frame.get('lineno')}:{frame['function']}"
    return uuid5(UUID_NAMESPACE, f"{trace_id:032x}:{name}:{words}")


def added_by_caller(recorded: Mapping[str, object]) -> dict[str, object]:
    """Return the properties under `attributes.PROPERTY_PREFIX`, without the prefix."""
    prefix = attributes.PROPERTY_PREFIX
    return {key.removeprefix(prefix): value for key, value in recorded.items() if key.startswith(prefix)}


def chain_of(recorded: object) -> list[Entry]:
    """Return the entries of a recorded chain; none if it is cut or not ours."""
    return [item for item in json_list(recorded) if isinstance(item, dict)]


def _from_text(recorded: Mapping[str, object]) -> Sequence[Entry]:
    """Return entries as `tracebacks.describe` makes them, from what another instrumentation recorded."""
    name, message = _text(recorded, attributes.EXCEPTION_TYPE), recorded.get(attributes.EXCEPTION_MESSAGE)
    stack = _text(recorded, attributes.EXCEPTION_STACKTRACE)
    items = traceback_parser.read(stack, name, None if message is None else str(message)) if stack else []
    if items:
        return items
    type_name, module = traceback_parser.split_type(name or "Exception")
    return [{"type": type_name, "module": module, "value": "" if message is None else str(message)}]


def _text(recorded: Mapping[str, object], key: str) -> str:
    value = recorded.get(key)
    return "" if value is None else str(value)


def _exceptions(
    items: Sequence[Entry], recorded: Mapping[str, object], base: BaseProperties, *, reads_source: bool
) -> list[dict[str, object]]:
    """Return `$exception_list`: outermost first, each with its frames, oldest call first."""
    caught: Entry = {
        "type": _text(recorded, attributes.EXCEPTION_MECHANISM) or GENERIC,
        "handled": bool(recorded.get(attributes.EXCEPTION_HANDLED, False)),
    }
    scrubber = base.scrubber
    stacks = stacks_of(
        [item.get("frames") for item in items], scrubber, base.roots, reads_source=reads_source
    )
    exceptions = []
    for index, (item, frames) in enumerate(zip(items, stacks, strict=True)):
        name, module = _named(item, scrubber)
        entry: dict[str, object] = {
            "type": _cut(name, MAX_TYPE_BYTES),
            "module": None if module == "builtins" else module,
            "value": _cut("\n".join(_messages(item, scrubber)), MAX_VALUE_BYTES),
            "mechanism": _mechanism(index, item, caught),
        }
        if frames:
            entry["stacktrace"] = {"type": "raw", "frames": frames}
        exceptions.append(entry)
    return exceptions


def _named(item: Entry, scrubber: Scrubber) -> tuple[str, object]:
    """Return the scrubbed type and module; no module if scrubbing changed either."""
    name, module = str(item.get("type") or "Exception"), item.get("module")
    parts = [str(module), name] if module else [name]
    scrubbed = scrubber.dotted(parts)
    return (name, module) if scrubbed == ".".join(parts) else (scrubbed, None)


def _messages(item: Entry, scrubber: Scrubber) -> list[str]:
    notes = item.get("notes")
    texts = [str(item.get("value") or ""), *(map(str, notes) if isinstance(notes, list) else ())]
    bounds = [MAX_MESSAGE_CHARS, *[MAX_NOTE_CHARS] * (len(texts) - 1)]
    return list(map(uncut, texts, scrubber.texts(texts), bounds))


def _cut(text: object, max_bytes: int) -> str:
    return str(text).encode("utf-8", "replace")[:max_bytes].decode("utf-8", "ignore")


def _mechanism(index: int, item: Entry, caught: Entry) -> dict[str, object]:
    """Return how the first exception was caught, and how each other one relates to its parent."""
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


def fingerprint_of(exceptions: Sequence[Entry], *, is_cut: bool) -> str | None:
    """Return a fingerprint only where PostHog's own would not be stable, else None."""
    # PostHog hashes the type and the in-app frames of each exception of the list. That splits one failure
    # into many if it has no frames (PostHog takes the message then), if a recursion ends at another depth
    # each time, and if a group has other members each time. A change here splits the product's existing
    # issues; docs/errors.md has the rule.
    if not any("stacktrace" in entry for entry in exceptions):
        return _hash("message", [[*_name(entry), _words(entry)] for entry in exceptions[:1]])
    if len(exceptions) > 1 and any(map(_is_group, exceptions)):
        return _hash("group", [_name(exceptions[0]), *_distinct(exceptions)])
    if is_cut:
        return _hash("recursion", [_name(exceptions[0]), *_distinct(exceptions)])
    return None


def _distinct(exceptions: Sequence[Entry]) -> Sequence[object]:
    """Return the product's code locations in the stacks, sorted and without repetition."""
    locations = {
        (*_name(entry), str(frame.get("module")), str(frame.get("filename")), str(frame.get("function")))
        for entry in exceptions
        for frame in _frames(entry)
        if frame.get("in_app")
    }
    return [list(location) for location in sorted(locations)] or [
        list(name) for name in sorted(set(map(_name, exceptions)))
    ]


def _name(entry: Entry) -> tuple[str, str]:
    return str(entry.get("module") or ""), str(entry["type"])


def _words(entry: Entry) -> str:
    """Return the first line of the message without numbers, quoted texts and placeholders."""
    first = str(entry.get("value") or "").partition("\n")[0]
    return _VARIES.sub("…", first)[:_MAX_WORDS_CHARS]


def _is_group(entry: Entry) -> bool:
    mechanism = entry["mechanism"]
    return isinstance(mechanism, Mapping) and "is_exception_group" in mechanism


def _frames(entry: Entry) -> Iterable[Entry]:
    stack = entry.get("stacktrace")
    return stack["frames"] if isinstance(stack, Mapping) else ()


def _hash(rule: str, parts: Sequence[object]) -> str:
    text = json.dumps([rule, parts], ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _request_properties(recorded: Mapping[str, object], base: BaseProperties) -> dict[str, object]:
    """Return the properties of the recorded request, without query, credentials and, by default, host."""
    path = _of_request(recorded, attributes.URL_PATH)
    if not isinstance(path or (path := recorded.get(attributes.FORMER_URL, path)), str):
        return {}
    path = re.split(r"[?#]", _ORIGIN.sub("", str(path)), maxsplit=1)[0]
    scheme = _of_request(recorded, attributes.URL_SCHEME) or "http"
    host = _of_request(recorded, attributes.SERVER_ADDRESS)
    shown = str(host).rpartition("@")[2] if base.send_host and host else HOST_WITHHELD
    return {
        "$request_method": str(_of_request(recorded, attributes.HTTP_REQUEST_METHOD) or ""),
        "$request_path": path,
        "$request_route": route_of(recorded, base.scrubber.text(path)),
        "$current_url": f"{scheme}://{shown}{path}",
    }


def _of_request(recorded: Mapping[str, object], name: str) -> object:
    value = recorded.get(name)
    return recorded.get(attributes.FORMER_NAMES[name]) if value is None else value


def route_of(recorded: Mapping[str, object], path: str) -> str:
    """Return `http.route` if recorded, else the path with `{id}` for each part that identifies one thing."""
    route = recorded.get(attributes.HTTP_ROUTE)
    if isinstance(route, str) and route:
        return template_of(route)
    path = path.removeprefix(str(recorded.get(attributes.ROOT_PATH) or ""))
    return "/".join(map(_templated, path.split("/")))


def _templated(part: str) -> str:
    stem, dot, ending = part.partition(".")
    if _SINGLE.fullmatch(stem):
        return f"{ID}{dot}{ending}"
    has_digit = any(character.isdigit() for character in part)
    is_single = len(part) > _LONG_PART_CHARS or (len(part) >= _NUMBERED_CHARS and has_digit)
    return ID if is_single else part
