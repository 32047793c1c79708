"""Provide fixtures for a product's tests: the events it would send, no network, no leaked secret.

pytest loads this module in every run where the library is installed, so it imports the library only when
a fixture is requested.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, overload

import pytest

if TYPE_CHECKING:
    from .testing.in_memory import InMemoryTelemetry

AssertNoLeak = Callable[[Iterable[str]], None]


class PostHogEvents(Sequence[dict[str, object]]):
    """The events since the test began, as PostHog would receive them; each access waits for all."""

    def __init__(self, telemetry: InMemoryTelemetry) -> None:
        self._telemetry = telemetry
        self._before = len(telemetry.events())

    @overload
    def __getitem__(self, index: int) -> dict[str, object]: ...
    @overload
    def __getitem__(self, index: slice) -> list[dict[str, object]]: ...
    def __getitem__(self, index: int | slice) -> dict[str, object] | list[dict[str, object]]:
        return self._events()[index]

    def __len__(self) -> int:
        return len(self._events())

    def __repr__(self) -> str:
        return repr(self._events())

    def named(self, name: str) -> list[dict[str, object]]:
        """Return the events of this name."""
        return [event for event in self._events() if event["event"] == name]

    def _events(self) -> list[dict[str, object]]:
        return self._telemetry.events()[self._before :]


@pytest.fixture(scope="session")
def posthog_registry() -> Iterable[type]:
    """Return the product's events; override it in conftest.py. Without any, every event is allowed."""
    return ()


@pytest.fixture(scope="session")
def _posthog_in_memory(
    posthog_registry: Iterable[type], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[InMemoryTelemetry]:
    from .testing.in_memory import InMemoryTelemetry  # noqa: PLC0415 - SQLAlchemy and the SDK

    with InMemoryTelemetry(posthog_registry, tmp_path_factory.mktemp("otel-posthog")).running() as telemetry:
        yield telemetry


@pytest.fixture
def posthog_events(_posthog_in_memory: InMemoryTelemetry) -> Iterator[PostHogEvents]:
    """Return the events sent with consent to both kinds; an undeclared one raises RegistryError."""
    with _posthog_in_memory.diverting_strictly():
        yield PostHogEvents(_posthog_in_memory)


@pytest.fixture
def no_egress() -> Iterator[None]:
    """Refuse every connection and name look-up of otel_posthog, and fail the test for it."""
    from .testing.network_guard import watched  # noqa: PLC0415 - only where it is asked for

    with watched() as attempts:
        yield
    if attempts:
        pytest.fail("otel_posthog tried to reach the network:\n" + "\n".join(attempts), pytrace=False)


@pytest.fixture(scope="session")
def assert_no_leak(_posthog_in_memory: InMemoryTelemetry) -> Iterator[AssertNoLeak]:
    """Return a function that fails if an event of this run contains one of the given secrets.

    It checks all events until then, and once more at the end of the run.
    """
    from .testing.in_memory import leaks  # noqa: PLC0415 - with the telemetry

    known: list[str] = []

    def check(secrets: Iterable[str]) -> None:
        known.extend(secrets)
        found = leaks(_posthog_in_memory.events(), known)
        if found:
            pytest.fail("Secrets would have left:\n" + "\n".join(found), pytrace=False)

    with _posthog_in_memory.diverting():
        yield check
    check(())
