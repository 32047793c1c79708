"""Decide which spans become product events, and which of their attributes are sent."""

from .rules import SpanRule, SpanRules

__all__ = ["SpanRule", "SpanRules"]
