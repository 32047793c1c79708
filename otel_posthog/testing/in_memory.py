"""Run a real `Telemetry` for tests: consent granted, events kept in memory."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote, quote_plus

from otel_posthog.delivery.transport import RecordingTransport
from otel_posthog.emit import emitters
from otel_posthog.emit.request_context import within
from otel_posthog.errors import RegistryError
from otel_posthog.registry import Registry
from otel_posthog.telemetry import Telemetry

# A batch leaves after 0.05 s; ten seconds only end a test that hangs.
FLUSH_TIMEOUT_S = 10.0
# Three characters of base64 or hex occur in any report by chance.
SHORTEST_SECRET_CHARS = 4


class InMemoryTelemetry:
    """A Telemetry whose events end in memory; `diverting` routes everything in the process through it."""

    def __init__(self, registry: Registry | Iterable[type], folder: Path) -> None:
        self._transport = RecordingTransport()
        self._telemetry = Telemetry(
            database=f"sqlite:///{folder / 'telemetry.db'}",
            registry=registry,
            environment="test",
            transport=self._transport,
            environ={},  # DO_NOT_TRACK in a CI is about what is really sent
            batch_delay_s=0.05,
        )

    @contextmanager
    def running(self) -> Iterator[InMemoryTelemetry]:
        """Run until the block ends, with consent to both kinds."""
        with self._telemetry as telemetry:
            telemetry.update_settings(enable_error_reporting=True, enable_telemetry=True)
            with within(owner := telemetry.lifecycle.owner):
                self._emitter = emitters.current()
            emitters.stop_using(owner)  # until a test diverts
            yield self

    @contextmanager
    def diverting(self) -> Iterator[None]:
        """Route everything that this process emits here, even if another Telemetry starts meanwhile."""
        with emitters.diverted(self._emitter):
            yield

    @contextmanager
    def diverting_strictly(self) -> Iterator[None]:
        """Do the same, and raise `RegistryError` when something undeclared is emitted."""
        with emitters.diverted(replace(self._emitter, check=self._check)):
            yield

    def events(self) -> list[dict[str, object]]:
        """Return everything that would have been sent so far."""
        if not self._telemetry.flush(FLUSH_TIMEOUT_S):
            raise TimeoutError(f"The events were not delivered within {FLUSH_TIMEOUT_S} s.")
        return list(self._transport.events)

    def _check(self, name: str, properties: Mapping[str, object]) -> None:
        admission = self._telemetry.registry.examine(name, properties)
        if admission is None:
            raise RegistryError(
                f"The event {name!r} is not declared, or has expired, so it would not be sent."
            )
        if admission.outside:
            raise RegistryError(
                f"{name}: {', '.join(admission.outside)} would not be sent as given: undeclared, expired, "
                "or with an undeclared value."
            )


def leaks(events: Iterable[Mapping[str, object]], secrets: Iterable[str]) -> list[str]:
    """Return a line for each secret in an event: as it is, or URL-, base64-, hex- or JSON-encoded."""
    lines = []
    wanted = {secret: _forms(secret) for secret in secrets}
    for event in events:
        text = json.dumps(event, ensure_ascii=False)
        for number, (secret, forms) in enumerate(wanted.items(), 1):
            if any(form in text for form in forms):
                lines.append(f"secret {number} ({secret[:2]}…) is in an event {event.get('event')!r}")
    return lines


def _forms(secret: str) -> set[str]:
    if len(secret) < SHORTEST_SECRET_CHARS:
        raise ValueError(f"A secret of less than {SHORTEST_SECRET_CHARS} characters matches everywhere.")
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
