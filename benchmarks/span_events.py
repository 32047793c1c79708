"""The event of `spans.py`, declared as a product declares it."""

from typing import Annotated, Literal

from otel_posthog import MaxChars, Range, event


@event("pipeline_run_started", why="which triggers are worth improving", since="1.0")
class PipelineRunStarted:
    """A pipeline run began."""

    route: Annotated[str, MaxChars(100)]
    method: Literal["GET", "POST"]
    status: Annotated[int, Range(100, 599)]
    triggered_by: Literal["manual", "webhook", "scheduler"]
    has_requirements: bool
    duration_ms: Annotated[int, Range(0, 86_400_000)]
