"""Our rows in the product's database: the only package that imports SQLAlchemy."""

from __future__ import annotations

from .failures import AbsentError
from .heartbeat_lease import HeartbeatLease
from .measures import DatabaseMeasures
from .schema import metadata, own_metadata
from .settings_store import SettingsStore
from .urls import DatabaseSource, usable_url

__all__ = [
    "AbsentError",
    "DatabaseMeasures",
    "DatabaseSource",
    "HeartbeatLease",
    "SettingsStore",
    "metadata",
    "own_metadata",
    "usable_url",
]
