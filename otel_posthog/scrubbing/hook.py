"""The product's own last word on an event: `before_send`.

The hook is given a scrubbed copy, and what it returns is scrubbed again, so that it can neither see nor
leak a secret that the rules know. Whatever goes wrong with it, the event stays behind.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

from otel_posthog.errors import HookError
from otel_posthog.events import Event

BeforeSend = Callable[[Event], Event | None]


def ask(before_send: BeforeSend, event: Event) -> Event | None:
    """Return the event as the hook wants it, or None where it wants it dropped; raise `HookError`.

    Only name and properties are taken over: uuid, time and identity are frozen since the capture. The
    hook cannot make an error of a product event or the other way round, since each kind has a consent
    of its own.
    """
    shown = replace(event, properties=copy.deepcopy(dict(event.properties)))
    try:
        wanted = before_send(shown)
    except Exception as error:
        raise HookError(f"before_send raised {type(error).__name__}") from error
    if wanted is None:
        return None
    if not isinstance(wanted, Event):
        raise HookError(f"before_send returned {type(wanted).__name__} instead of an Event or None")
    if wanted.kind is not event.kind:
        raise HookError("before_send changed the kind of the event")
    return replace(event, name=wanted.name, properties=wanted.properties)
