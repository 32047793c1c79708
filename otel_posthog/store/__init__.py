"""Store settings, grants and the heartbeat's lease: the only package that imports SQLAlchemy."""

from __future__ import annotations

from .engines import Database
from .heartbeat_lease import HeartbeatLease
from .schema import metadata, own_metadata
from .settings_store import SettingsStore
from .urls import AbsentError, DatabaseSource, usable_url

__all__ = [
    "AbsentError",
    "Database",
    "DatabaseSource",
    "HeartbeatLease",
    "SettingsStore",
    "metadata",
    "own_metadata",
    "usable_url",
]
