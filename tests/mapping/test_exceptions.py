"""`$exception` events from what was recorded."""

from __future__ import annotations

import json
import traceback
from uuid import UUID

import pytest
from raising import caught

from otel_posthog.emit.tracebacks import MAX_FRAMES_HEAD, MAX_FRAMES_TAIL, describe
from otel_posthog.mapping import BaseProperties, exception_properties
from otel_posthog.mapping.exceptions import exception_uuid, route_of
from otel_posthog.otel import attributes

BASE = BaseProperties(environment="production", service_version="1.2")


def _fail_from_cause():
    try:
        int("x")
    except ValueError as error:
        raise RuntimeError("outer") from error


def _ours(error, **further):
    return {
        attributes.EXCEPTION_TYPE: type(error).__name__,
        attributes.EXCEPTION_MESSAGE: str(error),
        attributes.EXCEPTION_CHAIN: describe(error),
        **further,
    }


def _foreign(error, message=None):
    return {
        attributes.EXCEPTION_TYPE: type(error).__name__,
        attributes.EXCEPTION_MESSAGE: str(error) if message is None else message,
        attributes.EXCEPTION_STACKTRACE: "".join(traceback.format_exception(error)),
    }


def _properties(recorded, base=BASE, trace_id=0, span_id=0):
    return exception_properties(recorded, base, trace_id=trace_id, span_id=span_id)


def _exceptions(recorded):
    return _properties(recorded)["$exception_list"]


def test_chain_is_told_outermost_first():
    """The exception that was caught comes first, what caused it follows (R15)."""
    entries = _exceptions(_ours(caught(_fail_from_cause)))

    assert [(entry["type"], entry["value"]) for entry in entries] == [
        ("RuntimeError", "outer"),
        ("ValueError", "invalid literal for int() with base 10: 'x'"),
    ]


def test_mechanisms_link_the_chain():
    """The first entry says how it was caught, the others on which one they hang."""
    group = ExceptionGroup("several", [KeyError("k")])
    group.__cause__ = ValueError("cause")

    entries = _exceptions(_ours(group, **{attributes.EXCEPTION_HANDLED: True}))

    assert [entry["mechanism"] for entry in entries] == [
        {
            "exception_id": 0,
            "synthetic": False,
            "type": "generic",
            "handled": True,
            "is_exception_group": True,
        },
        {"exception_id": 1, "synthetic": False, "type": "chained", "source": "cause", "parent_id": 0},
        {"exception_id": 2, "synthetic": False, "type": "chained", "source": "member", "parent_id": 0},
    ]


def test_frames_are_told_oldest_first():
    """The innermost call comes last, with its source line."""
    [entry] = _exceptions(_ours(caught(lambda: 1 / 0)))

    assert entry["stacktrace"]["type"] == "raw"
    assert [frame["function"] for frame in entry["stacktrace"]["frames"]] == ["caught", "<lambda>"]
    assert "1 / 0" in entry["stacktrace"]["frames"][-1]["context_line"]


def test_exception_without_traceback_has_no_stacktrace():
    """PostHog wants no empty stack."""
    [entry] = _exceptions(_ours(ValueError("never raised")))

    assert "stacktrace" not in entry


@pytest.mark.parametrize(
    ("error", "module"), [(ValueError("x"), None), (json.JSONDecodeError("x", "", 0), "json.decoder")]
)
def test_module_of_a_builtin_is_left_out(error, module):
    """As posthog-python does, only types that are not built in name their module."""
    assert _exceptions(_ours(error))[0]["module"] == module


def test_foreign_record_is_read_from_its_stack_text():
    """Without our attribute type, value, file, line, function and module come from the standard ones."""
    error = caught(lambda: 1 / 0)

    [entry] = _exceptions(_foreign(error))

    [ours] = _exceptions(_ours(error))
    assert (entry["type"], entry["value"]) == ("ZeroDivisionError", "division by zero")
    assert entry["stacktrace"]["frames"] == [_without_source(frame) for frame in ours["stacktrace"]["frames"]]


def _without_source(frame):
    return {key: value for key, value in frame.items() if not key.endswith(("context", "context_line"))}


def test_foreign_type_is_split_from_its_module():
    """A qualified type gives module and type."""
    [entry] = _exceptions({attributes.EXCEPTION_TYPE: "sqlalchemy.exc.OperationalError"})

    assert (entry["module"], entry["type"], entry["value"]) == ("sqlalchemy.exc", "OperationalError", "")


def test_forged_frames_change_neither_count_nor_type():
    """A message that looks like a stack stays a message of one exception."""
    forged = 'x\n  File "/etc/hostname", line 1, in planted\nSystemExit: 1'

    [entry] = _exceptions(_foreign(caught(lambda: int(forged)), message=forged))

    assert (entry["type"], entry["value"]) == ("ValueError", forged)


