"""List the rules by which PostHog refuses, drops or alters what it receives, each with its source.

To add a rule, add a row: its id, what PostHog does (the status of a refusal, or a verdict), the check,
the source and the description. Refusals are in the order in which PostHog checks them, and the first
one decides the answer. A source is a path in github.com/PostHog/posthog unless it is a URL; «not confirmed»
in a description marks what the source suggests without stating it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from . import event_checks as checks
from . import exception_checks as exception
from .submission import Submission


class Verdict(StrEnum):
    """What PostHog does when a rule is broken."""

    REFUSE = "refuse"  # answers an error status and keeps nothing of the request
    DROP = "drop"  # answers 200 and drops the event later, or keeps an exception that makes no issue
    ALTER = "alter"  # answers 200 and stores something other than was sent


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Where a rule is broken: the index of the event, or None for the whole request."""

    index: int | None
    detail: str


Find = Callable[[Submission], Iterator[Finding]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One row: what PostHog does (`verdict`, `status`), when, and the source."""

    id: str
    verdict: Verdict
    status: int | None
    description: str
    source: str
    find: Find


def problem(rule_id: str) -> Find:
    """Find a body that could not be read for this reason."""

    def check(submission: Submission) -> str | None:
        found = submission.problem
        return found.detail if found is not None and found.rule_id == rule_id else None

    return request(check)


def request(check: Callable[[Submission], str | None]) -> Find:
    """Apply a check to the whole request."""

    def find(submission: Submission) -> Iterator[Finding]:
        detail = check(submission)
        if detail is not None:
            yield Finding(index=None, detail=detail)

    return find


def each(check: Callable[[dict[str, object]], str | None]) -> Find:
    """Apply a check to every event."""
    return each_with(lambda event, _: check(event))


def each_with(check: Callable[[dict[str, object], Submission], str | None]) -> Find:
    """Apply a check to every event, together with its request."""

    def find(submission: Submission) -> Iterator[Finding]:
        for index, event in enumerate(submission.events):
            detail = check(event, submission)
            if detail is not None:
                yield Finding(index=index, detail=detail)

    return find


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """The deciding rule, and what was found."""

    rule: Rule
    detail: str


def refusal(submission: Submission) -> Refusal | None:
    """Return why PostHog refuses the whole request, or None if it accepts it."""
    for rule in RULES:
        if rule.verdict is Verdict.REFUSE:
            for finding in rule.find(submission):
                where = "" if finding.index is None else f"event {finding.index}: "
                return Refusal(rule=rule, detail=where + finding.detail)
    return None


def issues(submission: Submission) -> list[tuple[str, ...]]:
    """Return for each event of an accepted request the rules that drop or alter it."""
    found: list[list[str]] = [[] for _ in submission.events]
    for rule in RULES:
        if rule.verdict is not Verdict.REFUSE:
            for finding in rule.find(submission):
                for index in range(len(found)) if finding.index is None else (finding.index,):
                    found[index].append(rule.id)
    return [tuple(ids) for ids in found]


def drops(rule_ids: tuple[str, ...]) -> bool:
    """Return whether one of these rules loses the event."""
    return any(RULES_BY_ID[rule_id].verdict is Verdict.DROP for rule_id in rule_ids)


_API = "rust/capture/src/api.rs"
_ANALYTICS = "rust/capture/src/events/analytics.rs"
_CYMBAL = "rust/cymbal/src/core/types"
_EVENT = "rust/common/types/src/event.rs"
_EXCEPTION_EVENT = "rust/cymbal/src/modes/processing/types/exception_event.rs"
_PERSON_FLAG = "nodejs/src/ingestion/event-processing/normalize-process-person-flag-step.ts"
_REQUEST = "rust/capture/src/v0_request.rs"
_ROUTER = "rust/capture/src/router.rs"
_SERDE = "https://github.com/serde-rs/json/blob/master/src/read.rs"
_TIME = "rust/common/types/src/timestamp.rs"
_TOKEN = "rust/capture/src/token.rs"  # noqa: S105 - a path
_UTILS = "rust/capture/src/utils.rs"
_V1 = "rust/capture/src/v1/analytics/constants.rs"

# fmt: off
_UNREADABLE_BODIES = (
    ("body-too-large", 413, _ROUTER,
     "A body of /batch above 20 MiB, of the other paths above 2 MiB; decompressed, the same."),
    ("body-empty", 400, "rust/capture/src/payload/common.rs", "No body and no data in the query."),
    ("body-encoding", 400, "rust/capture/src/payload/decompression.rs",
     "Broken gzip, a form without data, or bytes that are not UTF-8."),
    ("json-invalid", 400, _REQUEST, "The body is not JSON."),
    ("json-not-finite", 400, "https://www.rfc-editor.org/rfc/rfc8259#section-6",
     "NaN, Infinity or 1e999: no JSON, though json.dumps writes it; status not confirmed."),
    ("json-lone-surrogate", 400, _SERDE, "An escape that is half of a surrogate pair."),
    ("json-too-deep", 400, "https://github.com/serde-rs/json/blob/master/src/de.rs",
     "More than 127 levels of nesting, the default of serde_json."),
)
_ROWS = (
    ("body-shape", 400, request(checks.shape_problem), _REQUEST,
     "Neither event, nor array of events, nor {api_key, batch, sent_at} with the right types."),
    ("event-name-missing", 400, each(checks.name_missing), _API,
     "An event without a name, or with an empty one, takes the whole batch with it."),
    ("uuid-invalid", 400, each(checks.uuid_invalid), "rust/common/types/src/util.rs",
     "A uuid that is none; null and an empty text count as missing."),
    ("properties-not-object", 400, each(checks.properties_not_object), _EVENT,
     "Properties that are no object; null is refused too."),
    ("timestamp-not-text", 400, each(checks.timestamp_not_text), _EVENT,
     "A timestamp that is no text, such as a number."),
    ("event-field-types", 400, each(checks.field_types), _EVENT,
     "offset that is no integer, $set or $set_once that is no object, token that is no text."),
    ("batch-token-missing", 400, request(checks.batch_token_missing), _REQUEST,
     "A batch without api_key parses as no known shape, hence 400 and not 401."),
    ("batch-empty", 400, request(checks.batch_empty), _REQUEST, "A batch or an array without an event."),
    ("token-missing", 401, request(checks.token_missing), _UTILS,
     "A single event or an array in which no event carries an api_key."),
    ("tokens-differ", 401, request(checks.tokens_differ), _UTILS,
     "An array whose events carry different api_keys."),
    ("token-invalid", 401, request(checks.token_invalid), _TOKEN,
     "An api_key that is empty, above 64 bytes, not ASCII, personal (phx_) or holds NUL."),
    ("distinct-id-missing", 400, each(checks.distinct_id_missing), _EVENT,
     "No distinct_id, or only white space, in event, $distinct_id and properties."),
    ("cookieless-not-boolean", 400, each(checks.cookieless_not_boolean), _ANALYTICS,
     "$cookieless_mode that is no boolean."),
    ("event-too-large", 413, each(checks.message_too_large),
     "rust/capture/src/config.rs, rust/capture/src/sinks/producer.rs",
     "An event above 1,000,000 bytes as a message: escaped twice, so about 900 KB as sent."),
    ("event-filtered", Verdict.DROP, each(checks.name_filtered), _REQUEST,
     "$performance_event is filtered without a word."),
    ("distinct-id-illegal", Verdict.DROP, each(checks.distinct_id_illegal),
     f"{_V1}, nodejs/src/worker/ingestion/persons/person-merge-service.ts",
     ("A distinct_id that stands for a mistake (system, anonymous, 0, null …): /i/v1 drops the event; "
      "that /batch does so too is not confirmed, it only refuses to merge such persons.")),
    ("person-profile-contradicted", Verdict.DROP, each(checks.profile_contradicted), _PERSON_FLAG,
     "$identify, $create_alias, $merge_dangerously, $groupidentify with the profile off."),
    ("exception-list-missing", Verdict.DROP, each(exception.list_missing),
     f"{_EXCEPTION_EVENT}, rust/cymbal/src/modes/processing/stages/http_pipeline.rs",
     "An $exception without exceptions is kept with an error attached and makes no issue."),
    ("exception-malformed", Verdict.DROP, each(exception.list_malformed),
     f"{_CYMBAL}/exception.rs, {_CYMBAL}/stacktrace.rs",
     "An exception without a type, or a value, mechanism or stack trace of the wrong shape."),
    ("thread-id-too-large", Verdict.DROP, each(exception.thread_id_too_large), f"{_CYMBAL}/exception.rs",
     "A thread_id that does not fit into 32 bits; threading.get_ident() does not."),
    ("frame-platform-unknown", Verdict.DROP, each(exception.platform_unknown), f"{_CYMBAL}/frames/mod.rs",
     "A frame without platform, or with an unknown one, loses the whole exception."),
    ("frame-malformed", Verdict.DROP, each(exception.frame_malformed),
     f"{_CYMBAL}/langs/python.rs, {_CYMBAL}/langs/js.rs",
     "A frame without filename or function, lineno below 0, context lines that are no texts."),
    ("event-name-too-long", Verdict.ALTER, each(checks.name_too_long),
     f"nodejs/src/ingestion/event-processing/prepare-event-step.ts, {_V1}",
     "Above 200 bytes: /batch cuts at 200 characters, /i/v1 drops the event."),
    ("distinct-id-too-long", Verdict.ALTER, each(checks.distinct_id_too_long), f"{_EVENT}, {_V1}",
     "Above 200 bytes: /batch cuts at 200 characters, /i/v1 drops the event."),
    ("distinct-id-not-text", Verdict.ALTER, each(checks.distinct_id_not_text), _EVENT,
     "A number, array or object becomes text."),
    ("uuid-missing", Verdict.ALTER, each(checks.uuid_missing), _ANALYTICS,
     "Without a uuid PostHog makes one, so that a repeated request makes a second event."),
    ("timestamp-missing", Verdict.ALTER, each(checks.timestamp_missing), _TIME,
     "Without a timestamp the time of arrival counts."),
    ("timestamp-not-rfc3339", Verdict.ALTER, each(checks.timestamp_not_rfc3339), _TIME,
     "Not RFC 3339 with a zone: PostHog guesses a zone, or takes the time of arrival."),
    ("timestamp-in-future", Verdict.ALTER, each_with(checks.timestamp_in_future), _TIME,
     "More than 23 hours ahead, after correction by sent_at: becomes the time of arrival."),
    ("sent-at-unreadable", Verdict.ALTER, request(checks.sent_at_unreadable), _REQUEST,
     "An unreadable sent_at is ignored, so a wrong clock of the sender is not corrected."),
    ("ip-added", Verdict.ALTER, each(checks.ip_added), "nodejs/src/utils/event.ts",
     "Without $ip, or with an empty one, the sender's address becomes $ip."),
    ("ip-located", Verdict.ALTER, each(checks.ip_located),
     "nodejs/src/ingestion/error-tracking/geoip-enrichment-step.ts",
     ("A public $ip is looked up and adds $geoip_* properties; for exceptions $geoip_disable does not "
      "stop it.")),
    ("person-profile-processed", Verdict.ALTER, each(checks.profile_processed), _PERSON_FLAG,
     "Without $process_person_profile false the event makes or changes a person profile."),
    ("person-profile-flag-invalid", Verdict.ALTER, each(checks.profile_flag_invalid), _PERSON_FLAG,
     "$process_person_profile that is no boolean is ignored: a profile is made."),
    ("exception-text-too-long", Verdict.ALTER, each(exception.value_too_long), _EXCEPTION_EVENT,
     "An exception's value above 10,000 bytes or its type above 255 is cut."),
    ("frame-line-too-long", Verdict.ALTER, each(exception.context_too_long), f"{_CYMBAL}/frames/mod.rs",
     "A source line above 300 characters is cut."),
    ("exception-list-reversed", Verdict.ALTER, each(exception.list_reversed),
     "rust/cymbal/src/modes/processing/normalization.rs",
     "With $lib posthog-python the list counts as innermost-first and is turned round."),
)
# fmt: on


def _rule(rule_id: str, outcome: int | Verdict, find: Find, source: str, description: str) -> Rule:
    verdict, status = (outcome, None) if isinstance(outcome, Verdict) else (Verdict.REFUSE, outcome)
    return Rule(id=rule_id, verdict=verdict, status=status, description=description, source=source, find=find)


RULES: tuple[Rule, ...] = (
    *(_rule(row[0], row[1], problem(row[0]), *row[2:]) for row in _UNREADABLE_BODIES),
    *(_rule(*row) for row in _ROWS),
)
RULES_BY_ID = {rule.id: rule for rule in RULES}


def as_markdown() -> str:
    """Return the table as printed in docs/sink.md."""
    lines = ["| rule | PostHog | when | source |", "|---|---|---|---|"]
    for rule in RULES:
        verdict = f"{rule.verdict} {rule.status}" if rule.status else rule.verdict.value
        lines.append(f"| `{rule.id}` | {verdict} | {rule.description} | {rule.source} |")
    return "\n".join(lines)
