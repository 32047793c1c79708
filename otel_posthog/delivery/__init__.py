"""Send events that consent allows, and keep what cannot be sent yet."""
