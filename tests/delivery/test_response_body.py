"""The body of a response, as urllib3 of any version gives it."""

from __future__ import annotations

import io

import pytest

from otel_posthog.delivery.response_body import read_body


class OldRaw:
    """A response of urllib3 before 2.2, which has no `read1`."""

    def __init__(self, content):
        self._content = io.BytesIO(content)
        self.sizes = set()

    def read(self, size, *, decode_content):
        assert not decode_content
        self.sizes.add(size)
        return self._content.read(size)


@pytest.mark.parametrize(("max_bytes", "read"), [(100, b"abcdef"), (4, b"abcd")])
def test_old_urllib3_is_asked_for_single_bytes(max_bytes, read):
    """Without `read1` no read waits for more than one byte."""
    raw = OldRaw(b"abcdef")

    assert read_body(raw, "", timeout_s=5.0, max_bytes=max_bytes) == read
    assert raw.sizes == {1}


def test_body_that_takes_too_long_raises():
    """The time counts for the whole body."""
    with pytest.raises(TimeoutError):
        read_body(OldRaw(b"abcdef"), "", timeout_s=-1.0, max_bytes=100)
