"""Take out what is secret or personal, whatever it hides in."""

from .scrubber import Scrubber, scrub_text

__all__ = ["Scrubber", "scrub_text"]
