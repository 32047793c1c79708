"""End a Collector pipeline: OTLP/HTTP in, consent, registry, mapping and scrubbing, PostHog out."""

from .app import app_from_environment, make_app
from .gateway import Gateway

__all__ = ["Gateway", "app_from_environment", "make_app"]
