"""Run the command line as `python -m otel_posthog.cli`."""

from . import main

if __name__ == "__main__":
    raise SystemExit(main())
