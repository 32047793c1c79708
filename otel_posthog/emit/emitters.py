"""Choose the emitter: that of the `Telemetry` under which the code runs, else that of the default one."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from otel_posthog._runtime.reporting import Counts, LogLimiter
from otel_posthog.errors import ConfigError
from otel_posthog.otel import attributes
from otel_posthog.otel.api import Logger, NoOpLogger

from .breadcrumbs import Breadcrumbs
from .failures import RateLimit
from .request_context import Owner, current_owner


@dataclass(frozen=True, slots=True)
class Emitter:
    """Where records go, and what is asked and added on their way."""

    logger: Logger
    log_limiter: LogLimiter
    breadcrumbs: Breadcrumbs = Breadcrumbs(number=0)  # noqa: RUF009 - it records nothing
    rate_limit: RateLimit | None = None
    counts: Counts = field(default_factory=Counts)
    # Whether the processor behind the logger notes on each record that it is queued.
    notes_queued: bool = False
    # Used in tests: raises for what would be dropped, while a running product never sees an exception.
    check: Callable[[str, Mapping[str, object]], None] | None = None


# Module state, see docs/architecture.md: each `Telemetry` that runs, the default one first.
_running: list[Owner] = []
_diverted: Emitter | None = None
_silent = Emitter(NoOpLogger(attributes.SCOPE), LogLimiter())  # of an owner that does not run
_unowned = _silent  # outside of all owners, while none runs


def current() -> Emitter:
    """Return the emitter of the `Telemetry` under which this code runs, else that of the default one."""
    owner = _owner()
    return _diverted or (_unowned if owner is None else owner.emitter or _silent)


def use_without_owner(logger: Logger) -> None:
    """Emit there what belongs to no `Telemetry`: a file names exporters of ours, and none runs yet."""
    global _unowned  # noqa: PLW0603 - module state, as above
    _unowned = Emitter(logger, LogLimiter())


def is_current(owner: Owner) -> bool:
    """Return whether what happens here belongs to this owner."""
    if _diverted is not None and owner not in _running:  # that of the tests
        return True
    return _owner() in (owner, None)


def gives_way(owner: Owner) -> bool:
    """Return whether it is that of a file, and the product runs its own."""
    return owner.is_of_file and any(other is not owner for other in _running)


def _owner() -> Owner | None:
    """Return the owner of this context, unless it gives way, else the default one."""
    owner = current_owner()
    return next(iter(_running), None) if owner is None or gives_way(owner) else owner


def use(owner: Owner, emitter: Emitter) -> None:
    """Emit there what belongs to the owner; without a named default the first of code is the default."""
    owner.emitter = emitter
    insort(_running, owner, key=lambda each: (each.is_of_file, not each.is_default))
    _note_who_is_alone()


def refuse_second_default(owner: Owner) -> None:
    """Raise `ConfigError` if this one and one that runs are both named the default."""
    if owner.is_default and any(other.is_default for other in _running):
        raise ConfigError("another Telemetry(default=True) runs in this process. Name only one the default.")


def stop_using(owner: Owner) -> None:
    """Emit nothing there any more; the next one that runs becomes the default."""
    owner.emitter, owner.is_alone = None, False
    with suppress(ValueError):  # it was removed before
        _running.remove(owner)
    _note_who_is_alone()


def _note_who_is_alone() -> None:
    for owner in _running:
        owner.is_alone = owner.is_of_file or len(_running) == 1


@contextmanager
def diverted(emitter: Emitter) -> Iterator[None]:
    """Emit there until the block ends, even if another `Telemetry` starts; for tests of a product."""
    global _diverted  # noqa: PLW0603 - module state, as above
    before, _diverted = _diverted, emitter
    try:
        yield
    finally:
        _diverted = before
