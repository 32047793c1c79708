"""The demonstration: an example app beside a local PostHog, in one process, offline."""

from .running import run

__all__ = ["run"]
