"""Declare what every event carries, and the events that this library sends itself.

The texts are part of the manifests: another wording is shown to admins as a change.
"""

from __future__ import annotations

from collections.abc import Mapping

from otel_posthog._runtime.reporting import DROPS

from .declarations import EXCEPTION, HEARTBEAT, SUPPRESSED, EventSpec, Property, Sensitivity
from .domains import Bucketed, Domain, Flag, Number, Scalar, Words
from .shapes import Made, made

FAILED_GAUGES = "failed_gauges"
# The mark of an event that was too large and has been shortened.
TRIMMED = "otel_posthog_trimmed"
DROPPED_PREFIX = "telemetry_dropped_"
USER_BUCKETS = (1, 2, 6, 11, 51)  # `1`, `2-5`, `6-10`, `11-50`, `51+`: requirement R3
# Bounds that no installation meets: they only keep identifiers from being sent as a count or a size.
_MAX_COUNT = 10**9
_MAX_MB = 10**9

_text = made("a text", type="string")


def _fixed(value: object) -> Made:
    return made(f"always {value!r}", const=value)


def _properties(
    rows: Mapping[str, tuple[Domain, str] | tuple[Domain, str, Sensitivity]],
) -> dict[str, Property]:
    return {
        name: Property(
            name=name,
            values=values,
            description=description,
            sensitivity=sensitivity[0] if sensitivity else Sensitivity.LOW,
            is_required=name == "$exception_list",  # PostHog refuses a report without exceptions
        )
        for name, (values, description, *sensitivity) in rows.items()
    }


BASE: Mapping[str, Property] = _properties(
    {
        "source": (_fixed("backend"), "Sent by the server, not by a browser."),
        "environment": (_text, "Name of the environment, such as production."),
        "service_version": (_text, "Version of the product."),
        TRIMMED: (_fixed(value=True), "It was too large and has been shortened."),
        "$process_person_profile": (_fixed(value=False), "PostHog makes no profile of a person."),
        "$geoip_disable": (_fixed(value=True), "PostHog looks up no place."),
        "$ip": (_fixed("0.0.0.0"), "A constant in place of an address."),  # noqa: S104 - a value, not a bind
        "$lib": (_fixed("otel-posthog"), "The library that sent it."),
        "$lib_version": (_text, "And its version."),
    }
)
_source = made("`backend` or, of an error in a page, `frontend`", enum=["backend", "frontend"])
ERRORS_BASE = {**BASE, **_properties({"source": (_source, "Where it happened; the server sends both.")})}
# What each backend event carries (requirement R18).
BASE_PROPERTIES = frozenset(BASE)

_TEXTS = ("platform", "filename", "abs_path", "function", "module", "context_line", "chunk_id")
_FRAME = {
    "type": "object",
    "properties": {
        **{key: {"type": "string"} for key in _TEXTS},
        **{key: {"type": "array", "items": {"type": "string"}} for key in ("pre_context", "post_context")},
        **{key: {"type": "integer"} for key in ("lineno", "colno")},
        "in_app": {"type": "boolean"},
    },
    "additionalProperties": False,
}
_EXCEPTIONS = made(
    "type and message of the exception and of its causes, and for each call of the stack file, function, "
    "line and a few source lines around it; no local variables",
    type="array",
    minItems=1,
    items={
        "type": "object",
        "properties": {
            "type": {"type": "string"},
            "module": {"type": ["string", "null"]},
            "value": {"type": "string"},
            "mechanism": {"type": "object"},
            "stacktrace": {
                "type": "object",
                "properties": {"type": {"const": "raw"}, "frames": {"type": "array", "items": _FRAME}},
                "additionalProperties": False,
            },
        },
        "required": ["type", "value"],
        "additionalProperties": False,
    },
)
_STEPS = made(
    "for each of the last steps when it happened, of which type it is (event, span or log), and the name of "
    "the event or span or the message of the warning",
    type="array",
    items={
        "type": "object",
        "properties": {
            "$message": {"type": "string"},
            "$timestamp": {"type": "string"},
            "type": {"enum": ["event", "span", "log"]},
            "level": {"type": "string"},
        },
        "required": ["$message", "$timestamp", "type"],
        "additionalProperties": False,
    },
)

