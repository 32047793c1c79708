"""Take out what is secret or personal, whatever it hides in."""

from .custom import ScrubRule, ScrubRules
from .hook import BeforeSend, ask
from .machine import Machine
from .scrubber import Scrubber, scrub_source, scrub_text

__all__ = [
    "BeforeSend",
    "Machine",
    "ScrubRule",
    "ScrubRules",
    "Scrubber",
    "ask",
    "scrub_source",
    "scrub_text",
]
