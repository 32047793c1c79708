"""The domain of what this library makes itself: it may be nested, and has a form that is known."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import cast

from otel_posthog._lazy import lazy

from . import forms
from .domains import NOTHING, Domain, canonical_json


@dataclass(frozen=True)
class Made:
    """What this library makes; of what does not have the form only the part that has it leaves."""

    what: str
    json_schema: str
    """As canonical JSON, so that two can be compared."""

    def __str__(self) -> str:
        return self.what

    def covers(self, other: Domain) -> bool:
        return isinstance(other, Made) and forms.covers(self.form, other.form)

    def meet(self, other: Domain) -> Domain:
        """Return what both forms have in common: a report keeps the form that was agreed to."""
        if not isinstance(other, Made):
            return NOTHING
        common = forms.common(self.form, other.form)
        return NOTHING if common is None else Made(self.what, canonical_json(common))

    def size(self) -> int | None:
        return 1 if "const" in self.form else None

    def sample(self) -> object:
        return [] if self.form.get("type") == "array" else self.form.get("const")

    def to_json(self) -> dict[str, object]:
        return {"type": "made", "what": self.what, "schema": self.schema()}

    def schema(self) -> dict[str, object]:
        return cast("dict[str, object]", json.loads(self.json_schema))

    @lazy
    def admit(self) -> forms.Check:
        """Return what of a value has the form, or `REFUSED`."""
        return forms.check_of(self.form)

    @lazy
    def form(self) -> forms.Form:
        """The JSON Schema, read once."""
        return self.schema()


def made(what: str, **schema: object) -> Made:
    """Return the domain of something that this library makes, with its JSON Schema."""
    return Made(what, canonical_json(schema))
