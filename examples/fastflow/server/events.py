"""What Fast-Flow tells about its use, once an administrator has agreed."""

from __future__ import annotations

from typing import Annotated, Literal

from otel_posthog import Buckets, Expires, Range, Sensitivity, event

OWNER = "Fast-Flow maintainers"
Seconds = Annotated[float, Buckets(0, 1, 10, 60, 600, 3600), "Duration in seconds, as a bucket."]
Provider = Annotated[Literal["github", "google"], "Which sign-in was used, never whose."]
Trigger = Annotated[Literal["manual", "other", "scheduler", "webhook"], "What started it."]
HasRequirements = Annotated[bool, "Whether the pipeline needs packages of its own."]


@event("user_registered", why="Shows which ways of signing up are worth keeping.", since="1.0", owner=OWNER)
class UserRegistered:
    """An account was made. Nothing in it says whose."""

    provider: Provider
    invitation: Annotated[bool, "Whether there was an invitation."]
    initial_admin: Annotated[bool, "Whether it is the first account of the installation."]


@event("user_logged_in", why="Shows which sign-ins have to go on working.", since="1.0", owner=OWNER)
class UserLoggedIn:
    """Somebody signed in. Nothing in it says who."""

    provider: Provider
    is_new_user: Annotated[bool, "Whether the account was made just then."]


@event("pipeline_run_started", why="Shows which triggers are worth improving.", since="1.0", owner=OWNER)
class PipelineRunStarted:
    """A pipeline began to run. Its name stays where it is."""

    triggered_by: Trigger
    has_requirements: HasRequirements


@event(
    "pipeline_run_finished",
    why="Shows how often runs fail, and how long they take.",
    since="1.0",
    owner=OWNER,
)
class PipelineRunFinished:
    """A pipeline run ended. Its name and its output stay where they are."""

    triggered_by: Trigger
    has_requirements: HasRequirements
    success: Annotated[bool, "Whether it ended without a failure."]
    status: Annotated[Literal["cancelled", "failed", "other", "succeeded", "timed_out"], "How it ended."]
    duration_s: Seconds


@event("sync_completed", why="Shows whether synchronising from git is fast enough.", since="1.0", owner=OWNER)
class SyncCompleted:
    """Pipelines were synchronised from git. Repository and branch stay unnamed."""

    duration_s: Seconds
    pipelines_discovered: Annotated[int, Buckets(0, 1, 6, 21, 101), "How many pipelines there are."]
    pipelines_pre_heated: Annotated[int, Buckets(0, 1, 6, 21, 101), "How many environments were prepared."]
    pre_heat_failures: Annotated[int, Range(0, 10_000), Sensitivity.LOW, "How many could not be prepared."]
    uv_pre_heat_enabled: Annotated[bool, Expires("2027-12-31"), "Whether they are prepared in advance."]


@event("sync_failed", why="Shows what most often keeps git from being reached.", since="1.0", owner=OWNER)
class SyncFailed:
    """Synchronising from git failed. The message stays where it is."""

    error_kind: Annotated[
        Literal["auth", "conflict", "network", "other", "timeout"], "Which kind of failure it was."
    ]


EVENTS: tuple[type, ...] = (
    UserRegistered,
    UserLoggedIn,
    PipelineRunStarted,
    PipelineRunFinished,
    SyncCompleted,
    SyncFailed,
)
