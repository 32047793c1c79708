"""Whether this run takes the time for full counts: `.ci/full` does, a change need not wait for them."""

from __future__ import annotations

import os

IS_FULL = os.environ.get("OTEL_POSTHOG_FULL") == "1"
