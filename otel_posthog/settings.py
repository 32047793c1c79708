"""The settings row as a value: what the administrator decided, and who this installation is.

Importing this module costs no SQLAlchemy; `otel_posthog.store` reads and writes the row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .registry import Kind

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
    errors_manifest: str | None = None
    """Hash of the manifest to which consent was given; None while the flag is off."""
    telemetry_manifest: str | None = None
    errors_declined: str | None = None
    """Hash of the wider manifest that was declined since; what the grant allows goes on leaving."""
    telemetry_declined: str | None = None

    def is_granted(self, kind: Kind) -> bool:
        """Tell whether the flag of this kind is on."""
        return self.enable_error_reporting if kind is Kind.ERRORS else self.enable_telemetry

    def generation(self, kind: Kind) -> int:
        """Return how often consent of this kind was withdrawn."""
        return self.errors_generation if kind is Kind.ERRORS else self.telemetry_generation

    def manifest(self, kind: Kind) -> str | None:
        """Return the hash of the manifest to which consent was given."""
        return self.errors_manifest if kind is Kind.ERRORS else self.telemetry_manifest

    def declined(self, kind: Kind) -> str | None:
        """Return the hash of the wider manifest that was declined."""
        return self.errors_declined if kind is Kind.ERRORS else self.telemetry_declined
