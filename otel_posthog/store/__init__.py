"""The settings row in the product's database: the only package that imports SQLAlchemy."""

from __future__ import annotations

from .schema import metadata
from .settings_store import SettingsStore
from .urls import DatabaseSource

__all__ = ["DatabaseSource", "SettingsStore", "metadata"]
