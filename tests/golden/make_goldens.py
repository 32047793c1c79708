"""Write `goldens.json` from what posthog-python itself would send; our code takes no part in it.

Run it with `python tests/golden/make_goldens.py` after a change of `acme` or of posthog's version. Left
out is only what names this machine.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from posthog import Posthog
from posthog.version import VERSION

HERE = Path(__file__).parent
TARGET = HERE / "goldens.json"


def main() -> None:
    """Fail in each way, capture it with posthog-python, and keep the properties of its event."""
    sys.path.insert(0, str(HERE))
    from acme.runs.engine import WAYS, by_hand, caught  # noqa: PLC0415 - found only now

    captured = []
    client = Posthog(
        "phc_golden",
        host="http://127.0.0.1:9",
        send=False,
        before_send=captured.append,
        project_root=str(HERE),
    )
    goldens = {}
    for way in WAYS:
        client.capture_exception(caught(way))
        goldens[way.__name__] = _kept(captured.pop())
    by_hand(client.capture_exception)
    goldens["by_hand"] = _kept(captured.pop())
    client.shutdown()
    told = {"made_by": f"posthog-python {VERSION}", "python": sys.version.split()[0], "goldens": goldens}
    TARGET.write_text(json.dumps(told, indent=1, sort_keys=True) + "\n")


def _kept(event: dict[str, Any]) -> dict[str, object]:
    """Return what is compared, without what names this machine: paths, and the calls that led to `acme`."""
    properties = event["properties"]
    for entry in properties["$exception_list"]:
        stack = entry.get("stacktrace", {"frames": []})
        stack["frames"] = [frame for frame in stack["frames"] if frame["module"].startswith("acme.")]
        for frame in stack["frames"]:
            del frame["abs_path"]
    return {key: properties[key] for key in ("$exception_list", "$exception_level")}


if __name__ == "__main__":
    main()
