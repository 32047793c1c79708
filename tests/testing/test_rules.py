"""The table of rules: each has a case that passes and one that is caught, through the sink's own decoding."""

import gzip
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_posthog.testing import rules
from otel_posthog.testing.decoding import decode
from otel_posthog.testing.rules import Verdict
from otel_posthog.testing.submission import Submission

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DOCS = Path(__file__).parents[2] / "docs" / "sink.md"
FRAME = {
    "platform": "python",
    "filename": "app/work.py",
    "function": "run",
    "lineno": 7,
    "in_app": True,
    "context_line": "    raise ValueError",
    "pre_context": ["def run():"],
    "post_context": [],
}
EXCEPTION = {
    "type": "ValueError",
    "value": "no",
    "mechanism": {"type": "generic", "handled": False},
    "thread_id": 1,
    "stacktrace": {"type": "raw", "frames": [FRAME]},
}
WEB_FRAME = {"platform": "web:javascript", "filename": "https://a.example/x.js", "function": "?", "lineno": 1}

Wire = tuple[str, str, dict[str, str], bytes]


def event(**fields: object) -> dict[str, object]:
    """Return an event that breaks no rule; `properties` are added, a field that is ... is left out."""
    properties = {"$ip": "0.0.0.0", "$process_person_profile": False}
    extra = fields.pop("properties", {})
    whole = {
        "event": "sync_completed",
        "distinct_id": "8d1f3b52-6c1e-4f0e-9d3a-5b7f1e2c4a60",
        "uuid": "01912d6e-5f3a-7c1e-8a77-2b1f0c9d8e7f",
        "timestamp": "2026-03-01T11:59:00+00:00",
        "properties": {**properties, **extra} if isinstance(extra, dict) else extra,
        **fields,
    }
    whole["properties"] = _without_ellipsis(whole["properties"])
    return _without_ellipsis(whole)


def thrown(*, frame: dict[str, object] | None = None, count: int = 1, lib: str = "x", **fields: object):
    """Return an exception event that breaks no rule, but for what is given."""
    exception = {**EXCEPTION, **fields}
    if frame is not None:
        exception["stacktrace"] = {"type": "raw", "frames": [_without_ellipsis({**FRAME, **frame})]}
    exceptions = [_without_ellipsis(exception)] * count
    return event(event="$exception", properties={"$exception_list": exceptions, "$lib": lib})


def batch(*events: object, **fields: object) -> Wire:
    """Return a batch request of these events."""
    sent_at = "2026-03-01T12:00:00+00:00"
    return body(_without_ellipsis({"api_key": "phc_x", "sent_at": sent_at, "batch": [*events], **fields}))


def body(content: object, path: str = "/batch/") -> Wire:
    """Return a request with this JSON, or with these bytes."""
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    return path, "", {"content-type": "application/json"}, raw


def judge(wire: Wire) -> Submission:
    """Decode a request as the sink does."""
    decoded = decode(*wire)
    return Submission(path=wire[0], root=decoded.root, problem=decoded.problem, received_at=NOW)


def found(wire: Wire) -> set[str]:
    """Return the ids of all the rules that this request breaks."""
    submission = judge(wire)
    refusal = rules.refusal(submission)
    if refusal is not None:
        return {refusal.rule.id}
    return {rule_id for ids in rules.issues(submission) for rule_id in ids}


def _without_ellipsis(value: object) -> object:
    if not isinstance(value, dict):
        return value
    return {key: item for key, item in value.items() if item is not ...}


FORM = {"content-type": "application/x-www-form-urlencoded"}
PLAIN = json.dumps(event(api_key="phc_x")).encode()
WIDE = "x" * 3_000_000
DEEP = b"[" * 126 + b"]" * 126

