"""Show the example product of the repository, where it can be built, in place of the plain page."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

from .frontend import EXAMPLE, FrontendError, build, obstacle

if TYPE_CHECKING:
    from otel_posthog.middleware.asgi import ASGIApp
    from otel_posthog.telemetry import Telemetry


def built_frontend(tell: Callable[[str], object]) -> Path | None:
    """Return the folder of the built front end; None, and told why, where there is none to be had."""
    reason = obstacle()
    if reason is not None:
        tell(f"This is the plain page. For the example product: {reason}.\n")
        return None
    try:
        return build(tell)
    except FrontendError as error:
        tell(f"{error}\nSo this is the plain page.\n")
        return None


def fastflow_app(make_telemetry: Callable[..., Telemetry], database: Path, frontend: Path) -> ASGIApp:
    """Return the example product, with all that it keeps beside the database."""
    if str(EXAMPLE) not in sys.path:
        sys.path.insert(0, str(EXAMPLE))
    config = importlib.import_module("server.config").Config(
        data_dir=database.parent, database_url=f"sqlite:///{database}", frontend_dir=frontend
    )
    product = importlib.import_module("server.product").FastFlow(config, make_telemetry=make_telemetry)
    return cast("ASGIApp", product.app)
