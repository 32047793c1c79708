"""What the example app declares, and the made-up secrets that it plants to show how they stay behind."""

from __future__ import annotations

from typing import Annotated, Literal

from otel_posthog.registry import MaxChars, Range, event


@event("report_generated", why="Shows which formats are worth the work.", since="1.0")
class ReportGenerated:
    """A report was made."""

    format: Literal["pdf", "html", "csv"]
    pages: Annotated[int, Range(1, 500)]
    is_scheduled: bool


@event("integration_connected", why="Shows which services people use together.", since="1.0")
class IntegrationConnected:
    """An outside service was connected."""

    provider: Literal["github", "gitlab"]
    label: Annotated[str, MaxChars(120)]


EVENTS: tuple[type, ...] = (ReportGenerated, IntegrationConnected)

# Made up; the page and the tests look for them in what left.
PLANTED_PASSWORD = "correct-horse-battery"  # noqa: S105 - no secret, a decoy
PLANTED_EMAIL = "alice@example.com"
PLANTED_QUERY = "coupon=WINTER-4711"
PLANTED_TOKEN = "ghp_0000decoy0000decoy0000decoy0000decoy"  # noqa: S105 - no secret, a decoy
PLANTED = (PLANTED_PASSWORD, PLANTED_EMAIL, PLANTED_QUERY, PLANTED_TOKEN)

FAILURE_MESSAGE = (
    f"cannot reach postgresql://report:{PLANTED_PASSWORD}@db.example:5432/reports?{PLANTED_QUERY} "
    f"for {PLANTED_EMAIL}"
)
SECRET_LABEL = f"{PLANTED_EMAIL} uses {PLANTED_TOKEN}"
