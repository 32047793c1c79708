"""Judge the answer to a batch: only PostHog's own body confirms or rejects events.

A proxy, a firewall, a roll-out or an expired key answers, too, and only for a while: whatever is not
PostHog's word on these events lets them wait (docs/adr/0052).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

MAX_RETRY_AFTER_S = 86_400.0
# How PostHog's capture service begins to say that an event is bad (rust/capture/src/api.rs). The rest may
# quote the event, so it is not logged. What it says of a whole request ("failed to decode request") is no
# verdict: something on the way has changed the body.
_BAD_EVENT = (
    "event submitted with",
    "failed to hydrate events from request",
    "failed to parse request",
    "invalid event could not be processed",
    "maximum event size exceeded",
    "payload empty after filtering invalid event types",
)
_QUOTA_DETAIL = "billing_limit_exceeded"
CHECK_HOST_AND_NETWORK = "Check the host setting and the network."
_CHECK_WAY = "Check the host setting, and any proxy or firewall on the way."
_CHECK_HOST = "Check the host setting: there is no PostHog at that address."
_ADVICE = {
    401: "Check the project API key (POSTHOG_API_KEY).",
    402: "Check the billing of the PostHog project, and any proxy on the way.",
    403: "Check any firewall or proxy on the way, then the project API key and the host setting.",
    404: _CHECK_HOST,
    405: _CHECK_HOST,
    407: "Check the user and password in the proxy variable.",
    410: _CHECK_HOST,
    511: "The network asks for a login.",
}


class Result(Enum):
    """What became of a batch."""

    ACCEPTED = "accepted"  # PostHog's own body says so, which does not mean stored
    HANDED_OVER = "handed_over"  # a Collector's own body says so
    RETRY = "retry"  # no answer, 408, 429 or 5xx
    DOUBTFUL = "doubtful"  # an answer that is not PostHog's word on these events
    SPLIT = "split"  # one bad or large event rejects all, so smaller batches find it
    SORTED = "sorted"  # PostHog has judged each event, see `verdicts`
    QUOTA = "quota"  # PostHog takes no more events of this project for now
    WITHDRAWN = "withdrawn"  # before a request was complete
    REFUSED = "refused"  # for good


_VERDICTS = {
    "ok": Result.ACCEPTED,
    "warning": Result.ACCEPTED,
    "drop": Result.REFUSED,
    "retry": Result.RETRY,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """The result of one attempt, why and what to check, and the pause that PostHog asked for."""

    result: Result
    reason: str = ""
    advice: str = CHECK_HOST_AND_NETWORK
    retry_after_s: float = 0.0
    verdicts: Mapping[str, Result] = field(default_factory=dict)  # by uuid, if `SORTED`
    refused: int = 0  # of a batch that was handed over; the answer does not name them
    receiver: str = "PostHog"  # for log lines


def judged(status: int, body: bytes, *, events: int, retry_after_s: float | None = None) -> Delivery:
    """Return what an answer to `/batch/` means for so many events."""
    if status == 200:  # noqa: PLR2004 - the only one with which PostHog confirms
        return _confirmed(body)
    if status in (400, 413):
        said = _rejection(body)
        if said is not None:
            return Delivery(result=Result.SPLIT, reason=f"status {status}, {said}")
        # A proxy that limits the size of requests accepts smaller ones.
        if status == 413 and events > 1:  # noqa: PLR2004 - content too large
            return Delivery(result=Result.SPLIT, reason="status 413, not of PostHog")
    is_temporary = status in (408, 429) or status >= 500  # noqa: PLR2004 - a server error, or a request to wait
    return unconfirmed(status, _ADVICE, is_temporary=is_temporary, retry_after_s=retry_after_s)


def unconfirmed(
    status: int, advised: Mapping[int, str], *, is_temporary: bool, retry_after_s: float | None
) -> Delivery:
    """Return what a status means without the receiver's word on the events."""
    if is_temporary:
        pause_s = min(max(0.0, retry_after_s or 0.0), MAX_RETRY_AFTER_S)
        advice = advised.get(status, CHECK_HOST_AND_NETWORK)
        return Delivery(result=Result.RETRY, reason=f"status {status}", advice=advice, retry_after_s=pause_s)
    is_redirect = 300 <= status < 400  # noqa: PLR2004 - a captive portal, a moved host
    what = f"status {status}{', a redirect, which is not followed' if is_redirect else ''}"
    return _doubtful(what, advised.get(status, _CHECK_WAY))


def verdicts(status: int, body: bytes) -> dict[str, Result] | None:
    """Return the verdict on each uuid in an answer of `/i/v1/analytics/events`; None if it has none."""
    results = _object(body).get("results") if status == 200 else None  # noqa: PLR2004 - see `judged`
    if not isinstance(results, dict):
        return None
    return {uuid: _verdict(each) for uuid, each in results.items() if isinstance(each, dict)}


def lacks_verdicts(status: int) -> bool:
    """Return whether an answer without verdicts shows that the host does not offer that endpoint."""
    return status in (404, 405, 501) or 200 <= status < 300  # noqa: PLR2004 - a page that is not PostHog's


def _verdict(each: Mapping[str, object]) -> Result:
    if each.get("details") == _QUOTA_DETAIL:
        return Result.QUOTA
    return _VERDICTS.get(str(each.get("result")), Result.RETRY)


def _confirmed(body: bytes) -> Delivery:
    found = _object(body)
    if found.get("quota_limited"):
        return Delivery(result=Result.QUOTA, reason="the project has reached its quota")
    said = found.get("status")
    if said == "Ok" or (type(said) is int and said == 1):
        return Delivery(result=Result.ACCEPTED)
    if said is not None:
        return _doubtful("status 200, but PostHog's body does not say that it accepted them", _CHECK_WAY)
    kind = "a web page, perhaps a login" if body.lstrip()[:1] == b"<" else "a body that is not PostHog's"
    return _doubtful(f"status 200 with {kind}", _CHECK_WAY)


def _rejection(body: bytes) -> str | None:
    """Return what PostHog says of a bad event, without anything that quotes the event."""
    found, text = _object(body), body.decode(errors="replace")
    if found.get("type") == "validation_error" and {"code", "detail"} <= found.keys():
        return "validation_error"  # as the predecessor of the capture service says it, in Django
    return next((said for said in _BAD_EVENT if text.startswith(said)), None)


def _doubtful(reason: str, advice: str) -> Delivery:
    return Delivery(result=Result.DOUBTFUL, reason=reason, advice=advice)


def _object(body: bytes) -> dict[str, object]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
