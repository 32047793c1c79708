"""The rules by which PostHog refuses, drops or alters what it is sent, each with its source.

The table is data: to add a rule, append a row. Refusals stand in the order in which PostHog looks for
them, and the first one decides the answer. `source` is a path in github.com/PostHog/posthog unless it is
a URL; «not confirmed» in a description marks what the source suggests without saying it.
"""

from __future__ import annotations

from dataclasses import dataclass

from otel_posthog.testing import event_checks, exception_checks, request_checks
from otel_posthog.testing.rule_kinds import Rule, Verdict, each, each_with, problem, request
from otel_posthog.testing.submission import Submission


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """The rule that decides, and what was found."""

    rule: Rule
    detail: str


def refusal(submission: Submission) -> Refusal | None:
    """Return why PostHog refuses the whole request, None where it takes it."""
    for rule in RULES:
        if rule.verdict is Verdict.REFUSE:
            for finding in rule.find(submission):
                where = "" if finding.index is None else f"event {finding.index}: "
                return Refusal(rule=rule, detail=where + finding.detail)
    return None


def issues(submission: Submission) -> list[tuple[str, ...]]:
    """Return, for each event of an accepted request, the ids of the rules that drop or alter it."""
    found: list[list[str]] = [[] for _ in submission.events]
    for rule in RULES:
        if rule.verdict is not Verdict.REFUSE:
            for finding in rule.find(submission):
                for index in range(len(found)) if finding.index is None else (finding.index,):
                    found[index].append(rule.id)
    return [tuple(ids) for ids in found]


def drops(rule_ids: tuple[str, ...]) -> bool:
    """Say whether one of these rules loses the event."""
    return any(RULES_BY_ID[rule_id].verdict is Verdict.DROP for rule_id in rule_ids)


_ROUTER = "rust/capture/src/router.rs"
_API = "rust/capture/src/api.rs"
_REQUEST = "rust/capture/src/v0_request.rs"
_EVENT = "rust/common/types/src/event.rs"
_V1 = "rust/capture/src/v1/analytics/constants.rs"
_TIME = "rust/common/types/src/timestamp.rs"
_TOKEN = "rust/capture/src/token.rs"  # noqa: S105 - a path
_SERDE = "https://github.com/serde-rs/json/blob/master/src/read.rs"
_EXCEPTION_EVENT = "rust/cymbal/src/modes/processing/types/exception_event.rs"
_PERSON_FLAG = "nodejs/src/ingestion/event-processing/normalize-process-person-flag-step.ts"

