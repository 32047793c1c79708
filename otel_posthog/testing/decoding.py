"""Decode the body of an ingestion request as strictly as PostHog's capture service does.

Decoding never raises: a fault of the body is returned as a `Problem` that names a rule.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn
from urllib.parse import parse_qs

BATCH_LIMIT_BYTES = 20 * 1024 * 1024  # BATCH_BODY_SIZE in rust/capture/src/router.rs
SINGLE_LIMIT_BYTES = 2 * 1024 * 1024  # EVENT_BODY_SIZE in rust/capture/src/router.rs
MAX_JSON_DEPTH = 127  # serde_json refuses the 128th level
BASE64_PROBE_BYTES = 128  # MAX_CHARS_TO_CHECK in rust/capture/src/utils.rs
GZIP_MAGIC = b"\x1f\x8b\x08"
FORM_TYPE = "application/x-www-form-urlencoded"
GZIP_HINTS = frozenset({"gzip", "gzip-js"})

_BASE64 = re.compile(rb"[A-Za-z0-9+/=]+")
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|.)", re.DOTALL)
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Why a body could not be read: the broken rule, and what was found."""

    rule_id: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """A body as JSON; if it could not be read, `root` is None and `problem` is set."""

    payload: bytes
    root: object = None
    problem: Problem | None = None


class _UnreadableError(Exception):
    def __init__(self, rule_id: str, detail: str) -> None:
        super().__init__(detail)
        self.problem = Problem(rule_id=rule_id, detail=detail)


def limit_bytes(path: str) -> int:
    """Return the size limit of a body at this path, before and after decompression."""
    return BATCH_LIMIT_BYTES if path.startswith(("/batch", "/i/v1")) else SINGLE_LIMIT_BYTES


def decode(path: str, query: str, headers: Mapping[str, str], body: bytes) -> Decoded:
    """Unpack form, base64 and gzip, then parse; header names are lower case."""
    payload = body
    try:
        payload = _unpack(path, query, headers, body)
        return Decoded(payload=payload, root=_parse(payload))
    except _UnreadableError as error:
        return Decoded(payload=payload, problem=error.problem)


def _unpack(path: str, query: str, headers: Mapping[str, str], body: bytes) -> bytes:
    limit = limit_bytes(path)
    if len(body) > limit:
        raise _UnreadableError("body-too-large", f"{len(body)} bytes, {path} takes {limit}")
    fields = _fields(query)
    payload = fields["data"].encode() if fields.get("data") else body
    if not payload:
        raise _UnreadableError("body-empty", "the request has no body")
    hint = fields.get("compression", "")
    if not payload.startswith((b"data=", b"compression=")):
        payload = _without_base64(payload)
    if headers.get("content-type", "").split(";")[0] == FORM_TYPE:
        form = _fields(payload.decode("utf-8", "replace"))
        if "data" not in form:
            raise _UnreadableError("body-encoding", "a form without the field data")
        hint = hint or form.get("compression", "")
        # A form turns + into a space; base64 has no spaces.
        payload = _without_base64(form["data"].replace(" ", "+").encode(), otherwise=form["data"].encode())
    hint = hint or headers.get("content-encoding", "")
    if hint in GZIP_HINTS or payload.startswith(GZIP_MAGIC):
        payload = _gunzip(payload, limit)
    elif hint in {"lz64", "lz-string"}:
        raise _UnreadableError("body-encoding", "lz-string: PostHog reads it, this sink does not")
    return _without_base64(payload)


def _fields(text: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(text, keep_blank_values=True).items()}


def _without_base64(payload: bytes, *, otherwise: bytes | None = None) -> bytes:
    fallback = payload if otherwise is None else otherwise
    if len(payload) % 4 or not _BASE64.fullmatch(payload[:BASE64_PROBE_BYTES]):
        return fallback
    try:
        return base64.b64decode(payload, validate=True)
    except binascii.Error:
        return fallback


def _gunzip(payload: bytes, limit: int) -> bytes:
    inflater = zlib.decompressobj(wbits=31)
    try:
        plain = inflater.decompress(payload, limit + 1)
    except zlib.error as error:
        raise _UnreadableError("body-encoding", f"not gzip: {error}") from error
    if len(plain) > limit:
        raise _UnreadableError("body-too-large", f"more than {limit} bytes once decompressed")
    if not inflater.eof:
        raise _UnreadableError("body-encoding", "the gzip stream is cut short")
    return plain


def _parse(payload: bytes) -> object:
    try:
        text = payload.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _UnreadableError("body-encoding", f"not UTF-8 at byte {error.start}") from error
    try:
        root: object = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
    except json.JSONDecodeError as error:
        raise _UnreadableError("json-invalid", f"{error.msg} at character {error.pos}") from error
    except RecursionError as error:
        raise _UnreadableError("json-too-deep", f"more than {MAX_JSON_DEPTH} levels") from error
    if _depth(text) > MAX_JSON_DEPTH:
        raise _UnreadableError("json-too-deep", f"more than {MAX_JSON_DEPTH} levels")
    if "\\u" in text and _has_lone_surrogate(text):
        raise _UnreadableError("json-lone-surrogate", "half a surrogate pair in an escape")
    return root


def _refuse_constant(name: str) -> NoReturn:
    raise _UnreadableError("json-not-finite", f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise _UnreadableError("json-not-finite", f"{text} is out of range")
    return number


def _depth(text: str) -> int:
    deepest = depth = 0
    for character in re.findall(r"[\[\]{}]", _STRING.sub("", text)):
        depth += 1 if character in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _has_lone_surrogate(text: str) -> bool:
    high_ends_at = -1
    for match in _ESCAPE.finditer(text):
        code = int(match[1], 16) if match[1] else 0
        is_low = 0xDC00 <= code <= 0xDFFF  # noqa: PLR2004 - the Unicode standard's ranges
        if is_low != (high_ends_at == match.start()):
            return True
        is_high = 0xD800 <= code <= 0xDBFF  # noqa: PLR2004 - the Unicode standard's ranges
        if high_ends_at not in (-1, match.start()):
            return True
        high_ends_at = match.end() if is_high else -1
    return high_ends_at != -1
