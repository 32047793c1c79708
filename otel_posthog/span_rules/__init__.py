"""Which spans become product events, and what of them leaves."""

from .compiled import SpanRules
from .rule import SpanRule

__all__ = ["SpanRule", "SpanRules"]