_REFUSALS = (
    Rule(
        id="body-too-large",
        verdict=Verdict.REFUSE,
        status=413,
        description="A body of /batch above 20 MiB, of the other paths above 2 MiB; decompressed, the same.",
        source=_ROUTER,
        find=problem("body-too-large"),
    ),
    Rule(
        id="body-empty",
        verdict=Verdict.REFUSE,
        status=400,
        description="No body and no data in the query.",
        source="rust/capture/src/payload/common.rs",
        find=problem("body-empty"),
    ),
    Rule(
        id="body-encoding",
        verdict=Verdict.REFUSE,
        status=400,
        description="Broken gzip, a form without data, or bytes that are not UTF-8.",
        source="rust/capture/src/payload/decompression.rs",
        find=problem("body-encoding"),
    ),
    Rule(
        id="json-invalid",
        verdict=Verdict.REFUSE,
        status=400,
        description="The body is not JSON.",
        source=_REQUEST,
        find=problem("json-invalid"),
    ),
    Rule(
        id="json-not-finite",
        verdict=Verdict.REFUSE,
        status=400,
        description="NaN, Infinity or 1e999: no JSON, though json.dumps writes it; status not confirmed.",
        source="https://www.rfc-editor.org/rfc/rfc8259#section-6",
        find=problem("json-not-finite"),
    ),
    Rule(
        id="json-lone-surrogate",
        verdict=Verdict.REFUSE,
        status=400,
        description="An escape that is half of a surrogate pair.",
        source=_SERDE,
        find=problem("json-lone-surrogate"),
    ),
    Rule(
        id="json-too-deep",
        verdict=Verdict.REFUSE,
        status=400,
        description="More than 127 levels of nesting, the default of serde_json.",
        source="https://github.com/serde-rs/json/blob/master/src/de.rs",
        find=problem("json-too-deep"),
    ),
    Rule(
        id="body-shape",
        verdict=Verdict.REFUSE,
        status=400,
        description="Neither event, nor array of events, nor {api_key, batch, sent_at} with the right types.",
        source=_REQUEST,
        find=request(request_checks.shape_problem),
    ),
    Rule(
        id="event-name-missing",
        verdict=Verdict.REFUSE,
        status=400,
        description="An event without a name, or with an empty one, takes the whole batch with it.",
        source=_API,
        find=each(event_checks.name_missing),
    ),
    Rule(
        id="uuid-invalid",
        verdict=Verdict.REFUSE,
        status=400,
        description="A uuid that is none; null and an empty text count as missing.",
        source="rust/common/types/src/util.rs",
        find=each(event_checks.uuid_invalid),
    ),
    Rule(
        id="properties-not-object",
        verdict=Verdict.REFUSE,
        status=400,
        description="Properties that are no object; null is refused too.",
        source=_EVENT,
        find=each(event_checks.properties_not_object),
    ),
    Rule(
        id="timestamp-not-text",
        verdict=Verdict.REFUSE,
        status=400,
        description="A timestamp that is no text, such as a number.",
        source=_EVENT,
        find=each(event_checks.timestamp_not_text),
    ),
    Rule(
        id="event-field-types",
        verdict=Verdict.REFUSE,
        status=400,
        description="offset that is no integer, $set or $set_once that is no object, token that is no text.",
        source=_EVENT,
        find=each(event_checks.field_types),
    ),
    Rule(
        id="batch-token-missing",
        verdict=Verdict.REFUSE,
        status=400,
        description="A batch without api_key parses as no known shape, hence 400 and not 401.",
        source=_REQUEST,
        find=request(request_checks.batch_token_missing),
    ),
    Rule(
        id="batch-empty",
        verdict=Verdict.REFUSE,
        status=400,
        description="A batch or an array without an event.",
        source=_REQUEST,
        find=request(request_checks.batch_empty),
    ),
    Rule(
        id="token-missing",
        verdict=Verdict.REFUSE,
        status=401,
        description="A single event or an array in which no event carries an api_key.",
        source="rust/capture/src/utils.rs",
        find=request(request_checks.token_missing),
    ),
    Rule(
        id="tokens-differ",
        verdict=Verdict.REFUSE,
        status=401,
        description="An array whose events carry different api_keys.",
        source="rust/capture/src/utils.rs",
        find=request(request_checks.tokens_differ),
    ),
    Rule(
        id="token-invalid",
        verdict=Verdict.REFUSE,
        status=401,
        description="An api_key that is empty, above 64 bytes, not ASCII, personal (phx_) or holds NUL.",
        source=_TOKEN,
        find=request(request_checks.token_invalid),
    ),
    Rule(
        id="distinct-id-missing",
        verdict=Verdict.REFUSE,
        status=400,
        description="No distinct_id, or only white space, in event, $distinct_id and properties.",
        source=_EVENT,
        find=each(event_checks.distinct_id_missing),
    ),
    Rule(
        id="cookieless-not-boolean",
        verdict=Verdict.REFUSE,
        status=400,
        description="$cookieless_mode that is no boolean.",
        source="rust/capture/src/events/analytics.rs",
        find=each(event_checks.cookieless_not_boolean),
    ),
    Rule(
        id="event-too-large",
        verdict=Verdict.REFUSE,
        status=413,
        description="An event above 1,000,000 bytes as a message: escaped twice, so about 900 KB as sent.",
        source="rust/capture/src/config.rs, rust/capture/src/sinks/producer.rs",
        find=each(event_checks.message_too_large),
    ),
)

_DROPS = (
    Rule(
        id="event-filtered",
        verdict=Verdict.DROP,
        description="$performance_event is filtered without a word.",
        source=_REQUEST,
        find=each(event_checks.name_filtered),
    ),
    Rule(
        id="distinct-id-illegal",
        verdict=Verdict.DROP,
        description=(
            "A distinct_id that stands for a mistake (system, anonymous, 0, null …): /i/v1 drops the event; "
            "that /batch does so too is not confirmed, it only refuses to merge such persons."
        ),
        source=f"{_V1}, nodejs/src/worker/ingestion/persons/person-merge-service.ts",
        find=each(event_checks.distinct_id_illegal),
    ),
    Rule(
        id="person-profile-contradicted",
        verdict=Verdict.DROP,
        description="$identify, $create_alias, $merge_dangerously, $groupidentify with the profile off.",
        source=_PERSON_FLAG,
        find=each(event_checks.profile_contradicted),
    ),
    Rule(
        id="exception-list-missing",
        verdict=Verdict.DROP,
        description="An $exception without exceptions is kept with an error attached and makes no issue.",
        source=f"{_EXCEPTION_EVENT}, rust/cymbal/src/modes/processing/stages/http_pipeline.rs",
        find=each(exception_checks.list_missing),
    ),
    Rule(
        id="exception-malformed",
        verdict=Verdict.DROP,
        description="An exception without a type, or a value, mechanism or stack trace of the wrong shape.",
        source="rust/cymbal/src/core/types/exception.rs, rust/cymbal/src/core/types/stacktrace.rs",
        find=each(exception_checks.list_malformed),
    ),
    Rule(
        id="thread-id-too-large",
        verdict=Verdict.DROP,
        description="A thread_id that does not fit into 32 bits; threading.get_ident() does not.",
        source="rust/cymbal/src/core/types/exception.rs",
        find=each(exception_checks.thread_id_too_large),
    ),
    Rule(
        id="frame-platform-unknown",
        verdict=Verdict.DROP,
        description="A frame without platform, or with an unknown one, loses the whole exception.",
        source="rust/cymbal/src/core/types/frames/mod.rs",
        find=each(exception_checks.platform_unknown),
    ),
    Rule(
        id="frame-malformed",
        verdict=Verdict.DROP,
        description="A frame without filename or function, lineno below 0, context lines that are no texts.",
        source="rust/cymbal/src/core/types/langs/python.rs, rust/cymbal/src/core/types/langs/js.rs",
        find=each(exception_checks.frame_malformed),
    ),
)