# rule id: (requests that keep it, requests that break it)
CASES: dict[str, tuple[list[Wire], list[Wire]]] = {
    "body-too-large": (
        [batch(event(properties={"a": "x" * 900_000}), event(properties={"a": "x" * 900_000}))],
        [
            body(b"x" * (20 * 1024 * 1024 + 1)),
            body(b"x" * (2 * 1024 * 1024 + 1), path="/i/v0/e/"),
            ("/e/", "compression=gzip-js", {}, gzip.compress(WIDE.encode())),
        ],
    ),
    "body-empty": ([batch(event()), ("/e/", f"data={quote(PLAIN)}", {}, b"")], [body(b"")]),
    "body-encoding": (
        [
            ("/batch/", "", {"content-encoding": "gzip"}, gzip.compress(batch(event())[3])),
            ("/e/", "compression=gzip-js", {}, gzip.compress(PLAIN)),
            ("/e/", "", {}, gzip.compress(PLAIN)),
            ("/e/", "compression=base64", FORM, b"data=" + quote(PLAIN).encode()),
        ],
        [
            ("/batch/", "", {"content-encoding": "gzip"}, PLAIN),
            ("/batch/", "", {"content-encoding": "gzip"}, gzip.compress(PLAIN)[:-9]),
            body(b'{"event": "\xff"}'),
            ("/e/", "", FORM, b"info=1"),
            ("/e/", "compression=lz64", {}, b"N4Ig"),
        ],
    ),
    "json-invalid": ([batch(event())], [body(b"{"), body(b"event=1"), body(b"{'event': 1}")]),
    "json-not-finite": (
        [batch(event(properties={"a": 1e308}))],
        [batch(event(properties={"a": float(name)})) for name in ("nan", "inf", "-inf")]
        + [body(batch(event(properties={"a": 77}))[3].replace(b"77", b"1e999"))],
    ),
    "json-lone-surrogate": (
        [batch(event(properties={"a": "🦔", "b": "\\ud83e", "c": "\\u0041"})), batch(event(event="ä\u2028"))],
        [
            batch(event(properties={"a": text}))
            for text in ("\ud83e", "\udd94", "\udd94\ud83e", "\ud83e-", "\ud83e\ud83e\udd94")
        ],
    ),
    "json-too-deep": (
        [body(b'{"event":"e","api_key":"k","distinct_id":"d","properties":{"a":' + DEEP[1:-1] + b"}}")],
        [body(b'{"event":"e","properties":{"a":' + DEEP + b"}}"), body(b"[" * 100_000 + b"]" * 100_000)],
    ),
    "body-shape": (
        [batch(event()), body([event(api_key="phc_x")]), body(event(api_key="phc_x"))],
        [
            body(1),
            body([None]),
            body("text"),
            body({"api_key": "phc_x", "batch": {}}),
            batch(event(), 3),
            batch(event(), sent_at=1),
            batch(event(), historical_migration="no"),
        ],
    ),
    "event-name-missing": (
        [batch(event())],
        [batch(event(), event(event=value)) for value in (..., "", None, 3)] + [body({})],
    ),
    "uuid-invalid": (
        [batch(event(uuid=value)) for value in (None, "", "01912D6E5F3A7C1E8A772B1F0C9D8E7F")],
        [batch(event(uuid=value)) for value in ("1", "01912d6e-5f3a-7c1e-8a77", 7)],
    ),
    "properties-not-object": (
        [batch(event(properties=...)), batch(event(properties={}))],
        [batch(event(properties=value)) for value in (None, [], "a=1")],
    ),
    "timestamp-not-text": (
        [batch(event(timestamp=None)), batch(event(timestamp=...))],
        [batch(event(timestamp=1_772_366_400)), batch(event(timestamp={}))],
    ),
    "event-field-types": (
        [batch(event(**{"offset": 5, "$set": {}, "$set_once": None}))],
        [
            batch(event(**fields))
            for fields in ({"offset": "5"}, {"$set": []}, {"$set_once": 1}, {"token": 1})
        ],
    ),
    "batch-token-missing": (
        [batch(event()), batch(event(), api_key=..., token="phc_x")],
        [batch(event(), api_key=...), batch(event(), api_key=None), batch(event(), api_key=7)],
    ),
    "batch-empty": ([batch(event())], [batch(), body([])]),
    "token-missing": (
        [body(event(token="phc_x")), body(event(properties={"token": "phc_x"})), batch(event())],
        [body(event()), body([event(), event()])],
    ),
    "tokens-differ": (
        [body([event(token="a"), event(api_key="a"), event()])],
        [body([event(token="a"), event(token="b")])],
    ),
    "token-invalid": (
        [batch(event(), api_key=key) for key in ("phc_x", " phc_x\n", "x" * 64)],
        [batch(event(), api_key=key) for key in ("", "  ", "x" * 65, "phx_personal", "schlüssel", "a\0b")],
    ),
    "distinct-id-missing": (
        [
            batch(event(distinct_id=..., properties={"distinct_id": "d"})),
            batch(event(**{"distinct_id": ..., "$distinct_id": "d"})),
        ],
        [batch(event(distinct_id=value)) for value in (..., None, "", " \n")],
    ),
    "cookieless-not-boolean": (
        [batch(event(properties={"$cookieless_mode": value})) for value in (True, False)],
        [batch(event(properties={"$cookieless_mode": value})) for value in ("true", 1, None)],
    ),
    "event-too-large": (
        [batch(event(properties={"a": "x" * 990_000}))],
        [batch(event(properties={"a": "x" * 1_000_000})), batch(event(properties={"a": '"' * 340_000}))],
    ),
    "event-filtered": ([batch(event())], [batch(event(event="$performance_event"))]),
    "distinct-id-illegal": (
        [batch(event()), batch(event(distinct_id="systematic"))],
        [
            batch(event(distinct_id=value))
            for value in (
                "system",
                "Anonymous",
                "0",
                0,
                "null",
                "undefined",
                "'guest'",
                "[object Object]",
                True,
            )
        ],
    ),
    "person-profile-contradicted": (
        [batch(event(event="$identify", properties={"$process_person_profile": True})), batch(event())],
        [batch(event(event=name)) for name in ("$identify", "$create_alias", "$groupidentify")],
    ),
    "exception-list-missing": (
        [batch(thrown()), batch(event())],
        [
            batch(event(event="$exception")),
            batch(event(event="$exception", properties={"$exception_list": []})),
            batch(event(event="$exception", properties={"$exception_list": None})),
        ],
    ),
    "exception-malformed": (
        [batch(thrown(value=...)), batch(thrown(stacktrace=None, mechanism=None)), batch(thrown(value=""))],
        [
            batch(thrown(type=...)),
            batch(thrown(value=None)),
            batch(thrown(value=3)),
            batch(thrown(module=3)),
            batch(thrown(mechanism="generic")),
            batch(thrown(mechanism={"handled": "no"})),
            batch(thrown(stacktrace={"frames": []})),
            batch(thrown(stacktrace={"type": "raw"})),
            batch(thrown(stacktrace={"type": "raw", "frames": ["run"]})),
            batch(event(event="$exception", properties={"$exception_list": {}})),
            batch(event(event="$exception", properties={"$exception_list": ["ValueError"]})),
        ],
    ),
    "thread-id-too-large": (
        [batch(thrown(thread_id=value)) for value in (..., None, 2**31 - 1)],
        [batch(thrown(thread_id=value)) for value in (2**31, 140_735_340_871_488, "1", 1.5)],
    ),
    "frame-platform-unknown": (
        [batch(thrown()), batch(thrown(stacktrace={"type": "raw", "frames": [WEB_FRAME]}))],
        [batch(thrown(frame={"platform": value})) for value in (..., "cpython", "Python", None)],
    ),
    "frame-malformed": (
        [
            batch(thrown(frame={"lineno": None, "context_line": None, "abs_path": None, "module": "app"})),
            batch(thrown(frame={"lineno": ..., "pre_context": ..., "in_app": ...})),
            batch(thrown(stacktrace={"type": "raw", "frames": [WEB_FRAME]})),
            batch(thrown(frame={"platform": "ruby", "filename": ...})),
        ],
        [
            batch(thrown(frame={field: value}))
            for field, value in (
                ("filename", ...),
                ("filename", None),
                ("function", None),
                ("lineno", -1),
                ("lineno", "7"),
                ("lineno", True),
                ("context_line", ["a"]),
                ("pre_context", None),
                ("post_context", [1]),
                ("in_app", "yes"),
            )
        ]
        + [batch(thrown(stacktrace={"type": "raw", "frames": [{**WEB_FRAME, "function": None}]}))],
    ),
    "event-name-too-long": (
        [batch(event(event="e" * 200))],
        [batch(event(event="e" * 201)), batch(event(event="ä" * 101))],
    ),
    "distinct-id-too-long": (
        [batch(event(distinct_id="d" * 200))],
        [batch(event(distinct_id="d" * 201)), batch(event(distinct_id="ä" * 101))],
    ),
    "distinct-id-not-text": (
        [batch(event(distinct_id="23"))],
        [batch(event(distinct_id=value)) for value in (23, ["a"], {"a": 1})],
    ),
    "uuid-missing": ([batch(event())], [batch(event(uuid=value)) for value in (..., None, "")]),
    "timestamp-missing": (
        [batch(event()), batch(event(timestamp=..., offset=3))],
        [batch(event(timestamp=...)), batch(event(timestamp=None))],
    ),
    "timestamp-not-rfc3339": (
        [
            batch(event(timestamp=value))
            for value in ("2026-03-01T11:00:00Z", "2026-03-01T11:00:00.123456+01:00")
        ],
        [
            batch(event(timestamp=value))
            for value in ("2026-03-01T11:00:00", "2026-03-01", "yesterday", "", "2026-13-01T11:00:00Z")
        ],
    ),
    "timestamp-in-future": (
        [
            batch(event(timestamp=(NOW + timedelta(hours=23)).isoformat())),
            # The sender's clock is a day ahead, and says so.
            batch(
                event(timestamp=(NOW + timedelta(hours=24)).isoformat()),
                sent_at=(NOW + timedelta(hours=24)).isoformat(),
            ),
        ],
        [
            batch(event(timestamp=(NOW + timedelta(hours=23, seconds=1)).isoformat())),
            batch(
                event(
                    timestamp=(NOW + timedelta(hours=24)).isoformat(), properties={"$ignore_sent_at": True}
                ),
                sent_at=(NOW + timedelta(hours=24)).isoformat(),
            ),
        ],
    ),
    "sent-at-unreadable": (
        [batch(event()), batch(event(), sent_at=...)],
        [batch(event(), sent_at=value) for value in ("now", "2026-03-01T12:00:00", "")],
    ),
    "ip-added": (
        [batch(event())],
        [batch(event(properties={"$ip": value})) for value in (..., None, "")],
    ),
    "ip-located": (
        [batch(event(properties={"$ip": value})) for value in ("0.0.0.0", "127.0.0.1", "10.0.0.1", "none")],
        [batch(event(properties={"$ip": value})) for value in ("8.8.8.8", "2606:4700:4700::1111")],
    ),
    "person-profile-processed": (
        [batch(event())],
        [batch(event(properties={"$process_person_profile": value})) for value in (..., True)],
    ),
    "person-profile-flag-invalid": (
        [batch(event(properties={"$process_person_profile": value})) for value in (False, True, ...)],
        [batch(event(properties={"$process_person_profile": value})) for value in ("false", 0, None)],
    ),
    "exception-text-too-long": (
        [batch(thrown(value="v" * 10_000, type="T" * 255))],
        [batch(thrown(value="v" * 10_001)), batch(thrown(type="T" * 256)), batch(thrown(value="ä" * 5_001))],
    ),
    "frame-line-too-long": (
        [batch(thrown(frame={"context_line": "x" * 300}))],
        [batch(thrown(frame={"context_line": "x" * 301})), batch(thrown(frame={"pre_context": ["x" * 301]}))],
    ),
    "exception-list-reversed": (
        [batch(thrown(lib="otel-posthog", count=2)), batch(thrown(lib="posthog-python", count=1))],
        [batch(thrown(lib="posthog-python", count=2))],
    ),
}


