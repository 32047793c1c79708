"""Define every setting once, and read it from arguments, environment and configuration files."""

from .settings import SETTINGS, Config

__all__ = ["SETTINGS", "Config"]
