"""Fixtures for the tests of a product: what would leave, that nothing does, and that no secret leaks.

pytest loads this module in every run of a product that has the library installed, so it imports
nothing of it until a fixture is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, overload

import pytest

if TYPE_CHECKING:
    from .rehearsal import Rehearsal

AssertNoLeak = Callable[[Iterable[str]], None]


class PostHogEvents(Sequence[dict[str, object]]):
    """What would have left since the test began, as PostHog would receive it; complete at each look."""

    def __init__(self, rehearsal: Rehearsal) -> None:
        self._rehearsal = rehearsal
        self._before = len(rehearsal.events())

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
        return self._rehearsal.events()[self._before :]


@pytest.fixture(scope="session")
def posthog_registry() -> Iterable[type]:
    """Return the product's events; override it in conftest.py. Without any, every event may leave."""
    return ()


@pytest.fixture(scope="session")
def _posthog_rehearsal(
    posthog_registry: Iterable[type], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Rehearsal]:
    from .rehearsal import Rehearsal  # noqa: PLC0415 - SQLAlchemy and the SDK

    with Rehearsal(posthog_registry, tmp_path_factory.mktemp("otel-posthog")).running() as rehearsal:
        yield rehearsal


@pytest.fixture
def posthog_events(_posthog_rehearsal: Rehearsal) -> Iterator[PostHogEvents]:
    """Return what would leave with consent to both kinds; what is not declared raises RegistryError."""
    with _posthog_rehearsal.diverting_strictly():
        yield PostHogEvents(_posthog_rehearsal)


@pytest.fixture
def no_egress() -> Iterator[None]:
    """Refuse every connection and look-up of a name that otel_posthog begins, and fail the test for it."""
    from .egress import watched  # noqa: PLC0415 - only where it is asked for

    with watched() as attempts:
        yield
    if attempts:
        pytest.fail("otel_posthog tried to reach the network:\n" + "\n".join(attempts), pytrace=False)


@pytest.fixture(scope="session")
def assert_no_leak(_posthog_rehearsal: Rehearsal) -> Iterator[AssertNoLeak]:
    """Return a function that fails where one of these secrets is in what would have left in this run.

    It looks at all until then, and once more at the end of the run.
    """
    from .rehearsal import leaks  # noqa: PLC0415 - with the rehearsal

    known: list[str] = []

    def check(secrets: Iterable[str]) -> None:
        known.extend(secrets)
        found = leaks(_posthog_rehearsal.events(), known)
        if found:
            pytest.fail("Secrets would have left:\n" + "\n".join(found), pytrace=False)

    with _posthog_rehearsal.diverting():
        yield check
    check(())