@pytest.mark.parametrize("rule", rules.RULES, ids=lambda rule: rule.id)
def test_every_rule_passes_what_keeps_it(rule: rules.Rule):
    """A request that keeps the rule is not caught by it."""
    kept, _ = CASES[rule.id]

    verdicts = [found(wire) for wire in kept]

    assert kept
    assert not [ids for ids in verdicts if rule.id in ids]


@pytest.mark.parametrize("rule", rules.RULES, ids=lambda rule: rule.id)
def test_every_rule_catches_what_breaks_it(rule: rules.Rule):
    """A request that breaks the rule is caught by it, however it does so."""
    _, broken = CASES[rule.id]

    verdicts = [found(wire) for wire in broken]

    assert broken
    assert not [(n, ids) for n, ids in enumerate(verdicts) if rule.id not in ids]


def test_no_case_is_left_over():
    """Each case belongs to a rule, and each rule has its own id."""
    ids = [rule.id for rule in rules.RULES]

    assert sorted(CASES) == sorted(ids)


@pytest.mark.parametrize("build", [event, thrown], ids=["event", "exception"])
def test_a_sound_event_breaks_no_rule(build: Callable[[], dict[str, object]]):
    """The event that the cases start from is clean, so that they show one fault each."""
    assert found(batch(build())) == set()


