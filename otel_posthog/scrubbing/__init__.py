"""Remove secrets and personal data from events."""

from .host_identity import Machine
from .options import BeforeSend, ScrubRule, ScrubRules, ask
from .scrubber import Scrubber, scrub_text

__all__ = [
    "BeforeSend",
    "Machine",
    "ScrubRule",
    "ScrubRules",
    "Scrubber",
    "ask",
    "scrub_text",
]
