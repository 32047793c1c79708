"""Check one event, or a whole request, against a rule: return a detail if it is broken, else None.

`rules.py` describes each check, with its source, in the row of its rule.
"""

from __future__ import annotations

import ipaddress
import json
import re
from datetime import UTC, datetime, timedelta

from .submission import Submission, distinct_id, event_token, properties

# Limits of PostHog; the rows in rules.py name the files that hold them.
MAX_NAME_BYTES = 200
MAX_DISTINCT_ID_BYTES = 200
MAX_TOKEN_BYTES = 64
MAX_MESSAGE_BYTES = 1_000_000  # kafka_producer_message_max_bytes in rust/capture/src/config.rs
MAX_FUTURE = timedelta(hours=23)
IDENTIFYING_EVENTS = frozenset({"$identify", "$create_alias", "$merge_dangerously", "$groupidentify"})
ILLEGAL_DISTINCT_IDS = frozenset(
    {
        "0", "00000000-0000-0000-0000-000000000000", "[object object]", "anonymous", "anonymous-user",
        "backend", "distinct_id", "distinctid", "email", "false", "guest", "id", "nan", "none",
        "not_authenticated", "null", "system", "true", "undefined", "user",
    }
)  # fmt: skip

_UUID = re.compile(
    r"[0-9a-f]{32}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE
)
_RFC_3339 = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})", re.ASCII)

Event = dict[str, object]


def name_missing(event: Event) -> str | None:
    name = event.get("event")
    return None if isinstance(name, str) and name else f"event is {_shown(name)}"


def name_too_long(event: Event) -> str | None:
    return _too_long(event.get("event"), MAX_NAME_BYTES)


def name_filtered(event: Event) -> str | None:
    return "$performance_event" if event.get("event") == "$performance_event" else None


def distinct_id_missing(event: Event) -> str | None:
    value = distinct_id(event)
    if value is None or (isinstance(value, str) and not value.strip()):
        return f"distinct_id is {_shown(value)}"
    return None


def distinct_id_not_text(event: Event) -> str | None:
    value = distinct_id(event)
    return None if value is None or isinstance(value, str) else f"distinct_id is {_shown(value)}"


def distinct_id_too_long(event: Event) -> str | None:
    return _too_long(distinct_id(event), MAX_DISTINCT_ID_BYTES)


def distinct_id_illegal(event: Event) -> str | None:
    value = distinct_id(event)
    text = value if isinstance(value, str) else json.dumps(value)
    bare = text.strip().strip("'\"").lower()
    return f"distinct_id is {_shown(value)}" if bare in ILLEGAL_DISTINCT_IDS else None


def uuid_invalid(event: Event) -> str | None:
    value = event.get("uuid")
    if value is None or value == "":
        return None
    if isinstance(value, str) and _UUID.fullmatch(value.removeprefix("urn:uuid:")):
        return None
    return f"uuid is {_shown(value)}"


def uuid_missing(event: Event) -> str | None:
    return None if event.get("uuid") else "no uuid"


def properties_not_object(event: Event) -> str | None:
    value = event.get("properties", {})
    return None if isinstance(value, dict) else f"properties is {_shown(value)}"


def timestamp_not_text(event: Event) -> str | None:
    value = event.get("timestamp")
    return None if value is None or isinstance(value, str) else f"timestamp is {_shown(value)}"


def field_types(event: Event) -> str | None:
    kinds = {"offset": int, "$set": dict, "$set_once": dict, "token": str, "$token": str, "api_key": str}
    for field, kind in kinds.items():
        value = event.get(field)
        if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
            return f"{field} is {_shown(value)}"
    return None


def cookieless_not_boolean(event: Event) -> str | None:
    value = properties(event).get("$cookieless_mode", False)
    return None if isinstance(value, bool) else f"$cookieless_mode is {_shown(value)}"


def message_too_large(event: Event) -> str | None:
    # Capture puts the event as a string into a second JSON object, so that each quote costs two bytes.
    data = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
    wrapped = json.dumps({"data": data}, ensure_ascii=False, separators=(",", ":"))
    size = len(wrapped.encode("utf-8", "surrogatepass"))
    return None if size <= MAX_MESSAGE_BYTES else f"{size} bytes as a message, {MAX_MESSAGE_BYTES} fit"