@pytest.mark.parametrize("rule", rules.RULES, ids=lambda rule: rule.id)
def test_every_rule_names_its_source(rule: rules.Rule):
    """Each row says what happens, and a refusal says with which status."""
    assert rule.description.endswith(".")
    assert rule.source.startswith(("rust/", "nodejs/", "https://"))
    assert (rule.status is not None) == (rule.verdict is Verdict.REFUSE)
    assert "|" not in rule.description + rule.source


def test_the_first_refusal_decides():
    """A batch with several faults is refused for the one that PostHog finds first."""
    wire = batch(event(uuid="1"), event(event=""), api_key="")

    refusal = rules.refusal(judge(wire))

    assert refusal is not None
    assert refusal.rule.id == "event-name-missing"
    assert refusal.detail.startswith("event 1: ")


def test_a_request_wide_alteration_marks_every_event():
    """An unreadable sent_at is written down at each event of the batch."""
    marks = rules.issues(judge(batch(event(), event(), sent_at="now")))

    assert marks == [("sent-at-unreadable",), ("sent-at-unreadable",)]


def test_only_drops_lose_an_event():
    """An alteration alone does not count as a loss."""
    assert not rules.drops(("ip-added",))
    assert rules.drops(("ip-added", "frame-platform-unknown"))


def test_the_documentation_shows_the_table():
    """The page holds exactly the table that the code holds."""
    assert rules.as_markdown() in DOCS.read_text(encoding="utf-8")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
        max_leaves=12,
    )
)
def test_no_json_makes_the_rules_fail(root: object):
    """Whatever JSON arrives, as body, event, exception or frame, it gets a verdict and no exception."""
    exceptions = {"$exception_list": root}
    for content in (root, event(properties=root), event(event="$exception", properties=exceptions)):
        assert isinstance(found(batch(content)), set)
        assert isinstance(found(body(content)), set)
    assert isinstance(found(batch(thrown(frame={"lineno": root, "platform": root}))), set)


@given(st.binary(max_size=200), st.sampled_from(["", "compression=gzip-js", "data=", "compression=base64"]))
def test_no_bytes_make_decoding_fail(raw: bytes, query: str):
    """Whatever bytes arrive, with whatever hint, they get a verdict and no exception."""
    for headers in ({}, FORM, {"content-encoding": "gzip"}):
        assert isinstance(found(("/e/", query, headers, raw)), set)