def test_forged_frames_read_no_file(tmp_path):
    """A file that a stack text names is not read: its lines would leave with the event."""
    secret = tmp_path / "settings.py"
    secret.write_text("planted = 1\n")
    stack = f'Traceback (most recent call last):\n  File "{secret}", line 1, in f\nValueError: x\n'

    [entry] = _exceptions({"exception.type": "ValueError", "exception.stacktrace": stack})

    assert [frame["function"] for frame in entry["stacktrace"]["frames"]] == ["f"]
    assert "planted = 1" not in json.dumps(entry)


def test_frames_of_a_text_are_bounded():
    """A text of thousands of frames does not make the event too large to be sent."""
    stack = "Traceback (most recent call last):\n" + '  File "x.py", line 1, in f\n' * 10_000

    [entry] = _exceptions({"exception.type": "ValueError", "exception.stacktrace": stack})

    assert len(entry["stacktrace"]["frames"]) == MAX_FRAMES_HEAD + MAX_FRAMES_TAIL


@pytest.mark.parametrize(
    "chain", ['[{"type": "Va', "", "{}", "[]", "null", "[1, 2]", 5, "[" * 100_000, b"x"], ids=repr
)
def test_unreadable_chain_falls_back(chain):
    """A chain that was cut or is none gives way to the standard attributes."""
    recorded = {attributes.EXCEPTION_TYPE: "ValueError", attributes.EXCEPTION_MESSAGE: "m"}

    [entry] = _exceptions(recorded | {attributes.EXCEPTION_CHAIN: chain})

    assert (entry["type"], entry["value"]) == ("ValueError", "m")


@pytest.mark.parametrize(
    "item",
    [{}, {"type": 5}, {"frames": 5}, {"frames": [[1, 2], "x", ["a", "b", "c", "d"]]}, {"value": {"a": 1}}],
)
def test_odd_chain_still_gives_an_exception(item):
    """A chain that somebody else wrote gives an entry with the types that PostHog wants."""
    [entry] = _exceptions({attributes.EXCEPTION_CHAIN: json.dumps([item])})

    assert isinstance(entry["type"], str)
    assert isinstance(entry["value"], str)
    assert "stacktrace" not in entry


def test_empty_record_still_gives_an_exception():
    """PostHog refuses an empty list, so there is always one entry."""
    assert [entry["type"] for entry in _exceptions({})] == ["Exception"]


REQUEST = {
    attributes.HTTP_REQUEST_METHOD: "POST",
    attributes.URL_SCHEME: "https",
    attributes.SERVER_ADDRESS: "u:planted@organisation.example",
    attributes.URL_PATH: "/runs/1?token=planted#planted",
}


def test_request_is_told_without_host_and_query():
    """Method, path and URL are told; query, fragment, credentials and host are not (R12)."""
    properties = _properties(REQUEST)

    assert {key: properties[key] for key in ("$request_method", "$request_path", "$current_url")} == {
        "$request_method": "POST",
        "$request_path": "/runs/1",
        "$current_url": "https://host.invalid/runs/1",
    }


def test_request_is_told_from_former_names_too():
    """What an instrumentation writes by the older conventions says the same (R12)."""
    properties = _properties(
        {"http.method": "GET", "http.scheme": "https", "http.target": "/runs/1?token=planted"}
    )

    assert (properties["$request_method"], properties["$current_url"]) == (
        "GET",
        "https://host.invalid/runs/1",
    )


def test_host_is_told_where_the_product_wants_it():
    """With `send_host` the URL names the host, still without credentials."""
    properties = _properties(REQUEST, BaseProperties(environment="production", send_host=True))

    assert properties["$current_url"] == "https://organisation.example/runs/1"


def test_exception_outside_a_request_tells_none():
    """Without a path there is no request to tell of."""
    assert not {"$request_method", "$request_path", "$current_url"} & _properties({}).keys()


def test_base_properties_win():
    """A caller can add properties, but not replace what each event carries (R18)."""
    added = {
        "step": "sync",
        "$ip": "203.0.113.7",
        "$process_person_profile": True,
        "$exception_list": [],
        "source": "x",
    }

    properties = _properties({f"{attributes.PROPERTY_PREFIX}{key}": value for key, value in added.items()})

    assert properties["step"] == "sync"
    assert properties["$exception_list"] != []
    assert BASE.properties.items() <= properties.items()


def test_only_marked_attributes_are_taken_over():
    """Other attributes of a record stay behind."""
    assert "user.id" not in _properties({"user.id": 5, attributes.EXCEPTION_TYPE: "ValueError"})


def test_trace_is_told():
    """An exception within a trace carries its ids as text."""
    properties = _properties({}, trace_id=0xAB, span_id=0xCD)

    assert (properties["$trace_id"], properties["$span_id"]) == (f"{0xAB:032x}", f"{0xCD:016x}")


def test_no_trace_is_not_told():
    """Outside a trace there are no ids."""
    assert "$trace_id" not in _properties({})


