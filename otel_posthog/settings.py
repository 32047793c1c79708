"""The settings row as a value: what the administrator decided, and who this installation is.

Importing this module costs no SQLAlchemy; `otel_posthog.store` reads and writes the row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One row of `system_settings`, as read."""

    is_setup_completed: bool
    """The first-run wizard has been answered."""
    enable_error_reporting: bool
    enable_telemetry: bool
    instance_id: UUID | None
    """Random and anonymous; None until the first grant, and again once both flags are off."""
    errors_generation: int
    """Raised at each withdrawal of `enable_error_reporting`."""
    telemetry_generation: int
    """Raised at each withdrawal of `enable_telemetry`."""
