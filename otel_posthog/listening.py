"""What runs besides the middleware so that errors are heard of, and told well."""

from __future__ import annotations

import asyncio

from ._otel import Logger
from .analytics import Emitter
from .config import Config
from .consent import Answer, Consent
from .counts import Counts
from .hooks import Hooks
from .log_handler import LogHandler
from .notices import Notices
from .registry import Kind
from .steps import Steps
from .storms import Storms


class Listening:
    """Hooks, log handler, steps and the limit of storms, as far as the settings ask for them."""

    def __init__(self, config: Config, counts: Counts) -> None:
        self.steps = Steps(number=config.error_steps)
        self.storms = Storms(
            counts, burst=config.error_burst, refill_per_minute=config.error_refill_per_minute
        )
        self._hooks = Hooks() if config.capture_unhandled else None
        self._logs = LogHandler(with_exceptions=config.capture_logged, with_steps=config.steps_from_logs)
        self._withdrawn_ns = 0
        self._logger: Logger | None = None

    def emitter(self, logger: Logger, notices: Notices) -> Emitter:
        """Return where `track` and reports go from now on, with steps and the limit of storms."""
        self.tell_to(logger)
        return Emitter(logger, notices, self.steps, self.storms)

    def start(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Take over the hooks, those of the loop that runs here too."""
        if self._hooks is not None:
            self._hooks.install()
        self._logs.install()
        self.watch(loop)

    def watch(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Hear of what fails in this loop and is never awaited, until `stop`."""
        if self._hooks is not None:
            self._hooks.watch(loop)

    def tell_to(self, logger: Logger) -> None:
        """Have what a storm left out told there."""
        self._logger = logger

    def tell(self, *, is_over: bool = False) -> None:
        """Tell what a storm has left out, once a minute or at the end."""
        if self._logger is not None:
            self.storms.tell(self._logger, is_over=is_over)

    def stop(self) -> None:
        """Give the hooks back, and tell what a storm has left to tell."""
        self._logs.remove()
        if self._hooks is not None:
            self._hooks.remove()
        self.tell(is_over=True)

    def follow(self, consent: Consent) -> None:
        """Forget what happened before a withdrawal."""
        withdrawn_ns = consent.since_ns(Kind.ERRORS)
        self.steps.forget_before(withdrawn_ns, consent.since_ns(Kind.TELEMETRY))
        if withdrawn_ns != self._withdrawn_ns or consent.errors is Answer.DENIED:
            self._withdrawn_ns = withdrawn_ns
            self.storms.forget()

    def after_fork(self) -> None:
        """Begin anew in a child."""
        self.storms.after_fork()
        if self._hooks is not None:
            self._hooks.after_fork()
