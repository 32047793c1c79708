"""Runs of the product."""


class RunError(Exception):
    """A run failed."""

    class StepError(Exception):
        """A step of it failed."""


def start(name):
    """Fail in the package's own file."""
    raise RunError(f"cannot start {name}")