EXCEPTION_SPEC = EventSpec(
    name=EXCEPTION,
    description="Something in the product failed, with what led to it.",
    why="Failures are found and mended without anybody having to write a report.",
    since="0.1",
    owner="otel-posthog",
    is_open=True,
    properties=_properties(
        {
            "$exception_level": (_text, "How bad it is."),
            "$exception_fingerprint": (
                made("a hash", type="string"),
                "What makes it the same failure as another one, where the stack alone does not say.",
            ),
            "$request_method": (_text, "Method of the request that failed."),
            "$trace_id": (_text, "Random number of the trace, so that reports of one failure are one."),
            "$span_id": (_text, "Random number of the step within the trace."),
            "$request_route": (
                _text,
                "Its route, such as /runs/{id}: the path without what stands for a single thing.",
                Sensitivity.MEDIUM,
            ),
            "$request_path": (_text, "Its path, without query.", Sensitivity.MEDIUM),
            "$current_url": (
                _text,
                "The same as an address; in place of the host a constant, unless `send_host` is on.",
                Sensitivity.MEDIUM,
            ),
            "$exception_list": (
                _EXCEPTIONS,
                "What failed and where; secrets are taken out.",
                Sensitivity.HIGH,
            ),
            "$exception_steps": (
                _STEPS,
                "What the request or task did just before; usage events only while these are on.",
                Sensitivity.HIGH,
            ),
        }
    ),
)
# What an `$exception` carries as well (requirement R12).
EXCEPTION_PROPERTIES = frozenset(EXCEPTION_SPEC.properties)

_PLACE = {
    "type": "object",
    "properties": {
        **{key: {"type": "string"} for key in ("type", "filename", "function", "module")},
        "lineno": {"type": "integer"},
        "suppressed": {"type": "integer"},
    },
    "additionalProperties": False,
}
_count, _size = Number(0, _MAX_COUNT, is_whole=True), Number(0, _MAX_MB, is_whole=False)
_percent = Number(0, 100, is_whole=False)
# The summary of reports that the rate limit suppressed (requirement R16).
SUPPRESSED_SPEC = EventSpec(
    name=SUPPRESSED,
    description="The same failure came so often that its further reports were only counted; once a minute.",
    why="Shows how often something fails without a report for each time.",
    since="0.1",
    owner="otel-posthog",
    properties=_properties(
        {
            "suppressed": (_count, "How many reports were left out."),
            "failures": (_count, "How many different failures they were."),
            "seconds": (_count, "Within how many seconds."),
            "worst": (
                made(
                    "for each of the most frequent ones its type, file, function and line, "
                    "and how often it came",
                    type="array",
                    items=_PLACE,
                ),
                "Which failures they were.",
                Sensitivity.HIGH,
            ),
        }
    ),
)
ERRORS = {EXCEPTION: EXCEPTION_SPEC, SUPPRESSED: SUPPRESSED_SPEC}

# The gauges of requirement R20 and what each may hold.
GAUGES: Mapping[str, Property] = _properties(
    {
        "total_users_bucket": (Bucketed(USER_BUCKETS, is_whole=True), "About how many users there are."),
        "total_pipelines": (_count, "How many pipelines there are."),
        "total_scheduled_jobs": (_count, "How many of them run by a schedule."),
        "db_kind": (Words(("other", "postgresql", "sqlite")), "Which kind of database is used."),
        "uv_pre_heat_enabled": (Flag(), "Whether environments are prepared in advance."),
        "pipelines_with_requirements": (_count, "How many pipelines need packages of their own."),
        "log_files_count": (_count, "How many log files are kept."),
        "log_files_size_mb": (_size, "And how large they are together, in MB."),
        "database_size_mb": (_size, "Size of the database in MB."),
        "free_disk_gb": (_size, "Free space on the disk in GB."),
        "system_ram_total_mb": (_size, "Memory of the machine in MB."),
        "system_ram_percent": (_percent, "How much of it is in use."),
        "system_cpu_percent": (_percent, "How busy its processors are."),
    }
)


_COUNTS = _properties(
    {
        FAILED_GAUGES: (_count, "How many gauges gave no value."),
        **{
            DROPPED_PREFIX + reason: (_count, f"How many events were dropped: {reason.replace('_', ' ')}.")
            for reason in sorted(DROPS)
        },
    }
)


def heartbeat_spec(gauges: Mapping[str, Property]) -> EventSpec:
    """Return the declaration of the heartbeat with these gauges."""
    return EventSpec(
        name=HEARTBEAT,
        description="Once a day: how large this installation is, and whether it is well.",
        why="Shows how many installations are in use, and for which sizes the product has to work.",
        since="0.1",
        owner="otel-posthog",
        properties={**dict(sorted(gauges.items())), **_COUNTS},
    )


def gauges_of(heartbeat: EventSpec) -> dict[str, Property]:
    """Return the gauges of a heartbeat's declaration."""
    return {name: gauge for name, gauge in heartbeat.properties.items() if name not in _COUNTS}


def gauge_property(gauge: Property) -> Property:
    """Return the declaration of a gauge; those of requirement R20 have a fixed one."""
    known = GAUGES.get(gauge.name)
    return known if known is not None and isinstance(gauge.values, Scalar) else gauge
