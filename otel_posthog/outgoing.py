"""A batch on its way out: texts of JSON that were measured and judged, and are not written again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import cast, overload

WireEvent = dict[str, object]


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

    def as_json(self) -> str:
        """Return the array of all."""
        return f"[{', '.join(self._texts)}]"