def timestamp_missing(event: Event) -> str | None:
    return "no timestamp" if event.get("timestamp") is None and event.get("offset") is None else None


def timestamp_not_rfc3339(event: Event) -> str | None:
    value = event.get("timestamp")
    if not isinstance(value, str) or read_timestamp(value) is not None:
        return None
    return f"timestamp is {_shown(value)}"


def timestamp_in_future(event: Event, submission: Submission) -> str | None:
    value = event.get("timestamp")
    happened = read_timestamp(value) if isinstance(value, str) else None
    if happened is None:
        return None
    sent = read_timestamp(submission.sent_at) if submission.sent_at else None
    if sent is not None and properties(event).get("$ignore_sent_at") is not True:
        happened -= sent - submission.received_at
    ahead = happened - submission.received_at
    return None if ahead <= MAX_FUTURE else f"{value} is {ahead} ahead"


def ip_added(event: Event) -> str | None:
    return None if properties(event).get("$ip") else "no $ip"


def ip_located(event: Event) -> str | None:
    value = properties(event).get("$ip")
    try:
        is_global = isinstance(value, str) and ipaddress.ip_address(value).is_global
    except ValueError:
        return None
    return "$ip is a public address" if is_global else None


def profile_processed(event: Event) -> str | None:
    flag = properties(event).get("$process_person_profile", True)
    return "$process_person_profile is not false" if flag is True else None


def profile_flag_invalid(event: Event) -> str | None:
    flag = properties(event).get("$process_person_profile", True)
    return None if isinstance(flag, bool) else f"$process_person_profile is {_shown(flag)}"


def profile_contradicted(event: Event) -> str | None:
    is_off = properties(event).get("$process_person_profile") is False
    name = event.get("event")
    return f"{name} without a profile" if is_off and name in IDENTIFYING_EVENTS else None


def read_timestamp(text: str) -> datetime | None:
    """Return the time, or None if the text is no RFC 3339 time with a zone."""
    if not _RFC_3339.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _too_long(value: object, limit_bytes: int) -> str | None:
    size = len(value.encode("utf-8", "surrogatepass")) if isinstance(value, str) else 0
    return None if size <= limit_bytes else f"{size} bytes, {limit_bytes} fit"


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:60]}…"  # noqa: PLR2004 - enough to recognise it


def shape_problem(submission: Submission) -> str | None:
    if not isinstance(submission.root, dict | list):
        return "the body is neither an object nor an array"
    if isinstance(submission.root, dict) and submission.is_batch:
        if not isinstance(submission.root["batch"], list):
            return "batch is no array"
        if not isinstance(submission.root.get("sent_at"), str | None):
            return "sent_at is no text"
        if not isinstance(submission.root.get("historical_migration"), bool | None):
            return "historical_migration is no boolean"
    if len(submission.events) != len(submission.items):
        return "an event is no object"
    return None


def batch_token_missing(submission: Submission) -> str | None:
    if submission.is_batch and not isinstance(submission.batch_token, str):
        return "no api_key next to batch"
    return None


def batch_empty(submission: Submission) -> str | None:
    return None if submission.items else "no event"


def token_missing(submission: Submission) -> str | None:
    if submission.is_batch or any(event_token(event) is not None for event in submission.events):
        return None
    return "no event carries an api_key"


def token_invalid(submission: Submission) -> str | None:
    token = submission.token.strip()
    if not token:
        return "empty"
    if len(token.encode("utf-8", "surrogatepass")) > MAX_TOKEN_BYTES:
        return "too_long"
    if not token.isascii():
        return "not_ascii"
    if token.startswith("phx_"):
        return "personal_api_key"
    return "null_byte" if "\0" in token else None


def tokens_differ(submission: Submission) -> str | None:
    tokens = {token for event in submission.events if (token := event_token(event)) is not None}
    return "more than one api_key" if len(tokens) > 1 and not submission.is_batch else None


def sent_at_unreadable(submission: Submission) -> str | None:
    if submission.sent_at is None or read_timestamp(submission.sent_at):
        return None
    return f"sent_at is {submission.sent_at!r}"