def test_base_properties():
    """Each event says where it comes from, and nothing about a person or place (R18)."""
    base = dict(BASE.properties)

    assert base.pop("$lib_version")
    assert base == {
        "source": "backend",
        "environment": "production",
        "service_version": "1.2",
        "$process_person_profile": False,
        "$geoip_disable": True,
        "$ip": "0.0.0.0",
        "$lib": "otel-posthog",
    }


def _recorded(kind="ValueError", message="m", uuid=None):
    return {
        attributes.EXCEPTION_TYPE: kind,
        attributes.EXCEPTION_MESSAGE: message,
        attributes.EVENT_UUID: uuid,
    }


@pytest.mark.parametrize(
    "other",
    [
        _recorded(kind="app.errors.ValueError"),
        _recorded(uuid=str(UUID(int=5))),
        _recorded() | {attributes.EXCEPTION_STACKTRACE: "x"},
    ],
    ids=["qualified", "own uuid", "stack"],
)
def test_reports_of_one_exception_share_a_uuid_within_a_trace(other):
    """However one exception is reported within a trace, PostHog sees one event."""
    assert exception_uuid(_recorded(), 7) == exception_uuid(other, 7)


@pytest.mark.parametrize(
    ("other", "trace_id"), [(_recorded(kind="KeyError"), 7), (_recorded(message="n"), 7), (_recorded(), 8)]
)
def test_other_exceptions_have_other_uuids(other, trace_id):
    """Another type, message or trace is another event."""
    assert exception_uuid(_recorded(), 7) != exception_uuid(other, trace_id)


def _uuid(recorded):
    return exception_uuid(recorded, 7, _exceptions(recorded))


@pytest.mark.parametrize("describe_it", [_ours, _foreign])
def test_failures_of_one_type_in_a_library_are_not_one(describe_it):
    """Where a library raises, the words and the product's own line distinguish failures of one type."""
    both = [caught(lambda text=text: json.loads(text)) for text in ("{", "[1")]
    elsewhere = caught(lambda: json.loads("{"))

    uuids = {_uuid(describe_it(error)) for error in (*both, elsewhere)}

    assert len(uuids) == 3


@pytest.mark.parametrize("message", ["'x'", "x"])
def test_wording_of_a_message_makes_no_second_failure(message):
    """Instrumentations quote a message differently, and frames are the same in text and chain."""
    error = caught(lambda: {}["x"])

    assert _uuid(_foreign(error, message)) == _uuid(_ours(error))


def test_uuid_tells_nothing_of_what_was_scrubbed():
    """Messages that differ in a secret alone share a uuid, so that it cannot be tried against guesses."""
    uuids = {exception_uuid(_recorded(message=f"password={guess}"), 7) for guess in ("a", "b")}

    assert len(uuids) == 1


def test_carried_uuid_counts_outside_a_trace():
    """Without a trace the uuid that the record carries makes repeated sends one event."""
    assert exception_uuid(_recorded(uuid=str(UUID(int=5))), 0) == UUID(int=5)


@pytest.mark.parametrize("uuid", [None, "", "no uuid", 5])
def test_uuid_is_new_without_a_carried_one(uuid):
    """Without trace and uuid each report is an event of its own."""
    assert exception_uuid(_recorded(uuid=uuid), 0) != exception_uuid(_recorded(uuid=uuid), 0)


def test_texts_stay_inside_posthogs_limits_in_bytes():
    """Type and value are cut by bytes, never inside a character."""
    chain = json.dumps([{"type": "é" * 1000, "module": "m", "value": "日" * 9000, "frames": []}])

    [entry] = _exceptions({"exception.type": "x", "posthog.exception_chain": chain})

    assert entry["type"] == "é" * 127
    assert entry["value"] == "日" * 2666


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", "/"),
        ("", ""),
        ("/api/v1/pipelines", "/api/v1/pipelines"),
        ("/api/pipelines/17/run", "/api/pipelines/{id}/run"),
        ("/runs/01912d6e-5f3a-7c1e-8a77-2b1f0c9d8e7f", "/runs/{id}"),
        ("/commits/9fceb02d0ae598e95dc970b74767f19372d61af8", "/commits/{id}"),
        ("/logs/2026-11-25", "/logs/{id}"),
        ("/files/17.pdf", "/files/{id}.pdf"),
        ("/invite/q7Hn3kPz9LmXv2Rt", "/invite/{id}"),
        ("/feedback", "/feedback"),
        ("/decade/deadbeef", "/decade/deadbeef"),
        ("/x/" + "a" * 41, "/x/{id}"),
    ],
)
def test_ids_in_a_path_are_templated(path, expected):
    """Of a path whose route nobody told, parts that stand for one thing are taken out."""
    assert route_of({}, path) == expected


def test_known_route_wins():
    """The framework's own template is told as it is."""
    assert route_of({attributes.HTTP_ROUTE: "/runs/{run_id}"}, "/runs/17") == "/runs/{run_id}"
