"""Read the body of a response within bounds of size and time (docs/adr/0034)."""

from __future__ import annotations

import time
import zlib
from typing import Protocol

MAX_ANSWER_BYTES = 65_536  # PostHog's has a few; a wrong host's page may be of any size
_ANY_WBITS = zlib.MAX_WBITS + 32  # zlib's request for a gzip or zlib header


class RawResponse(Protocol):
    """What `requests` keeps of urllib3 as `raw`; since urllib3 2.2 it has a `read1` as well."""

    enforce_content_length: bool  # False by default before urllib3 2.0

    def read(self, amt: int, /, *, decode_content: bool) -> bytes:
        """Wait for that many bytes, or for the end."""


def read_body(raw: RawResponse, encoding: str, *, timeout_s: float, max_bytes: int) -> bytes:
    """Return the beginning of the body, unpacked; empty if it is not what its encoding says.

    Reads enough for the connection to be used again. Raises if the body breaks off, and `TimeoutError` if
    it takes longer; a read in progress then ends after the socket's own timeout.
    """
    deadline_s = time.monotonic() + timeout_s
    # The socket's timeout begins again with each byte, so waiting for many of them has no bound.
    read = getattr(raw, "read1", None) or (lambda _size, **options: raw.read(1, **options))
    raw.enforce_content_length = True
    content = b""
    while len(content) < max_bytes and (piece := read(max_bytes - len(content), decode_content=False)):
        content += piece
        if time.monotonic() > deadline_s:
            raise TimeoutError
    return _unpacked(content, encoding, max_bytes)


def _unpacked(content: bytes, encoding: str, max_bytes: int) -> bytes:
    if encoding.strip().lower() not in ("gzip", "x-gzip", "deflate"):
        return content
    try:
        return zlib.decompressobj(_ANY_WBITS).decompress(content, max_bytes)
    except zlib.error:
        return b""
