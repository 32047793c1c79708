"""A fingerprint of our own, only where PostHog's would not be stable.

PostHog hashes the type and the in-app frames of each exception of the list. That splits one failure
into many where there are no frames (it takes the message then), where a recursion ended at another
depth each time, and where a group has other members each time. See docs/errors.md for the rule.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence

_MAX_WORDS_CHARS = 200
_VARIES = re.compile(
    r"\"[^\"\n]{0,200}\"|'[^'\n]{0,200}'|\[scrubbed:[^\]\n]{0,40}\]|(?<![^\W\d_])[-+]?(?:0x)?\d[\w.:-]*|"
    r"\b(?=[a-f]*\d)[0-9a-f]{8,}\b",
    re.IGNORECASE,
)

Entry = Mapping[str, object]


def fingerprint_of(exceptions: Sequence[Entry], *, is_cut: bool) -> str | None:
    """Return the hash that stands for the failure, None where PostHog groups it well by itself."""
    if not any("stacktrace" in entry for entry in exceptions):
        return _hash("message", [[*_name(entry), _words(entry)] for entry in exceptions[:1]])
    if len(exceptions) > 1 and any(_mechanism(entry).get("is_exception_group") for entry in exceptions):
        return _hash("group", [_name(exceptions[0]), *_distinct(exceptions)])
    if is_cut:
        return _hash("recursion", [_name(exceptions[0]), *_distinct(exceptions)])
    return None


def _distinct(exceptions: Sequence[Entry]) -> Sequence[object]:
    """Return the places of the product that occur, each once, in an order of their own."""
    places = {
        (*_name(entry), str(frame.get("module")), str(frame.get("filename")), str(frame.get("function")))
        for entry in exceptions
        for frame in _frames(entry)
        if frame.get("in_app")
    }
    return [list(place) for place in sorted(places)] or [
        list(name) for name in sorted(set(map(_name, exceptions)))
    ]


def _name(entry: Entry) -> tuple[str, str]:
    return str(entry.get("module") or ""), str(entry["type"])


def _words(entry: Entry) -> str:
    """Return the first line of the message without numbers, quoted texts and what was scrubbed."""
    first = str(entry.get("value") or "").partition("\n")[0]
    return _VARIES.sub("…", first)[:_MAX_WORDS_CHARS]


def _mechanism(entry: Entry) -> Mapping[str, object]:
    found = entry.get("mechanism")
    return found if isinstance(found, Mapping) else {}


def _frames(entry: Entry) -> Sequence[Mapping[str, object]]:
    stack = entry.get("stacktrace")
    frames = stack.get("frames") if isinstance(stack, Mapping) else None
    return frames if isinstance(frames, list) else []


def _hash(rule: str, parts: Sequence[object]) -> str:
    text = json.dumps([rule, parts], ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
