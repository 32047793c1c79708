"""Compose everything behind the one public object, `Telemetry`."""

from .telemetry import Telemetry

__all__ = ["Telemetry"]
