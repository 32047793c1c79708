"""What importing the library loads; `benchmarks/import_time.py` tells what it costs."""

from __future__ import annotations

import subprocess
import sys


def _loaded_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print('\\n'.join(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return set(run.stdout.split())


def test_import_alone_loads_almost_nothing():
    """`import otel_posthog` loads neither the SDK nor asyncio, SQLAlchemy, Starlette or posthog."""
    loaded = _loaded_by("import otel_posthog")

    assert loaded.isdisjoint({"opentelemetry.sdk", "asyncio", "sqlalchemy", "starlette", "posthog"})


def test_track_loads_the_emit_half_only():
    """`track` loads opentelemetry-api and the declarations, and neither SQLAlchemy nor the SDK."""
    loaded = _loaded_by("from otel_posthog import track; track('tracked')")

    assert "opentelemetry._logs" in loaded
    assert loaded.isdisjoint({"opentelemetry.sdk", "sqlalchemy", "starlette", "posthog"})
    assert "otel_posthog.registry.manifest" not in loaded