_ALTERATIONS = (
    Rule(
        id="event-name-too-long",
        verdict=Verdict.ALTER,
        description="Above 200 bytes: /batch cuts at 200 characters, /i/v1 drops the event.",
        source=f"nodejs/src/ingestion/event-processing/prepare-event-step.ts, {_V1}",
        find=each(event_checks.name_too_long),
    ),
    Rule(
        id="distinct-id-too-long",
        verdict=Verdict.ALTER,
        description="Above 200 bytes: /batch cuts at 200 characters, /i/v1 drops the event.",
        source=f"{_EVENT}, {_V1}",
        find=each(event_checks.distinct_id_too_long),
    ),
    Rule(
        id="distinct-id-not-text",
        verdict=Verdict.ALTER,
        description="A number, array or object becomes text.",
        source=_EVENT,
        find=each(event_checks.distinct_id_not_text),
    ),
    Rule(
        id="uuid-missing",
        verdict=Verdict.ALTER,
        description="Without a uuid PostHog makes one, so that a repeated request makes a second event.",
        source="rust/capture/src/events/analytics.rs",
        find=each(event_checks.uuid_missing),
    ),
    Rule(
        id="timestamp-missing",
        verdict=Verdict.ALTER,
        description="Without a timestamp the time of arrival counts.",
        source=_TIME,
        find=each(event_checks.timestamp_missing),
    ),
    Rule(
        id="timestamp-not-rfc3339",
        verdict=Verdict.ALTER,
        description="Not RFC 3339 with a zone: PostHog guesses a zone, or takes the time of arrival.",
        source=_TIME,
        find=each(event_checks.timestamp_not_rfc3339),
    ),
    Rule(
        id="timestamp-in-future",
        verdict=Verdict.ALTER,
        description="More than 23 hours ahead, after correction by sent_at: becomes the time of arrival.",
        source=_TIME,
        find=each_with(event_checks.timestamp_in_future),
    ),
    Rule(
        id="sent-at-unreadable",
        verdict=Verdict.ALTER,
        description="An unreadable sent_at is ignored, so a wrong clock of the sender is not corrected.",
        source=_REQUEST,
        find=request(request_checks.sent_at_unreadable),
    ),
    Rule(
        id="ip-added",
        verdict=Verdict.ALTER,
        description="Without $ip, or with an empty one, the sender's address becomes $ip.",
        source="nodejs/src/utils/event.ts",
        find=each(event_checks.ip_added),
    ),
    Rule(
        id="ip-located",
        verdict=Verdict.ALTER,
        description=(
            "A public $ip is looked up and adds $geoip_* properties; for exceptions $geoip_disable "
            "does not stop it."
        ),
        source="nodejs/src/ingestion/error-tracking/geoip-enrichment-step.ts",
        find=each(event_checks.ip_located),
    ),
    Rule(
        id="person-profile-processed",
        verdict=Verdict.ALTER,
        description="Without $process_person_profile false the event makes or changes a person profile.",
        source=_PERSON_FLAG,
        find=each(event_checks.profile_processed),
    ),
    Rule(
        id="person-profile-flag-invalid",
        verdict=Verdict.ALTER,
        description="$process_person_profile that is no boolean is ignored: a profile is made.",
        source=_PERSON_FLAG,
        find=each(event_checks.profile_flag_invalid),
    ),
    Rule(
        id="exception-text-too-long",
        verdict=Verdict.ALTER,
        description="An exception's value above 10,000 bytes or its type above 255 is cut.",
        source=_EXCEPTION_EVENT,
        find=each(exception_checks.value_too_long),
    ),
    Rule(
        id="frame-line-too-long",
        verdict=Verdict.ALTER,
        description="A source line above 300 characters is cut.",
        source="rust/cymbal/src/core/types/frames/mod.rs",
        find=each(exception_checks.context_too_long),
    ),
    Rule(
        id="exception-list-reversed",
        verdict=Verdict.ALTER,
        description="With $lib posthog-python the list counts as innermost-first and is turned round.",
        source="rust/cymbal/src/modes/processing/normalization.rs",
        find=each(exception_checks.list_reversed),
    ),
)

RULES: tuple[Rule, ...] = (*_REFUSALS, *_DROPS, *_ALTERATIONS)
RULES_BY_ID = {rule.id: rule for rule in RULES}


def as_markdown() -> str:
    """Return the table as it stands in the documentation."""
    lines = ["| rule | PostHog | when | source |", "|---|---|---|---|"]
    for rule in RULES:
        verdict = f"{rule.verdict} {rule.status}" if rule.status else rule.verdict.value
        lines.append(f"| `{rule.id}` | {verdict} | {rule.description} | {rule.source} |")
    return "\n".join(lines)
