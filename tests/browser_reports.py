"""What a page says about an error, as posthog-js describes one, and the headers of a page of this site."""

from __future__ import annotations

import copy

PATH = "/api/settings/browser-report"
OWN_PAGE = {"Sec-Fetch-Site": "same-origin"}
CHUNK_ID = "0198c7f2-9a43-7c61-8f55-0b7a5d1f2e90"
FRAME = {
    "platform": "web:javascript",
    "filename": "http://testserver/assets/index-BfT3k2_x.js?v=4711#part",
    "function": "Runs",
    "lineno": 12,
    "colno": 4080,
    "in_app": True,
    "chunk_id": CHUNK_ID,
}
REPORT = {
    "uuid": "0198c7f2-1111-7c61-8f55-0b7a5d1f2e90",
    "url": "http://testserver/runs/12?coupon=WINTER-4711#part",
    "properties": {"attempt": 2, "is_first": False, "step": "render"},
    "$exception_level": "error",
    "$exception_list": [
        {
            "type": "TypeError",
            "value": "rows is undefined",
            "mechanism": {"type": "generic", "handled": False, "synthetic": False, "exception_id": 0},
            "stacktrace": {"type": "raw", "frames": [{**FRAME, "function": "main"}, FRAME]},
        },
        {
            "type": "SyntaxError",
            "value": "unexpected token",
            "mechanism": {"type": "chained", "source": "cause", "exception_id": 1, "parent_id": 0},
        },
    ],
}


def report(value=None, **changes):
    """Return a report of its own, with that message of the first exception and with those keys."""
    made = copy.deepcopy(REPORT) | changes
    if value is not None:
        made["$exception_list"][0]["value"] = value
    made.pop("uuid", None)
    return made
