"""The whole way from `track` to PostHog under test, with consent given and the end of it in memory."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote, quote_plus

from otel_posthog import analytics
from otel_posthog.errors import RegistryError
from otel_posthog.outgoing import Outgoing
from otel_posthog.registry import Registry
from otel_posthog.telemetry import Telemetry
from otel_posthog.transport import Delivery, Result

FLUSH_TIMEOUT_S = 10.0
SHORTEST_SECRET_CHARS = 4


class MemoryTransport:
    """Keep what would be sent."""

    def __init__(self) -> None:
        self._events: list[dict[str, object]] = []
        self._lock = threading.Lock()

    def send(self, batch: Outgoing, may_leave: Callable[[], bool]) -> Delivery:
        """Keep the events as PostHog would receive them."""
        if not may_leave():
            return Delivery(result=Result.WITHDRAWN)
        with self._lock:
            self._events += batch
        return Delivery(result=Result.ACCEPTED)

    def close(self) -> None:
        """Do nothing: there is nothing open."""

    def events(self) -> list[dict[str, object]]:
        """Return all that would have been sent so far."""
        with self._lock:
            return list(self._events)


class Rehearsal:
    """A Telemetry whose events end in memory; `diverting` sends everything in the process through it."""

    def __init__(self, registry: Registry | Iterable[type], folder: Path) -> None:
        self._transport = MemoryTransport()
        self._telemetry = Telemetry(
            database=f"sqlite:///{folder / 'rehearsal.db'}",
            registry=registry,
            environment="test",
            transport=self._transport,
            environ={},  # DO_NOT_TRACK in a CI is meant for what really leaves
            batch_delay_s=0.05,
        )

    @contextmanager
    def running(self) -> Iterator[Rehearsal]:
        """Run until the block ends, with consent to both kinds."""
        before = analytics.current()
        with self._telemetry as telemetry:
            telemetry.update_settings(enable_error_reporting=True, enable_telemetry=True)
            self._emitter = analytics.current()
            analytics.use(before)  # until somebody diverts
            yield self

    @contextmanager
    def diverting(self) -> Iterator[None]:
        """Have everything that is emitted in this process end here, whoever else starts meanwhile."""
        with analytics.diverted(self._emitter):
            yield

    @contextmanager
    def diverting_strictly(self) -> Iterator[None]:
        """Do the same, and raise where something is emitted that is not declared."""
        with analytics.diverted(replace(self._emitter, check=self._check)):
            yield

    def events(self) -> list[dict[str, object]]:
        """Return all that would have left so far."""
        if not self._telemetry.flush(FLUSH_TIMEOUT_S):
            raise TimeoutError(f"The events were not through after {FLUSH_TIMEOUT_S} s.")
        return self._transport.events()

    def _check(self, name: str, properties: Mapping[str, object]) -> None:
        admission = self._telemetry.registry.examine(name, properties)
        if admission is None:
            raise RegistryError(f"The event {name!r} is not declared, or has expired, so it would not leave.")
        if admission.outside:
            raise RegistryError(
                f"{name}: {', '.join(admission.outside)} would not leave as given: not declared, expired, or "
                "a value that is not."
            )


def leaks(events: Iterable[Mapping[str, object]], secrets: Iterable[str]) -> list[str]:
    """Return a line for each secret in an event: as it is, or URL-, base64-, hex- or JSON-encoded."""
    lines = []
    wanted = {secret: _forms(secret) for secret in secrets}
    for event in events:
        text = json.dumps(event, ensure_ascii=False)
        for number, (secret, forms) in enumerate(wanted.items(), 1):
            if any(form in text for form in forms):
                lines.append(f"secret {number} ({secret[:2]}…) stands in an event {event.get('event')!r}")
    return lines


def _forms(secret: str) -> set[str]:
    if len(secret) < SHORTEST_SECRET_CHARS:
        raise ValueError(f"A secret of less than {SHORTEST_SECRET_CHARS} characters is found everywhere.")
    import base64  # noqa: PLC0415 - a test's business only

    raw = secret.encode()
    # Base64 looks different at each of three offsets; the characters that the neighbours share are cut.
    shifted = [base64.b64encode(b"\0" * shift + raw).decode() for shift in range(3)]
    inner = {text[(0, 2, 3)[shift] :].rstrip("=")[:-1] for shift, text in enumerate(shifted)}
    return {
        secret,
        quote(secret, safe=""),
        quote_plus(secret),
        raw.hex(),
        raw.hex().upper(),
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        *inner,
        *(text.replace("+", "-").replace("/", "_") for text in inner),
    }
