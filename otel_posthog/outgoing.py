"""A batch on its way out: texts of JSON that were measured and judged, and are not written again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import cast, overload

WireEvent = dict[str, object]
_AT_ONCE = 32  # texts in a piece


class Outgoing(Sequence[WireEvent]):
    """Events as PostHog's wire objects, each read from the very text that leaves."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts

    def __len__(self) -> int:
        return len(self._texts)

    @overload
    def __getitem__(self, at: int) -> WireEvent: ...
    @overload
    def __getitem__(self, at: slice) -> Outgoing: ...
    def __getitem__(self, at: int | slice) -> WireEvent | Outgoing:
        if isinstance(at, slice):
            return Outgoing(self._texts[at])
        return cast("WireEvent", json.loads(self._texts[at]))

    def as_json(self) -> Iterator[str]:
        """Yield the array of all, piece by piece: a copy of the whole costs as much as to compress it."""
        yield "["
        for begin in range(0, len(self._texts), _AT_ONCE):
            if begin:
                yield ", "
            yield ", ".join(self._texts[begin : begin + _AT_ONCE])
        yield "]"
