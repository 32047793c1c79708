"""Know what the settings row permits, and keep that fresh."""

from .state import DENIED, UNKNOWN, Answer, Consent, Grant, Settings

__all__ = ["DENIED", "UNKNOWN", "Answer", "Consent", "Grant", "Settings"]
