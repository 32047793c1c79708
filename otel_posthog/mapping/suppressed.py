"""What was left out of a storm of errors, told in one event (requirement R16)."""

from __future__ import annotations

import json
from collections.abc import Mapping

from .base import BaseProperties
from .frames import bare_frame

_PLACE = ("filename", "function", "module", "lineno")


def suppressed_properties(recorded: Mapping[str, object], base: BaseProperties) -> dict[str, object]:
    """Return the properties of the event from what `storms.Storms.tell` recorded."""
    own = {key: recorded[key] for key in ("suppressed", "failures", "seconds") if key in recorded}
    return base.over({**own, "worst": _worst(recorded.get("worst"), base)})


def _worst(recorded: object, base: BaseProperties) -> list[dict[str, object]]:
    try:
        items = json.loads(str(recorded))
    except (ValueError, RecursionError):  # cut by an attribute length limit
        return []
    worst = []
    for item in items if isinstance(items, list) else []:
        match item:
            case [str(name), str(filename), int(lineno), str(function), str(module), int(number)]:
                frame = bare_frame(filename, lineno, function, module, base.scrubber, base.roots)
                place = {key: frame[key] for key in _PLACE} if filename else {}
                worst.append({"type": base.scrubber.text(name), **place, "suppressed": number})
    return worst
