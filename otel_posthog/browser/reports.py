"""Check what a page says about an error by a list of what it may hold, and emit it as a record.

Everybody can be the page: what is not listed, too long or too large refuses the report. Nothing of the
visitor is recorded: no address, user agent, cookie or identifier.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from typing import Any, TypeGuard
from uuid import UUID, uuid5

from otel_posthog.emit.capture import guarded, random_uuid
from otel_posthog.emit.emitters import current
from otel_posthog.emit.request_context import Owner, within
from otel_posthog.mapping.exceptions import FRONTEND
from otel_posthog.mapping.frames import HOST_WITHHELD, PAGE, page_address
from otel_posthog.otel import attributes
from otel_posthog.otel.api import OUTSIDE_OF_SPANS, LogRecord, SeverityNumber
from otel_posthog.registry.domains import is_short_scalar

_MAX_PROPERTIES = 50
_PAGES = UUID("5b0f3c1e-0d5e-5a53-9d0e-6c2b8f7f1a44")  # the space of uuids of pages
_NUMBER = range(2**32)  # PostHog keeps lines and columns as u32
_NAME, _URL, _MESSAGE = (re.compile(rf"(?s).{{0,{most}}}") for most in (500, 2_000, 10_000))
_WORD = re.compile(r"[a-z_.]{1,40}")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
# Other names with `$` control PostHog.
_PROPERTY = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}|\$[a-z0-9_]{1,40}_frontend_test")

# An object by its keys, a list by its item and most length, a text by a pattern, an integer by a range.
# The lengths of lists are those of posthog-js.
# fmt: off
_FRAME = {"platform": re.compile(PAGE), "filename": _URL, "function": _NAME,
          "lineno": _NUMBER, "colno": _NUMBER, "in_app": bool, "chunk_id": _UUID}
_MECHANISM = {"type": _WORD, "handled": bool, "synthetic": bool,
              "source": _WORD, "exception_id": _NUMBER, "parent_id": _NUMBER}
_EXCEPTION = {"type": _NAME, "value": _MESSAGE, "mechanism": _MECHANISM,
              "stacktrace": {"type": _WORD, "frames": (_FRAME, 50)}}
_REPORT = {"$exception_list": (_EXCEPTION, 50), "$exception_level": _WORD,
           "uuid": _UUID, "url": _URL, "properties": Mapping}
# fmt: on
_REQUIRED = frozenset({"$exception_list", "type", "value", "frames", "platform", "filename", "function"})

Json = Mapping[str, Any]


def is_report(value: Any) -> TypeGuard[Json]:
    """Return whether a page may say this: known keys, each with a value of its form."""
    return _fits(value, _REPORT) and bool(value["$exception_list"])


def _fits(value: Any, shape: object) -> bool:
    match shape:
        case dict():
            is_whole = isinstance(value, dict) and value.keys() >= shape.keys() & _REQUIRED
            return is_whole and all(key in shape and _fits(each, shape[key]) for key, each in value.items())
        case (item, int(most)):
            return isinstance(value, list) and len(value) <= most and all(_fits(each, item) for each in value)
        case re.Pattern():
            return isinstance(value, str) and shape.fullmatch(value) is not None
        case range():
            return type(value) is int and value in shape
    if shape is bool:
        return type(value) is bool
    is_small = isinstance(value, dict) and len(value) <= _MAX_PROPERTIES
    return is_small and all(_PROPERTY.fullmatch(key) and is_short_scalar(each) for key, each in value.items())


@guarded
def emit_report(report: Json, owner: Owner, hosts: Collection[str]) -> None:
    """Emit the record of a checked report, without `hosts`, the names of this server."""
    host = _pattern_of(hosts)
    chain = [_entry(exception, host) for exception in report["$exception_list"]]
    first, mechanism = chain[0], report["$exception_list"][0].get("mechanism", {})
    frame = {"filename": "", "lineno": 0, "function": "", **(first["frames"] or [{}])[-1]}
    failure = first["type"], frame["filename"], frame["lineno"], frame["function"], ""
    with within(owner):
        emitter = current()
        is_wanted = emitter.logger.enabled(severity_number=SeverityNumber.ERROR)
        if not is_wanted or not (emitter.rate_limit is None or emitter.rate_limit.admits(failure)):
            return
        emitter.logger.emit(
            LogRecord(
                event_name=attributes.EXCEPTION_EVENT,
                severity_number=SeverityNumber.ERROR,
                context=OUTSIDE_OF_SPANS,  # the request that brings the report has not failed
                attributes={
                    **_properties(report, host),
                    attributes.EXCEPTION_TYPE: first["type"],
                    attributes.EXCEPTION_CHAIN: json.dumps(chain, separators=(",", ":")),
                    attributes.EXCEPTION_HANDLED: mechanism.get("handled", True),
                    attributes.EXCEPTION_MECHANISM: mechanism.get("type", ""),
                    attributes.EXCEPTION_LEVEL: report.get("$exception_level", "error"),
                    attributes.EVENT_UUID: _uuid_of(report),
                    attributes.SOURCE: FRONTEND,
                },
            )
        )


def _uuid_of(report: Json) -> str:
    """Return the same uuid for each resend, and none that the page could choose: others count with theirs."""
    return str(uuid5(_PAGES, report["uuid"].lower())) if "uuid" in report else random_uuid()


def _entry(exception: Json, host: re.Pattern[str]) -> dict[str, Any]:
    """Return an exception as `emit.tracebacks` describes one, with frames of a page."""
    mechanism, stack = exception.get("mechanism", {}), exception.get("stacktrace", {"frames": ()})
    return {
        "type": _without(host, exception["type"]),
        "value": _without(host, exception["value"]),
        "synthetic": mechanism.get("synthetic", False),
        "parent": mechanism.get("parent_id"),
        "source": mechanism.get("source"),
        "frames": [
            frame
            | {"filename": page_address(frame["filename"]), "function": _without(host, frame["function"])}
            for frame in stack["frames"]
        ],
    }


def _properties(report: Json, host: re.Pattern[str]) -> dict[str, Any]:
    given = {**report.get("properties", {}), "$current_url": page_address(report.get("url", ""))}
    return {f"{attributes.PROPERTY_PREFIX}{key}": _without(host, value) for key, value in given.items()}


def _pattern_of(hosts: Collection[str]) -> re.Pattern[str]:
    """Return what finds these names, with a port or without; one without a dot only within an address."""
    names = {host.partition(":")[0] for host in hosts} - {""}
    full = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True) if "." in name)
    bare = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True) if "." not in name)
    found = [rf"(?<![\w.-])(?:{full})(?::\d+)?(?![\w.-])"] if full else []
    found += [rf"(?<=[/@])(?:{bare})(?::\d+)?(?![\w.-])", rf"(?<![\w.-])(?:{bare}):\d+"] if bare else []
    return re.compile("|".join(found) or r"(?!)", re.IGNORECASE)


def _without(host: re.Pattern[str], value: Any) -> Any:
    return host.sub(HOST_WITHHELD, value) if isinstance(value, str) else value
