"""Fail in every way of `tests/golden/acme`, and print what is told of each: `told.py <folder of acme>`.

Needs nothing but the standard library, so that any Python can run it.
"""

from __future__ import annotations

import importlib
import json
import sys
import traceback

from otel_posthog.emit.tracebacks import describe, type_of


def main() -> None:
    """Print the chain of each exception, and its text as others record it."""
    sys.path.insert(0, sys.argv[1])
    engine = importlib.import_module("acme.runs.engine")
    told = {}
    for way in engine.WAYS:
        error = engine.caught(way)
        text = "".join(traceback.format_exception(error))
        told[way.__name__] = [describe(error), type_of(error), str(error), text]
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main()
